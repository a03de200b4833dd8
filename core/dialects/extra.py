"""Attributes beyond the model, for those who ask for them by key: rules over attributes of one's own.

Who asks for none gets `decode` itself and pays nothing. Else a span's bytes are searched for each key (0.1 µs per key
and KB) and only spans that hold one are parsed a second time.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from core.dialects.reading import decode
from core.model.span import Span
from core.otlp.slim import (
    ParseError,
    SlimResource,
    SlimResourceSpans,
    SlimSpan,
    Value,
    attributes_of,
    key_of,
)
from core.otlp.wire import SpanSlice

Decode: TypeAlias = Callable[[SpanSlice], Span]

_MAX_RESOURCES: Final = 2_000


def decoder(keys: Collection[str]) -> Decode:
    """Return `decode`, with `Span.extra` filled where keys are asked for: of the span, else of its resource."""
    if not keys:
        return decode
    encoded = {key.encode(): key for key in keys}
    resources: dict[bytes, Mapping[str, Value]] = {}

    def asked_of(pairs: Iterable[bytes]) -> Mapping[str, Value]:
        return attributes_of(pair for pair in pairs if _key(pair) in encoded)

    def of_resource(raw: bytes) -> Mapping[str, Value]:
        try:
            found = asked_of(SlimResource.FromString(SlimResourceSpans.FromString(raw).resource).attributes)
        except ParseError:
            found = {}
        if len(resources) >= _MAX_RESOURCES:
            resources.clear()
        resources[raw] = found
        return found

    def decode_with_extra(piece: SpanSlice) -> Span:
        span = decode(piece)
        extra = resources.get(piece.resource)
        if extra is None:
            extra = of_resource(piece.resource)
        raw = piece.span
        if any(key in raw for key in encoded):
            extra = {**extra, **asked_of(SlimSpan.FromString(raw).attributes)}
        if extra:
            # a span that nobody has seen yet: copying its thirty fields would cost more than decoding it did
            msgspec.structs.force_setattr(span, "extra", extra)
        return span

    return decode_with_extra


def _key(pair: bytes) -> bytes:
    try:
        return key_of(pair)
    except ParseError:
        return b""
