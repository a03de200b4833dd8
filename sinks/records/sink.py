"""The consumer group `records`: what the stages decided, made readable.

Order: SQL commit, then offsets. A kill between them repeats a batch of upserts, which changes nothing. This process's
counters are stored every second beside it, under a name of this start, so that totals survive restarts.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from core import topics
from core.clock import Clock
from core.errors import RetryableError
from core.log.port import Fetch, Log, Reader, Record, StoredRecord, TopicPartition, Work
from core.model.finding import FindingRecord
from core.model.issue import IssueRecord
from core.model.trace import TraceRecord
from core.telemetry import Telemetry
from sinks.reading import join, stop_at
from sinks.records.store import Change, RecordStore

_log = logging.getLogger(__name__)

_TOPICS: Final = (topics.TRACES, topics.FINDINGS, topics.ISSUES)
_FETCH_BYTES: Final = 8 << 20  # one transaction: some thousand summaries
_FETCH_WAIT_S: Final = 0.5
_COUNTERS_EVERY_S: Final = 1.0
_COUNTERS_ALIVE_S: Final = 5.0  # written at least this often, so that gauges of live processes can be told
_RETAIN_EVERY_S: Final = 60.0
_RETAIN_PAUSE_S: Final = 0.05  # between two transactions of retention: writers first
_BACKOFF_MAX_S: Final = 30.0
_DRAIN_S: Final = 10.0

_Act: TypeAlias = Callable[[], Awaitable[None]]


class RecordsSink:
    """Copies traces, findings and issues into the store, and this process's counters with them."""

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
        self.instance = instance or uuid.uuid4().hex
        self._decode = {
            topics.TRACES: msgspec.msgpack.Decoder(TraceRecord).decode,
            topics.FINDINGS: msgspec.msgpack.Decoder(FindingRecord).decode,
            topics.ISSUES: msgspec.msgpack.Decoder(IssueRecord).decode,
        }
        self._applying = asyncio.Lock()
        self._stopped: dict[TopicPartition, StoredRecord] = {}

    @property
    def name(self) -> str:
        """Return the consumer group and metric label."""
        return "records"

    def waiting(self) -> int:
        """Return 0: effects are done before offsets move, nothing is kept in an outbox."""
        return 0

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Nothing to restore: all state is in the store."""

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Wait until the batch in hand is stored and committed."""
        async with self._applying:
            pass

    async def run(self, stop: asyncio.Event) -> None:
        """Store until `stop` is set, finish the batch in hand, and store the counters a last time.

        Raises RecordsSchemaError where the store belongs to a newer release.
        """
        if not await self._patiently(self._open, stop):
            return
        reader = self._log.reader(self.name, _TOPICS)
        if not await join(reader, self, stop, sink=self.name, telemetry=self._telemetry):
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, stop), name="records-copy")
                tasks.create_task(self._keep_counters(stop), name="records-counters")
                tasks.create_task(self._retain(stop), name="records-retention")
        finally:
            await reader.stop()
            with contextlib.suppress(RetryableError):
                await self._save_counters()

    async def _open(self) -> None:
        await asyncio.to_thread(self._store.open)

    async def _copy(self, reader: Reader, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                fetch = await reader.fetch(max_bytes=_FETCH_BYTES, timeout_s=_FETCH_WAIT_S)
            except RetryableError as exc:
                self._failed(exc)
                await _sleep(stop, exc.retry_after_s)
                continue
            if fetch.records:
                async with self._applying:
                    await self._patiently(lambda fetch=fetch: self._take(reader, fetch), stop)  # type: ignore[misc]

    async def _take(self, reader: Reader, fetch: Fetch) -> None:
        decoded, undecodable, next_offsets = await asyncio.to_thread(self._decoded, fetch.records)
        for at in self._stopped.keys() & fetch.records.keys():
            stop_at(self._stopped[at], reader, group=self.name, telemetry=self._telemetry)
        refused = await asyncio.to_thread(self._apply, [change for _, change in decoded])
        dead = undecodable + [self._dead_letter(decoded[index][0], exc) for index, exc in refused]
        if dead:
            await self._log.append(dead)
        for partition, offsets in next_offsets.items():
            await reader.commit(partition, Work(next_offsets=offsets))
        self._telemetry.count("clearwatch.sink.sent", len(decoded) - len(refused), sink=self.name, what="record")
        for reason, letters in (("undecodable", undecodable), ("refused_by_store", refused)):
            if letters:
                self._telemetry.count("clearwatch.dead_letters", len(letters), stage=self.name, reason=reason)

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
        self, records: Mapping[TopicPartition, Sequence[StoredRecord]]
    ) -> tuple[list[tuple[StoredRecord, Change]], list[Record], dict[int, dict[str, int]]]:
        """Return the changes with their records, the dead letters, and the offsets by partition and topic."""
        changes: list[tuple[StoredRecord, Change]] = []
        dead: list[Record] = []
        next_offsets: dict[int, dict[str, int]] = {}
        for (topic, partition), stored in records.items():
            for record in stored:
                if topics.schema_of(record.headers) > topics.SCHEMA:
                    self._stopped.setdefault((topic, partition), record)
                    break
                try:
                    value = self._decode[topic](record.value)
                except (msgspec.DecodeError, msgspec.ValidationError) as exc:
                    dead.append(self._dead_letter(record, exc))
                else:
                    change = Change(log_time_ms=record.log_time_ms, offset=record.offset, value=value)
                    changes.append((record, change))
                next_offsets.setdefault(partition, {})[topic] = record.offset + 1
        return changes, dead, next_offsets

    def _dead_letter(self, record: StoredRecord, exc: Exception) -> Record:
        letter = topics.DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=f"{self.name}: {exc}",
            value=record.value,
            headers=dict(record.headers),
        )
        partition = record.partition % self._log.partitions(topics.DEAD_LETTERS)
        return Record(
            topic=topics.DEAD_LETTERS,
            partition=partition,
            value=msgspec.msgpack.encode(letter),
            headers=topics.headers(),
        )

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
                    await _sleep(stop, delay_s)
                delay_s = min(delay_s * 2, _BACKOFF_MAX_S)
            else:
                return True

    def _failed(self, exc: Exception) -> None:
        self._telemetry.count("clearwatch.sink.failed", sink=self.name, reason=type(exc).__name__)

    async def _keep_counters(self, stop: asyncio.Event) -> None:
        saved: object = None
        saved_at_s = -_COUNTERS_ALIVE_S
        while not stop.is_set():
            snapshot = self._telemetry.snapshot()
            now_s = self._clock.monotonic_s()
            if snapshot != saved or now_s - saved_at_s >= _COUNTERS_ALIVE_S:
                with contextlib.suppress(RetryableError):
                    await self._save_counters()
                    saved, saved_at_s = snapshot, now_s
            await _sleep(stop, _COUNTERS_EVERY_S)

    async def _save_counters(self) -> None:
        snapshot = self._telemetry.snapshot()
        await asyncio.to_thread(self._store.save_counters, self.instance, snapshot, now_s=self._clock.now_s())

    async def _retain(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(RetryableError):
                await asyncio.to_thread(self._store.fold_counters, now_s=self._clock.now_s())
                while await asyncio.to_thread(self._retain_some) and not stop.is_set():
                    await _sleep(stop, _RETAIN_PAUSE_S)
            await _sleep(stop, _RETAIN_EVERY_S)

    def _retain_some(self) -> int:
        return self._store.retain(now_s=self._clock.now_s(), retention_s=self._retention_s)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait, at most until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
