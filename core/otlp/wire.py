"""Splits `TracesData` into spans by slicing wire bytes; `core.otlp.build` puts them together again.

A record of the `spans` topic is a concatenation of slices of requests, so the same ResourceSpans may stand there many
times. One damaged span costs only itself. Framing: https://protobuf.dev/programming-guides/encoding/; field numbers:
opentelemetry/proto/trace/v1/trace.proto.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from core.errors import SpanDecodeError
from core.otlp import repair
from core.otlp.slim import ParseError, SlimLogRecord, SlimSpan, SlimTraces
from core.varint import read_varint

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
_NO_TRACE: Final = bytes(TRACE_ID_BYTES)
_NO_SPAN: Final = bytes(SPAN_ID_BYTES)
# tag, length and value of each id
_unpack_ids: Final = struct.Struct("2s16s2s8s2s8s").unpack_from
_IDS_BYTES: Final = 38


class SpanSlice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One span as wire bytes; equal resources and scopes of one call to `read_spans` are one object."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    resource: bytes
    """Fields of its ResourceSpans other than scope_spans, tags included: ready to be concatenated."""
    scope: bytes
    """Fields of its ScopeSpans other than spans, tags included."""
    span: bytes
    """Payload of the Span message."""


class LogSlice(msgspec.Struct, frozen=True, array_like=True):
    """One log record as wire bytes; ids are empty where the client sent none."""

    trace_id: bytes
    span_id: bytes
    resource: bytes
    scope: bytes
    record: bytes
    """Payload of the LogRecord message."""


class DecodeFailure(msgspec.Struct, frozen=True):
    """Bytes that could not be read as what they claim to be: a span, a log record, a resource or a scope."""

    reason: str
    data: bytes


def read_spans(data: bytes) -> tuple[list[SpanSlice], list[DecodeFailure]]:
    """Split `TracesData` into spans.

    Every span returned parses in the full schema: text that is not UTF-8 has been replaced by U+FFFD. A span that
    cannot be parsed, or whose ids are not 16 and 8 bytes or all zero, is a failure; a resource or scope that cannot be
    parsed is a failure and its spans stand without it. Raises SpanDecodeError where the framing around the spans is
    broken.
    """
    spans: list[SpanSlice] = []
    failures: list[DecodeFailure] = []
    try:
        repair.check_traces(data)
    except ParseError:
        found = _mended_spans(data, failures)
    else:
        found = _sound_spans(data)
    for resource, scope, payloads in found:
        for span in payloads:
            # the usual order of fields, each of full length; the slices reach beyond no message that parses
            if len(span) >= _IDS_BYTES:
                first, trace_id, second, span_id, third, parent_id = _unpack_ids(span)
                is_usual = first == b"\x0a\x10" and second == b"\x12\x08" and third == b"\x22\x08"
            else:
                is_usual = False
            if not is_usual:
                parsed = SlimSpan.FromString(span)
                trace_id, span_id, parent_id = parsed.trace_id, parsed.span_id, parsed.parent_span_id
            if len(trace_id) != TRACE_ID_BYTES or trace_id == _NO_TRACE:
                failures.append(DecodeFailure(reason=f"bad trace id: {trace_id.hex()!r}", data=span))
            elif len(span_id) != SPAN_ID_BYTES or span_id == _NO_SPAN:
                failures.append(DecodeFailure(reason=f"bad span id: {span_id.hex()!r}", data=span))
            else:
                # a parent of zeros, which some clients send, is none
                if not parent_id.strip(b"\0"):
                    parent_id = b""
                spans.append(SpanSlice(trace_id, span_id, parent_id, resource, scope, span))
    return spans, failures


def _sound_spans(data: bytes) -> Iterator[tuple[bytes, bytes, Sequence[bytes]]]:
    """Yield (resource, scope, spans) of data that parses: protobuf splits it, and keeps what the schema leaves out."""
    known: dict[bytes, bytes] = {}
    for outer in SlimTraces.FromString(data).resource_spans:
        inners: list[tuple[bytes, list[bytes]]] = []
        for inner in outer.scope_spans:
            payloads = inner.spans[:]
            inner.ClearField("spans")
            scope = inner.SerializeToString()
            inners.append((known.setdefault(scope, scope), payloads))
        outer.ClearField("scope_spans")
        resource = outer.SerializeToString()
        resource = known.setdefault(resource, resource)
        for scope, payloads in inners:
            yield resource, scope, payloads


def _mended_spans(data: bytes, failures: list[DecodeFailure]) -> Iterator[tuple[bytes, bytes, Sequence[bytes]]]:
    """Yield (resource, scope, span) of damaged data, each made to parse; what cannot be is a failure."""
    for resource, scope, payload in _walk(data, repair.RESOURCE_SPANS, repair.SCOPE_SPANS, failures):
        try:
            yield resource, scope, (repair.mended(repair.SPAN, payload),)
        except ParseError as exc:
            failures.append(DecodeFailure(reason=f"bad span: {exc}", data=payload))


def read_log_records(data: bytes) -> tuple[list[LogSlice], list[DecodeFailure]]:
    """Split `LogsData` into records; those with no trace id are returned with an empty one.

    Raises SpanDecodeError where the framing around the records is broken.
    """
    records: list[LogSlice] = []
    failures: list[DecodeFailure] = []
    for resource, scope, payload in _walk(data, repair.RESOURCE_LOGS, repair.SCOPE_LOGS, failures):
        try:
            record = repair.mended(repair.LOG_RECORD, payload)
            parsed = SlimLogRecord.FromString(record)
        except ParseError as exc:
            failures.append(DecodeFailure(reason=f"bad log record: {exc}", data=payload))
            continue
        records.append(LogSlice(parsed.trace_id, parsed.span_id, resource, scope, record))
    return records, failures


def _walk(data: bytes, outer: str, inner: str, failures: list[DecodeFailure]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield (resource, scope, item) of data of the shape that traces and logs share; resources and scopes parse."""
    known: dict[tuple[str, bytes], bytes] = {}

    def shared(message: str, raw: bytes) -> bytes:
        found = known.get((message, raw))
        if found is None:
            try:
                found = repair.mended(message, raw)
            except ParseError as exc:
                failures.append(DecodeFailure(reason=f"bad {message}: {exc}", data=raw))
                found = b""
            known[message, raw] = found
        return found

    for resource_part in _split(data, 0, len(data), 1)[1]:
        resource_raw, scope_parts = _split(data, *resource_part, 2)
        resource = shared(outer, resource_raw)
        for scope_part in scope_parts:
            scope_raw, items = _split(data, *scope_part, 2)
            scope = shared(inner, scope_raw)
            for start, end in items:
                yield resource, scope, data[start:end]


def _split(data: bytes, at: int, end: int, wanted: int) -> tuple[bytes, list[tuple[int, int]]]:
    """Return all fields but the wanted one as they stand, and (start, end) of each payload of the wanted one."""
    tag = wanted << 3 | 2
    others: list[bytes] = []
    found: list[tuple[int, int]] = []
    while at < end:
        start = at
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = read_varint(data, start, end)
        wire_type = key & 7
        if wire_type == 2:
            length, at = read_varint(data, at, end)
            stop = at + length
            if stop > end:
                raise SpanDecodeError(f"field {key >> 3} at byte {start} claims {length} bytes, {end - at} are left")
            if key == tag:
                found.append((at, stop))
                at = stop
                continue
            at = stop
        elif wire_type == 0:
            _, at = read_varint(data, at, end)
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
            if at > end:
                raise SpanDecodeError(f"field {key >> 3} at byte {start} is cut")
        else:
            raise SpanDecodeError(f"wire type {wire_type} at byte {start}")
        if key >> 3 == 0:
            raise SpanDecodeError(f"field number 0 at byte {start}")
        others.append(data[start:at])
    return b"".join(others), found
