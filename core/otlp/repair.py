"""Mends text that is not UTF-8: protobuf refuses the whole message for one such string, and so would later readers.

The OTLP schema is mirrored with every string as bytes; a message that parses in the mirror but not in the real schema
is written again with U+FFFD in the place of what is not UTF-8.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from core.otlp.slim import ParseError

RESOURCE_SPANS: Final = "opentelemetry.proto.trace.v1.ResourceSpans"
SCOPE_SPANS: Final = "opentelemetry.proto.trace.v1.ScopeSpans"
SPAN: Final = "opentelemetry.proto.trace.v1.Span"
RESOURCE_LOGS: Final = "opentelemetry.proto.logs.v1.ResourceLogs"
SCOPE_LOGS: Final = "opentelemetry.proto.logs.v1.ScopeLogs"
LOG_RECORD: Final = "opentelemetry.proto.logs.v1.LogRecord"

_STRING, _BYTES, _MESSAGE = 9, 12, 11  # FieldDescriptorProto.Type
_REAL: Final[dict[str, Any]] = {
    RESOURCE_SPANS: trace_pb2.ResourceSpans,
    SCOPE_SPANS: trace_pb2.ScopeSpans,
    SPAN: trace_pb2.Span,
    RESOURCE_LOGS: logs_pb2.ResourceLogs,
    SCOPE_LOGS: logs_pb2.ScopeLogs,
    LOG_RECORD: logs_pb2.LogRecord,
}


def _mirror() -> tuple[dict[str, Any], frozenset[str]]:
    pool = descriptor_pool.DescriptorPool()
    strings: set[str] = set()

    def loosen(described: descriptor_pb2.DescriptorProto, path: str) -> None:
        for field in described.field:
            if field.type == _STRING:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                strings.add(f"{path}.{field.name}")
        for nested in described.nested_type:
            loosen(nested, f"{path}.{nested.name}")

    for module in (common_pb2, resource_pb2, trace_pb2, logs_pb2):
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for described in file.message_type:
            loosen(described, f"{file.package}.{described.name}")
        pool.Add(file)
    classes = {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _REAL}
    return classes, frozenset(strings)


_MIRROR, _STRINGS = _mirror()


def _checker() -> Any:
    """Return `TracesData` with every message field singular.

    A parser merges what repeats into one message: it checks as much as the real schema, and keeps next to nothing.
    """
    pool = descriptor_pool.DescriptorPool()

    def merge(described: descriptor_pb2.DescriptorProto) -> None:
        for field in described.field:
            if field.type == _MESSAGE:
                field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        for nested in described.nested_type:
            merge(nested)

    for module in (common_pb2, resource_pb2, trace_pb2):
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for described in file.message_type:
            merge(described)
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("opentelemetry.proto.trace.v1.TracesData"))


check_traces: Final = _checker().FromString
"""Raises ParseError where `TracesData` would; what it returns is of no use."""


def mended(message: str, data: bytes) -> bytes:
    """Return `data` as it is where it parses, else with its text made UTF-8. Raises ParseError if that is no help."""
    try:
        _REAL[message].FromString(data)
    except ParseError:
        loose = _MIRROR[message].FromString(data)
        _mend(loose)
        found: bytes = loose.SerializeToString()
        _REAL[message].FromString(found)
        return found
    return data


def _mend(message: Any) -> None:
    for field, value in message.ListFields():
        if field.type == _MESSAGE:
            for item in value if field.is_repeated else (value,):
                _mend(item)
        elif field.full_name in _STRINGS:
            if field.is_repeated:
                value[:] = [_utf8(item) for item in value]
            else:
                setattr(message, field.name, _utf8(value))


def _utf8(raw: bytes) -> bytes:
    return raw.decode("utf-8", "replace").encode()
