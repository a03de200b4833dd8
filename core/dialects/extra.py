"""Attributes beyond the model, for those who ask for them by key: rules over attributes of one's own.

Who asks for none gets `decode` itself and pays nothing. Else a span's bytes are searched for each key (0.4 µs per key
and KB) and only spans that hold one are parsed a second time (7 µs).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
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
    key_of,
    value_of,
    varint,
)
from core.otlp.wire import SpanSlice

Decode: TypeAlias = Callable[[SpanSlice], Span]

_MAX_RESOURCES: Final = 2_000
# tag of the key in a KeyValue
_KEY_TAG: Final = b"\x0a"


def decoder(keys: Collection[str]) -> Decode:
    """Return `decode`, with `Span.extra` filled where keys are asked for: of the span, else of its resource."""
    if not keys:
        return decode
    encoded = {key.encode(): key for key in keys}
    names = tuple(encoded)
    beginnings = tuple(_KEY_TAG + varint(len(name)) + name for name in names)
    resources: dict[bytes, Mapping[str, Value]] = {}

    def asked_of(pairs: Sequence[bytes]) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        # a slice: iterating over a repeated field costs more
        for pair in pairs[:]:
            # the usual encoding begins with the key: others are looked into
            if pair.startswith(beginnings) or pair[:1] != _KEY_TAG:
                try:
                    name = encoded.get(key_of(pair))
                    if name is not None and name not in found:
                        found[name] = value_of(pair)
                except ParseError:
                    continue
        return found

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
        for key in names:
            if key in raw:
                extra = {**extra, **asked_of(SlimSpan.FromString(raw).attributes)}
                break
        if extra:
            # a span that nobody has seen yet: copying its thirty fields would cost more than decoding it did
            msgspec.structs.force_setattr(span, "extra", extra)
        return span

    return decode_with_extra
