"""Single values, runs and shifts: what the measurements of one trace mean for what is known.

**One failure, one report.**
- Own times: a span that waits for a slow one is not slow, so the finding blames the deepest, without looking at the
  tree. What merely holds others (agent, chain, prompt, evaluator) is not timed.
- A group is what one would fix: an operation of a model, tool, retriever or database, or the service where it is code
  (spans of unknown kind, HTTP, RPC). All that is slow in a group is one issue, one finding for each trace.
- `slow_trace` looks at what is left of a trace without the group that has most of it: it tells of many groups each a
  little slow, never of one that `slow_span` tells of. `token_spike` of a trace likewise leaves out its largest call.
- A first token is judged only where the call itself was not slow, a cost only where the tokens were usual.

**Single values** far above a quantile are findings of low severity. **A run** of traces in which most calls of an
operation are high, or a shift of its level (ADWIN), begins an *episode* of the issue, told once with figures before
and after, and once when it ends, or when nobody continues it; each trace in it is a finding of that issue. Of traces
that continue a run nothing is learned before it is known to be none, nor in its episode, and operations that are new
wait: the limit stays what it was, until the episode has lasted for so long that it is the new usual.

Not findings: a slow call among quick ones of the same operation in a trace, unless it is far above the quantile (a
retransmission); whatever is high while its key is learned; improvement.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from core.model.finding import Dimension, Finding, Shift
from core.model.measurement import Measurement, group_of
from detector.baselines.baseline import Baseline, Drift
from detector.baselines.config import BaselinesConfig
from detector.baselines.measures import (
    COST,
    ERRORS,
    FIRST,
    INPUT,
    OUTPUT,
    OWN,
    Measure,
    excesses_of,
    measures_of,
)
from detector.baselines.memory import Key, Memory
from detector.baselines.watch import Episode, Suspect, Watch, joined, learned, observed
from detector.baselines.words import finding_of, shift_of

# an operation counts as slow in a trace where this share of its calls is: single retransmissions do not make a run
_MOST_CALLS: Final = 2 / 3
# what is high and, with it, what that explains
_EXPLAINS: Final = {OWN: FIRST, INPUT: COST, OUTPUT: COST}
_WATCHES: Final = {measure: f"watch:{measure.name}" for measure in (OWN, FIRST, INPUT, OUTPUT, COST, ERRORS)}
# an episode of latency is tested against nearly every trace being slow, one of errors against a twentieth failing
_RISEN: Final = 0.75
_RISEN_ERRORS: Final = 0.05
# what makes a run: one trace could be anything
_LEAST_SUSPECTS: Final = 2


def key_of(m: Measurement, measure: Measure) -> Key:
    """Return the key under which a measure of a measurement is learned."""
    kind = "trace" if m.is_trace else m.kind.value
    return Key(m.routing_key, m.service, m.operation, kind, m.model, measure.name)


class _Value(msgspec.Struct):
    """One value in hand."""

    measurement: Measurement
    value: float
    key: Key
    baseline: Baseline
    is_high: bool
    is_single: bool


class Judge:
    """Judges measurements by what `memory` knows, and learns them."""

    def __init__(self, config: BaselinesConfig, memory: Memory, dimensions: Collection[Dimension]) -> None:
        self._config = config
        self._memory = memory
        self._dimensions = frozenset(dimensions)
        self._has_errors = ERRORS.category in self._dimensions

    def judge(self, measurements: Iterable[Measurement]) -> list[Finding | Shift]:
        """Take measurements in order, those of a trace together; return what they say, findings before shifts."""
        said: list[Finding | Shift] = []
        rows: list[Measurement] = []
        for m in measurements:
            if rows and m.trace_id != rows[-1].trace_id:
                said += self._judge_trace(rows)
                rows = []
            rows.append(m)
        return said + self._judge_trace(rows)

    def _judge_trace(self, rows: list[Measurement]) -> list[Finding | Shift]:
        units: dict[tuple[str, str, str, bool, Measure], list[_Value]] = {}
        outcomes: dict[tuple[str, str, str], Measurement] = {}
        wanted, has_errors = self._dimensions, self._has_errors
        for m in rows:
            kind, is_trace = m.kind.value, m.is_trace
            group = m.operation if is_trace else group_of(kind, m.operation, m.service)
            told: set[Measure] = set()
            for measure, value in measures_of(m):
                if measure.category not in wanted or measure in told:
                    continue
                taken = self._taken(m, kind, measure, value)
                if taken is None:
                    continue
                if (taken.is_high or taken.is_single) and measure in _EXPLAINS:
                    told.add(_EXPLAINS[measure])
                units.setdefault((m.routing_key, m.service, group, is_trace, measure), []).append(taken)
            if has_errors and not is_trace:
                where = (m.routing_key, m.service, group)
                before = outcomes.get(where)
                if before is None or (m.is_fault and not before.is_fault):
                    outcomes[where] = m
        said: list[Finding | Shift] = []
        for (routing_key, service, group, is_trace, measure), values in units.items():
            if is_trace:
                said += self._judge_whole(measure, values)
            else:
                watch_key = Key(routing_key, service, group, "", "", _WATCHES[measure])
                said += self._judge_unit(watch_key, measure, values)
        for (routing_key, service, group), m in outcomes.items():
            said += self._judge_outcome(Key(routing_key, service, group, "", "", _WATCHES[ERRORS]), m)
        return said

    def _taken(self, m: Measurement, kind: str, measure: Measure, value: float) -> _Value | None:
        """Return the value with what its limits say; None where its key is still learned, which it then helps."""
        key = Key(m.routing_key, m.service, m.operation, "trace" if m.is_trace else kind, m.model, measure.name)
        baseline = self._memory.baseline(key)
        config = self._config
        if len(baseline) < config.min_observations:
            if self._is_odd(m, kind, measure):
                baseline.hold(value)
            else:
                baseline.settle(config.factor)
                baseline.learn(value)
            return None
        min_excess, shift_excess = excesses_of(measure, config)
        limit = baseline.limit
        is_high = value > config.shift_factor * limit and value - limit > shift_excess
        is_single = False
        if is_high or value - limit > min_excess:
            usual = baseline.usual
            is_single = value > config.factor * usual and value - usual > min_excess
        return _Value(m, value, key, baseline, is_high, is_single)

    def _is_odd(self, m: Measurement, kind: str, measure: Measure) -> bool:
        """Return whether the group is in a run or an episode: what a new operation does in it is not what is usual."""
        if m.is_trace:
            return False
        group = group_of(kind, m.operation, m.service)
        watch = self._memory.watch(Key(m.routing_key, m.service, group, "", "", _WATCHES[measure]))
        return watch.evidence > 0.0 or (watch.episode is not None and not watch.episode.by_level)

    def _judge_whole(self, measure: Measure, values: list[_Value]) -> list[Finding | Shift]:
        """Judge a measure of a whole trace, and learn it: only by itself, since runs are told of groups."""
        single = [v for v in values if v.is_single]
        suspects = [self._suspect(v, is_told=True) for v in single]
        for v in values:
            self._learn(v)
        return [finding_of(measure, suspects, self._config)] if suspects else []

    def _judge_unit(self, watch_key: Key, measure: Measure, values: list[_Value]) -> Iterable[Finding | Shift]:
        """Judge the values of one group in one trace, and learn them."""
        watch = self._memory.watch(watch_key)
        m = values[0].measurement
        said: list[Finding | Shift] = []
        if watch.episode is not None and self._is_left(watch.episode, m):
            watch, said = self._closed(watch, watch.episode, measure, m)
        if watch.episode is not None or watch.evidence or any(v.is_high or v.is_single for v in values):
            return [*said, *self._judge_odd(watch_key, watch, measure, values)]
        # nearly all of them: nothing is high, nothing was
        self._settle(values)
        drifts = [(v, drift) for v in values if (drift := self._learn(v)) is not None]
        watch = self._observed(watch, None, m, _RISEN)
        if drifts and not said:
            watch, said = self._begun(watch, measure, m, drifts)
        self._memory.put(watch_key, watch)
        return said

    def _judge_odd(
        self, watch_key: Key, watch: Watch, measure: Measure, values: list[_Value]
    ) -> Iterator[Finding | Shift]:
        config = self._config
        high = _mostly_high(values)
        single = [v for v in values if v.is_single]
        culprits = sorted(high or single, key=lambda v: v.value, reverse=True)
        suspects = [self._suspect(v, is_told=bool(single), has_median=watch.episode is None) for v in culprits[:1]]
        is_run = watch.episode is None or not watch.episode.by_level
        drifts: list[tuple[_Value, Drift]] = []
        for v in values:
            # a run must not become its own usual before it has convinced: of a trace that continues it nothing is
            # learned, since what is not high in it is higher than it would be
            if is_run and (high or (v.is_high and watch.episode is not None)):
                v.baseline.hold(v.value)
            elif (drift := self._learn(v)) is not None:
                drifts.append((v, drift))
        watch = self._observed(watch, suspects[0] if high else None, values[0].measurement, _RISEN)
        if not watch.run if watch.episode is None else watch.episode.by_level:
            self._settle(values)
        span_ids = [v.measurement.span_id for v in culprits]
        if watch.episode is None:
            watch, said = self._begun(watch, measure, values[0].measurement, drifts)
            if not said and single:
                said = [finding_of(measure, suspects, config, span_ids=span_ids)]
            yield from said
        elif suspects:
            episode = joined(watch.episode, suspects[0])
            watch = msgspec.structs.replace(watch, episode=episode)
            yield finding_of(measure, suspects, config, episode=episode, span_ids=span_ids)
        if watch.episode is not None:
            watch, ended = self._ended(watch, measure, values[0].measurement, drifts)
            yield from ended
        self._memory.put(watch_key, watch)

    def _settle(self, values: Iterable[_Value]) -> None:
        """Learn, capped, what was held of a run that was none: of other operations it is when they are seen again."""
        factor = self._config.factor
        for v in values:
            v.baseline.settle(factor)

    def _learn(self, v: _Value) -> Drift | None:
        return v.baseline.learn(min(v.value, self._config.factor * v.baseline.usual) if v.is_high else v.value)

    def _suspect(self, v: _Value, *, is_told: bool, has_median: bool = True) -> Suspect:
        b = v.baseline
        # a median is sorted for: what joins an episode needs none
        return Suspect(v.measurement, v.value, b.median if has_median else 0.0, b.usual, len(b), is_told)

    def _observed(self, watch: Watch, suspect: Suspect | None, m: Measurement, risen_to: float) -> Watch:
        config = self._config
        gap_ns = int(config.run_gap_s * 1e9)
        return observed(watch, suspect, at_ns=m.started_ns, needed=config.evidence, risen_to=risen_to, gap_ns=gap_ns)

    # -- episodes

    def _begun(
        self, watch: Watch, measure: Measure, m: Measurement, drifts: list[tuple[_Value, Drift]]
    ) -> tuple[Watch, list[Finding | Shift]]:
        """Begin the episode that a run or a shift of the level shows, if any: its traces so far, and that it began."""
        episode: Episode | None = None
        suspects = watch.suspects
        if watch.evidence >= self._config.evidence and len(suspects) >= _LEAST_SUSPECTS:
            operations = [s.measurement.operation for s in suspects]
            operation = max(dict.fromkeys(operations), key=operations.count)
            shown = next(s for s in suspects if s.measurement.operation == operation)
            episode = Episode(operation=operation, began_ns=suspects[0].measurement.started_ns, before=shown.median)
        else:
            for v, drift in drifts:
                if self._is_rise(measure, drift):
                    suspects = suspects or (self._suspect(v, is_told=False),)
                    episode = Episode(
                        operation=v.measurement.operation,
                        began_ns=suspects[0].measurement.started_ns,
                        before=drift.before,
                        after=drift.after,
                        by_level=True,
                    )
                    break
        if episode is None:
            return watch, []
        for suspect in suspects:
            episode = joined(episode, suspect)
        said: list[Finding | Shift] = [
            finding_of(measure, [suspect], self._config, episode=episode)
            for suspect in suspects
            # the last is the one in hand: it is told with what it has begun
            if not suspect.is_told or suspect is suspects[-1]
        ]
        said.append(shift_of(measure, m, episode, ended=False))
        return msgspec.structs.replace(watch, episode=episode, suspects=()), said

    def _ended(
        self, watch: Watch, measure: Measure, m: Measurement, drifts: list[tuple[_Value, Drift]]
    ) -> tuple[Watch, list[Finding | Shift]]:
        """End the episode where it is over, or has become what is usual."""
        episode = watch.episode
        if episode is None:
            return watch, []
        if episode.by_level:
            middle = (episode.before * episode.after) ** 0.5
            is_over = any(v.measurement.operation == episode.operation and drift.after < middle for v, drift in drifts)
        else:
            is_over = watch.evidence == 0.0
        is_usual_now = not is_over and self._is_absorbed(episode, m)
        if not is_over and not is_usual_now:
            return watch, []
        return self._closed(watch, episode, measure, m, is_usual_now=is_usual_now)

    def _closed(
        self, watch: Watch, episode: Episode, measure: Measure, m: Measurement, *, is_usual_now: bool = False
    ) -> tuple[Watch, list[Finding | Shift]]:
        if not episode.by_level:
            self._memory.release(self._keys_of_group(m, measure), learn=is_usual_now)
        ended = msgspec.structs.replace(watch, episode=None, suspects=(), evidence=0.0)
        return ended, [shift_of(measure, m, episode, ended=True, is_usual_now=is_usual_now)]

    def _is_left(self, episode: Episode, m: Measurement) -> bool:
        """Return whether nobody has continued an episode for as long as makes a run none."""
        return not episode.by_level and m.started_ns - episode.last_ns > self._config.run_gap_s * 1e9

    def _is_absorbed(self, episode: Episode, m: Measurement) -> bool:
        config = self._config
        if m.ended_ns - episode.began_ns < config.absorb_after_s * 1e9:
            return False
        return episode.seen >= config.window if episode.by_level else episode.members >= config.absorb_after

    def _is_rise(self, measure: Measure, drift: Drift) -> bool:
        _, shift_excess = excesses_of(measure, self._config)
        return drift.after > self._config.drift_ratio * drift.before and drift.after - drift.before > shift_excess

    def _keys_of_group(self, m: Measurement, measure: Measure) -> list[Key]:
        group = group_of(m.kind.value, m.operation, m.service)
        keys = self._memory.keys_of(m.routing_key, m.service, measure.name)
        return [key for key in keys if group_of(key.kind, key.operation, key.service) == group and key.kind != "trace"]

    # -- errors

    def _judge_outcome(self, watch_key: Key, m: Measurement) -> Iterator[Finding | Shift]:
        """Judge whether a group failed in one trace: the findings of an episode are those that it began with."""
        watch = self._memory.watch(watch_key)
        config = self._config
        suspect = Suspect(m, 1.0, watch.rate, watch.rate, watch.seen) if m.is_fault else None
        if watch.seen < config.min_observations:
            self._memory.put(watch_key, learned(watch, (m.is_fault,)))
            return
        if watch.episode is not None and self._is_left(watch.episode, m):
            yield shift_of(ERRORS, m, watch.episode, ended=True)
            watch = msgspec.structs.replace(watch, episode=None, suspects=(), evidence=0.0)
        watch = self._observed(watch, suspect, m, _RISEN_ERRORS)
        episode = watch.episode
        if episode is None and watch.evidence >= config.evidence and len(watch.suspects) >= _LEAST_SUSPECTS:
            first = watch.suspects[0]
            began = Episode(
                operation=m.operation,
                began_ns=first.measurement.started_ns,
                before=first.median,
                rate=sum(watch.run) / len(watch.run),
            )
            for found in watch.suspects:
                began = joined(began, found)
            yield from (finding_of(ERRORS, [found], config, episode=began) for found in watch.suspects)
            yield shift_of(ERRORS, m, began, ended=False)
            watch = msgspec.structs.replace(watch, episode=began, suspects=())
        elif episode is not None:
            if suspect is not None:
                episode = joined(episode, suspect)
            is_usual_now = watch.evidence > 0.0 and self._is_absorbed(episode, m)
            if watch.evidence == 0.0 or is_usual_now:
                yield shift_of(ERRORS, m, episode, ended=True, is_usual_now=is_usual_now)
                rate = episode.rate if is_usual_now else watch.rate
                watch = msgspec.structs.replace(watch, episode=None, suspects=(), evidence=0.0, rate=rate)
            else:
                watch = msgspec.structs.replace(watch, episode=episode)
        self._memory.put(watch_key, watch)


def _mostly_high(values: list[_Value]) -> list[_Value]:
    """Return the high values of those operations most of whose calls in this trace are high."""
    if not any(v.is_high for v in values):
        return []
    calls: dict[Key, int] = {}
    highs: dict[Key, int] = {}
    for v in values:
        calls[v.key] = calls.get(v.key, 0) + 1
        highs[v.key] = highs.get(v.key, 0) + v.is_high
    return [v for v in values if v.is_high and highs[v.key] >= _MOST_CALLS * calls[v.key]]
