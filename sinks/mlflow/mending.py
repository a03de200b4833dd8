"""The one thing in valid OTLP that MLflow is known to refuse, mended: session and user ids of over 250 characters."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

# values of trace metadata; one longer span attribute is a 400 for the whole batch (3.17)
_ID_CHARS: Final = 250
_ID_KEYS: Final = frozenset({"session.id", "gen_ai.conversation.id", "user.id"})


def cut_ids(otlp: bytes) -> bytes | None:
    """Return `TracesData` bytes with these ids cut to 250 characters; None where there was nothing to cut."""
    try:
        traces = TracesData.FromString(otlp)
    except DecodeError:
        return None
    cut = False
    for attribute in _attributes(traces):
        value = attribute.value
        if attribute.key in _ID_KEYS and len(value.string_value) > _ID_CHARS:
            value.string_value = value.string_value[:_ID_CHARS]
            cut = True
    return bytes(traces.SerializeToString()) if cut else None


def _attributes(traces: TracesData) -> Iterable[KeyValue]:
    for resource_spans in traces.resource_spans:
        yield from resource_spans.resource.attributes
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield from span.attributes
