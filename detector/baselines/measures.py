"""What is learned of a measurement: its measures, each with the check that speaks of it and how its figures read."""

import math
from collections.abc import Iterator
from typing import Final

from core.model.finding import Dimension
from core.model.measurement import Measurement
from core.model.span import SpanKind
from detector.baselines.config import BaselinesConfig

TIMED_KINDS: Final = frozenset(
    {
        SpanKind.LLM,
        SpanKind.TOOL,
        SpanKind.RETRIEVER,
        SpanKind.EMBEDDING,
        SpanKind.RERANKER,
        SpanKind.GUARDRAIL,
        SpanKind.HTTP,
        SpanKind.RPC,
        SpanKind.DB,
        SpanKind.UNKNOWN,
    }
)
# members of an enum cost 100 ns to look up in Python 3.11
_LLM: Final = SpanKind.LLM


class Measure:
    """One thing that is measured, known by identity. `verb` joins what was measured to a value."""

    def __init__(self, *, name: str, check: str, category: Dimension, unit: str, verb: str) -> None:
        self.name = name
        self.check = check
        self.category = category
        self.unit = unit
        self.verb = verb


OWN: Final = Measure(name="own", check="slow_span", category=Dimension.LATENCY, unit="ms", verb="took")
REST: Final = Measure(name="rest", check="slow_trace", category=Dimension.LATENCY, unit="ms", verb="took")
FIRST: Final = Measure(
    name="first", check="late_first_token", category=Dimension.LATENCY, unit="ms", verb="gave its first token after"
)
INPUT: Final = Measure(name="input", check="token_spike", category=Dimension.COST, unit="tokens", verb="read")
OUTPUT: Final = Measure(name="output", check="token_spike", category=Dimension.COST, unit="tokens", verb="wrote")
TOKENS: Final = Measure(name="tokens", check="token_spike", category=Dimension.COST, unit="tokens", verb="used")
COST: Final = Measure(name="cost", check="cost_spike", category=Dimension.COST, unit="usd", verb="cost")
ERRORS: Final = Measure(name="errors", check="error_rate", category=Dimension.EXECUTION, unit="share", verb="failed in")

_ALL: Final = (OWN, REST, FIRST, INPUT, OUTPUT, TOKENS, COST, ERRORS)
DIMENSIONS: Final = frozenset(measure.category for measure in _ALL)
"""What measures speak of."""
CHECKS: Final = frozenset(measure.check for measure in _ALL)
"""The names of their findings: these depend on what was learned before, and so on the order of traces."""

# costs are learned in millionths of a dollar, the price of a token: logarithms need room below 1
_MICRO: Final = 1e6


def measures_of(m: Measurement) -> Iterator[tuple[Measure, float]]:
    """Yield what can be learned of it, that which explains the next first: a call that is slow has its reason."""
    if m.is_trace:
        if not m.failed:
            yield REST, m.duration_ms if m.own_ms is None else m.own_ms
        if m.input_tokens or m.output_tokens:
            yield TOKENS, max(0, m.input_tokens + m.output_tokens - m.largest_tokens)
        return
    if m.failed or m.kind not in TIMED_KINDS:
        return
    yield OWN, m.duration_ms if m.own_ms is None else m.own_ms
    if m.kind is _LLM:
        if m.time_to_first_token_s is not None:
            yield FIRST, m.time_to_first_token_s * 1000
        if m.input_tokens:
            yield INPUT, m.input_tokens
        if m.output_tokens:
            yield OUTPUT, m.output_tokens
        if m.cost_usd is not None:
            yield COST, m.cost_usd * _MICRO


def excesses_of(measure: Measure, config: BaselinesConfig) -> tuple[float, float]:
    """Return by how much a single value, and one of a run, must exceed its limit.

    A single late first token is told by the check `slow_first_token`, against a fixed limit.
    """
    if measure is FIRST:
        return math.inf, config.shift_excess_ms
    match measure.unit:
        case "ms":
            return config.min_excess_ms, config.shift_excess_ms
        case "tokens":
            return config.min_excess_tokens, config.shift_excess_tokens
        case _:
            return config.min_excess_usd * _MICRO, config.shift_excess_usd * _MICRO


def figure(measure: Measure, value: float) -> str:
    """Return a value as people read it: three digits and a unit."""
    match measure.unit:
        case "ms":
            return duration(value)
        case "tokens":
            return f"{value:,.0f} tokens"
        case "usd":
            return f"${value / _MICRO:.3g}"
        case _:
            return f"{100 * value:.3g} %"


def duration(duration_ms: float) -> str:
    """Return a duration with three digits, in ms, s or min."""
    if duration_ms < 1_000:
        return f"{duration_ms:.3g} ms"
    return f"{duration_ms / 1_000:.3g} s" if duration_ms < 600_000 else f"{duration_ms / 60_000:.3g} min"
