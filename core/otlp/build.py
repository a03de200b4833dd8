"""Puts spans together again: chunks of `TracesData` from slices of wire bytes, with session and user stamped on.

Only where a session id may not look as it should are spans parsed. Bytes are copied once: runs of spans of one
resource and scope share one frame. Framing: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Sequence
from typing import Final

from core.otlp.slim import varint
from core.otlp.stamp import MAX_SESSION_CHARS, stamped, with_sane_session
from core.otlp.wire import SpanSlice

# tag and length of one nested message: lengths below 2^28 take at most 4 bytes
_FRAMING: Final = 5
# TracesData.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans
_RESOURCE_SPANS: Final = 0x0A
_SCOPE_SPANS: Final = 0x12
_SPANS: Final = 0x12
# lengths of spans whose frames are remembered; about 120 bytes each
_FRAMES_MAX: Final = 16_384


def build_traces_data(
    slices: Sequence[SpanSlice], *, session_id: str, user_id: str, max_bytes: int, mend_sessions: bool = True
) -> list[bytes]:
    """Return valid `TracesData` chunks of at most `max_bytes` (one span alone may be larger), spans in their order.

    In each chunk its root, else its first span, carries `session.id` and `user.id` where they are given and the span
    does not have them. Session ids are cut to 250 characters, scrubbed ones removed, in every span; with
    `mend_sessions` false the caller knows that none has to be (no span is `Span.odd_session`).
    """
    spans = [with_sane_session(item.span) if mend_sessions else item.span for item in slices]
    # room for the two stamps, four bytes of UTF-8 a character, and their framing
    room = 4 * (min(len(session_id), MAX_SESSION_CHARS) + len(user_id)) + 64
    chunks: list[bytes] = []
    for start, stop in _divided(slices, spans, max_bytes - room):
        if session_id or user_id:
            carrier = start
            for number in range(start, stop):
                if not slices[number].parent_span_id:
                    carrier = number
                    break
            spans[carrier] = stamped(spans[carrier], session_id=session_id, user_id=user_id)
        chunks.append(_joined(slices[start:stop], spans[start:stop]))
    return chunks


def join_spans(slices: Sequence[SpanSlice], *, max_bytes: int) -> list[bytes]:
    """Return chunks as `build_traces_data` does, every span as it was received."""
    spans = [item.span for item in slices]
    return [_joined(slices[start:stop], spans[start:stop]) for start, stop in _divided(slices, spans, max_bytes)]


def _divided(slices: Sequence[SpanSlice], spans: Sequence[bytes], max_bytes: int) -> Sequence[tuple[int, int]]:
    """Return (start, stop) of each chunk."""
    if not slices:
        return ()
    # most traces are one chunk, even if each span had a frame of its own
    context = sum([len(item.resource) + len(item.scope) for item in slices])
    if sum(map(len, spans)) + context + 3 * _FRAMING * len(slices) <= max_bytes:
        return ((0, len(slices)),)
    found: list[tuple[int, int]] = []
    start = size = 0
    last: SpanSlice | None = None
    for number, item in enumerate(slices):
        cost = len(spans[number]) + _FRAMING
        if last is None or item.resource != last.resource:
            cost += len(item.resource) + len(item.scope) + 2 * _FRAMING
        elif item.scope != last.scope:
            cost += len(item.scope) + _FRAMING
        if number > start and size + cost > max_bytes:
            found.append((start, number))
            start, size = number, 0
            cost = len(spans[number]) + len(item.resource) + len(item.scope) + 3 * _FRAMING
        size += cost
        last = item
    found.append((start, len(slices)))
    return found


def _joined(slices: Sequence[SpanSlice], spans: Sequence[bytes]) -> bytes:
    """Return one chunk. Frames are written before their content is known: their places are filled at its end."""
    parts: list[bytes] = []
    outer_at = inner_at = 0
    resource: bytes | None = None
    scope = b""
    frames = _frames
    for item, span in zip(slices, spans, strict=True):
        if item.resource != resource:
            if parts:
                _close(parts, _SCOPE_SPANS, inner_at)
                _close(parts, _RESOURCE_SPANS, outer_at)
            resource, scope = item.resource, item.scope
            outer_at, inner_at = len(parts), len(parts) + 2
            parts += (b"", resource, b"", scope)
        elif item.scope != scope:
            _close(parts, _SCOPE_SPANS, inner_at)
            scope = item.scope
            inner_at = len(parts)
            parts += (b"", scope)
        parts.append(frames[len(span)])
        parts.append(span)
    _close(parts, _SCOPE_SPANS, inner_at)
    _close(parts, _RESOURCE_SPANS, outer_at)
    return b"".join(parts)


def _close(parts: list[bytes], tag: int, at: int) -> None:
    """Write the frame of a message that ends here into its place."""
    parts[at] = bytes((tag,)) + varint(sum(map(len, parts[at + 1 :])))


class _Frames(dict[int, bytes]):
    """Tag and length of a span, by its length."""

    def __missing__(self, size: int) -> bytes:
        if len(self) >= _FRAMES_MAX:
            self.clear()
        frame = self[size] = bytes((_SPANS,)) + varint(size)
        return frame


_frames: Final = _Frames()
