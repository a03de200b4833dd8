"""Slicing TracesData into spans and putting spans together again."""

from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.errors import SpanDecodeError
from core.otlp.build import build_traces_data
from core.otlp.slim import varint
from core.otlp.wire import SpanSlice, read_log_records, read_spans

TRACE = bytes(range(1, 17))


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def request(*spans: dict[str, Any], service: str = "svc", scope: str = "lib") -> TracesData:
    data = TracesData()
    outer = data.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.37.0")
    attribute = outer.resource.attributes.add(key="service.name")
    attribute.value.string_value = service
    inner = outer.scope_spans.add()
    inner.scope.name = scope
    for fields in spans:
        attributes = fields.pop("attributes", {})
        span = inner.spans.add(trace_id=TRACE, name="work", **fields)
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return data


def attributes(data: bytes) -> list[dict[str, str]]:
    return [
        {a.key: a.value.string_value for a in span.attributes}
        for outer in TracesData.FromString(data).resource_spans
        for scope in outer.scope_spans
        for span in scope.spans
    ]


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def one_span_with(*fields: bytes) -> bytes:
    """Return TracesData of one good span and one with these raw fields."""
    good = field(1, TRACE) + field(2, span_id(1))
    bad = field(1, TRACE) + field(2, span_id(2)) + b"".join(fields)
    return field(1, field(2, field(2, good) + field(2, bad)))


def test_slices_carry_ids_and_share_resource_and_scope() -> None:
    data = request({"span_id": span_id(1)}, {"span_id": span_id(2), "parent_span_id": span_id(1)})
    second = request({"span_id": span_id(3)})
    slices, failures = read_spans(data.SerializeToString() + second.SerializeToString())
    assert not failures
    assert [(s.trace_id, s.span_id, s.parent_span_id) for s in slices] == [
        (TRACE, span_id(1), b""),
        (TRACE, span_id(2), span_id(1)),
        (TRACE, span_id(3), b""),
    ]
    assert slices[0].resource is slices[2].resource
    assert slices[0].scope is slices[2].scope


def test_span_with_a_broken_attribute_costs_only_itself() -> None:
    slices, failures = read_spans(one_span_with(field(9, b"\x0a\x7fshort")))
    assert [s.span_id for s in slices] == [span_id(1)]
    assert len(failures) == 1
    assert failures[0].data.startswith(field(1, TRACE) + field(2, span_id(2)))


def test_text_that_is_not_utf8_is_replaced_and_the_span_kept() -> None:
    slices, failures = read_spans(one_span_with(field(5, b"caf\xe9"), field(9, field(1, b"k\xff"))))
    assert not failures
    (chunk,) = build_traces_data(slices, session_id="", user_id="", max_bytes=10**6)
    spans = TracesData.FromString(chunk).resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans] == ["", "caf\ufffd"]
    assert spans[1].attributes[0].key == "k\ufffd"


def test_broken_resource_is_a_failure_and_its_spans_stay() -> None:
    span = field(2, field(2, field(1, TRACE) + field(2, span_id(1))))
    slices, failures = read_spans(field(1, field(1, b"\x0a\x7fx") + span))
    assert [s.span_id for s in slices] == [span_id(1)]
    assert slices[0].resource == b""
    assert len(failures) == 1


@pytest.mark.parametrize("trace", [b"", bytes(16), TRACE[:8], TRACE + b"x"])
def test_invalid_trace_ids_are_failures(trace: bytes) -> None:
    slices, failures = read_spans(field(1, field(2, field(2, field(1, trace) + field(2, span_id(1))))))
    assert not slices
    assert "trace id" in failures[0].reason


@pytest.mark.parametrize("identifier", [b"", bytes(8), b"1234567", b"123456789"])
def test_invalid_span_ids_are_failures(identifier: bytes) -> None:
    slices, failures = read_spans(field(1, field(2, field(2, field(1, TRACE) + field(2, identifier)))))
    assert not slices
    assert "span id" in failures[0].reason


def test_parent_of_zeros_is_no_parent() -> None:
    slices, _ = read_spans(one_span_with(field(4, bytes(8))))
    assert slices[1].parent_span_id == b""


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0a", b"\x80", b"\x0b\x01", b"\xff" * 12, b"\x0a\x03\x12\x05x"])
def test_broken_framing_is_refused(data: bytes) -> None:
    with pytest.raises(SpanDecodeError):
        read_spans(data)


def test_chunks_stay_under_the_limit_where_spans_allow() -> None:
    spans = [{"span_id": span_id(n), "attributes": {"text": "x" * 300}} for n in range(1, 50)]
    slices, _ = read_spans(request(*spans).SerializeToString())
    chunks = build_traces_data(slices, session_id="s" * 300, user_id="ü" * 40, max_bytes=3000)
    assert len(chunks) > 3
    assert max(map(len, chunks)) <= 3000
    assert [s.span_id for chunk in chunks for s in read_spans(chunk)[0]] == [s.span_id for s in slices]


def test_each_chunk_carries_session_and_user_once() -> None:
    spans = [{"span_id": span_id(n), "attributes": {"text": "x" * 300}} for n in range(1, 20)]
    slices, _ = read_spans(request(*spans).SerializeToString())
    for chunk in build_traces_data(slices, session_id="s-1", user_id="u-1", max_bytes=3000):
        assert [a["session.id"] for a in attributes(chunk) if "session.id" in a] == ["s-1"]
        assert [a["user.id"] for a in attributes(chunk) if "user.id" in a] == ["u-1"]


def test_root_is_stamped_before_the_first_span() -> None:
    child = {"span_id": span_id(2), "parent_span_id": span_id(1)}
    slices, _ = read_spans(request(child, {"span_id": span_id(1)}).SerializeToString())
    (chunk,) = build_traces_data(slices, session_id="s-1", user_id="", max_bytes=10**6)
    assert attributes(chunk) == [{}, {"session.id": "s-1"}]


def test_span_that_knows_its_session_is_left_as_it_is() -> None:
    slices, _ = read_spans(request({"span_id": span_id(1), "attributes": {"session.id": "mine"}}).SerializeToString())
    (chunk,) = build_traces_data(slices, session_id="other", user_id="u", max_bytes=10**6)
    assert attributes(chunk) == [{"session.id": "mine", "user.id": "u"}]


@pytest.mark.parametrize("key", ["session.id", "gen_ai.conversation.id"])
def test_long_session_ids_are_cut_to_250_characters_wherever_they_stand(key: str) -> None:
    second = {"span_id": span_id(2), "attributes": {key: "é" * 400, "a": "1"}}
    spans: list[dict[str, Any]] = [{"span_id": span_id(1)}, second]
    slices, _ = read_spans(request(*spans).SerializeToString())
    (chunk,) = build_traces_data(slices, session_id="é" * 400, user_id="", max_bytes=10**6)
    assert attributes(chunk) == [{"session.id": "é" * 250}, {key: "é" * 250, "a": "1"}]


def test_scrubbed_session_ids_are_not_forwarded() -> None:
    scrubbed = {"session.id": "[Scrubbed due to 'session']", "a": "1"}
    slices, _ = read_spans(request({"span_id": span_id(1), "attributes": scrubbed}).SerializeToString())
    (chunk,) = build_traces_data(slices, session_id="", user_id="", max_bytes=10**6)
    assert attributes(chunk) == [{"a": "1"}]


def test_no_spans_make_no_chunks() -> None:
    assert build_traces_data([], session_id="s", user_id="u", max_bytes=100) == []


def test_span_larger_than_the_limit_stands_alone() -> None:
    slices = [SpanSlice(TRACE, span_id(n), b"", b"", b"", field(1, TRACE) + field(5, b"x" * 500)) for n in (1, 2)]
    assert len(build_traces_data(slices, session_id="", user_id="", max_bytes=100)) == 2


def test_log_records_carry_the_ids_of_their_span() -> None:
    data = LogsData()
    records = data.resource_logs.add().scope_logs.add().log_records
    records.add(trace_id=TRACE, span_id=span_id(1), event_name="gen_ai.choice").body.string_value = "hi"
    records.add().body.string_value = "no span"
    found, failures = read_log_records(data.SerializeToString())
    assert not failures
    assert [(r.trace_id, r.span_id) for r in found] == [(TRACE, span_id(1)), (b"", b"")]
