"""Stamps the session and the user onto a span, for readers that know only `session.id` and `user.id` (MLflow)."""

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.otlp.slim import ParseError, SlimSpan, key_of, text_of, value_of, varint

# MLflow 3.17 refuses a whole batch for one longer session id (its column is VARCHAR(250))
MAX_SESSION_CHARS: Final = 250
_SESSION: Final = b"session.id"
_CONVERSATION: Final = b"gen_ai.conversation.id"
_USER: Final = b"user.id"
_SESSION_KEYS: Final = (_SESSION, _CONVERSATION)
# session ids that a client's scrubbing has replaced: taken at their word they would merge all traffic into one session
_SCRUBBED: Final = ("[Scrubbed due to", "__REDACTED__", "<REDACTED>", "[REDACTED]")
_SCRUBBED_FIRST: Final = frozenset(ord(marker[0]) for marker in _SCRUBBED)


def is_scrubbed(text: str) -> bool:
    """Is this a marker that a client put in the place of the real text?"""
    return text.startswith(_SCRUBBED)


def with_sane_sessions(spans: Sequence[bytes], *, expected: str) -> list[bytes]:
    """Return the spans with session ids cut to 250 characters and scrubbed ones removed, the very bytes otherwise.

    `expected` is the session that most of them should name: a trace that names no other costs two searches.
    """
    joined = b"".join(spans)
    suspected = [
        key
        for key in _SESSION_KEYS
        if len(key) in joined and joined.count(key) != _expected_count(joined, key, expected)
    ]
    if not suspected:
        return list(spans)
    return [
        span if all(_is_plainly_sane(span, key) for key in suspected) else _with_sane_session(span) for span in spans
    ]


def _expected_count(joined: bytes, key: bytes, text: str) -> int:
    return joined.count(_attribute(key, text)) if text and len(text) <= MAX_SESSION_CHARS else 0


def _is_plainly_sane(span: bytes, key: bytes) -> bool:
    """Does every occurrence of the key name an attribute in the usual encoding, with a text that needs no mending?"""
    size = len(key)
    at = span.find(key)
    while at >= 0:
        value_at = at + size
        # tags and lengths: before the key of the attribute and of the key, after it of the value and of its text
        pair = span[at - 4 : at]
        value = span[value_at : value_at + 5]
        if len(pair) < 4 or len(value) < 5:
            return False
        length = value[3]
        if (
            size + length + 6 >= 0x80
            or (pair[0], pair[1], pair[2], pair[3]) != (0x4A, size + length + 6, 0x0A, size)
            or (value[0], value[1], value[2]) != (0x12, length + 2, 0x0A)
            or value[4] in _SCRUBBED_FIRST
        ):
            return False
        at = span.find(key, value_at)
    return True


def _with_sane_session(span: bytes) -> bytes:
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
    wanted = [(_SESSION, session_id[:MAX_SESSION_CHARS]), (_USER, user_id)]
    try:
        return span + b"".join(_attribute(key, text) for key, text in wanted if text and not _has(span, key))
    except ParseError:
        return span


def _has(span: bytes, key: bytes) -> bool:
    """Does the span have an attribute of this key? Raises ParseError."""
    at = span.find(key)
    if at < 0:
        return False
    # tag and length of an attribute, tag and length of its key: other messages that nest keys have other tags
    if at >= 4 and span[at - 4] == 0x4A and span[at - 3] < 0x80 and span[at - 2] == 0x0A and span[at - 1] == len(key):
        return True
    return any(key_of(pair) == key for pair in SlimSpan.FromString(span).attributes)


def _is_scrubbed_session(attribute: Any) -> bool:
    return attribute.key.encode() in _SESSION_KEYS and is_scrubbed(text_of(attribute.value.string_value.encode()))


def _attribute(key: bytes, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    string = b"\x0a" + varint(len(raw)) + raw  # AnyValue.string_value
    pair = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(string)) + string
    return b"\x4a" + varint(len(pair)) + pair  # Span.attributes, field 9
