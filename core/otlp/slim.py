"""A reduced schema of OTLP, built at import: what is not needed stays bytes.

In `SlimSpan` attributes, events and status are bytes, and every string is bytes, so that text which is not UTF-8 costs
no exception; readers decode it with replacement. Field numbers and types: opentelemetry/proto/trace/v1/trace.proto,
common/v1/common.proto and logs/v1/logs.proto of opentelemetry-proto 1.x. Unknown fields are carried along by protobuf.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

Value: TypeAlias = str | bool | int | float | list[Any] | dict[str, Any] | None
"""An attribute's value; bytes are shown in base64, as OTLP/JSON does."""

ParseError: Final = message.DecodeError

_PACKAGE = "clearwatch.slim"
_Field = descriptor_pb2.FieldDescriptorProto
_BYTES, _INT64, _DOUBLE, _BOOL = _Field.TYPE_BYTES, _Field.TYPE_INT64, _Field.TYPE_DOUBLE, _Field.TYPE_BOOL
_INT32, _UINT32, _FIXED64, _FIXED32 = _Field.TYPE_INT32, _Field.TYPE_UINT32, _Field.TYPE_FIXED64, _Field.TYPE_FIXED32
# `SlimSpan.last_event` of a span without events: no event is this byte
NO_EVENT: Final = b"\xff"
_DEFAULTS: Final = {"last_event": "\\377"}  # as protoc writes it
# matches nothing: no field has the number 0
_NO_HEAD: Final = b"\x00\x00"
# how `KeyValue.value` begins where it is one integer of 0, 1, … bytes
_COUNT_HEADS: Final = tuple(b"\x12%c\x18" % (size + 1) for size in range(4))
# what a reader may nest; protobuf itself refuses beyond 100
_MAX_DEPTH = 32

# message -> (field, number, type or message name, repeated, member of the oneof)
_SCHEMA: Mapping[str, Sequence[tuple[str, int, int | str, bool, bool]]] = {
    "SlimTraces": (("resource_spans", 1, "SlimTracesResource", True, False),),
    "SlimTracesResource": (("scope_spans", 2, "SlimTracesScope", True, False),),
    "SlimTracesScope": (("spans", 2, _BYTES, True, False),),
    "SlimSpan": (
        ("trace_id", 1, _BYTES, False, False),
        ("span_id", 2, _BYTES, False, False),
        ("parent_span_id", 4, _BYTES, False, False),
        ("name", 5, _BYTES, False, False),
        ("kind", 6, _INT32, False, False),
        ("start_time_unix_nano", 7, _FIXED64, False, False),
        ("end_time_unix_nano", 8, _FIXED64, False, False),
        ("attributes", 9, _BYTES, True, False),
        ("dropped_attributes_count", 10, _UINT32, False, False),
        # of many the last; a repeated field costs 0.2 µs to look into, and most spans have no events
        ("last_event", 11, _BYTES, False, False),
        ("status", 15, _BYTES, False, False),
    ),
    "SlimEvents": (("events", 11, _BYTES, True, False),),
    "SlimEvent": (
        ("time_unix_nano", 1, _FIXED64, False, False),
        ("name", 2, _BYTES, False, False),
        ("attributes", 3, _BYTES, True, False),
    ),
    "SlimStatus": (("message", 2, _BYTES, False, False), ("code", 3, _INT32, False, False)),
    "SlimResource": (("attributes", 1, _BYTES, True, False),),
    "SlimResourceSpans": (("resource", 1, _BYTES, False, False), ("schema_url", 3, _BYTES, False, False)),
    "SlimScope": (("name", 1, _BYTES, False, False), ("version", 2, _BYTES, False, False)),
    "SlimScopeSpans": (("scope", 1, _BYTES, False, False), ("schema_url", 3, _BYTES, False, False)),
    "SlimLogRecord": (
        ("time_unix_nano", 1, _FIXED64, False, False),
        ("severity_number", 2, _INT32, False, False),
        ("body", 5, "SlimValue", False, False),
        ("attributes", 6, _BYTES, True, False),
        ("trace_id", 9, _BYTES, False, False),
        ("span_id", 10, _BYTES, False, False),
        ("observed_time_unix_nano", 11, _FIXED64, False, False),
        ("event_name", 12, _BYTES, False, False),
    ),
    "SlimKeyValue": (("key", 1, _BYTES, False, False), ("value", 2, "SlimValue", False, False)),
    "SlimArray": (("values", 1, "SlimValue", True, False),),
    "SlimMap": (("values", 1, "SlimKeyValue", True, False),),
    "SlimValue": (
        ("string_value", 1, _BYTES, False, True),
        ("bool_value", 2, _BOOL, False, True),
        ("int_value", 3, _INT64, False, True),
        ("double_value", 4, _DOUBLE, False, True),
        ("array_value", 5, "SlimArray", False, True),
        ("kvlist_value", 6, "SlimMap", False, True),
        ("bytes_value", 7, _BYTES, False, True),
    ),
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="clearwatch/slim.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _SCHEMA.items():
        described = file.message_type.add(name=name)
        if any(member for *_, member in fields):
            described.oneof_decl.add(name="value")
        for field, number, kind, repeated, member in fields:
            added = described.field.add(name=field, number=number)
            added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kind  # type: ignore[assignment]
            if field in _DEFAULTS:
                added.default_value = _DEFAULTS[field]
            if member:
                added.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


_CLASSES = _build()
SlimTraces: Final[Any] = _CLASSES["SlimTraces"]
SlimSpan: Final[Any] = _CLASSES["SlimSpan"]
SlimEvents: Final[Any] = _CLASSES["SlimEvents"]
SlimEvent: Final[Any] = _CLASSES["SlimEvent"]
SlimStatus: Final[Any] = _CLASSES["SlimStatus"]
SlimResource: Final[Any] = _CLASSES["SlimResource"]
SlimResourceSpans: Final[Any] = _CLASSES["SlimResourceSpans"]
SlimScope: Final[Any] = _CLASSES["SlimScope"]
SlimScopeSpans: Final[Any] = _CLASSES["SlimScopeSpans"]
SlimLogRecord: Final[Any] = _CLASSES["SlimLogRecord"]
SlimKeyValue: Final[Any] = _CLASSES["SlimKeyValue"]


def key_of(pair: bytes) -> bytes:
    """Return the key of an encoded KeyValue; empty where there is none. Raises ParseError."""
    # the usual encoding: field 1 first, a key shorter than 128 bytes
    if len(pair) >= 2 and pair[0] == 0x0A and pair[1] < 0x80 and len(pair) >= 2 + pair[1]:
        return pair[2 : 2 + pair[1]]
    key: bytes = SlimKeyValue.FromString(pair).key
    return key


def value_of(pair: bytes) -> Value:
    """Return the value of an encoded KeyValue. Text that is not UTF-8 is replaced. Raises ParseError."""
    if len(pair) >= 2 and pair[0] == 0x0A and pair[1] < 0x80 and (found := text_at(pair, 2 + pair[1])) is not None:
        return found
    return plain(SlimKeyValue.FromString(pair).value)


def text_at(pair: bytes, at: int) -> str | None:
    """Return the text of an encoded KeyValue whose key ends at `at`; None where no text, and nothing else, follows."""
    head = heads[len(pair) - at]
    return text_of(pair[at + len(head) :]) if pair.startswith(head, at) else None


def count_at(pair: bytes, at: int) -> int | None:
    """Return the integer of an encoded KeyValue whose key ends at `at`; None where not one below 2^21 alone follows."""
    # tag and length of the value, tag of its integer
    size = len(pair) - at - 3
    if not 1 <= size <= 3 or not pair.startswith(_COUNT_HEADS[size], at):
        return None
    low, middle, high = pair[at + 3], pair[-2], pair[-1]
    # every byte but the last says that another follows
    if high >= 0x80 or (size > 1 and (low < 0x80 or middle < 0x80)):
        return None
    if size == 1:
        return high
    return low & 0x7F | high << 7 if size == 2 else low & 0x7F | (middle & 0x7F) << 7 | high << 14


def varint(value: int) -> bytes:
    """Return a non-negative number as a protobuf varint."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def attributes_of(pairs: Iterable[bytes]) -> dict[str, Value]:
    """Return all attributes; the first of a repeated key wins; damaged pairs are left out."""
    found: dict[str, Value] = {}
    for pair in pairs:
        try:
            found.setdefault(text_of(key_of(pair)), value_of(pair))
        except ParseError:
            continue
    return found


def text_of(raw: bytes) -> str:
    """Return text, with U+FFFD where the bytes are not UTF-8."""
    try:
        # without arguments it takes half the time
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


def plain(value: Any, depth: int = 0) -> Value:
    """Return the Python value of a SlimValue; what lies deeper than 32 levels is None."""
    which = value.WhichOneof("value")
    if which is None or depth > _MAX_DEPTH:
        return None
    inner = getattr(value, which)
    if which == "string_value":
        return text_of(inner)
    if which == "bytes_value":
        return base64.b64encode(inner).decode()
    if which == "array_value":
        return [plain(item, depth + 1) for item in inner.values]
    if which == "kvlist_value":
        return {text_of(item.key): plain(item.value, depth + 1) for item in inner.values}
    return inner  # type: ignore[no-any-return]


# sizes whose beginnings are remembered; about 120 bytes each
_HEADS_MAX: Final = 16_384


class _Heads(dict[int, bytes]):
    """How `KeyValue.value` begins where it is one text, by its size: two tags and their lengths."""

    def __missing__(self, size: int) -> bytes:
        head = _head(size)
        if len(self) >= _HEADS_MAX:
            self.clear()
        self[size] = head
        return head


heads: Final = _Heads()
"""How the usual encoding of a text begins, by the size of the encoded value: that follows from how long it is."""


def _head(size: int) -> bytes:
    # a text of 128 to 16,380 bytes: either length takes two
    if 134 <= size <= 16_386:
        around, text = size - 3, size - 6
        return bytes((0x12, around & 0x7F | 0x80, around >> 7, 0x0A, text & 0x7F | 0x80, text >> 7))
    # where the length of the text is written in 1, 2, … bytes, so is that of the value around it, or in one more
    for digits in range(1, 6):
        for around in (digits, digits + 1):
            text = size - 2 - digits - around
            inner = b"\x0a" + varint(text) if text >= 0 else b""
            outer = b"\x12" + varint(len(inner) + text) if inner else b""
            if inner and len(inner) == 1 + digits and len(outer) == 1 + around:
                return outer + inner
    return _NO_HEAD
