"""The consumer group `records`: what the stages decided, made readable.

Order: SQL commit, then offsets. A kill between them repeats a batch of upserts, which changes nothing. A database that
is away is waited for; what arrives meanwhile stays in the log. Any number of processes may run this sink: each copies
its partitions, and one at a time deletes what is too old.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PartitionLostError, RetryableError
from core.log.port import Fetch, Log, Reader, Record, StoredRecord, TopicPartition, Work
from core.model.finding import FindingRecord
from core.model.issue import IssueRecord
from core.model.trace import TraceRecord
from core.telemetry import Telemetry
from core.waiting import stopped_within
from sinks.poison import Pause, Poison
from sinks.reading import join, let_go, readable, take_up
from sinks.records.letters_reader import LettersReader
from sinks.records.reporter import open_when_there
from sinks.records.store import Change, RecordStore

_log = logging.getLogger(__name__)

_TOPICS: Final = (topics.TRACES, topics.FINDINGS, topics.ISSUES)
_FETCH_BYTES: Final = 8 << 20  # one transaction: some thousand summaries
_FETCH_WAIT_S: Final = 0.5
_RETAIN_EVERY_S: Final = 60.0
_RETAIN_PAUSE_S: Final = 0.05  # between two transactions of retention: writers first
_BACKOFF_MAX_S: Final = 30.0
_DRAIN_S: Final = 10.0

_Act: TypeAlias = Callable[[], Awaitable[None]]


class RecordsSink:
    """Copies traces, findings, issues and dead letters into the store; its process reports as `instance`."""

    def __init__(
        self,
        *,
        log: Log,
        store: RecordStore,
        telemetry: Telemetry,
        clock: Clock,
        retention_s: float = 30 * 86_400.0,
        instance: str = "",
    ) -> None:
        self._log = log
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._retention_s = retention_s
        self._instance = instance
        self._poison = Poison(stage=self.name, group=self.name, telemetry=telemetry)
        self._decode: dict[str, Callable[[bytes], TraceRecord | FindingRecord | IssueRecord]] = {
            topics.TRACES: msgspec.msgpack.Decoder(TraceRecord).decode,
            topics.FINDINGS: msgspec.msgpack.Decoder(FindingRecord).decode,
            topics.ISSUES: msgspec.msgpack.Decoder(IssueRecord).decode,
        }
        self._applying = asyncio.Lock()
        self._reader: Reader | None = None

    @property
    def name(self) -> str:
        """Return the consumer group and metric label."""
        return "records"

    def waiting(self) -> int:
        """Return 0: effects are done before offsets move, nothing is kept in an outbox."""
        return 0

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Nothing to restore: all state is in the store."""
        if self._reader is not None:
            take_up(self._reader, _TOPICS, partitions)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Wait until the batch in hand is stored and committed."""
        async with self._applying:
            let_go(self._telemetry, self.name, partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Store until `stop` is set, and finish the batch in hand.

        Raises RecordsSchemaError where the store belongs to a newer release, RecordsAccessError where the database lets
        nobody in as the URL says.
        """
        if not await open_when_there(self._store, stop):
            return
        letters = LettersReader(log=self._log, book=self._store.letters, telemetry=self._telemetry, clock=self._clock)
        reader = self._reader = self._log.reader(self.name, _TOPICS)
        if not await join(reader, self, stop, sink=self.name, telemetry=self._telemetry):
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, stop), name="records-copy")
                tasks.create_task(self._retain(stop), name="records-retention")
                tasks.create_task(letters.run(stop), name="records-letters")
        finally:
            await reader.stop()

    async def _copy(self, reader: Reader, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                fetch = await reader.fetch(max_bytes=_FETCH_BYTES, timeout_s=_FETCH_WAIT_S)
            except RetryableError as exc:
                self._failed(exc)
                await stopped_within(exc.retry_after_s, stop)
                continue
            if fetch.records:
                async with self._applying:
                    await self._patiently(lambda fetch=fetch: self._take(reader, fetch), stop)  # type: ignore[misc]

    async def _take(self, reader: Reader, fetch: Fetch) -> None:
        known = list(readable(fetch, reader, sink=self.name, telemetry=self._telemetry))
        stopped: list[TopicPartition] = []
        decoded, undecodable, next_offsets = await asyncio.to_thread(self._decoded, known, stopped.extend)
        reader.pause(stopped)
        refused = await asyncio.to_thread(self._apply, [change for _, change in decoded])
        buried = self._buried(((decoded[index][0], exc) for index, exc in refused), reader, next_offsets)
        if undecodable or buried:
            await self._log.append([*undecodable, *buried])
        for partition, offsets in next_offsets.items():
            try:
                await reader.commit(partition, Work(next_offsets=offsets))
            except PartitionLostError as exc:
                _log.info("records: %s; its new owner stores the same again", exc)
        self._telemetry.count("clearwatch.sink.sent", len(decoded) - len(refused), sink=self.name, what="record")
        self._poison.count(len(undecodable), reason="undecodable")
        self._poison.count(len(buried), reason="refused_by_store")

    def _buried(
        self,
        refused: Iterable[tuple[StoredRecord, Exception]],
        reader: Reader,
        next_offsets: dict[int, dict[str, int]],
    ) -> list[Record]:
        """Return the letters of changes that the store refuses; a partition with too many goes no further than them."""
        letters: list[Record] = []
        stopped: set[TopicPartition] = set()
        for record, exc in refused:
            if (record.topic, record.partition) in stopped:
                continue
            letter = self._poison.letter(record, exc, reason="refused_by_store", pause=reader.pause)
            if letter is None:
                stopped.add((record.topic, record.partition))
                next_offsets[record.partition][record.topic] = record.offset
            else:
                letters.append(letter)
        return letters

    def _apply(self, changes: Sequence[Change]) -> list[tuple[int, Exception]]:
        """Store changes together, or each alone where one of them cannot be stored; return those by their index."""
        if not changes:
            return []
        try:
            self._store.apply(changes)
        except RetryableError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever one change holds, its neighbours are stored
            if len(changes) == 1:
                return [(0, exc)]
            _log.error("records failed on %d changes, trying each alone", len(changes), exc_info=True)
            alone = ((index, self._apply([change])) for index, change in enumerate(changes))
            return [(index, refused[0][1]) for index, refused in alone if refused]
        return []

    def _decoded(
        self, found: Iterable[tuple[int, Sequence[StoredRecord]]], pause: Pause
    ) -> tuple[list[tuple[StoredRecord, Change]], list[Record], dict[int, dict[str, int]]]:
        """Return the changes with their records, dead letters, and offsets by partition and topic. Runs in a thread."""
        changes: list[tuple[StoredRecord, Change]] = []
        dead: list[Record] = []
        next_offsets: dict[int, dict[str, int]] = {}
        for partition, records in found:
            topic = records[0].topic
            decoded = self._poison.decoded(records, self._decode[topic], pause)
            dead += decoded.letters
            for record, value in decoded.found:
                change = Change(
                    log_time_ms=record.log_time_ms, offset=record.offset, partition=record.partition, value=value
                )
                changes.append((record, change))
            if decoded.next_offset is not None:
                next_offsets.setdefault(partition, {})[topic] = decoded.next_offset
        return changes, dead, next_offsets

    async def _patiently(self, act: _Act, stop: asyncio.Event) -> bool:
        """Do it again until it succeeds, after `stop` only for `_DRAIN_S` more seconds; return whether it did.

        What was not done is not committed either: the next start does it.
        """
        delay_s = 0.2
        deadline_s: float | None = None
        while True:
            try:
                await act()
            except RetryableError as exc:
                self._failed(exc)
                _log.warning("records wait %.1f s: %s", delay_s, exc)
                if stop.is_set():
                    deadline_s = deadline_s or self._clock.monotonic_s() + _DRAIN_S
                    if self._clock.monotonic_s() >= deadline_s:
                        return False
                    await asyncio.sleep(delay_s)
                else:
                    await stopped_within(delay_s, stop)
                delay_s = min(delay_s * 2, _BACKOFF_MAX_S)
            else:
                return True

    def _failed(self, exc: Exception) -> None:
        self._telemetry.count("clearwatch.sink.failed", sink=self.name, reason=type(exc).__name__)

    async def _retain(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(RetryableError):
                await asyncio.to_thread(self._store.fold_counters, now_s=self._clock.now_s(), except_of=self._instance)
                while await asyncio.to_thread(self._retain_some) and not stop.is_set():
                    await stopped_within(_RETAIN_PAUSE_S, stop)
            await stopped_within(_RETAIN_EVERY_S, stop)

    def _retain_some(self) -> int:
        return self._store.retain(now_s=self._clock.now_s(), retention_s=self._retention_s)
