"""Sums over a trace that count nothing twice."""

import msgspec

from core.model.span import Span
from core.model.trace import Trace
from core.model.usage import deepest, usage_spans


class Summary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a trace amounts to. Cost is None where no span carries any; lists are sorted."""

    started_ns: int
    ended_ns: int
    error_count: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    models: tuple[str, ...]
    dialects: tuple[str, ...]


def summary(trace: Trace) -> Summary:
    """Sum up a trace in one pass.

    Frameworks repeat the usage of a model call on the agent and chain spans above it; a span with usage below it is
    therefore left out, and likewise one with cost.
    """
    spans = trace.spans
    models: set[str] = set()
    dialects: set[str] = set()
    with_cost: list[Span] = []
    for span in spans:
        models.add(span.model)
        dialects.add(span.dialect)
        if span.cost_usd is not None:
            with_cost.append(span)
    models.discard("")
    counted = usage_spans(trace)
    usages = [span.usage for span in counted if span.usage is not None]
    # as a rule cost stands where usage is counted: the same objects, so comparing them costs next to nothing
    carrying = with_cost if with_cost == counted else deepest(trace, with_cost)
    costs = [span.cost_usd for span in carrying if span.cost_usd is not None]
    return Summary(
        started_ns=trace.started_ns,
        ended_ns=trace.ended_ns,
        error_count=len(trace.failed_spans),
        input_tokens=sum([usage.input_tokens for usage in usages]),
        output_tokens=sum([usage.output_tokens for usage in usages]),
        cost_usd=sum(costs) if costs else None,
        models=tuple(sorted(models)),
        dialects=tuple(sorted(dialects)),
    )
