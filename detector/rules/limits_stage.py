"""Fixed limits inside the baselines stage: both read `measurements`, and share its offsets and its store."""

from collections.abc import Mapping, Sequence

import msgspec

from core import topics
from core.log.port import Record, StoredRecord, Work
from core.model.finding import Finding
from core.model.measurement import MeasurementBatch, dated
from core.stage import Processor, Recall, Stage
from core.telemetry import Telemetry
from detector.rules.limits import LimitConfig
from detector.rules.windows import PREFIX, Said, Windows
from detector.said import record_of


class LimitsProcessor:
    """Does what the processor within does, and counts for the limits what that reads.

    State goes with the commits of the processor within, and also says how far was counted: where that commits less than
    it has read, what is read again is not counted again.
    """

    def __init__(
        self, within: Processor, windows: Windows, *, store: str, finding_partitions: int, telemetry: Telemetry
    ) -> None:
        self._within = within
        self._windows = windows
        self._store = store
        self._finding_partitions = finding_partitions
        self._telemetry = telemetry
        self._decoder = msgspec.msgpack.Decoder(MeasurementBatch)

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take committed state; each takes its own."""
        self._windows.restore([entry for entry in entries if entry[0].startswith(PREFIX)])
        return self._within.restore([entry for entry in entries if not entry[0].startswith(PREFIX)])

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Hand on what the processor within asked for."""
        self._within.recalled(records)

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Take records; raises what the processor within raises."""
        work = self._within.process(records)
        said: list[Said] = []
        for record in records if self._windows.has_limits else ():
            if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) == topics.ORIGIN_LIVE:
                now_s = record.log_time_ms / 1000
                rows = dated(self._decoder.decode(record.value).measurements, now_s)
                said += self._windows.take(rows, offset=record.offset, now_s=now_s)
        return self._with(work, said)

    def tick(self, now_s: float) -> Work:
        """Let time pass for both."""
        return self._with(self._within.tick(now_s), self._windows.settle(now_s))

    def next_wake_s(self) -> float | None:
        """Return the earlier of both."""
        return min(
            (at for at in (self._within.next_wake_s(), self._windows.next_wake_s()) if at is not None), default=None
        )

    def _with(self, work: Work, said: Sequence[Said]) -> Work:
        # an episode that was told of is stored with what tells it
        state = self._windows.take_changes() if work.next_offsets or said else ()
        return msgspec.structs.replace(
            work,
            produce=(*work.produce, *map(self._record, said)),
            store=work.store or self._store,
            state=(*work.state, *state),
        )

    def _record(self, said: Said) -> Record:
        if isinstance(said, Finding):
            self._telemetry.count("clearwatch.findings", check=said.check)
        return record_of(said, partitions=self._finding_partitions)


class LimitsStage:
    """A stage that reads `measurements`, with limits beside it."""

    def __init__(self, within: Stage, limits: Sequence[LimitConfig], telemetry: Telemetry) -> None:
        self._within = within
        self._limits = limits
        self._telemetry = telemetry

    @property
    def name(self) -> str:
        """Return the name of the stage within."""
        return self._within.name

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics of the stage within."""
        return self._within.topics

    @property
    def store(self) -> str:
        """Return the store of the stage within."""
        return self._within.store

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        """Make the processor of a partition, with its share of `max_keys`."""
        own = partitions[topics.MEASUREMENTS]
        return LimitsProcessor(
            self._within.processor(partition, partitions),
            Windows(self._limits, self._telemetry, partitions=own),
            store=self._within.store,
            finding_partitions=partitions.get(topics.FINDINGS, own),
            telemetry=self._telemetry,
        )
