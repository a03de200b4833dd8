"""Stamps the session and the user onto a span, for readers that know only `session.id` and `user.id` (MLflow)."""

from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.otlp.slim import ParseError, SlimSpan, key_of, text_of, value_of, varint

# MLflow 3.17 refuses a whole batch for one longer session id (its column is VARCHAR(250))
MAX_SESSION_CHARS: Final = 250
_SESSION: Final = b"session.id"
_CONVERSATION: Final = b"gen_ai.conversation.id"
_USER: Final = b"user.id"
# then the bytes are no text, and a search for the whole key is faster
_MAX_TRIES: Final = 32
_SESSION_KEYS: Final = (_SESSION, _CONVERSATION)
# session ids that a client's scrubbing has replaced: taken at their word they would merge all traffic into one session
_SCRUBBED: Final = ("[Scrubbed due to", "__REDACTED__", "<REDACTED>", "[REDACTED]")
_SCRUBBED_FIRST: Final = frozenset(ord(marker[0]) for marker in _SCRUBBED)


def is_scrubbed(text: str) -> bool:
    """Is this a marker that a client put in the place of the real text?"""
    return text.startswith(_SCRUBBED)


def names_sane_sessions(data: bytes) -> bool:
    """Is it plain that no span in these bytes has a session id to be cut or removed? False also where it is not."""
    return all(_is_plainly_sane(data, key) for key in _SESSION_KEYS)


def _is_plainly_sane(data: bytes, key: bytes) -> bool:
    """Does every occurrence of the key name an attribute in the usual encoding, with a text that needs no mending?"""
    # spans of a trace name one session as a rule
    known = b""
    at = _first(data, key)
    while at >= 0:
        start = at - 4
        if start < 0 or not (known and data.startswith(known, start)):
            known = _plain_pair(data, start, key)
            if not known:
                return False
        at = data.find(key, start + len(known))
    return True


def _first(data: bytes, key: bytes) -> int:
    """Return where the key occurs first, or -1."""
    if key is _CONVERSATION:
        # its length stands before it, a byte that is rare; to search for one byte is ten times as fast
        at = -1
        for _ in range(_MAX_TRIES):
            at = data.find(len(_CONVERSATION), at + 1)
            if at < 0 or data.startswith(_CONVERSATION, at + 1):
                return at + 1 if at >= 0 else -1
    return data.find(key)


def _plain_pair(data: bytes, start: int, key: bytes) -> bytes:
    """Return the attribute at `start`, encoded as is usual and with a text that needs no mending, or nothing."""
    size = len(key)
    text_at = start + size + 8
    if start < 0 or text_at >= len(data):
        return b""
    length = data[text_at - 1]
    # tag and length of the attribute, its key, its value and the text
    usual = b"\x4a%c\x0a%c%b\x12%c\x0a" % (size + length + 6 & 0x7F, size, key, length + 2 & 0x7F)
    if size + length + 6 >= 0x80 or not data.startswith(usual, start) or data[text_at] in _SCRUBBED_FIRST:
        return b""
    return data[start : text_at + length]


def with_sane_session(span: bytes) -> bytes:
    """Return the span with session ids cut to 250 characters and scrubbed ones removed, the very bytes otherwise."""
    if names_sane_sessions(span):
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
        if attribute.key.encode() in _SESSION_KEYS and len(attribute.value.string_value) > MAX_SESSION_CHARS:
            attribute.value.string_value = attribute.value.string_value[:MAX_SESSION_CHARS]
    copies = [type(attribute).FromString(attribute.SerializeToString()) for attribute in kept]
    del rebuilt.attributes[:]
    rebuilt.attributes.extend(copies)
    return bytes(rebuilt.SerializeToString())


def stamped(span: bytes, *, session_id: str, user_id: str) -> bytes:
    """Return the span with `session.id` and `user.id` appended to its wire bytes, each unless it is known or empty."""
    found = span
    try:
        if session_id and not _has(span, _SESSION):
            found += text_attribute(_SESSION, session_id[:MAX_SESSION_CHARS])
        if user_id and not _has(span, _USER):
            found += text_attribute(_USER, user_id)
    except ParseError:
        return span
    return found


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


def text_attribute(key: bytes, text: str) -> bytes:
    """Return an attribute as it is appended to the wire bytes of a span."""
    return attribute(text_pair(key, text))


def text_pair(key: bytes, text: str) -> bytes:
    """Return an encoded KeyValue that holds a text."""
    raw = text.encode("utf-8", "replace")
    string = b"\x0a" + varint(len(raw)) + raw  # AnyValue.string_value
    return b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(string)) + string


def attribute(pair: bytes) -> bytes:
    """Return an encoded KeyValue as it is appended to the wire bytes of a span."""
    return b"\x4a" + varint(len(pair)) + pair  # Span.attributes, field 9


def event(name: bytes, time_ns: int, pairs: Iterable[bytes]) -> bytes:
    """Return a span event as it is appended to the wire bytes of a span; `pairs` are encoded KeyValues."""
    inside = b"\x09" + time_ns.to_bytes(8, "little") + b"\x12" + varint(len(name)) + name
    inside += b"".join(b"\x1a" + varint(len(pair)) + pair for pair in pairs)
    return b"\x5a" + varint(len(inside)) + inside  # Span.events, field 11
