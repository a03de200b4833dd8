"""Tokens of a whole trace, counted once."""

from core.model.span import Span, Usage
from core.model.trace import Trace


def billable_spans(trace: Trace) -> tuple[Span, ...]:
    """Return the spans whose usage counts: those that carry usage and have no descendant that does.

    Wrappers repeat their calls' tokens: summed over all spans, traces of five frameworks read twice what was used.
    """
    covered: set[str] = set()
    for span in trace.spans:
        if span.usage is None or span.span_id in covered:
            continue
        parent = trace.by_id.get(span.parent_span_id)
        # ids may form a circle in hostile input: an ancestor is visited once
        while parent is not None and parent.span_id not in covered and parent.span_id != span.span_id:
            covered.add(parent.span_id)
            parent = trace.by_id.get(parent.parent_span_id)
    return tuple(span for span in trace.spans if span.usage is not None and span.span_id not in covered)


def billable_usage(trace: Trace) -> Usage:
    """Return the tokens of a trace, summed over its billable spans; all zero where no span carries usage."""
    usages = [span.usage for span in billable_spans(trace) if span.usage is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )


def billable_cost_usd(trace: Trace) -> float | None:
    """Return the cost that clients reported, summed over billable spans; None where none reported any."""
    costs = [span.cost_usd for span in billable_spans(trace) if span.cost_usd is not None]
    return sum(costs) if costs else None
