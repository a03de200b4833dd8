"""Requests for the receiver's benchmark: 1.8 KB spans, 8 a trace, 10 to 17 attributes of English-like text."""

import random

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SPANS_A_TRACE = 8
STANDARD_TRACES = 64
_WORDS = (
    "model",
    "answers",
    "question",
    "order",
    "tool",
    "returns",
    "found",
    "archive",
    "week",
    "agent",
    "plans",
    "a",
    "to",
)


def _text(rng: random.Random, size: int) -> str:
    words: list[str] = []
    length = 0
    while length < size:
        word = rng.choice(_WORDS) if rng.random() < 0.7 else f"{rng.getrandbits(28):x}"
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


def make_request(rng: random.Random, traces: int) -> bytes:
    """Return a request of `traces` whole traces, their spans one trace after the other as exporters send them."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key in ("service.name", "service.version", "deployment.environment"):
        resource.resource.attributes.add(key=key).value.string_value = "bench"
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    for _ in range(traces):
        trace_id = rng.randbytes(16)
        parent = b""
        for number in range(SPANS_A_TRACE):
            span = scope.spans.add(
                trace_id=trace_id,
                span_id=rng.randbytes(8),
                parent_span_id=parent,
                name=f"chat step-{number}",
                kind=3,
                start_time_unix_nano=1_700_000_000_000_000_000 + number,
                end_time_unix_nano=1_700_000_000_900_000_000 + number,
            )
            parent = parent or span.span_id
            for index in range(rng.randrange(4, 8)):
                span.attributes.add(key=f"gen_ai.attribute.{index}").value.string_value = _text(rng, 20)
            for index in range(rng.randrange(4, 8)):
                span.attributes.add(key=f"gen_ai.usage.{index}").value.int_value = rng.randrange(5000)
            for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
                span.attributes.add(key=key).value.string_value = _text(rng, 640)
            span.status.code = 1
    return bytes(request.SerializeToString())
