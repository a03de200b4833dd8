"""Which LLM spans are calls, and which only wrap one."""

from collections.abc import Mapping
from typing import Final

from core.model.span import ContentState, FinishReason, Span, SpanKind
from core.model.trace import Trace

# members of an enum cost 100 ns to look up in Python 3.11
_CHAIN, _LLM = SpanKind.CHAIN, SpanKind.LLM
_OF_ECHOES: Final = "finish_of_echoes"
_UNKNOWN, _ABSENT, _PRESENT = FinishReason.UNKNOWN, ContentState.ABSENT, ContentState.PRESENT


def finish_of(trace: Trace, span: Span) -> FinishReason:
    """Return why an LLM stopped: what its span says, else its echo, else the chain that called it.

    MLflow's LangChain spans drop the reason; it stands in the message that the calling chain returned.
    """
    if span.finish_reason:
        return span.finish_reason
    if trace.echoes and (reason := _finish_of_echoes(trace).get(span.span_id)):
        return reason
    parent = trace.by_id.get(span.parent_span_id)
    return parent.finish_reason if parent is not None and parent.kind is _CHAIN else _UNKNOWN


def _finish_of_echoes(trace: Trace) -> Mapping[str, FinishReason]:
    """Return the reasons that echoes say, by the id of the call. Worked out once for a trace."""
    found: dict[str, FinishReason] | None = trace.derived.get(_OF_ECHOES)
    if found is None:
        found = trace.derived[_OF_ECHOES] = {}
        for span_id, call in trace.echoes.items():
            if reason := trace.by_id[span_id].finish_reason:
                found.setdefault(call.span_id, reason)
    return found


def is_cut_before_it_began(span: Span) -> bool:
    """Return whether an answer that a limit is said to have cut has no token: some clients call a filter so too."""
    usage, output = span.usage, span.output
    is_blank = output.state is _PRESENT and not output.text.strip() and not output.tool_calls
    return is_blank and usage is not None and usage.input_tokens > 0 and not usage.output_tokens


def is_wrapper(trace: Trace, span: Span) -> bool:
    """Return whether another LLM span tells of the same call: one below it that tells as much of how it ended.

    A span that says neither why it stopped nor what came out (some clients trace their own HTTP call so) repeats
    nothing of one that does. Where only the upper one says what came out (Anthropic's SDK traces its own calls, without
    text, below the instrumentation that records it), that is the call, and the lower one wraps.
    """
    if span.kind is not _LLM:
        return False
    echoes = trace.echoes
    for child in trace.children.get(span.span_id, ()):
        if child.span_id in echoes:
            continue
        if child.kind is _LLM and (_tells_its_end(child) or not _tells_its_end(span)) and not _says_more(span, child):
            return True
    parent = trace.by_id.get(span.parent_span_id) if span.parent_span_id else None
    return parent is not None and parent.kind is _LLM and _says_more(parent, span)


def _says_more(span: Span, child: Span) -> bool:
    """Return whether only the upper one of two spans of a call says what came out."""
    return span.output.state is _PRESENT and child.output.state is _ABSENT and bool(span.finish_reason or span.error)


def _tells_its_end(span: Span) -> bool:
    return bool(span.finish_reason) or span.error is not None or span.output.state is not _ABSENT
