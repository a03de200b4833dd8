"""Sums over a trace that count nothing twice."""

from core.model.trace import Trace


def tokens_and_cost(trace: Trace) -> tuple[int, int, float | None]:
    """Return input tokens, output tokens and cost in USD, each counted at the deepest span that carries it.

    Frameworks repeat the usage of a model call on the agent and chain spans above it; a span with usage below it is
    therefore left out, and likewise one with cost. Cost is None where no span carries any.
    """
    with_usage = [span for span in trace.spans if span.usage is not None]
    repeated = _ancestors(trace, [span.span_id for span in with_usage])
    usages = [span.usage for span in with_usage if span.usage is not None and span.span_id not in repeated]
    with_cost = [span for span in trace.spans if span.cost_usd is not None]
    repeated = _ancestors(trace, [span.span_id for span in with_cost])
    costs = [span.cost_usd for span in with_cost if span.cost_usd is not None and span.span_id not in repeated]
    return (
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        sum(costs) if costs else None,
    )


def models(trace: Trace) -> tuple[str, ...]:
    """Return the models that it used, sorted."""
    return tuple(sorted({span.model for span in trace.spans if span.model}))


def _ancestors(trace: Trace, span_ids: list[str]) -> set[str]:
    """Return every ancestor of these spans; each is visited once, so cycles end."""
    found: set[str] = set()
    for span_id in span_ids:
        parent_id = trace.by_id[span_id].parent_span_id
        while parent_id in trace.by_id and parent_id not in found:
            found.add(parent_id)
            parent_id = trace.by_id[parent_id].parent_span_id
    return found
