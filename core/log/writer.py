"""The one thread that writes the embedded log.

Requests wait in a queue; the thread takes all that wait, writes them in one transaction, and settles their futures
after COMMIT. Where a group of requests fails, each is tried alone, so that none pays for its neighbour. Between
groups it deletes what retention allows, a batch at a time.
"""

import asyncio
import collections
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from core import topics
from core.clock import Clock
from core.errors import LogFullError, LogUnavailableError
from core.log.config import LogConfig
from core.log.database import OFFSET_BITS, is_trouble_of_file, unavailable
from core.log.headers import HeaderCodec
from core.log.mirror import Mirror, PartitionState
from core.log.port import Record, StateChange, TopicPartition
from core.log.retention import Retention
from core.telemetry import Telemetry

logger = logging.getLogger(__name__)

# bytes of one transaction: some 50 ms to sync
GROUP_BYTES: Final = 16 * 1024**2
# bytes in the WAL after which it is moved into the file; more costs disk, less costs more syncs
_CHECKPOINT_BYTES: Final = 32 * 1024**2
# pages that the smallest transaction touches: a record, its partition, an offset, the root of the tree
_LEAST_WRITTEN_BYTES: Final = 4 * 16_384


class Request:
    """One atomic change that somebody waits for. `error` is set where it failed."""

    __slots__ = (
        "error", "essential", "forget", "future", "group", "offsets", "partition", "records", "size", "state", "store",
    )  # fmt: skip

    def __init__(
        self,
        *,
        future: "asyncio.Future[None]",
        records: Sequence[Record] = (),
        group: str = "",
        essential: bool | None = None,
        forget: bool = False,
        offsets: Mapping[TopicPartition, int] | None = None,
        partition: int = 0,
        store: str = "",
        state: Sequence[StateChange] = (),
    ) -> None:
        self.future = future
        self.records = records
        self.group = group
        self.essential = essential
        self.forget = forget
        self.offsets = offsets or {}
        self.partition = partition
        self.store = store
        self.state = state
        self.size = sum([len(r.value) for r in records])
        self.error: BaseException | None = None


Settle: TypeAlias = Callable[[Sequence[Request]], None]


class _Transaction:
    """What one transaction changes, gathered before SQLite is touched."""

    def __init__(self, mirror: Mirror, headers: HeaderCodec, now_ms: int) -> None:
        self._partitions = mirror.partitions
        self._headers = headers
        self._now_ms = now_ms
        self.rows: list[tuple[int, int, bytes, bytes, bytes]] = []
        self.ends: dict[TopicPartition, list[int]] = {}
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self.state: dict[tuple[str, int, bytes], bytes | None] = {}
        self.groups: dict[str, bool] = {}
        self.forgotten: set[str] = set()

    def add(self, request: Request) -> None:
        if request.forget:
            self._forget(request.group)
        ends, rows, encode = self.ends, self.rows, self._headers.encode
        headers: Mapping[str, str] | None = None
        encoded = b""
        for record in request.records:
            # records that came together mostly share the very same headers
            if record.headers is not headers:
                headers, encoded = record.headers, encode(record.headers)
            topic_partition = (record.topic, record.partition)
            end = ends.get(topic_partition)
            if end is None:
                state = self._partitions[topic_partition]
                # never backwards, whatever the machine's clock does: closing traces runs on this time
                log_time_ms = max(self._now_ms, state.last_log_time_ms)
                end = ends[topic_partition] = [state.next_offset, log_time_ms, 0, state.row_base, state.next_offset, 0]
            rows.append((end[3] + end[0], end[1], record.key, encoded, record.value))
            end[0] += 1
            end[2] += len(record.value)
            end[5] += record.units
        for topic_partition, offset in request.offsets.items():
            self.committed[request.group, topic_partition] = offset
        if request.essential is not None:
            self.groups[request.group] = request.essential
        for change in request.state:
            self.state[request.store, request.partition, change.key] = change.value

    def _forget(self, group: str) -> None:
        """Drop a group and whatever requests before this one set of it; what later ones set is written after."""
        self.forgotten.add(group)
        self.groups.pop(group, None)
        self.committed = {key: offset for key, offset in self.committed.items() if key[0] != group}

    def appended(self) -> dict[str, int]:
        """Return the number of records for each topic."""
        counts: dict[str, int] = {}
        for (topic, _), end in self.ends.items():
            counts[topic] = counts.get(topic, 0) + end[0] - end[4]
        return counts

    def size(self) -> int:
        """Return the bytes of all values in it."""
        changed = sum([len(value) for value in self.state.values() if value is not None])
        return changed + sum([end[2] for end in self.ends.values()])

    def write(self, connection: sqlite3.Connection) -> None:
        for group in self.forgotten:
            connection.execute("DELETE FROM offsets WHERE consumer_group = ?", (group,))
            connection.execute("DELETE FROM consumer_groups WHERE name = ?", (group,))
        if self.rows:
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", self.rows)
            connection.executemany(
                "UPDATE topic_partitions SET next_offset = ?, last_log_time_ms = ?, stored_bytes = stored_bytes + ?,"
                " units = units + ? WHERE id = ?",
                [(end[0], end[1], end[2], end[5], end[3] >> OFFSET_BITS) for end in self.ends.values()],
            )
        if self.state:
            connection.executemany(
                "INSERT INTO state (store, partition, key, value) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                [(*key, value) for key, value in self.state.items() if value is not None],
            )
            connection.executemany(
                "DELETE FROM state WHERE store = ? AND partition = ? AND key = ?",
                [key for key, value in self.state.items() if value is None],
            )
        if self.committed:
            connection.executemany(
                "INSERT INTO offsets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
                [(group, topic, partition, o) for (group, (topic, partition)), o in self.committed.items()],
            )
        if self.groups:
            connection.executemany("INSERT OR REPLACE INTO consumer_groups VALUES (?, ?)", self.groups.items())


class Writer:
    """Owns the writing connection. `settle` is called in the writer's thread with the requests that are done."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        lock: threading.Lock,
        path: str,
        config: LogConfig,
        mirror: Mirror,
        telemetry: Telemetry,
        clock: Clock,
        settle: Settle,
    ) -> None:
        self._connection = connection
        self._connection_lock = lock
        self._path = path
        self._config = config
        self._mirror = mirror
        self._telemetry = telemetry
        self._clock = clock
        self._settle = settle
        self._headers = HeaderCodec()
        self._retention = Retention(connection, config=config, mirror=mirror, telemetry=telemetry)
        self._waiting: collections.deque[Request] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._written_bytes = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request; its future is settled later. Raises LogUnavailableError where the log is stopped."""
        with self._changed:
            if self._stopping:
                raise LogUnavailableError(f"log {self._path} is stopped")
            self._waiting.append(request)
            self._changed.notify()

    def stop(self) -> None:
        """Write what waits and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            logger.critical("the writer of log %s failed: nothing more is stored", self._path, exc_info=True)
        finally:
            self._give_up()

    def _work(self) -> None:
        idle_s = 0.0
        while (group := self._take(idle_s)) is not None:
            if group:
                self._write_all(group)
            if self._written_bytes >= _CHECKPOINT_BYTES:
                self._checkpoint()
            idle_s = self._trim()

    def _give_up(self) -> None:
        """Refuse what still waits, so that nobody waits for ever."""
        with self._changed:
            self._stopping = True
            left = list(self._waiting)
            self._waiting.clear()
        for request in left:
            request.error = LogUnavailableError(f"log {self._path} is stopped")
        if left:
            self._settle(left)

    def _take(self, timeout_s: float) -> list[Request] | None:
        """Return what waits, at most about GROUP_BYTES; nothing after the timeout; None to end."""
        with self._changed:
            if not self._waiting and not self._stopping:
                self._changed.wait(timeout_s)
            group: list[Request] = []
            size = 0
            while self._waiting and size < GROUP_BYTES:
                request = self._waiting.popleft()
                size += request.size
                group.append(request)
            return None if self._stopping and not group else group

    def _trim(self) -> float:
        """Delete one batch if retention wants to; return for how long nothing else is to be done."""
        try:
            with self._connection_lock:
                again = self._retention.step(int(self._clock.now_s() * 1000))
        except sqlite3.Error as exc:
            self._roll_back()
            logger.warning("retention of log %s failed, trying again: %s", self._path, exc)
            return 1.0
        return 0.0 if again else self._config.retention_interval_s

    def _checkpoint(self) -> None:
        """Move the WAL into the file; RESTART waits out the readers of the moment, or the WAL would grow under load."""
        self._written_bytes = 0
        try:
            with self._connection_lock:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as exc:
            logger.warning("checkpoint of log %s failed, trying again later: %s", self._path, exc)

    def _write_all(self, group: Sequence[Request]) -> None:
        """Write what is admitted: together, and where that fails, each alone. Settles the whole group."""
        admitted: list[Request] = []
        size = 0
        try:
            for request in group:
                if self._admit(request, size):
                    admitted.append(request)
                    size += request.size
            if admitted and (error := self._write(admitted)) is not None:
                for request in admitted:
                    request.error = error if len(admitted) == 1 else self._write([request])
        except BaseException:
            for request in group:
                request.error = LogUnavailableError(f"log {self._path} failed")
            raise
        finally:
            self._settle(group)

    def _admit(self, request: Request, before: int) -> bool:
        """Refuse what does not fit: spans at `max_bytes`, what stages produce at the reserve beyond it."""
        if not request.records:
            return True
        limit = self._config.max_bytes
        if request.group or all(r.topic != topics.SPANS for r in request.records):
            limit += self._config.reserve_bytes()
        size = before + request.size
        if self._mirror.stored_bytes + size <= limit:
            return True
        try:
            with self._connection_lock:
                fits = self._retention.make_room(size, limit)
        except sqlite3.Error as exc:
            self._roll_back()
            request.error = unavailable(exc, self._path)
            return False
        if not fits:
            request.error = LogFullError(stored_bytes=self._mirror.stored_bytes, max_bytes=self._config.max_bytes)
        return fits

    def _write(self, group: Sequence[Request]) -> BaseException | None:
        """Write these requests in one transaction; return why that failed, with nothing of it stored."""
        try:
            transaction = _Transaction(self._mirror, self._headers, int(self._clock.now_s() * 1000))
            for request in group:
                transaction.add(request)
            with self._connection_lock:
                self._connection.execute("BEGIN IMMEDIATE")
                transaction.write(self._connection)
                self._connection.execute("COMMIT")
            self._written_bytes += _LEAST_WRITTEN_BYTES + transaction.size()
        except Exception as exc:  # noqa: BLE001 - whatever a request holds, the writer and its neighbours live on
            self._roll_back()
            return unavailable(exc, self._path) if is_trouble_of_file(exc) else exc
        self._mirror.appended(
            [(self._state_of(tp), end[0], end[1], end[2], end[5]) for tp, end in transaction.ends.items()],
            transaction.committed,
            transaction.forgotten,
        )
        for topic, count in transaction.appended().items():
            self._telemetry.count("clearwatch.log.records.appended", count, topic=topic)
        return None

    def _state_of(self, topic_partition: TopicPartition) -> PartitionState:
        return self._mirror.partitions[topic_partition]

    def _roll_back(self) -> None:
        # SQLite rolls back by itself on a full disk, but not always: https://sqlite.org/lang_transaction.html
        with self._connection_lock:
            if self._connection.in_transaction:
                try:
                    self._connection.execute("ROLLBACK")
                except sqlite3.Error as exc:
                    logger.warning("rollback of log %s failed: %s", self._path, exc)
