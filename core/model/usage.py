"""Tokens and cost of a whole trace, counted once."""

from typing import Final

from core.model.span import Span, Usage
from core.model.trace import Trace

_USAGE_SPANS: Final = "usage_spans"


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


def usage_spans(trace: Trace) -> list[Span]:
    """Return the spans at which usage is counted: the deepest that carry any, and of a call told twice beside each
    other one. Worked out once for a trace."""
    found: list[Span] | None = trace.derived.get(_USAGE_SPANS)
    if found is None:
        found = [s for s in trace.spans if s.usage is not None]
        if trace.echoes:
            found = [s for s in found if (call := trace.echoes.get(s.span_id)) is None or call.usage is None]
        found = trace.derived[_USAGE_SPANS] = deepest(trace, found)
    return found


def billable_usage(trace: Trace) -> Usage:
    """Return the tokens of a trace, summed over its deepest spans with usage; all zero where no span carries any."""
    usages = [span.usage for span in usage_spans(trace) if span.usage is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
    )
