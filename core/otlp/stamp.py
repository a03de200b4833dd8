"""Stamps the session and the user onto a span, for readers that know only `session.id` and `user.id` (MLflow)."""

from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.otlp.slim import ParseError, SlimSpan, key_of, text_of, value_of

# MLflow 3.17 refuses a whole batch for one longer session id (its column is VARCHAR(250))
MAX_SESSION_CHARS: Final = 250
_SESSION_KEYS: Final = (b"session.id", b"gen_ai.conversation.id")
# session ids that a client's scrubbing has replaced: taken at their word they would merge all traffic into one session
_SCRUBBED: Final = ("[Scrubbed due to", "__REDACTED__", "<REDACTED>", "[REDACTED]")


def is_scrubbed(text: str) -> bool:
    """Is this a marker that a client put in the place of the real text?"""
    return text.startswith(_SCRUBBED)


def with_sane_session(span: bytes) -> bytes:
    """Return the span with session ids cut to 250 characters and scrubbed ones removed; untouched where that is so."""
    if not any(key in span for key in _SESSION_KEYS):
        return span
    try:
        pairs = [pair for pair in SlimSpan.FromString(span).attributes if key_of(pair) in _SESSION_KEYS]
        values = [value_of(pair) for pair in pairs]
    except ParseError:
        return span
    if not any(isinstance(v, str) and (len(v) > MAX_SESSION_CHARS or is_scrubbed(v)) for v in values):
        return span
    rebuilt = Span.FromString(span)
    kept = [attribute for attribute in rebuilt.attributes if not _is_scrubbed_session(attribute)]
    for attribute in kept:
        if attribute.key.encode() in _SESSION_KEYS:
            attribute.value.string_value = attribute.value.string_value[:MAX_SESSION_CHARS]
    copies = [type(attribute).FromString(attribute.SerializeToString()) for attribute in kept]
    del rebuilt.attributes[:]
    rebuilt.attributes.extend(copies)
    return bytes(rebuilt.SerializeToString())


def stamped(span: bytes, *, session_id: str, user_id: str) -> bytes:
    """Return the span with `session.id` and `user.id` appended to its wire bytes, each unless it is known or empty."""
    wanted = [(b"session.id", session_id[:MAX_SESSION_CHARS]), (b"user.id", user_id)]
    try:
        present = {key_of(pair) for pair in SlimSpan.FromString(span).attributes}
    except ParseError:
        return span
    return span + b"".join(_attribute(key, text) for key, text in wanted if text and key not in present)


def varint(value: int) -> bytes:
    """Return a non-negative number as a protobuf varint."""
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _is_scrubbed_session(attribute: Any) -> bool:
    return attribute.key.encode() in _SESSION_KEYS and is_scrubbed(text_of(attribute.value.string_value.encode()))


def _attribute(key: bytes, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    string = b"\x0a" + varint(len(raw)) + raw  # AnyValue.string_value
    pair = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(string)) + string
    return b"\x4a" + varint(len(pair)) + pair  # Span.attributes, field 9
