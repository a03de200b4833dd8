"""The baselines stage: `measurements` in, findings about slow calls out.

A key (routing key, service, operation, kind, model, or a whole trace) lives in one partition, so it is learned in one
place. Only live measurements are learned and judged: replay and backfill tell of another time.

**Restore.** Changed keys are written behind, every few seconds, and the committed offset moves only together with such
a snapshot: what was read since is read and learned again from exactly the state that it was learned on. Findings are
produced at once, so a crash may repeat some, under the same ids. Nothing is learned twice: a span is measured once, and
a step that is repeated starts from the state before it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record, StateChange, StoredRecord, Work
from core.model.finding import Finding
from core.model.measurement import Measurement, MeasurementBatch
from core.stage import Processor, Recall
from core.telemetry import Telemetry
from detector.baselines.baseline import Baseline
from detector.baselines.config import BaselinesConfig
from detector.baselines.slow import Slow, deepest, finding_of, is_slow, is_timed

STORE: Final = "state.baselines"


class BaselineKey(msgspec.Struct, frozen=True, array_like=True):
    """What has one usual duration."""

    routing_key: str
    service: str
    operation: str
    kind: str
    model: str


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """The value of a state entry: `used` orders the keys by last use."""

    used: int
    learned: bytes


def key_of(measurement: Measurement) -> BaselineKey:
    """Return the key under which it is learned."""
    return BaselineKey(
        measurement.routing_key,
        measurement.service,
        measurement.operation,
        "trace" if measurement.is_trace else str(measurement.kind),
        measurement.model,
    )


class BaselinesProcessor:
    """Learns the durations of one partition."""

    def __init__(
        self, *, config: BaselinesConfig, finding_partitions: int, max_keys: int, telemetry: Telemetry
    ) -> None:
        self._config = config
        self._finding_partitions = finding_partitions
        self._max_keys = max_keys
        self._telemetry = telemetry
        self._decoder = msgspec.msgpack.Decoder(MeasurementBatch)
        self._baselines: OrderedDict[BaselineKey, Baseline] = OrderedDict()
        self._used: dict[BaselineKey, int] = {}
        self._uses = 0
        self._changed: dict[BaselineKey, None] = {}
        self._unsaved = 0
        self._next_offset: int | None = None
        self._saved_at_s: float | None = None

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take the last snapshot; what came after it is read again from the committed offset."""
        stored = [
            (msgspec.msgpack.decode(key, type=BaselineKey), msgspec.msgpack.decode(value, type=_Stored))
            for key, value in entries
        ]
        for key, value in sorted(stored, key=lambda entry: entry[1].used):
            self._baselines[key] = self._baseline(value.learned)
            self._used[key] = value.used
            self._uses = value.used + 1
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take nothing: this stage never asks."""

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Learn, and say what is slow; raises msgspec.DecodeError or ValidationError for a record that is none."""
        findings: list[Finding] = []
        for record in records:
            batch = self._decoder.decode(record.value)
            self._unsaved += len(batch.measurements) or 1
            if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) == topics.ORIGIN_LIVE:
                slow = [found for m in batch.measurements if (found := self._learn(m)) is not None]
                findings.extend(finding_of(found, self._config) for found in deepest(slow))
            else:
                self._telemetry.count("clearwatch.dropped", len(batch.measurements), reason="measurement_not_live")
        self._next_offset = records[-1].offset + 1
        now_s = records[-1].log_time_ms / 1000
        if self._saved_at_s is None:
            self._saved_at_s = now_s
        is_due = now_s - self._saved_at_s >= self._config.snapshot_every_s
        saved = self._snapshot(now_s) if is_due or self._unsaved >= self._config.snapshot_every else Work()
        return msgspec.structs.replace(saved, produce=tuple(self._record(finding) for finding in findings))

    def tick(self, now_s: float) -> Work:
        """Write the snapshot that is due."""
        return self._snapshot(now_s) if self._next_offset is not None else Work()

    def next_wake_s(self) -> float | None:
        """Return when the next snapshot is due, or None where everything is written."""
        if self._next_offset is None or self._saved_at_s is None:
            return None
        return self._saved_at_s + self._config.snapshot_every_s

    def usual_ms(self, key: BaselineKey) -> tuple[float, int]:
        """Return what is usual for a key, and of how many observations; (0, 0) for an unknown one."""
        baseline = self._baselines.get(key)
        return (baseline.usual_ms, len(baseline)) if baseline is not None else (0.0, 0)

    def _learn(self, measurement: Measurement) -> Slow | None:
        if not is_timed(measurement):
            return None
        key = key_of(measurement)
        baseline = self._baselines.get(key)
        if baseline is None:
            baseline = self._baselines[key] = self._baseline()
            self._keep_within_bounds()
        self._baselines.move_to_end(key)
        self._used[key] = self._uses
        self._uses += 1
        self._changed[key] = None
        observations = len(baseline)
        if observations < self._config.min_observations:
            baseline.learn(measurement.duration_ms)
            return None
        usual_ms = baseline.usual_ms
        baseline.learn(min(measurement.duration_ms, self._config.factor * usual_ms))
        if not is_slow(measurement.duration_ms, usual_ms, self._config):
            return None
        return Slow(measurement=measurement, usual_ms=usual_ms, observations=observations)

    def _baseline(self, learned: bytes = b"") -> Baseline:
        return Baseline(quantile=self._config.quantile, window=self._config.window, learned=learned)

    def _keep_within_bounds(self) -> None:
        while len(self._baselines) > self._max_keys:
            key, _ = self._baselines.popitem(last=False)
            del self._used[key]
            self._changed[key] = None
            self._telemetry.count("clearwatch.dropped", reason="baseline_evicted")

    def _snapshot(self, now_s: float) -> Work:
        changes = tuple(StateChange(key=msgspec.msgpack.encode(key), value=self._value(key)) for key in self._changed)
        next_offsets = {topics.MEASUREMENTS: self._next_offset} if self._next_offset is not None else {}
        self._changed.clear()
        self._unsaved = 0
        self._next_offset = None
        self._saved_at_s = now_s
        return Work(store=STORE, state=changes, next_offsets=next_offsets)

    def _value(self, key: BaselineKey) -> bytes | None:
        baseline = self._baselines.get(key)
        return None if baseline is None else msgspec.msgpack.encode(_Stored(self._used[key], baseline.learned()))

    def _record(self, finding: Finding) -> Record:
        self._telemetry.count("clearwatch.findings", check=finding.check)
        key = finding.routing_key.encode()
        return Record(
            topic=topics.FINDINGS,
            partition=topics.partition_for(key, self._finding_partitions),
            key=key,
            value=msgspec.msgpack.encode(finding),
            headers=topics.headers(),
        )


class BaselinesStage:
    """Measurement -> what is usual -> finding, as `detector.baselines.slow` decides."""

    def __init__(self, *, config: BaselinesConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry

    @property
    def name(self) -> str:
        """Return `baselines`."""
        return "baselines"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the one topic it reads."""
        return (topics.MEASUREMENTS,)

    @property
    def store(self) -> str:
        """Return `state.baselines`."""
        return STORE

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        """Make the processor of a partition, with its share of `max_keys`."""
        own = partitions[topics.MEASUREMENTS]
        return BaselinesProcessor(
            config=self._config,
            finding_partitions=partitions.get(topics.FINDINGS, own),
            max_keys=max(1, self._config.max_keys // own),
            telemetry=self._telemetry,
        )
