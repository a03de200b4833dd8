"""The slicer against protobuf's own parser, on requests in every layout that the wire format allows."""

from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from collector.slicer import Sliced, slice_traces
from collector.wire import write_varint
from core.errors import SpanDecodeError
from core.topics import partition_for_trace

MAX_RECORD = 900_000
UNKNOWN_FIELD = 1000

RANDOM_ID = st.binary(min_size=16, max_size=16).filter(any)
TRACE_IDS = st.one_of(RANDOM_ID, st.sampled_from([b"\x07" * 16, b"\x01" + bytes(15), bytes(15) + b"\x01"]))
WRONG_IDS = st.sampled_from([b"", b"\x01", b"\x01" * 7, b"\x01" * 9, b"\x01" * 15, b"\x01" * 17, bytes(8), bytes(16)])
SPAN_IDS = st.one_of(
    st.binary(min_size=8, max_size=8).filter(any), st.sampled_from([b"\x01" + bytes(7), bytes(7) + b"\x01"])
)


@st.composite
def varints(draw: st.DrawFn, value: int) -> bytes:
    """Encode a number, sometimes longer than needed, never above the ten bytes that protobuf allows."""
    encoded = write_varint(value)
    padding = min(draw(st.sampled_from([0, 0, 0, 1, 2])), 10 - len(encoded))
    if not padding:
        return encoded
    return encoded[:-1] + bytes((encoded[-1] | 0x80,)) + b"\x80" * (padding - 1) + b"\x00"


@st.composite
def fields(draw: st.DrawFn, number: int, value: bytes) -> bytes:
    return write_varint(number << 3 | 2) + draw(varints(len(value))) + value


@st.composite
def unknown_fields(draw: st.DrawFn) -> bytes:
    wire = draw(st.sampled_from([0, 1, 2, 3, 5]))
    tag = write_varint(UNKNOWN_FIELD << 3 | wire)
    if wire == 0:
        return tag + draw(varints(draw(st.integers(0, 2**64 - 1))))
    if wire == 2:
        return tag + draw(varints(5)) + b"extra"
    if wire == 3:
        return tag + b"\x08\x07" + write_varint(UNKNOWN_FIELD << 3 | 4)
    return tag + bytes(8 if wire == 1 else 4)


@st.composite
def shuffled(draw: st.DrawFn, parts: list[bytes]) -> bytes:
    """Join fields, with unknown ones among them, in the usual order or any other."""
    if draw(st.integers(0, 3)) == 0:
        parts = [*parts, draw(unknown_fields())]
    if draw(st.integers(0, 3)) == 0:
        parts = draw(st.permutations(parts))
    return b"".join(parts)


@st.composite
def spans(draw: st.DrawFn) -> bytes:
    parts = []
    if draw(st.integers(0, 9)):
        wrong = draw(st.integers(0, 9)) == 0
        parts.append(draw(fields(1, draw(WRONG_IDS if wrong else TRACE_IDS))))
    if draw(st.integers(0, 9)):
        wrong = draw(st.integers(0, 9)) == 0
        parts.append(draw(fields(2, draw(WRONG_IDS if wrong else SPAN_IDS))))
    parts.append(draw(fields(5, b"n" * draw(st.sampled_from([0, 3, 90, 200, 20_000])))))
    return draw(shuffled(parts))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    resources = []
    for _ in range(draw(st.integers(0, 3))):
        scopes = []
        for _ in range(draw(st.integers(0, 3))):
            inner = [draw(fields(1, b"\x0a\x02" + draw(st.sampled_from([b"s1", b"s2"]))))]
            inner += [draw(fields(2, draw(spans()))) for _ in range(draw(st.integers(0, 6)))]
            inner.append(draw(fields(3, b"urn:scope")))
            scopes.append(draw(fields(2, draw(shuffled(inner)))))
        resource = b"\x0a\x0f\x0a\x07service\x12\x04\x0a\x02" + draw(st.sampled_from([b"r1", b"r2"]))
        resources.append(
            draw(fields(1, draw(shuffled([draw(fields(1, resource)), *scopes, draw(fields(3, b"urn:resource"))]))))
        )
    return draw(shuffled(resources))


def contents(data: bytes) -> list[tuple[Any, ...]]:
    """Return each span with everything that belongs to it, as protobuf understands the bytes."""
    return [
        (
            r.resource.SerializeToString(deterministic=True),
            r.schema_url,
            s.scope.SerializeToString(deterministic=True),
            s.schema_url,
            span.trace_id,
            span.span_id,
            span.SerializeToString(deterministic=True),
        )
        for r in TracesData.FromString(data).resource_spans
        for s in r.scope_spans
        for span in s.spans
    ]


def is_valid(entry: tuple[Any, ...]) -> bool:
    trace_id, span_id = entry[4], entry[5]
    return len(trace_id) == 16 and len(span_id) == 8 and any(trace_id) and any(span_id)


def check(data: bytes, sliced: Sliced, partitions: int) -> None:
    expected = contents(data)
    valid = [entry for entry in expected if is_valid(entry)]
    assert sliced.accepted == len(valid)
    assert sliced.rejected == len(expected) - len(valid)
    found = []
    for part in sliced.parts:
        entries = contents(part.value)
        assert {partition_for_trace(entry[4], partitions) for entry in entries} == {part.partition}
        found += entries
    assert Counter(found) == Counter(valid)
    assert contents(b"".join(part.value for part in sliced.parts)) == found


@settings(max_examples=150, deadline=None)
@given(data=requests(), partitions=st.sampled_from([1, 2, 4, 12, 300]))
def test_slices_hold_the_same_spans_as_protobuf_reads(data: bytes, partitions: int) -> None:
    sliced = slice_traces(data, partitions=partitions, max_record_bytes=MAX_RECORD)
    check(data, sliced, partitions)
    assert len({part.partition for part in sliced.parts}) == len(sliced.parts)


@settings(max_examples=60, deadline=None)
@given(data=requests(), limit=st.sampled_from([1024, 30_000]))
def test_a_split_record_holds_one_span_or_stays_under_the_limit(data: bytes, limit: int) -> None:
    sliced = slice_traces(data, partitions=2, max_record_bytes=limit)
    check(data, sliced, 2)
    for part in sliced.parts:
        assert len(part.value) <= limit or len(contents(part.value)) == 1


@settings(max_examples=150, deadline=None)
@given(
    data=requests(), cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3)
)
def test_damaged_requests_never_crash_nor_swallow_neighbours(
    data: bytes, cut: float, flips: list[tuple[float, int]]
) -> None:
    damaged = bytearray(data[: round(len(data) * cut)] if cut < 0.5 else data)
    for where, value in flips:
        if damaged:
            damaged[round(where * (len(damaged) - 1))] = value
    try:
        sliced = slice_traces(bytes(damaged), partitions=4, max_record_bytes=MAX_RECORD)
    except SpanDecodeError:
        with pytest.raises(DecodeError):
            TracesData.FromString(bytes(damaged))
        return
    neighbour = b"\x0a\x27\x12\x25\x12\x23" + b"\x0a\x10" + b"\x05" * 16 + b"\x12\x08" + b"\x06" * 8 + b"\x2a\x05after"
    for part in sliced.parts:
        after = slice_traces(part.value + neighbour, partitions=1, max_record_bytes=MAX_RECORD)
        alone = slice_traces(part.value, partitions=1, max_record_bytes=MAX_RECORD)
        assert after.accepted == alone.accepted + 1
    try:
        expected = contents(bytes(damaged))
    except DecodeError:
        return
    if all(entry[6].count(b"\x0a\x10") <= 1 for entry in expected):
        check(bytes(damaged), sliced, 4)
