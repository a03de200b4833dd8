"""Tokens and cost of a whole trace, counted once."""

from collections.abc import Iterable
from typing import Final

from core.model.span import FinishReason, Span, Usage
from core.model.trace import Trace

_USAGE_SPANS: Final = "usage_spans"
# Spring AI 1 adds to the usage of each call within a loop that of the calls before it (its UsageCalculator)
_SUMS_UP: Final = "spring_ai"
_TOOL_CALLS: Final = FinishReason.TOOL_CALLS


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
    """Return the spans at which usage is counted: the deepest that carry any, of a call told twice beside each other
    one, of calls whose usage is summed up from one to the next the last. Worked out once for a trace."""
    found: list[Span] | None = trace.derived.get(_USAGE_SPANS)
    if found is None:
        found = [s for s in trace.spans if s.usage is not None]
        if trace.echoes:
            found = [s for s in found if (call := trace.echoes.get(s.span_id)) is None or call.usage is None]
        found = deepest(trace, found)
        if any(span.dialect == _SUMS_UP and span.finish_reason is _TOOL_CALLS for span in found):
            held = _within_the_next(found)
            found = [span for span in found if span.span_id not in held]
        trace.derived[_USAGE_SPANS] = found
    return found


def _within_the_next(spans: Iterable[Span]) -> frozenset[str]:
    """Return the ids of calls that asked for tools and whose usage the next call of the same loop holds.

    It does where both counts grew, that of the input by no less than the call's own: a loop's input never shrinks.
    """
    held = set()
    # by parent: the call before, and what came in before it
    last: dict[str, tuple[Span, int]] = {}
    for span in spans:
        if span.dialect != _SUMS_UP or span.usage is None:
            continue
        before, earlier = last.get(span.parent_span_id, (None, 0))
        into = 0
        if before is not None and before.usage is not None and before.finish_reason is _TOOL_CALLS:
            own, grown = before.usage.input_tokens - earlier, span.usage.input_tokens - before.usage.input_tokens
            if (
                before.model == span.model
                and 0 < own <= grown
                and span.usage.output_tokens > before.usage.output_tokens
            ):
                held.add(before.span_id)
                into = before.usage.input_tokens
        last[span.parent_span_id] = (span, into)
    return frozenset(held)


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
