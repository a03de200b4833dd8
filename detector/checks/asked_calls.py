"""The tool calls that models asked for, and the spans that made them; worked out once for all checks of a trace."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from core.model.span import ContentState, Span, SpanKind, ToolCall
from core.model.trace import Trace

AskedCall: TypeAlias = tuple[Span, ToolCall]

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_LLM: Final = SpanKind.LLM


def asked_calls(trace: Trace) -> Sequence[AskedCall]:
    """Return each call that an LLM's output asks for, with the LLM span that wrote it, in the order of asking.

    A wrapper repeats the call of the LLM span below it under the same id, which counts once: for the deepest span.
    """
    found: Sequence[AskedCall] | None = trace.derived.get("asked_calls")
    if found is None:
        asked: dict[object, AskedCall] = {}
        for span in trace.llm_spans:
            for call in span.output.tool_calls:
                asked[call.call_id or len(asked)] = (span, call)
        found = trace.derived["asked_calls"] = tuple(asked.values()) if asked else ()
    return found


def tool_spans_by_call(trace: Trace) -> Mapping[str, Span]:
    """Return the tool spans that name the call they made, by its id."""
    found: Mapping[str, Span] | None = trace.derived.get("tool_spans_by_call")
    if found is None:
        found = {span.tool.call_id: span for span in trace.tool_spans if span.tool is not None and span.tool.call_id}
        trace.derived["tool_spans_by_call"] = found
    return found


def arguments_of(span: Span) -> str:
    """Return the arguments of a tool span: as such, else its input (dialects that send them as plain input)."""
    if span.tool is not None and span.tool.arguments:
        return span.tool.arguments
    return span.input.text if span.input.state is _PRESENT else ""


def writer_of(trace: Trace, tool: Span) -> Span | None:
    """Return the LLM span that wrote the call which a tool span made, or None.

    By the id of the call, where both sides say it; else the LLM span that ended last before the tool began, under the
    same parent or, where there is none, under the parent's parent.
    """
    call_id = tool.tool.call_id if tool.tool is not None else ""
    if call_id:
        for span, call in asked_calls(trace):
            if call.call_id == call_id:
                return span
    parent_id = tool.parent_span_id
    for _ in range(2):
        if not parent_id:
            break
        before = [
            span for span in trace.children.get(parent_id, ()) if span.kind is _LLM and span.end_ns <= tool.start_ns
        ]
        if before:
            return max(before, key=lambda span: span.end_ns)
        parent = trace.by_id.get(parent_id)
        parent_id = parent.parent_span_id if parent is not None else ""
    return None
