"""OTLP/JSON to OTLP/protobuf.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ProtoJSON, except that trace and span ids are hex in
either case. Enums as numbers (names are taken too, as the reference implementation does), 64-bit integers as strings or
numbers, unknown fields are ignored.
"""

import base64
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from core.errors import SpanDecodeError

_HEX_FIELDS: Final = ("traceId", "trace_id", "spanId", "span_id", "parentSpanId", "parent_span_id")


def traces_from_json(body: bytes) -> bytes:
    """Return the `ExportTraceServiceRequest` that a JSON body stands for. Raises SpanDecodeError."""
    return _convert(body, ExportTraceServiceRequest(), ("resourceSpans", "scopeSpans", "spans"))


def logs_from_json(body: bytes) -> bytes:
    """Return the `ExportLogsServiceRequest` that a JSON body stands for. Raises SpanDecodeError."""
    return _convert(body, ExportLogsServiceRequest(), ("resourceLogs", "scopeLogs", "logRecords"))


def _convert(body: bytes, message: Any, path: tuple[str, ...]) -> bytes:
    try:
        document = msgspec.json.decode(body)
        _hex_to_base64(document, path)
        json_format.ParseDict(document, message, ignore_unknown_fields=True)
        return bytes(message.SerializeToString())
    except SpanDecodeError:
        raise
    except (msgspec.DecodeError, json_format.ParseError, ValueError, TypeError, RecursionError) as exc:
        raise SpanDecodeError(str(exc)) from exc


def _hex_to_base64(document: Any, path: tuple[str, ...]) -> None:
    """Replace the hex ids below `path` by the base64 that ProtoJSON wants. Raises SpanDecodeError, TypeError."""
    if not isinstance(document, dict):
        raise SpanDecodeError(f"expected a JSON object around `{path[0] if path else 'traceId'}`")
    if path:
        for child in _list(document, path[0], _snake(path[0])):
            _hex_to_base64(child, path[1:])
        return
    for name in _HEX_FIELDS:
        if document.get(name) is not None:
            document[name] = _base64(name, document[name])
    for link in _list(document, "links", "links"):
        _hex_to_base64(link, ())


def _list(document: dict[str, Any], *names: str) -> list[Any]:
    found: Any = next((document[name] for name in names if document.get(name) is not None), [])
    if not isinstance(found, list):
        raise SpanDecodeError(f"`{names[0]}` is not a JSON array")
    return found


def _base64(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SpanDecodeError(f"`{name}` is not a string")
    try:
        raw = bytes.fromhex(value)
    except ValueError as exc:
        raise SpanDecodeError(f"`{name}` is not hexadecimal") from exc
    if len(raw) * 2 != len(value):
        raise SpanDecodeError(f"`{name}` is not hexadecimal")
    return base64.b64encode(raw).decode()


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
