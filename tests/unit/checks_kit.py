"""Hand-made spans and traces for the tests of checks."""

import itertools
from typing import Any

from core.model.span import Content, ContentState, ErrorClass, Span, SpanError, SpanKind, ToolCall
from core.model.trace import Trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_700_000_000_000_000_000
_MS = 1_000_000


def present(text: str, *calls: ToolCall, **facts: Any) -> Content:
    return Content(state=ContentState.PRESENT, text=text, tool_calls=calls, **facts)


def failed(
    message: str = "boom", *, error_type: str = "TypeError", error_class: ErrorClass = ErrorClass.OTHER
) -> SpanError:
    return SpanError(error_class=error_class, error_type=error_type, message=message)


class Story:
    """Builds the spans of one trace in the order in which they happened: each starts as the one before ends."""

    def __init__(self, *, trace_id: str = TRACE, **facts: Any) -> None:
        self._ids = (f"{n:016x}" for n in itertools.count(1))
        self._at_ns = START_NS
        self._facts: dict[str, Any] = {"service": "travel", "dialect": "otel_genai", **facts}
        self.trace_id = trace_id
        self.spans: list[Span] = []

    def add(self, kind: SpanKind = SpanKind.CHAIN, name: str = "step", *, parent: str = "", **facts: Any) -> Span:
        """Add a span of 100 ms; `duration_ms` stretches it."""
        duration_ns = int(facts.pop("duration_ms", 100) * _MS)
        start_ns = facts.pop("start_ns", self._at_ns)
        span = Span(
            trace_id=self.trace_id,
            span_id=next(self._ids),
            parent_span_id=parent,
            name=name,
            kind=kind,
            start_ns=start_ns,
            end_ns=start_ns + duration_ns,
            **{**self._facts, **facts},
        )
        self._at_ns = span.end_ns
        self.spans.append(span)
        return span

    def root(self, **facts: Any) -> Span:
        """Add the root: it covers whatever follows."""
        at_ns = self._at_ns
        span = self.add(SpanKind.AGENT, "travel-agent", **{"agent": "travel-agent", "duration_ms": 60_000, **facts})
        self._at_ns = at_ns + 1
        return span

    def llm(self, parent: str = "", **facts: Any) -> Span:
        return self.add(SpanKind.LLM, "chat", parent=parent, **{"model": "gpt-4o-mini", **facts})

    def tool(self, tool: str, parent: str = "", *, arguments: str = "", **facts: Any) -> Span:
        called = ToolCall(name=tool, arguments=arguments)
        return self.add(SpanKind.TOOL, f"execute_tool {tool}", parent=parent, tool=called, **facts)

    def trace(self, **facts: Any) -> Trace:
        return Trace(trace_id=self.trace_id, spans=self.spans, **facts)
