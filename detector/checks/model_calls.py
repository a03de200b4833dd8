"""Which LLM spans are calls, and which only wrap one."""

from core.model.span import Span, SpanKind
from core.model.trace import Trace


def is_wrapper(trace: Trace, span: Span) -> bool:
    """Return whether an LLM span has an LLM span below it: some clients write a wrapper that repeats its facts."""
    return any(child.kind is SpanKind.LLM for child in trace.children.get(span.span_id, ()))
