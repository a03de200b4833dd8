"""Builds spans as wire bytes from plain attributes."""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.dialects import Decode, decode
from core.model.span import Span
from core.otlp.wire import read_spans

START_NS = 1_760_000_000_000_000_000


def put(target: Any, value: Any) -> None:
    """Write a Python value into an AnyValue."""
    if isinstance(value, str):
        target.string_value = value
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for item in value:
            put(target.array_value.values.add(), item)
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        for key, item in value.items():
            put(target.kvlist_value.values.add(key=key).value, item)


def read_span(
    attributes: dict[str, Any],
    *,
    name: str = "work",
    scope: str = "",
    status: int = 0,
    message: str = "",
    events: list[tuple[str, dict[str, Any]]] | None = None,
    resource: dict[str, Any] | None = None,
    dropped: int = 0,
    decode: Decode = decode,
) -> Span:
    """Encode a span with these attributes and return what the dialects make of it."""
    sent = encoded(
        attributes,
        name=name,
        scope=scope,
        status=status,
        message=message,
        events=events,
        resource=resource,
        dropped=dropped,
    )
    slices, failures = read_spans(sent)
    assert not failures
    return decode(slices[0])


def encoded(
    attributes: dict[str, Any],
    *,
    name: str = "work",
    scope: str = "",
    status: int = 0,
    message: str = "",
    events: list[tuple[str, dict[str, Any]]] | None = None,
    resource: dict[str, Any] | None = None,
    dropped: int = 0,
) -> bytes:
    """Return the OTLP bytes of a span with these attributes; it takes 2 s, events are 0.5 s after the start."""
    data = TracesData()
    outer = data.resource_spans.add()
    for key, value in (resource or {}).items():
        put(outer.resource.attributes.add(key=key).value, value)
    inner = outer.scope_spans.add()
    inner.scope.name = scope
    span = inner.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name, dropped_attributes_count=dropped)
    span.start_time_unix_nano, span.end_time_unix_nano = START_NS, START_NS + 2 * 10**9
    span.status.code, span.status.message = status, message  # type: ignore[assignment]
    for key, value in attributes.items():
        put(span.attributes.add(key=key).value, value)
    for event_name, event_attributes in events or []:
        event = span.events.add(name=event_name, time_unix_nano=START_NS + 500_000_000)
        for key, value in event_attributes.items():
            put(event.attributes.add(key=key).value, value)
    return data.SerializeToString()
