"""Split an OTLP trace request by trace, without building a message.

An `ExportTraceServiceRequest` and a `TracesData` are the same bytes: field 1 holds `ResourceSpans`, whose field 2 holds
`ScopeSpans`, whose field 2 holds the spans. The slicer walks these three levels, takes each span's partition from the
last two bytes of its trace id, and copies byte ranges: for every partition the headers (resource, scope, schema URLs
and whatever else stands beside the repeated fields) and the runs of its spans. Nothing is decoded or encoded but
lengths, so unknown fields survive.

Guarantees: every accepted span is in exactly one part; a part holds one partition and is a valid `TracesData` wherever
the request was valid; every length is checked against what encloses it, so a bad span cannot swallow its neighbours
when parts are concatenated. Inside a span only as much is looked at as finding the ids takes. A span that carries its
trace id twice (no encoder writes that) is filed under the first one if that one stands in the usual place.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from collector.wire import LEN, Range, read_length, read_tag, skip_value, write_varint
from core.errors import SpanDecodeError
from core.topics import partition_for_trace

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

# opentelemetry/proto/trace/v1/trace.proto and collector/trace/v1/trace_service.proto
_RESOURCE_SPANS = 1
_SCOPE_SPANS = 2
_SPANS = 2
_TRACE_ID = 1
_SPAN_ID = 2

# tag and length of a span, tag and length of its trace id, the id's last two bytes, the same of its span id
_USUAL: Final = struct.Struct("<BHH14xHH6xH")
_TAG_SPAN: Final = _SPANS << 3 | LEN
_TRACE_ID_HEAD: Final = TRACE_ID_BYTES << 8 | _TRACE_ID << 3 | LEN
_SPAN_ID_HEAD: Final = SPAN_ID_BYTES << 8 | _SPAN_ID << 3 | LEN
# a length of two bytes: the first goes on, the second does not; from 0x100 on it is at least 128, so both ids fit
_TWO_BYTES: Final = 0x8080
_TWO_BYTES_SET: Final = 0x0080
_MIN_TWO_BYTES: Final = 0x0100

_REJECTED: Final = -1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One record's worth: a `TracesData` whose spans all belong to `partition`."""

    partition: int
    value: bytes


class Sliced(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request: its parts, and how many spans were accepted and rejected."""

    parts: tuple[Part, ...]
    accepted: int
    rejected: int


class _Scope:
    """The spans of one `ScopeSpans`, by partition, as byte ranges of the request."""

    __slots__ = ("header", "runs", "sizes")

    def __init__(self) -> None:
        self.header: list[Range] = []
        self.runs: dict[int, list[Range]] = {}
        self.sizes: dict[int, int] = {}

    def add(self, partition: int, start: int, end: int) -> None:
        if partition in self.runs:
            self.runs[partition].append((start, end))
            self.sizes[partition] += end - start
        else:
            self.runs[partition] = [(start, end)]
            self.sizes[partition] = end - start


class _Resource:
    __slots__ = ("header", "scopes")

    def __init__(self) -> None:
        self.header: list[Range] = []
        self.scopes: list[_Scope] = []


class _Scan:
    """One walk over a request."""

    __slots__ = ("accepted", "data", "partitions", "rejected", "resources", "table")

    def __init__(self, data: bytes, partitions: int) -> None:
        self.data = data
        self.partitions = partitions
        self.table = _partition_table(partitions)
        self.accepted = 0
        self.rejected = 0
        self.resources: list[_Resource] = []

    def request(self) -> None:
        pos, end = 0, len(self.data)
        while pos < end:
            field, wire, value = read_tag(self.data, pos, end)
            if field == _RESOURCE_SPANS and wire == LEN:
                start, pos = read_length(self.data, value, end)
                self.resources.append(self._resource(start, pos))
            else:
                pos = skip_value(self.data, value, end, field, wire)

    def _resource(self, pos: int, end: int) -> _Resource:
        resource = _Resource()
        while pos < end:
            field, wire, value = read_tag(self.data, pos, end)
            if field == _SCOPE_SPANS and wire == LEN:
                start, pos = read_length(self.data, value, end)
                resource.scopes.append(self._scope(start, pos))
            else:
                following = skip_value(self.data, value, end, field, wire)
                resource.header.append((pos, following))
                pos = following
        return resource

    def _scope(self, pos: int, end: int) -> _Scope:
        """Walk a scope. This loop runs once a span: locals and one `unpack_from` are what make it fast."""
        data, table, unpack = self.data, self.table, _USUAL.unpack_from
        scope = _Scope()
        last_usual = min(end, len(data)) - _USUAL.size
        run_partition, run_start, spans = _REJECTED, pos, 0
        while pos < end:
            if pos <= last_usual:
                tag, length, trace_head, trace_tail, span_head, span_tail = unpack(data, pos)
            else:
                tag = 0
            if (
                tag == _TAG_SPAN
                and trace_head == _TRACE_ID_HEAD
                and span_head == _SPAN_ID_HEAD
                and length & _TWO_BYTES == _TWO_BYTES_SET
                and length >= _MIN_TWO_BYTES
                and trace_tail
                and span_tail
            ):
                partition = table[trace_tail]
                following = pos + 3 + (length & 0x7F | length >> 1 & 0x3F80)
                if following > end:
                    raise SpanDecodeError(f"span at byte {pos} ends beyond its scope")
            else:
                field, wire, value = read_tag(data, pos, end)
                if field == _SPANS and wire == LEN:
                    start, following = read_length(data, value, end)
                    partition = self._span(start, following)
                    self.rejected += partition == _REJECTED
                else:
                    following = skip_value(data, value, end, field, wire)
                    scope.header.append((pos, following))
                    partition = _REJECTED
            if partition != run_partition:
                if run_partition >= 0:
                    scope.add(run_partition, run_start, pos)
                run_partition, run_start = partition, pos
            spans += partition >= 0
            pos = following
        if run_partition >= 0:
            scope.add(run_partition, run_start, pos)
        self.accepted += spans
        return scope

    def _span(self, pos: int, end: int) -> int:
        """Return the partition of a span in any layout, or _REJECTED where its ids are not valid."""
        trace_id = span_id = b""
        while pos < end:
            field, wire, value = read_tag(self.data, pos, end)
            pos = skip_value(self.data, value, end, field, wire)
            if wire == LEN and field in (_TRACE_ID, _SPAN_ID):
                start, stop = read_length(self.data, value, end)
                if field == _TRACE_ID:
                    trace_id = self.data[start:stop]
                else:
                    span_id = self.data[start:stop]
        valid = len(trace_id) == TRACE_ID_BYTES and len(span_id) == SPAN_ID_BYTES and any(trace_id) and any(span_id)
        return partition_for_trace(trace_id, self.partitions) if valid else _REJECTED


def slice_traces(data: bytes, *, partitions: int, max_record_bytes: int) -> Sliced:
    """Split a request into parts, at most one for each partition unless one exceeds `max_record_bytes`.

    A part that would exceed it is cut at span boundaries; a single span above it makes a part of its own, which may be
    larger. Spans whose trace id or span id is absent, of a wrong length or all zero are left out and counted as
    rejected. Raises SpanDecodeError for bytes that are not a well-framed request.
    """
    scan = _Scan(data, partitions)
    scan.request()
    used = sorted({p for resource in scan.resources for scope in resource.scopes for p in scope.runs})
    if len(used) == 1 and not scan.rejected and len(data) <= max_record_bytes:
        parts = [Part(partition=used[0], value=data)]
    else:
        view = memoryview(data)
        parts = [
            Part(partition=partition, value=value)
            for partition in used
            for value in _assemble(view, scan.resources, partition, max_record_bytes)
        ]
    return Sliced(parts=tuple(parts), accepted=scan.accepted, rejected=scan.rejected)


def _assemble(
    view: memoryview, resources: Sequence[_Resource], partition: int, max_record_bytes: int
) -> Iterator[bytes]:
    """Yield the partition's `TracesData`: one, or several where one would be too large."""
    pieces: list[bytes | memoryview] = []
    size = 0
    for resource in resources:
        inner: list[bytes | memoryview] = [view[a:b] for a, b in resource.header]
        inner_size = sum(map(len, inner))
        found = False
        for scope in resource.scopes:
            runs = scope.runs.get(partition)
            if runs is None:
                continue
            found = True
            header = sum(b - a for a, b in scope.header)
            prefix = _prefix(_SCOPE_SPANS, header + scope.sizes[partition])
            inner.append(prefix)
            inner += [view[a:b] for a, b in scope.header]
            inner += [view[a:b] for a, b in runs]
            inner_size += len(prefix) + header + scope.sizes[partition]
        if found:
            prefix = _prefix(_RESOURCE_SPANS, inner_size)
            pieces.append(prefix)
            pieces += inner
            size += len(prefix) + inner_size
    if size <= max_record_bytes:
        yield b"".join(pieces)
    else:
        yield from _assemble_small(view, resources, partition, max_record_bytes)


def _assemble_small(
    view: memoryview, resources: Sequence[_Resource], partition: int, max_record_bytes: int
) -> Iterator[bytes]:
    """Yield the partition's spans packed greedily, each `TracesData` from one scope of one resource."""
    data = view.obj
    for resource in resources:
        for scope in resource.scopes:
            overhead = sum(b - a for a, b in (*resource.header, *scope.header)) + 2 * len(_prefix(1, len(view)))
            run: list[Range] = []
            size = overhead
            for start, end in _single_spans(bytes(data), scope.runs.get(partition, ())):
                if run and size + end - start > max_record_bytes:
                    yield _one(view, resource, scope, run)
                    run, size = [], overhead
                run.append((start, end))
                size += end - start
            if run:
                yield _one(view, resource, scope, run)


def _single_spans(data: bytes, runs: Sequence[Range]) -> Iterator[Range]:
    for start, end in runs:
        pos = start
        while pos < end:
            _, _, value = read_tag(data, pos, end)
            following = read_length(data, value, end)[1]
            yield pos, following
            pos = following


def _one(view: memoryview, resource: _Resource, scope: _Scope, spans: Sequence[Range]) -> bytes:
    in_scope = b"".join([view[a:b] for a, b in (*scope.header, *spans)])
    header = b"".join([view[a:b] for a, b in resource.header])
    scope_prefix = _prefix(_SCOPE_SPANS, len(in_scope))
    resource_prefix = _prefix(_RESOURCE_SPANS, len(header) + len(scope_prefix) + len(in_scope))
    return b"".join((resource_prefix, header, scope_prefix, in_scope))


def _prefix(field: int, length: int) -> bytes:
    return bytes((field << 3 | LEN,)) + write_varint(length)


@lru_cache(maxsize=16)
def _partition_table(partitions: int) -> Sequence[int]:
    """Return the partition for each value of an id's last two bytes read as a little-endian number."""
    found = [partition_for_trace(low.to_bytes(2, "little"), partitions) for low in range(1 << 16)]
    return bytes(found) if partitions <= 1 << 8 else array("H", found)
