"""What a slow call is called: findings of the checks `slow_span` and `slow_trace`.

**One failure, one report.** A slow retrieval makes its agent, its chain and its trace slow. Spans that merely hold
others (agent, chain, prompt, evaluator) are therefore not timed. Of the slow spans of one trace in one record, one that
encloses another in time is left out. The measurements of a trace are spread over partitions by service and operation,
so a parent of unknown kind that stands in another partition than its child is reported too: a limit of this rule, as is
that `slow_trace` stands beside `slow_span`; it is the only one that tells of many calls each a little slow.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from core.model.finding import Dimension, Finding, FindingKind, Severity, Source, finding_id_of
from core.model.measurement import Measurement
from core.model.span import SpanKind
from detector.baselines.config import BaselinesConfig
from detector.checks.fingerprint import fingerprint_of, masked_name

SLOW_SPAN: Final = "slow_span"
SLOW_TRACE: Final = "slow_trace"

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


_WORDS: Final[Mapping[SpanKind, tuple[str, str]]] = {
    SpanKind.LLM: ("LLM call", "to"),
    SpanKind.RETRIEVER: ("Retrieval", "from"),
    SpanKind.EMBEDDING: ("Embedding call", "to"),
    SpanKind.RERANKER: ("Reranker call", "to"),
    SpanKind.GUARDRAIL: ("Guardrail step", "of"),
    SpanKind.HTTP: ("HTTP call", "of"),
    SpanKind.RPC: ("RPC call", "of"),
    SpanKind.DB: ("DB call", "to"),
}


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement above its limit, with the limit as it stood then."""

    measurement: Measurement
    usual_ms: float
    observations: int


def is_timed(measurement: Measurement) -> bool:
    """Return whether it says something of its own: a trace, or a span that does work rather than holds others."""
    return not measurement.failed and (measurement.is_trace or measurement.kind in TIMED_KINDS)


def is_slow(duration_ms: float, usual_ms: float, config: BaselinesConfig) -> bool:
    """Return whether a duration is slow: far above the usual one, as a ratio and in milliseconds."""
    return duration_ms > config.factor * usual_ms and duration_ms - usual_ms > config.min_excess_ms


def deepest(found: Iterable[Slow]) -> list[Slow]:
    """Return those that enclose no other slow span of their trace; whole traces always stay."""
    found = tuple(found)
    return [slow for slow in found if slow.measurement.is_trace or not any(_encloses(slow, other) for other in found)]


def finding_of(slow: Slow, config: BaselinesConfig) -> Finding:
    """Return the finding. Its fingerprint holds no figures: one operation that is slow is one issue."""
    m = slow.measurement
    check = SLOW_TRACE if m.is_trace else SLOW_SPAN
    target = masked_name(m.operation)
    fingerprint = fingerprint_of(routing_key=m.routing_key, service=m.service, check=check, target=target)
    is_grave = (
        m.duration_ms > config.medium_factor * slow.usual_ms and m.duration_ms - slow.usual_ms > config.medium_excess_ms
    )
    return Finding(
        finding_id=finding_id_of(unit=m.trace_id, check=check, culprit=m.span_id, fingerprint=fingerprint),
        check=check,
        kind=FindingKind.PATTERN if m.is_trace else FindingKind.FAULT,
        source=Source.RULE,
        category=Dimension.LATENCY,
        severity=Severity.MEDIUM if is_grave else Severity.LOW,
        fingerprint=fingerprint,
        routing_key=m.routing_key,
        title=f"{_label(m.kind, target)} is slow" if not m.is_trace else f"Traces of {target or 'unnamed'} are slow",
        rationale=(
            f"took {_duration(m.duration_ms)}; p{config.quantile * 100:g} of the last {slow.observations} "
            f"was {_duration(slow.usual_ms)}"
        ),
        trace_id=m.trace_id,
        session_id=m.session_id,
        span_ids=(m.span_id,) if m.span_id else (),
        service=m.service,
        target=target,
        release=m.release,
        environment=m.environment,
        observed_at_ns=m.ended_ns,
        trace_started_ns=m.started_ns,
        publish_at_once=False,
    )


def _encloses(outer: Slow, inner: Slow) -> bool:
    a, b = outer.measurement, inner.measurement
    if b.is_trace or a.trace_id != b.trace_id or a.span_id == b.span_id:
        return False
    return (a.started_ns, a.ended_ns) != (b.started_ns, b.ended_ns) and (
        a.started_ns <= b.started_ns and b.ended_ns <= a.ended_ns
    )


def _label(kind: SpanKind, target: str) -> str:
    """Return how a title names an operation: `llm:gpt-4o` is an LLM call to gpt-4o."""
    owner = target.removeprefix(f"{kind}:")
    words = _WORDS.get(kind)
    if words is None or owner == target != kind:
        return target or "Unnamed"
    noun, preposition = words
    return f"{noun} {preposition} {owner}" if owner != target else noun


def _duration(duration_ms: float) -> str:
    if duration_ms < 1_000:
        return f"{duration_ms:.3g} ms"
    return f"{duration_ms / 1_000:.3g} s" if duration_ms < 600_000 else f"{duration_ms / 60_000:.3g} min"
