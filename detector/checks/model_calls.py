"""Which LLM spans are calls, and which only wrap one."""

from core.model.span import ContentState, FinishReason, Span, SpanKind
from core.model.trace import Trace

# members of an enum cost 100 ns to look up in Python 3.11
_CHAIN, _LLM = SpanKind.CHAIN, SpanKind.LLM
_UNKNOWN, _ABSENT = FinishReason.UNKNOWN, ContentState.ABSENT


def finish_of(trace: Trace, span: Span) -> FinishReason:
    """Return why an LLM stopped: what its span says, else the chain that called it.

    MLflow's LangChain spans drop the reason; it stands in the message that the calling chain returned.
    """
    if span.finish_reason:
        return span.finish_reason
    parent = trace.by_id.get(span.parent_span_id)
    return parent.finish_reason if parent is not None and parent.kind is _CHAIN else _UNKNOWN


def is_wrapper(trace: Trace, span: Span) -> bool:
    """Return whether an LLM span has an LLM span below it that tells as much of how it ended: wrappers repeat that.

    A span that says neither why it stopped nor what came out (some clients trace their own HTTP call so) repeats
    nothing of one that does.
    """
    return span.kind is _LLM and any(
        child.kind is _LLM and (_tells_its_end(child) or not _tells_its_end(span))
        for child in trace.children.get(span.span_id, ())
    )


def _tells_its_end(span: Span) -> bool:
    return bool(span.finish_reason) or span.error is not None or span.output.state is not _ABSENT
