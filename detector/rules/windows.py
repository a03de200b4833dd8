"""Keeps the windows of `detector.limits`, and says where a limit is exceeded and when that is over.

**Episodes.** The first excess of a key is a finding on the trace that tipped it, and begins an episode; while it lasts,
a trace of it is found again every `repeat_s`. It is over when a whole window has passed without an excess: a figure
that wavers about its limit is one episode. All of it is one issue, for good.

**Time** is log time. What is found depends on the records, their order and their log times alone.

**State**: key -> `_Stored`, and how far was counted: records that are read again after a crash are not counted twice.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from core.log.port import StateChange
from core.model.finding import LATEST_NS, Finding, FindingKind, Shift, Source, finding_id_of
from core.model.measurement import Measurement
from core.telemetry import Telemetry
from detector.checks.fingerprint import fingerprint_of, masked_name
from detector.rules.limits import QUANTILES, By, LimitConfig, Metric, Selection
from detector.rules.window import Slice, Window

# no msgpack value begins with it, so a key of ours is never one of whoever shares the store
PREFIX: Final = b"\xc1"
_POSITION: Final = PREFIX + b"position"

_MAX_TRACES: Final = 5
# keys that are remembered by what they are made of: operations with ids in their names are many
_MAX_FACTS: Final = 20_000

Said: TypeAlias = Finding | Shift


class Key(msgspec.Struct, frozen=True, array_like=True):
    """What has a window; parts that the limit does not tell apart are empty."""

    limit: str
    routing_key: str
    service: str = ""
    operation: str = ""
    model: str = ""


class _Episode(msgspec.Struct, array_like=True):
    began_ns: int
    last_ns: int
    last_excess_s: float
    """Log time."""
    told_s: float
    """Log time of the last finding."""
    worst: float
    trace_ids: tuple[str, ...] = ()


class _Stored(msgspec.Struct, array_like=True):
    used: int
    length_s: float
    slices: list[Slice]
    episode: _Episode | None = None


class _Kept:
    def __init__(self, window: Window, episode: _Episode | None = None) -> None:
        self.window = window
        self.episode = episode


class _Limit:
    """A limit with its windows, the longest unused first."""

    def __init__(self, config: LimitConfig, max_keys: int) -> None:
        self.config = config
        self.selection = Selection(config)
        self.max_keys = max_keys
        self.kept: OrderedDict[Key, _Kept] = OrderedDict()
        by = frozenset(config.by)
        # an operation is one of its service
        self._by = by | {By.SERVICE} if By.OPERATION in by else by
        self._keys: dict[tuple[str, str, str, str], Key] = {}

    def key_of(self, m: Measurement) -> Key:
        facts = (m.routing_key, m.service, m.operation, m.model)
        key = self._keys.get(facts)
        if key is None:
            if len(self._keys) >= _MAX_FACTS:
                self._keys.clear()
            by = self._by
            service = m.service if By.SERVICE in by else ""
            operation = m.operation if By.OPERATION in by else ""
            model = m.model if By.MODEL in by else ""
            key = self._keys[facts] = Key(self.config.name, m.routing_key, service, operation, model)
        return key


class Windows:
    """The limits of one partition. Not thread-safe."""

    def __init__(self, configs: Iterable[LimitConfig], telemetry: Telemetry, *, partitions: int) -> None:
        self._limits = {
            config.name: _Limit(config, max(1, config.max_keys // partitions)) for config in configs if config.enabled
        }
        self._telemetry = telemetry
        self._position = -1
        self._uses = 0
        self._lasting: dict[Key, None] = {}
        self._changed: dict[Key, None] = {}
        self._gone: dict[bytes, None] = {}

    @property
    def has_limits(self) -> bool:
        """Return whether there is anything to watch."""
        return bool(self._limits)

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state; that of limits which are no more, or have another window, is let go."""
        stored: list[tuple[Key, _Stored]] = []
        for key, value in entries:
            if key == _POSITION:
                self._position = msgspec.msgpack.decode(value, type=int)
                continue
            named = msgspec.msgpack.decode(key.removeprefix(PREFIX), type=Key)
            known, limit = msgspec.msgpack.decode(value, type=_Stored), self._limits.get(named.limit)
            if limit is None or limit.config.length_s != known.length_s:
                self._gone[key] = None
            else:
                stored.append((named, known))
        for named, known in sorted(stored, key=lambda each: each[1].used):
            limit = self._limits[named.limit]
            limit.kept[named] = _Kept(Window(limit.config.metric, known.length_s, known.slices), known.episode)
            self._uses = max(self._uses, known.used + 1)
            if known.episode is not None:
                self._lasting[named] = None

    def take(self, measurements: Sequence[Measurement], *, offset: int, now_s: float) -> list[Said]:
        """Count the measurements of a record at its log time, and say what they change.

        A record that was counted already changes nothing.
        """
        if offset <= self._position:
            return []
        self._position = offset
        said = self.settle(now_s)
        for limit in self._limits.values():
            metric, takes = limit.config.metric, limit.selection.takes
            counts_faults = limit.config.counts_faults
            # window, weight of the gravest measurement, that measurement
            touched: dict[Key, tuple[Window, float, Measurement]] = {}
            for m in measurements:
                if not takes(m):
                    continue
                failed = m.is_fault if counts_faults else m.failed
                key, weight = limit.key_of(m), _weight(metric, m, failed=failed)
                seen = touched.get(key)
                window = self._window(limit, key) if seen is None else seen[0]
                window.add(m, now_s, failed=failed)
                if seen is None or weight > seen[1]:
                    touched[key] = window, weight, m
            for key, (_, weight, worst) in touched.items():
                said += self._judged(key, worst, weight, now_s)
        return said

    def settle(self, now_s: float) -> list[Said]:
        """Say which episodes are over by now."""
        over = [key for key in self._lasting if now_s >= self._ends_s(key)]
        return [self._ended(key, now_s) for key in over]

    def next_wake_s(self) -> float | None:
        """Return when the next episode is over, if nothing happens until then."""
        return min(map(self._ends_s, self._lasting), default=None)

    def take_changes(self) -> tuple[StateChange, ...]:
        """Return what has changed since the last call."""
        changes = [StateChange(key=key, value=None) for key in self._gone]
        for number, key in enumerate(self._changed):
            kept = self._limits[key.limit].kept.get(key)
            value = None if kept is None else self._value(key, kept, self._uses + number)
            changes.append(StateChange(key=PREFIX + msgspec.msgpack.encode(key), value=value))
        if changes:
            changes.append(StateChange(key=_POSITION, value=msgspec.msgpack.encode(self._position)))
        self._uses += len(self._changed)
        self._changed.clear()
        self._gone.clear()
        return tuple(changes)

    def _value(self, key: Key, kept: _Kept, used: int) -> bytes:
        length_s = self._limits[key.limit].config.length_s
        return msgspec.msgpack.encode(_Stored(used, length_s, list(kept.window.slices), kept.episode))

    def _window(self, limit: _Limit, key: Key) -> Window:
        kept = limit.kept.get(key)
        if kept is None:
            kept = limit.kept[key] = _Kept(Window(limit.config.metric, limit.config.length_s))
            while len(limit.kept) > limit.max_keys:
                evicted, _ = limit.kept.popitem(last=False)
                self._lasting.pop(evicted, None)
                self._changed[evicted] = None
                self._telemetry.count("clearwatch.dropped", reason="limit_key_evicted")
        limit.kept.move_to_end(key)
        # in the order of their last use
        self._changed.pop(key, None)
        self._changed[key] = None
        return kept.window

    def _judged(self, key: Key, worst: Measurement, weight: float, now_s: float) -> list[Said]:
        """Return what an excess of a key that was just counted means; `worst` is the gravest of what was counted."""
        config = self._limits[key.limit].config
        kept = self._limits[key.limit].kept.get(key)
        if kept is None:
            return []
        kept.window.forget(now_s)
        if kept.window.calls < config.least_calls or (value := kept.window.value()) <= config.max:
            return []
        episode, is_shown = kept.episode, weight > _least_weight(config)
        if episode is None:
            # a trace that has no part in it shows nothing: the next one that has is as good
            if not is_shown:
                return []
            kept.episode = episode = _Episode(worst.started_ns, worst.ended_ns, now_s, now_s, value, (worst.trace_id,))
            self._lasting[key] = None
            return [_finding(config, key, worst, value), _shift(config, key, episode)]
        episode.last_excess_s = now_s
        episode.last_ns = max(episode.last_ns, worst.ended_ns)
        episode.worst = max(episode.worst, value)
        if not is_shown or now_s - episode.told_s < config.repeat_s:
            return []
        episode.told_s = now_s
        episode.trace_ids = (*episode.trace_ids, worst.trace_id)[-_MAX_TRACES:]
        return [_finding(config, key, worst, value)]

    def _ends_s(self, key: Key) -> float:
        limit = self._limits[key.limit]
        episode = limit.kept[key].episode
        return 0.0 if episode is None else episode.last_excess_s + limit.config.length_s

    def _ended(self, key: Key, now_s: float) -> Shift:
        limit = self._limits[key.limit]
        kept = limit.kept[key]
        episode, kept.episode = kept.episode, None
        del self._lasting[key]
        self._changed[key] = None
        assert episode is not None  # noqa: S101 - what lasts has one
        kept.window.forget(now_s)
        since = _figure(limit.config.metric, kept.window.value()) if kept.window.calls else ""
        return _shift(limit.config, key, episode, since=since, has_ended=True)


def _least_weight(config: LimitConfig) -> float:
    """Return the weight above which a measurement has a part in an excess."""
    if config.metric in QUANTILES:
        return config.max
    return -1.0 if config.metric is Metric.CALLS else 0.0


def _weight(metric: Metric, m: Measurement, *, failed: bool) -> float:
    """Return how much a measurement has to do with an excess: the gravest is shown."""
    if metric in QUANTILES:
        return -1.0 if m.failed else m.duration_ms
    match metric:
        case Metric.TOKENS:
            return m.input_tokens + m.output_tokens
        case Metric.COST_USD:
            return m.cost_usd or 0.0
        case Metric.CALLS:
            return 0.0
        case _:
            return float(failed)


def _finding(config: LimitConfig, key: Key, m: Measurement, value: float) -> Finding:
    target, fingerprint = _target(key), _fingerprint(config, key)
    figures = f"{_figure(config.metric, value)} in {_length(config.length_s)}"
    return Finding(
        finding_id=finding_id_of(unit=m.trace_id, check=config.name, culprit=m.span_id, fingerprint=fingerprint),
        check=config.name,
        kind=FindingKind.RATE,
        source=Source.RULE,
        category=config.category,
        severity=config.severity,
        fingerprint=fingerprint,
        routing_key=m.routing_key,
        title=config.title or f"{config.words} of {target or key.routing_key} exceeds its limit"[:120],
        rationale=f"{figures}; the limit is {_figure(config.metric, config.max)}. This trace was one of them.",
        trace_id=m.trace_id,
        session_id=m.session_id,
        span_ids=(m.span_id,) if m.span_id else (),
        service=key.service,
        target=target,
        release=m.release,
        environment=m.environment,
        observed_at_ns=m.ended_ns,
        trace_started_ns=m.started_ns,
    )


def _shift(config: LimitConfig, key: Key, episode: _Episode, *, since: str = "", has_ended: bool = False) -> Shift:
    limit = f"the limit is {_figure(config.metric, config.max)} in {_length(config.length_s)}"
    worst = f"{config.words.lower()} of {_target(key) or key.routing_key} {_figure(config.metric, episode.worst)}"
    text = f"{worst}; {limit}"
    if has_ended:
        text = f"{worst} at its worst, {f'now {since}' if since else 'and no calls since'}; {limit}"
    return Shift(
        fingerprint=_fingerprint(config, key),
        routing_key=key.routing_key,
        began_ns=episode.began_ns,
        ended_ns=min(max(episode.last_ns, episode.began_ns + 1), LATEST_NS) if has_ended else 0,
        text=text,
        trace_ids=episode.trace_ids,
    )


def _target(key: Key) -> str:
    return masked_name(key.operation) or key.model or key.service


def _fingerprint(config: LimitConfig, key: Key) -> str:
    return fingerprint_of(routing_key=key.routing_key, service=key.service, check=config.name, target=_target(key))


def _figure(metric: Metric, value: float) -> str:
    if metric is Metric.ERROR_RATE:
        return f"{value * 100:.3g} %"
    if metric in QUANTILES:
        return f"{value:.3g} ms" if value < 1_000 else f"{value / 1_000:.3g} s"
    if metric is Metric.COST_USD:
        return f"${value:,.2f}" if value >= 1 else f"${value:.2g}"
    return f"{value:,.0f} {metric}"


def _length(seconds: float) -> str:
    if seconds % 3_600 == 0:
        return f"{seconds / 3_600:g} h"
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"
