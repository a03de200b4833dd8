"""The baselines stage: `measurements` in; findings about what is slow or costs much, and their episodes, out.

A key (routing key, service, operation, kind, model, measure) and its group live in one partition, so they are learned
in one place. Only live measurements are learned and judged: replay and backfill tell of another time.

**Order.** Runs and episodes are of traces that follow each other, while measurements come from several partitions of
`spans`, each at its own pace. So they are gathered for `gather_s` of log time and taken in the order in which their
traces ended: a backlog that is worked off in seconds reads as it was recorded.

**Restore.** What was gathered is judged in one step, which writes the findings, the changed keys and the committed
offset: a crash reads what was not judged yet once more, from exactly the state that it would have been judged on.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record, StoredRecord, Work
from core.model.finding import Dimension, Finding, Shift
from core.model.measurement import Measurement, MeasurementBatch, dated
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
        self._gathered: dict[str, list[Measurement]] = {}
        self._count = 0
        self._since_s = 0.0
        self._next_offset: int | None = None

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take the last snapshot; what came after it is read again from the committed offset."""
        self._memory.restore(entries)
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take nothing: this stage never asks."""

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Gather, and judge what is due; raises msgspec.DecodeError or ValidationError for a record that is none."""
        said: list[Finding | Shift] = []
        judged: int | None = None
        for record in records:
            batch = self._decoder.decode(record.value)
            now_s = record.log_time_ms / 1000
            if self._is_due(now_s):
                judged = self._next_offset
                said += self._judged()
            if self._next_offset is None:
                self._since_s = now_s
            self._next_offset = record.offset + 1
            self._gather(record, batch)
            if self._count >= self._config.gather_most:
                judged = self._next_offset
                said += self._judged()
        return self._work(said, judged)

    def tick(self, now_s: float) -> Work:
        """Judge what is due."""
        if not self._is_due(now_s):
            return Work()
        judged = self._next_offset
        return self._work(self._judged(), judged)

    def next_wake_s(self) -> float | None:
        """Return when what was gathered is due, or None where there is nothing."""
        return self._since_s + self._config.gather_s if self._next_offset is not None else None

    def learned(self, key: Key) -> tuple[float, int]:
        """Return what single values of a key are compared with, and of how many; (0, 0) for an unknown one."""
        baseline = self._memory.peek(key)
        return (baseline.usual, len(baseline)) if baseline is not None else (0.0, 0)

    def _is_due(self, now_s: float) -> bool:
        return self._next_offset is not None and now_s >= self._since_s + self._config.gather_s

    def _gather(self, record: StoredRecord, batch: MeasurementBatch) -> None:
        rows = dated(batch.measurements, record.log_time_ms / 1000)
        # one at least: records without rows hold back the offset too
        self._count += len(rows) or 1
        if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) != topics.ORIGIN_LIVE:
            self._telemetry.count("clearwatch.dropped", len(rows), reason="measurement_not_live")
            return
        for row in rows:
            self._gathered.setdefault(row.trace_id, []).append(row)

    def _judged(self) -> list[Finding | Shift]:
        """Judge and learn what was gathered, trace by trace in the order of their ends."""
        traces = sorted(self._gathered.values(), key=_ended_ns)
        self._gathered = {}
        self._count = 0
        self._next_offset = None
        return self._judge.judge(itertools.chain.from_iterable(traces))

    def _work(self, said: Sequence[Finding | Shift], judged: int | None) -> Work:
        if judged is None:
            return Work()
        return Work(
            produce=tuple(self._record(found) for found in said),
            store=STORE,
            state=self._memory.take_changes(),
            next_offsets={topics.MEASUREMENTS: judged},
        )

    def _record(self, said: Finding | Shift) -> Record:
        if isinstance(said, Finding):
            self._telemetry.count("clearwatch.findings", check=said.check)
        return record_of(said, partitions=self._finding_partitions)


def _ended_ns(rows: Sequence[Measurement]) -> int:
    return max([row.ended_ns for row in rows])


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
