"""Tokens and cost of a whole trace, counted once."""

from core.model.span import Span, Usage
from core.model.trace import Trace


def deepest(trace: Trace, spans: list[Span]) -> list[Span]:
    """Return those of the spans that are no ancestor of another; each ancestor is visited once, so cycles end."""
    if not spans:
        return spans
    by_id = trace.by_id
    above: set[str] = set()
    for span in spans:
        parent_id = span.parent_span_id
        while parent_id not in above and (parent := by_id.get(parent_id)) is not None:
            above.add(parent_id)
            parent_id = parent.parent_span_id
    return [span for span in spans if span.span_id not in above]


def billable_usage(trace: Trace) -> Usage:
    """Return the tokens of a trace, summed over its deepest spans with usage; all zero where no span carries any."""
    carrying = [span for span in trace.spans if span.usage is not None]
    usages = [span.usage for span in deepest(trace, carrying) if span.usage is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )
