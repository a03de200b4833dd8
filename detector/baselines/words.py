"""What a finding of the baselines says: fingerprints hold no figures, so one group that is slow is one issue."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Final

from core.model.finding import LATEST_NS, Finding, FindingKind, Severity, Shift, Source, finding_id_of
from core.model.measurement import Measurement, group_of
from core.model.span import SpanKind
from detector.baselines.config import BaselinesConfig
from detector.baselines.measures import COST, ERRORS, FIRST, OWN, REST, TOKENS, Measure, duration, figure
from detector.baselines.watch import Episode, Suspect, now_of
from detector.checks.fingerprint import fingerprint_of, masked_name

# of the traces of a group that fail: each has a finding of its own, so that they are a few more is of low severity
_GRAVE_SHARE: Final = 0.2
# a finding names the spans that a person would open
_MAX_SPAN_IDS: Final = 20

_WORDS: Final[Mapping[SpanKind, tuple[str, str]]] = {
    SpanKind.LLM: ("LLM call", "to"),
    SpanKind.RETRIEVER: ("Retrieval", "from"),
    SpanKind.EMBEDDING: ("Embedding call", "to"),
    SpanKind.RERANKER: ("Reranker call", "to"),
    SpanKind.GUARDRAIL: ("Guardrail step", "of"),
    SpanKind.HTTP: ("HTTP call", "of"),
    SpanKind.RPC: ("RPC call", "of"),
    SpanKind.DB: ("DB call", "to"),
    SpanKind.AGENT: ("Agent", ""),
    SpanKind.CHAIN: ("Chain", "of"),
}


def finding_of(
    measure: Measure,
    suspects: Sequence[Suspect],
    config: BaselinesConfig,
    *,
    episode: Episode | None = None,
    span_ids: Sequence[str] = (),
) -> Finding:
    """Return the finding of one trace; the gravest suspect, the culprit, stands first. `span_ids`: others like it."""
    suspect = suspects[0]
    m = suspect.measurement
    target = target_of(m)
    fingerprint = fingerprint_of(routing_key=m.routing_key, service=m.service, check=measure.check, target=target)
    usual = suspect.usual if episode is None else episode.before
    level = suspect.value if episode is None else now_of(episode)
    is_grave = measure.unit == "ms" and (
        level > config.medium_factor * usual and level - usual > config.medium_excess_ms
    )
    if measure is ERRORS:
        is_grave = episode is not None and episode.rate >= _GRAVE_SHARE
    kind = FindingKind.PATTERN if m.is_trace else FindingKind.FAULT
    return Finding(
        finding_id=finding_id_of(unit=m.trace_id, check=measure.check, culprit=m.span_id, fingerprint=fingerprint),
        check=measure.check,
        kind=FindingKind.RATE if measure is ERRORS else kind,
        source=Source.RULE,
        category=measure.category,
        severity=Severity.MEDIUM if is_grave else Severity.LOW,
        fingerprint=fingerprint,
        routing_key=m.routing_key,
        title=title_of(measure, m, target),
        rationale=_rationale(measure, suspect, config, episode),
        trace_id=m.trace_id,
        session_id=m.session_id,
        span_ids=tuple(dict.fromkeys((m.span_id, *span_ids)))[:_MAX_SPAN_IDS] if m.span_id else (),
        service=m.service,
        target=target,
        release=m.release,
        environment=m.environment,
        observed_at_ns=m.ended_ns,
        trace_started_ns=m.started_ns,
        publish_at_once=episode is not None,
    )


def target_of(m: Measurement) -> str:
    """Return what the fingerprint names: the group, or the trace's name."""
    return masked_name(m.operation if m.is_trace else group_of(m.kind.value, m.operation, m.service))


def shift_of(measure: Measure, m: Measurement, episode: Episode, *, ended: bool, is_usual_now: bool = False) -> Shift:
    """Return the record that an episode began, or ended; `m` is any measurement of its group."""
    fingerprint = fingerprint_of(routing_key=m.routing_key, service=m.service, check=measure.check, target=target_of(m))
    text = change_of(measure, episode)
    if ended:
        lasted_ms = max(0, episode.last_ns - episode.began_ns) / 1e6
        text += f"; {_plural(episode.members, 'trace')} in {duration(lasted_ms)}"
    return Shift(
        fingerprint=fingerprint,
        routing_key=m.routing_key,
        began_ns=episode.began_ns,
        ended_ns=min(max(episode.last_ns, episode.began_ns + 1), LATEST_NS) if ended else 0,
        is_usual_now=is_usual_now,
        text=text,
        trace_ids=episode.trace_ids,
    )


def change_of(measure: Measure, episode: Episode) -> str:
    """Return before and after: `SELECT orders took 205 ms instead of 0.9 ms`."""
    before, now = figure(measure, episode.before), figure(measure, now_of(episode))
    if measure is ERRORS:
        now = figure(measure, episode.rate)
        return f"{masked_name(episode.operation) or 'it'} failed in {now} of the traces instead of {before}"
    return f"{masked_name(episode.operation) or 'it'} {measure.verb} {now} (median) instead of {before}"


def title_of(measure: Measure, m: Measurement, target: str) -> str:
    """Return the title of the issue: stable, without figures and ids."""
    label = f"Traces of {target or 'unnamed'}" if m.is_trace else _label(m.kind, target, m.service)
    be, use, costs = ("are", "use", "cost") if m.is_trace else ("is", "uses", "costs")
    if measure is OWN or measure is REST:
        return f"{label} {be} slow"
    if measure is FIRST:
        return f"First token of {label} is slow"
    if measure is COST:
        return f"{label} {costs} more than usual"
    if measure is ERRORS:
        return f"{label} fails more often than usual"
    return f"{label} {use} more tokens than usual"


def _rationale(measure: Measure, suspect: Suspect, config: BaselinesConfig, episode: Episode | None) -> str:
    m = suspect.measurement
    if measure is ERRORS and episode is not None:
        return f"since {_when(episode.began_ns)} {change_of(measure, episode)}"
    what = f"{masked_name(m.operation)} " if not m.is_trace and not target_of(m) else ""
    said = f"{what}{measure.verb} {figure(measure, suspect.value)}"
    if measure is REST:
        said = f"took {duration(m.duration_ms)}, {duration(suspect.value)} of it beside its longest part"
    elif measure is OWN and m.duration_ms > 1.1 * suspect.value:
        said += f" by itself ({duration(m.duration_ms)} with what it waited for)"
    elif measure is TOKENS:
        said += " beside its largest call"
    if episode is None:
        usual = figure(measure, suspect.usual)
        return f"{said}; p{config.quantile * 100:g} of the last {suspect.observations} was {usual}"
    return f"{said}; since {_when(episode.began_ns)} {change_of(measure, episode)}"


def _label(kind: SpanKind, target: str, service: str) -> str:
    """Return how a title names a group: `llm:gpt-4o` is an LLM call to gpt-4o."""
    if not target:
        return service or "Unnamed"
    owner = target.removeprefix(f"{kind}:")
    words = _WORDS.get(kind)
    if words is None or owner == target != kind:
        return target
    noun, preposition = words
    return " ".join(filter(None, (noun, preposition, owner))) if owner != target else noun


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _when(time_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, tz=datetime.UTC):%H:%M:%S} UTC"
