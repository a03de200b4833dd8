"""The runner of a stage: fetches, keeps time, calls the processors off the event loop, commits what they return.

Order within a partition is strict: a slice of records is processed, its work committed, then the next slice. Partitions
take turns on the interpreter (one processor call at a time for each stage) while their commits overlap.

**Time.** Records carry theirs. Where a partition is caught up, now = log time of its last record + monotonic time
between the first and the latest successful empty fetch; of a partition that never had a record, wall time. What a
processor sees never goes back: a record that was stamped before the last tick, but committed after it, is given the
tick's time.

**Failure.** A processor that raises may hold half a change, so it is thrown away and made anew from the state and
records that were committed; then each record of the slice is tried alone. What fails alone goes to `dead-letters`,
and so does what a processor itself cannot use; where these are too many (`core.dead_letters.Breaker`), the partition
stops before the next of them. Records of a newer release stop the partition at once.
"""

import asyncio
import functools
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, TypeVar

import msgspec

from core import topics
from core.clock import Clock
from core.dead_letters import Breaker, letter_of, letters_in, record_of
from core.errors import LogUnavailableError, PartitionLostError, SchemaTooNewError
from core.log.port import Fetch, Log, Reader, StoredRecord, Work
from core.runner_partition import RunningPartition
from core.stage import Processor, Recall, RecallNeeded, Stage
from core.stops import StoppedPartition
from core.telemetry import Telemetry
from core.threads import in_thread
from core.topics import DeadLetter
from core.waiting import stopped_within

logger = logging.getLogger(__name__)

T = TypeVar("T")

# offsets read back at a time: a record may be a megabyte
_RECALL_BATCH: Final = 32
# a processor that asks for the same records this often more does not go on, and never will
_MOST_REPEATED_RECALLS: Final = 3
# where idle time has yet to begin: long enough not to spin
_LEAST_TIMEOUT_S: Final = 0.01
_TICK_RETRY_S: Final = 30.0


class _TooManyDeadLettersError(Exception):
    """A slice brings more dead letters than a partition may have: its records are to be tried alone."""


class StageRunner:
    """Runs one stage over the partitions assigned to this process; an `AssignmentListener`."""

    def __init__(
        self,
        stage: Stage,
        *,
        log: Log,
        telemetry: Telemetry,
        clock: Clock,
        fetch_max_bytes: int = 8 * 1024**2,
        fetch_timeout_s: float = 1.0,
        essential: bool = True,
    ) -> None:
        self._stage = stage
        self._log = log
        self._telemetry = telemetry
        self._clock = clock
        self._fetch_max_bytes = fetch_max_bytes
        self._fetch_timeout_s = fetch_timeout_s
        self._reader: Reader = log.reader(stage.name, stage.topics, essential=essential)
        self._owned: dict[int, RunningPartition] = {}
        self._breakers: dict[int, defaultdict[str, Breaker]] = {}
        self._working = asyncio.Lock()
        self._turn = asyncio.Semaphore(1)
        self._stop = asyncio.Event()
        self._has_joined = False

    @property
    def is_ready(self) -> bool:
        """Return whether it has joined its group and restored what it owns."""
        return self._has_joined

    @property
    def is_busy(self) -> bool:
        """Return whether something is in hand that is neither in the log's lag nor visible downstream yet."""
        return self._working.locked()

    @property
    def stopped_partitions(self) -> tuple[int, ...]:
        """Return the partitions that were stopped because going on would lose records."""
        return tuple(sorted(p.number for p in self._owned.values() if p.is_stopped))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then finish and commit what is in hand."""
        self._stop = stop
        await self._insist(lambda: self._reader.start(self))
        self._has_joined = not stop.is_set()
        try:
            while not stop.is_set():
                fetched = await self._fetch(stop)
                if fetched is not None:
                    async with self._working:
                        await self._take(fetched)
        except* LogUnavailableError as group:
            # raised only after `stop`: what could not be committed will be read again
            logger.warning("stage %s stops with work not committed: %s", self._stage.name, group.exceptions[0])
        finally:
            await self._reader.stop()

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Restore the processors of these partitions."""
        # side by side: most of it is waiting for the log
        restored = await asyncio.gather(*(self._restored(number) for number in partitions))
        for number, processor in zip(partitions, restored, strict=True):
            self._owned[number] = owned = RunningPartition(number, processor, self._clock)
            owned.breakers = self._breakers.setdefault(number, owned.breakers)
        # one that was stopped here before stops again at the same record, unless another member got past it
        self._reader.resume([(topic, number) for number in partitions for topic in self._stage.topics])
        logger.info("stage %s owns partitions %s", self._stage.name, ", ".join(map(str, partitions)))

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Drop the processors: what was taken is committed once the slice in hand is."""
        async with self._working:
            for number in partitions:
                self._owned.pop(number, None)
                self._telemetry.stops.forget(self._stage.name, number)

    async def _fetch(self, stop: asyncio.Event) -> Fetch | None:
        """Return the next fetch, or None on stop or while the log is unavailable."""
        fetching = asyncio.create_task(
            self._reader.fetch(max_bytes=self._fetch_max_bytes, timeout_s=self._timeout_s()),
            name=f"{self._stage.name}-fetch",
        )
        stopping = asyncio.create_task(stop.wait(), name=f"{self._stage.name}-stop")
        try:
            await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await fetching if fetching.done() else None
        except LogUnavailableError as exc:
            logger.warning("stage %s cannot read: %s", self._stage.name, exc)
            await stopped_within(exc.retry_after_s, self._stop)
            return None
        finally:
            for task in (fetching, stopping):
                task.cancel()
            await asyncio.gather(fetching, stopping, return_exceptions=True)

    def _timeout_s(self) -> float:
        """Return how long a fetch may wait: not at all until idle time runs everywhere, then to the next tick."""
        timeout_s = self._fetch_timeout_s
        for partition in self._owned.values():
            if partition.is_stopped:
                continue
            if partition.caught_up_since_s is None:
                return _LEAST_TIMEOUT_S
            wake_s = partition.processor.next_wake_s()
            if wake_s is not None:
                wait_s = max(wake_s - partition.now_s(), partition.no_tick_before_s - self._clock.monotonic_s())
                timeout_s = min(timeout_s, max(0.0, wait_s))
        return timeout_s

    async def _take(self, fetched: Fetch) -> None:
        by_partition: dict[int, list[StoredRecord]] = {}
        for (_, number), records in fetched.records.items():
            by_partition.setdefault(number, []).extend(records)
        if len(self._stage.topics) > 1:
            for found in by_partition.values():
                found.sort(key=lambda record: record.log_time_ms)  # stable: each topic keeps its order
        async with asyncio.TaskGroup() as tasks:
            for number, partition in list(self._owned.items()):
                if partition.is_stopped:
                    continue
                if number in by_partition:
                    work = self._process(partition, by_partition[number])
                elif all((topic, number) in fetched.caught_up for topic in self._stage.topics):
                    partition.let_idle(fetched, self._stage.topics)
                    work = self._tick(partition)
                else:
                    partition.end_idle()
                    continue
                tasks.create_task(self._while_owned(partition, work), name=f"{self._stage.name}-{number}")

    async def _while_owned(self, partition: RunningPartition, work: Coroutine[None, None, None]) -> None:
        """Do it; where the partition was lost meanwhile, what is in hand is dropped: its new owner reads it again."""
        try:
            await work
        except PartitionLostError as exc:
            logger.info("stage %s drops what it has in hand: %s", self._stage.name, exc)
            if self._owned.get(partition.number) is partition:
                del self._owned[partition.number]

    # -- idle time

    async def _tick(self, partition: RunningPartition) -> None:
        wake_s = partition.processor.next_wake_s()
        now_s = partition.now_s()
        if wake_s is None or now_s < wake_s or self._clock.monotonic_s() < partition.no_tick_before_s:
            return
        partition.saw_tick(now_s)
        try:
            work = await self._call(partition, lambda: partition.processor.tick(now_s))
        except (LogUnavailableError, PartitionLostError):
            raise
        except Exception:
            # nothing to dead-letter: no record is at fault. The partition goes on reading, and says so
            logger.exception("stage %s failed to let time pass in partition %d", self._stage.name, partition.number)
            self._telemetry.count("clearwatch.stage.failures", stage=self._stage.name, reason="tick")
            partition.no_tick_before_s = self._clock.monotonic_s() + _TICK_RETRY_S
            await self._rebuild(partition)
            return
        letters = letters_in(work.produce)
        if (refused := partition.too_many(letters)) is not None:
            self._halt_at_letter(partition, refused)
            return
        await self._commit(partition, work)
        self._count_letters(letters)

    # -- records

    async def _process(self, partition: RunningPartition, records: Sequence[StoredRecord]) -> None:
        partition.end_idle()
        for record in records:
            partition.resume_at.setdefault(record.topic, record.offset)
        start = 0
        while start < len(records) and not partition.is_stopped:
            slice_ = partition.slice(records, start)
            if not slice_:
                self._stop_at(partition, records[start])
                return
            start += len(slice_)
            await self._process_slice(partition, partition.stamped(slice_))

    async def _process_slice(self, partition: RunningPartition, records: Sequence[StoredRecord]) -> None:
        try:
            await self._apply(partition, records)
        except (LogUnavailableError, PartitionLostError):
            raise
        except Exception:
            logger.exception(
                "stage %s failed on %d records of partition %d, trying each alone",
                self._stage.name,
                len(records),
                partition.number,
            )
            await self._rebuild(partition)
            for record in records:
                await self._process_alone(partition, record)
                if partition.is_stopped:
                    return

    async def _apply(self, partition: RunningPartition, records: Sequence[StoredRecord]) -> None:
        began_s = self._clock.monotonic_s()
        work = await self._call(partition, lambda: partition.processor.process(records))
        partition.took(self._clock.monotonic_s() - began_s)
        letters = letters_in(work.produce)
        if (refused := partition.too_many(letters)) is not None:
            if len(records) > 1:
                raise _TooManyDeadLettersError
            self._halt_at_letter(partition, refused)
            return
        partition.saw_records(records)
        await self._commit(partition, work)
        self._count_letters(letters)
        self._telemetry.count("clearwatch.stage.records", len(records), stage=self._stage.name)

    async def _process_alone(self, partition: RunningPartition, record: StoredRecord) -> None:
        try:
            await self._apply(partition, (record,))
        except (LogUnavailableError, PartitionLostError):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever a record does to a processor, it is dead-lettered with it
            await self._bury(partition, record, exc)
            await self._rebuild(partition)

    async def _bury(self, partition: RunningPartition, record: StoredRecord, error: Exception) -> None:
        """Write a record to dead-letters, or stop the partition where everything ends there."""
        letter = letter_of(record, stage=self._stage.name, error=error)
        if partition.too_many((letter,)) is not None:
            self._halt_at_letter(partition, letter)
            return
        logger.error(
            "stage %s cannot use %s[%d]@%d: %r", self._stage.name, record.topic, record.partition, record.offset, error
        )
        partition.skipped.add((record.topic, record.offset))
        partition.position[record.topic] = record.offset + 1
        held_back = partition.resume_at[record.topic] < record.offset
        # where nothing before it is held back, nothing else would ever move the offset past it
        next_offsets = {} if held_back else {record.topic: record.offset + 1}
        await self._commit(partition, Work(produce=(record_of(letter),), next_offsets=next_offsets))
        self._count_letters((letter,))

    def _count_letters(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self._telemetry.count("clearwatch.dead_letters", stage=self._stage.name, reason=letter.reason)

    def _halt_at_letter(self, partition: RunningPartition, letter: DeadLetter) -> None:
        logger.error("stage %s: %s: %s", self._stage.name, letter.error_type, letter.error)
        why = partition.breakers[letter.topic].why(self._stage.name)
        self._halt(partition, letter.topic, letter.offset, "dead_letters", why)

    def _stop_at(self, partition: RunningPartition, record: StoredRecord) -> None:
        error = SchemaTooNewError(topic=record.topic, schema=topics.schema_of(record.headers), supported=topics.SCHEMA)
        self._halt(partition, record.topic, record.offset, "schema_too_new", str(error))

    def _halt(self, partition: RunningPartition, topic: str, offset: int, reason: str, why: str) -> None:
        partition.is_stopped = True
        stopped = StoppedPartition(
            group=self._stage.name, topic=topic, partition=partition.number, offset=offset, reason=why
        )
        self._telemetry.stops.add(stopped)
        self._reader.pause([(topic, partition.number) for topic in self._stage.topics])
        self._telemetry.count("clearwatch.stage.failures", stage=self._stage.name, reason=reason)
        logger.error("%s", stopped)

    # -- processors

    async def _restored(self, number: int) -> Processor:
        # of every topic, not only those it reads: a processor addresses what it produces
        counts = {topic: self._log.partitions(topic) for topic in {*topics.RETENTION_H, *self._stage.topics}}
        processor = self._stage.processor(number, counts)
        entries = await self._insist(lambda: self._reader.load_state(self._stage.store, number))
        async with self._turn:
            recall = await asyncio.to_thread(processor.restore, entries)
        if recall is not None:
            await self._recall(processor, number, recall)
        return processor

    async def _rebuild(self, partition: RunningPartition) -> None:
        """Make the processor anew: committed state, then the records that were taken since, as far as they worked."""
        try:
            partition.processor = await self._restored(partition.number)
            for topic, position in list(partition.position.items()):
                offsets = [
                    o for o in range(partition.resume_at[topic], position) if (topic, o) not in partition.skipped
                ]
                for start in range(0, len(offsets), _RECALL_BATCH):
                    await self._replay(partition, topic, offsets[start : start + _RECALL_BATCH])
        except (LogUnavailableError, PartitionLostError):
            raise
        except Exception:
            logger.exception("stage %s cannot restore partition %d", self._stage.name, partition.number)
            topic = self._stage.topics[0]
            why = "what is committed cannot be restored: see the process's own log; a restart tries again"
            self._halt(partition, topic, partition.resume_at.get(topic, 0), "restore", why)

    async def _replay(self, partition: RunningPartition, topic: str, offsets: Sequence[int]) -> None:
        records = await self._insist(lambda: self._reader.read_at(topic, partition.number, offsets))
        if records:
            await self._commit(partition, await self._call(partition, lambda: partition.processor.process(records)))

    async def _call(self, partition: RunningPartition, call: Callable[[], Work]) -> Work:
        """Call a processor in a thread, reading back what it asks for."""
        last: Recall | None = None
        repeated = 0
        while True:
            try:
                async with self._turn:
                    return await in_thread(call, what=f"stage {self._stage.name} in partition {partition.number}")
            except RecallNeeded as needed:
                repeated = repeated + 1 if needed.recall == last else 0
                last = needed.recall
                if repeated >= _MOST_REPEATED_RECALLS:
                    raise RuntimeError(f"asked {repeated} times more for what it was given") from needed
                await self._recall(partition.processor, partition.number, needed.recall)

    async def _recall(self, processor: Processor, number: int, recall: Recall) -> None:
        for start in range(0, max(1, len(recall.offsets)), _RECALL_BATCH):
            offsets = recall.offsets[start : start + _RECALL_BATCH]
            read = functools.partial(self._reader.read_at, recall.topic, number, offsets)
            records = await self._insist(read)
            async with self._turn:
                await asyncio.to_thread(processor.recalled, records)

    # -- the log

    async def _commit(self, partition: RunningPartition, work: Work) -> None:
        if work.is_empty():
            return
        next_offsets = {}
        for topic, offset in work.next_offsets.items():
            bumped = offset
            while (topic, bumped) in partition.skipped:
                bumped += 1
            next_offsets[topic] = bumped
        if next_offsets != work.next_offsets:
            work = msgspec.structs.replace(work, next_offsets=next_offsets)
        await self._insist(lambda: self._reader.commit(partition.number, work))
        partition.resume_at.update(next_offsets)
        if partition.skipped:
            partition.skipped = {(t, o) for t, o in partition.skipped if o >= partition.resume_at.get(t, 0)}

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the log is available; once it is to stop, raise LogUnavailableError instead of waiting."""
        while True:
            try:
                return await call()
            except LogUnavailableError as exc:
                if self._stop.is_set():
                    raise
                logger.warning("stage %s waits for the log: %s", self._stage.name, exc)
                await stopped_within(exc.retry_after_s, self._stop)
