"""Puts spans together again: chunks of `TracesData` from slices of wire bytes, with session and user stamped on.

Only where a session id does not look as it should are spans parsed. Bytes are copied once: runs of spans of one
resource and scope share one frame. Framing: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from core.otlp.slim import varint
from core.otlp.stamp import MAX_SESSION_CHARS, names_sane_sessions, stamped, with_sane_session
from core.otlp.wire import SpanSlice

# tag and length of one nested message: lengths below 2^28 take at most 4 bytes
_FRAMING: Final = 5
# TracesData.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans
_RESOURCE_SPANS: Final = 0x0A
_SCOPE_SPANS: Final = 0x12
_SPANS: Final = 0x12


def build_traces_data(slices: Sequence[SpanSlice], *, session_id: str, user_id: str, max_bytes: int) -> list[bytes]:
    """Return valid `TracesData` chunks of at most `max_bytes` (one span alone may be larger), spans in their order.

    In each chunk its root, else its first span, carries `session.id` and `user.id` where they are given and the span
    does not have them. Session ids are cut to 250 characters, scrubbed ones removed, in every span.
    """
    chunks = _stamped(slices, [item.span for item in slices], session_id, user_id, max_bytes)
    if all(map(names_sane_sessions, chunks)):
        return chunks
    return _stamped(slices, [with_sane_session(item.span) for item in slices], session_id, user_id, max_bytes)


def _stamped(
    slices: Sequence[SpanSlice], spans: list[bytes], session_id: str, user_id: str, max_bytes: int
) -> list[bytes]:
    # room for the two stamps, four bytes of UTF-8 a character, and their framing
    room = 4 * (min(len(session_id), MAX_SESSION_CHARS) + len(user_id)) + 64
    chunks: list[bytes] = []
    for start, stop in _divided(slices, spans, max_bytes - room):
        if session_id or user_id:
            carrier = next((n for n in range(start, stop) if not slices[n].parent_span_id), start)
            spans[carrier] = stamped(spans[carrier], session_id=session_id, user_id=user_id)
        chunks.append(_joined(slices, spans, start, stop))
    return chunks


def join_spans(slices: Sequence[SpanSlice], *, max_bytes: int) -> list[bytes]:
    """Return chunks as `build_traces_data` does, every span as it was received."""
    spans = [item.span for item in slices]
    return [_joined(slices, spans, start, stop) for start, stop in _divided(slices, spans, max_bytes)]


def _divided(slices: Sequence[SpanSlice], spans: Sequence[bytes], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each chunk."""
    start = size = 0
    last: SpanSlice | None = None
    for number, item in enumerate(slices):
        cost = len(spans[number]) + _FRAMING
        if last is None or item.resource != last.resource:
            cost += len(item.resource) + len(item.scope) + 2 * _FRAMING
        elif item.scope != last.scope:
            cost += len(item.scope) + _FRAMING
        if number > start and size + cost > max_bytes:
            yield start, number
            start, size = number, 0
            cost = len(spans[number]) + len(item.resource) + len(item.scope) + 3 * _FRAMING
        size += cost
        last = item
    if slices:
        yield start, len(slices)


def _joined(slices: Sequence[SpanSlice], spans: Sequence[bytes], start: int, stop: int) -> bytes:
    """Return one chunk. Frames are written before their content is known: their places are filled at its end."""
    parts: list[bytes] = []
    outer_at = inner_at = outer_size = inner_size = 0
    resource: bytes | None = None
    scope = b""
    for number in range(start, stop):
        item, span = slices[number], spans[number]
        is_new = item.resource != resource
        if is_new or item.scope != scope:
            if parts:
                parts[inner_at] = frame = _frame(_SCOPE_SPANS, inner_size)
                outer_size += len(frame) + inner_size
            if is_new:
                if parts:
                    parts[outer_at] = _frame(_RESOURCE_SPANS, outer_size)
                resource = item.resource
                outer_at, outer_size = len(parts), len(resource)
                parts += (b"", resource)
            scope = item.scope
            inner_at, inner_size = len(parts), len(scope)
            parts += (b"", scope)
        frame = _frame(_SPANS, len(span))
        inner_size += len(frame) + len(span)
        parts += (frame, span)
    parts[inner_at] = frame = _frame(_SCOPE_SPANS, inner_size)
    parts[outer_at] = _frame(_RESOURCE_SPANS, outer_size + len(frame) + inner_size)
    return b"".join(parts)


def _frame(tag: int, size: int) -> bytes:
    # two bytes of length are the usual case
    if 0x80 <= size < 0x4000:
        return bytes((tag, size & 0x7F | 0x80, size >> 7))
    return bytes((tag,)) + varint(size)
