"""Fills in what calls cost, where their client has not said so."""

from collections.abc import Iterable, Mapping

from msgspec.structs import force_setattr

from core.dialects.answering import answering_model
from core.model.trace import Trace
from core.model.usage import usage_spans
from core.otlp.wire import SpanSlice
from core.prices import PriceTable


def fill_in_costs(trace: Trace, prices: PriceTable, slices: Iterable[SpanSlice] = ()) -> Mapping[str, int]:
    """Set `cost_usd` of the spans that usage is counted at; return models without a price and how often they occur.

    To be called before anybody has read the trace. What a client said wins: a span that says its cost keeps it, and
    below such a span nothing is priced, for that cost includes it. Where the model that was asked for has no price (the
    name of a deployment, say), that of the model which answered is taken out of the span's `slices`.
    """
    unknown: dict[str, int] = {}
    counted = usage_spans(trace)
    if not counted:
        return unknown
    pieces: dict[str, SpanSlice] = {}
    said = {span.span_id for span in trace.spans if span.cost_usd is not None}
    for span in counted:
        model, usage = span.model, span.usage
        if not model or usage is None or (said and span.cost_usd is not None):
            continue
        if said and _is_below(trace, span.parent_span_id, said):
            continue
        price = prices.price(model, span.provider)
        if price is None:
            pieces = pieces or {piece.span_id.hex(): piece for piece in slices}
            if (piece := pieces.get(span.span_id)) is not None:
                price = prices.price(answering_model(piece), span.provider)
        if price is None:
            unknown[model] = unknown.get(model, 0) + 1
        else:
            # the struct is frozen for its readers, and this comes before the first of them; a copy costs ten times that
            force_setattr(span, "cost_usd", price.cost_usd(usage))
    return unknown


def _is_below(trace: Trace, parent_id: str, said: set[str]) -> bool:
    """Return whether this span, or one above it, says what it cost."""
    seen: set[str] = set()
    while parent_id and parent_id not in seen:
        if parent_id in said:
            return True
        seen.add(parent_id)
        parent = trace.by_id.get(parent_id)
        parent_id = parent.parent_span_id if parent is not None else ""
    return False
