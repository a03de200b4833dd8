"""The baselines stage: `measurements` in; findings about what is slow or costs much, and their episodes, out.

A key (routing key, service, operation, kind, model, measure) and its group live in one partition, so they are learned
in one place. Only live measurements are learned and judged: replay and backfill tell of another time.

**Restore.** Changed keys are written behind, every few seconds, and the committed offset moves only together with such
a snapshot: what was read since is read and learned again from exactly the state that it was learned on. Findings are
produced at once, so a crash may repeat some, under the same ids. Nothing is learned twice: a span is measured once, and
a step that is repeated starts from the state before it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record, StoredRecord, Work
from core.model.finding import Dimension, Finding, Shift
from core.model.measurement import MeasurementBatch
from core.stage import Processor, Recall
from core.telemetry import Telemetry
from detector.baselines.config import BaselinesConfig
from detector.baselines.judging import Judge
from detector.baselines.measures import DIMENSIONS
from detector.baselines.memory import Key, Memory
from detector.said import record_of

STORE: Final = "state.baselines"


class BaselinesProcessor:
    """Learns the durations of one partition."""

    def __init__(
        self,
        *,
        config: BaselinesConfig,
        finding_partitions: int,
        max_keys: int,
        telemetry: Telemetry,
        dimensions: Collection[Dimension] = DIMENSIONS,
    ) -> None:
        self._config = config
        self._finding_partitions = finding_partitions
        self._telemetry = telemetry
        self._decoder = msgspec.msgpack.Decoder(MeasurementBatch)
        self._memory = Memory(config=config, max_keys=max_keys, telemetry=telemetry)
        self._judge = Judge(config, self._memory, dimensions)
        self._unsaved = 0
        self._next_offset: int | None = None
        self._saved_at_s: float | None = None

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take the last snapshot; what came after it is read again from the committed offset."""
        self._memory.restore(entries)
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take nothing: this stage never asks."""

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Learn, and say what is slow; raises msgspec.DecodeError or ValidationError for a record that is none."""
        said: list[Finding | Shift] = []
        for record in records:
            batch = self._decoder.decode(record.value)
            self._unsaved += len(batch.measurements) or 1
            if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) == topics.ORIGIN_LIVE:
                said += self._judge.judge(batch.measurements)
            else:
                self._telemetry.count("clearwatch.dropped", len(batch.measurements), reason="measurement_not_live")
        self._next_offset = records[-1].offset + 1
        now_s = records[-1].log_time_ms / 1000
        if self._saved_at_s is None:
            self._saved_at_s = now_s
        is_due = now_s - self._saved_at_s >= self._config.snapshot_every_s
        saved = self._snapshot(now_s) if is_due or self._unsaved >= self._config.snapshot_every else Work()
        return msgspec.structs.replace(saved, produce=tuple(self._record(found) for found in said))

    def tick(self, now_s: float) -> Work:
        """Write the snapshot that is due."""
        return self._snapshot(now_s) if self._next_offset is not None else Work()

    def next_wake_s(self) -> float | None:
        """Return when the next snapshot is due, or None where everything is written."""
        if self._next_offset is None or self._saved_at_s is None:
            return None
        return self._saved_at_s + self._config.snapshot_every_s

    def learned(self, key: Key) -> tuple[float, int]:
        """Return what single values of a key are compared with, and of how many; (0, 0) for an unknown one."""
        baseline = self._memory.peek(key)
        return (baseline.usual, len(baseline)) if baseline is not None else (0.0, 0)

    def _snapshot(self, now_s: float) -> Work:
        changes = self._memory.take_changes()
        next_offsets = {topics.MEASUREMENTS: self._next_offset} if self._next_offset is not None else {}
        self._unsaved = 0
        self._next_offset = None
        self._saved_at_s = now_s
        return Work(store=STORE, state=changes, next_offsets=next_offsets)

    def _record(self, said: Finding | Shift) -> Record:
        if isinstance(said, Finding):
            self._telemetry.count("clearwatch.findings", check=said.check)
        return record_of(said, partitions=self._finding_partitions)


class BaselinesStage:
    """Measurement -> what is usual -> finding, as `detector.baselines.judging` decides."""

    def __init__(
        self, *, config: BaselinesConfig, telemetry: Telemetry, dimensions: Collection[Dimension] = DIMENSIONS
    ) -> None:
        self._config = config
        self._dimensions = frozenset(dimensions)
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
            dimensions=self._dimensions,
        )
