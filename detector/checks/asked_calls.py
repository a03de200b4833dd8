"""The tool calls that models asked for, and the spans that made them; worked out once for all checks of a trace."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from core.model.span import ContentState, FinishReason, Span, ToolCall
from core.model.trace import Trace

AskedCall: TypeAlias = tuple[Span, ToolCall]

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_CALLS, _UNSAID = FinishReason.TOOL_CALLS, FinishReason.UNKNOWN
# longer arguments are compared as they were sent: parsing megabytes would cost more than it tells
_CANONICAL_CHARACTERS: Final = 20_000


def asked_calls(trace: Trace) -> Sequence[AskedCall]:
    """Return each call that an LLM's output asks for, with the LLM span that wrote it, in the order of asking.

    A wrapper repeats the call of the LLM span below it under the same id, which counts once: for the deepest span. An
    id that a later call uses again is another call (Gemini's have none: OpenTelemetry numbers them in each message).
    """
    found: Sequence[AskedCall] | None = trace.derived.get("asked_calls")
    if found is None:
        asked: dict[object, AskedCall] = {}
        for span in trace.llm_spans:
            for call in span.output.tool_calls:
                key: object = call.call_id or len(asked)
                if key in asked and _is_another(asked[key][0], span):
                    key = (key, span.span_id)
                asked[key] = (span, call)
        found = trace.derived["asked_calls"] = tuple(asked.values()) if asked else ()
    return found


def unsent_calls(trace: Trace) -> int:
    """Return how many LLM calls asked for tools in words that were not sent; 0 where any such call was sent.

    They are told by their finish reason, or, where none was sent either, by the tools that ran in their trace.
    """
    if asked_calls(trace):
        return 0
    found: int | None = trace.derived.get("unsent_calls")
    if found is None:
        telling = (_CALLS, _UNSAID) if trace.tool_spans else (_CALLS,)
        found = trace.derived["unsent_calls"] = sum(
            span.output.state is not _PRESENT and span.finish_reason in telling and span.error is None
            for span in trace.llm_spans
        )
    return found


def _is_another(first: Span, span: Span) -> bool:
    """Return whether two LLM spans that ask under one id are two calls: one after the other, and neither within."""
    return first.end_ns <= span.start_ns and span.parent_span_id != first.span_id


def tool_spans_by_call(trace: Trace) -> Mapping[str, Span]:
    """Return the tool spans that name the call they made, by its id."""
    found: Mapping[str, Span] | None = trace.derived.get("tool_spans_by_call")
    if found is None:
        found = {span.tool.call_id: span for span in trace.tool_spans if span.tool is not None and span.tool.call_id}
        trace.derived["tool_spans_by_call"] = found
    return found


def askers(trace: Trace) -> Mapping[str, Span]:
    """Return the LLM span that asked for a call, by the call's id."""
    found: Mapping[str, Span] | None = trace.derived.get("askers")
    if found is None:
        found = trace.derived["askers"] = {call.call_id: span for span, call in asked_calls(trace) if call.call_id}
    return found


def span_of_call(trace: Trace, call: ToolCall) -> Span | None:
    """Return the tool span that made a call: the one that names its id.

    Else, where spans name none, the first with its tool and its arguments, a failed one before others; last, one that
    failed without arguments, because its function does not take them.
    """
    if call.call_id and (named := tool_spans_by_call(trace).get(call.call_id)) is not None:
        return named
    spans = _spans_without_ids(trace)
    return spans.get((call.name, canonical(call.arguments))) or spans.get((call.name, ""))


def _spans_without_ids(trace: Trace) -> Mapping[tuple[str, str], Span]:
    """Return the tool spans that do not name the call they made, by tool and arguments; worked out once."""
    found: dict[tuple[str, str], Span] | None = trace.derived.get("spans_without_ids")
    if found is None:
        found = trace.derived["spans_without_ids"] = {}
        for span in trace.tool_spans:
            if span.tool is not None and not span.tool.call_id:
                arguments = arguments_of(span)
                if not arguments and span.error is None:
                    continue
                first = found.setdefault((span.tool.name, canonical(arguments)), span)
                if first.error is None and span.error is not None:
                    found[span.tool.name, canonical(arguments)] = span
    return found


def canonical(arguments: str) -> str:
    """Return arguments so that equal ones are equal text: JSON with sorted keys, else the text without outer space."""
    text = arguments.strip()
    if text[:1] not in {"{", "["} or len(text) > _CANONICAL_CHARACTERS:
        return text
    try:
        return msgspec.json.encode(msgspec.json.decode(text), order="sorted").decode()
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def arguments_of(span: Span) -> str:
    """Return the arguments of a tool span: as such, else its input (dialects that send them as plain input)."""
    if span.tool is not None and span.tool.arguments:
        return span.tool.arguments
    return span.input.text if span.input.state is _PRESENT else ""
