"""Decode of spans into the model, against lazy access through the full schema.

Spans as chat agents send them: 8 a trace, 10 to 17 attributes each, 1.8 KB on average. Both sides start from a trace's
`TracesData` bytes and end with `Span` values that are equal. Usage: `python -m tests.bench.bench_decode`.
"""

import json
import math
import random
import string
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.dialects import answers, decode
from core.dialects.otel_genai import OPERATIONS
from core.dialects.values import finish
from core.model.span import Content, ContentState, Details, FinishReason, Span, SpanKind, ToolCall, Usage
from core.otlp.wire import SpanSlice, read_spans

TRACES = 200
ROUNDS = 7
_WORDS = [
    "the",
    "flight",
    "to",
    "lisbon",
    "leaves",
    "at",
    "nine",
    "and",
    "costs",
    "less",
    "than",
    "refund",
    "policy",
    "of",
    "our",
    "desk",
]


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows: the best of seven rounds each, process CPU time (machines are shared)."""
    traces = [_trace(random.Random(seed)) for seed in range(TRACES)]
    spans = sum(len(read_spans(data)[0]) for data in traces)
    assert [span for data in traces for span in _ours(data)] == [span for data in traces for span in _lazy(data)]
    slices = [read_spans(data)[0] for data in traces]
    split, decoding, lazy = math.inf, math.inf, math.inf
    for _ in range(ROUNDS):
        split = min(split, _ns(lambda: [read_spans(data) and None for data in traces]) / spans)
        decoding = min(decoding, _ns(lambda: [_decoded(pieces) and None for pieces in slices]) / spans)
        lazy = min(lazy, _ns(lambda: [_lazy(data) and None for data in traces]) / spans)
    whole = split + decoding
    return [
        ("bytes per span", sum(map(len, traces)) / spans, "By"),
        ("read_spans", split, "ns/span"),
        ("decode", decoding, "ns/span"),
        ("read_spans + decode", whole, "ns/span"),
        ("lazy access, full schema", lazy, "ns/span"),
        ("decode: times as fast as lazy", lazy / decoding, "ratio"),
        ("read_spans + decode: times as fast as lazy", lazy / whole, "ratio"),
    ]


def _ns(work: Callable[[], object]) -> float:
    started = time.process_time_ns()
    work()
    return time.process_time_ns() - started


def _ours(data: bytes) -> list[Span]:
    return _decoded(read_spans(data)[0])


def _decoded(pieces: list[SpanSlice]) -> list[Span]:
    return [decode(piece) for piece in pieces]


_WANTED = {
    "gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.request.model", "gen_ai.response.model",
    "gen_ai.provider.name", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.response.finish_reasons", "gen_ai.conversation.id", "session.id", "user.id",
    "http.response.status_code", "error.type", "server.address", "gen_ai.request.temperature",
}  # fmt: skip


def _lazy(data: bytes) -> list[Span]:
    """Read the same facts through the generated classes, touching only the attributes that are needed."""
    spans: list[Span] = []
    for outer in TracesData.FromString(data).resource_spans:
        resource = {a.key: a.value.string_value for a in outer.resource.attributes}
        for scope in outer.scope_spans:
            spans += (_lazy_span(span, resource, scope.scope.name) for span in scope.spans)
    return spans


def _lazy_span(span: Any, resource: dict[str, str], scope: str) -> Span:
    found: dict[str, Any] = {}
    for attribute in span.attributes:
        key = attribute.key
        if key in _WANTED:
            value = attribute.value
            which = value.WhichOneof("value")
            found[key] = (
                [item.string_value for item in value.array_value.values]
                if which == "array_value"
                else getattr(value, which)
            )
    get = found.get
    kind = OPERATIONS.get(get("gen_ai.operation.name", ""), SpanKind.UNKNOWN)
    output, answer, tool = Content(), None, None
    if "gen_ai.output.messages" in found:
        answer = answers.from_messages(found["gen_ai.output.messages"])
        assert answer is not None
        output = answer.content
    given = get("gen_ai.input.messages")
    if kind is SpanKind.TOOL:
        given = get("gen_ai.tool.call.arguments", "")
        tool = ToolCall(name=get("gen_ai.tool.name", ""), call_id=get("gen_ai.tool.call.id", ""), arguments=given)
        output = Content(state=ContentState.PRESENT, text=found["gen_ai.tool.call.result"])
    stopped = finish(get("gen_ai.response.finish_reasons")) or FinishReason.UNKNOWN
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=kind,
        dialect="otel_genai",
        scope=scope,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        service=resource.get("service.name", ""),
        release=resource.get("service.version", ""),
        environment=resource.get("deployment.environment.name", ""),
        agent=get("gen_ai.agent.name", ""),
        model=get("gen_ai.request.model") or get("gen_ai.response.model", ""),
        provider=get("gen_ai.provider.name", ""),
        tool=tool,
        input=Content(state=ContentState.PRESENT, text=given) if given is not None else Content(),
        output=output,
        finish_reason=stopped or (answer.finish if answer is not None else FinishReason.UNKNOWN),
        usage=Usage(input_tokens=found["gen_ai.usage.input_tokens"], output_tokens=found["gen_ai.usage.output_tokens"])
        if "gen_ai.usage.input_tokens" in found
        else None,
        session_id=get("session.id") or get("gen_ai.conversation.id", ""),
        user_id=get("user.id", ""),
        dropped_attributes=span.dropped_attributes_count,
        details=Details(temperature=get("gen_ai.request.temperature"), server=get("server.address", "")),
    )


def _trace(rng: random.Random) -> bytes:
    """Return one trace: an agent, four LLM calls, three tool calls."""
    data = TracesData()
    outer = data.resource_spans.add()
    _set(outer.resource.attributes, {"service.name": "travel", "service.version": "1.4.2", "host.name": "pod-7"})
    scope = outer.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.genai.openai"
    trace_id, root, session = rng.randbytes(16), rng.randbytes(8), f"session-{rng.randrange(10**6)}"
    started = 1_760_000_000_000_000_000 + rng.randrange(10**15)
    shared = {"session.id": session, "user.id": f"u-{rng.randrange(100)}", "app.tenant": "acme", "app.region": "eu"}
    for number in range(8):
        span = scope.spans.add(trace_id=trace_id, span_id=rng.randbytes(8) if number < 7 else root, flags=257)
        span.start_time_unix_nano = started + number * 10**8
        span.end_time_unix_nano = span.start_time_unix_nano + rng.randrange(10**9)
        span.status.code = 1  # type: ignore[assignment]
        if number == 7:
            span.name = "invoke_agent travel"
            _set(span.attributes, _agent(rng) | shared)
            continue
        span.parent_span_id = root
        chat = number % 2 == 0
        span.name = "chat gpt-4o-mini" if chat else "execute_tool get_weather"
        _set(span.attributes, (_chat(rng) if chat else _tool(rng)) | shared)
    return data.SerializeToString()


def _agent(rng: random.Random) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "travel-agent",
        "gen_ai.agent.id": "a-1",
        "gen_ai.provider.name": "openai",
        "gen_ai.input.messages": _messages(rng, "user", 300),
        "gen_ai.output.messages": _messages(rng, "assistant", 300),
    }


def _chat(rng: random.Random) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{rng.getrandbits(96):024x}",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.usage.input_tokens": rng.randrange(100, 4000),
        "gen_ai.usage.output_tokens": rng.randrange(10, 800),
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "api.openai.com",
        "server.port": 443,
        "gen_ai.input.messages": _messages(rng, "user", 1100),
        "gen_ai.output.messages": _messages(rng, "assistant", 450),
    }


def _tool(rng: random.Random) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"call_{rng.getrandbits(96):024x}",
        "gen_ai.tool.call.arguments": json.dumps({"city": rng.choice(_WORDS), "text": _question(rng, 120)}),
        "gen_ai.tool.call.result": json.dumps({"sky": _text(rng, 700)}),
    }


def _messages(rng: random.Random, role: str, size: int) -> str:
    part = {"type": "text", "content": _text(rng, size)}
    return json.dumps([{"role": role, "parts": [part], "finish_reason": "stop"}])


def _question(rng: random.Random, size: int) -> str:
    """Return words that no other question has: what tools are asked differs from call to call."""
    return " ".join("".join(rng.choices(string.ascii_lowercase, k=5)) for _ in range(size // 6))


def _text(rng: random.Random, size: int) -> str:
    return " ".join(rng.choices(_WORDS, k=size // 5))[:size]


def _set(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, list):
            any_value = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
        elif isinstance(value, str):
            any_value = AnyValue(string_value=value)
        elif isinstance(value, float):
            any_value = AnyValue(double_value=value)
        else:
            any_value = AnyValue(int_value=value)
        attributes.append(KeyValue(key=key, value=any_value))


if __name__ == "__main__":
    for label, value, unit in run():
        print(f"{label:45} {value:12,.2f} {unit}")
