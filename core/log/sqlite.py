"""The embedded log: one SQLite file, one process, no services.

One thread writes (`writer`), a few read (`reading`), and what everybody asks for all the time is mirrored in memory
(`mirror`). `append` and `commit` return after COMMIT with `synchronous=FULL`; one commit is one atomic change.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from core import topics
from core.clock import Clock
from core.errors import GroupInUseError, LogUnavailableError
from core.log.config import LogConfig
from core.log.database import MEMORY, OFFSET_BITS, FileLock, connect_writer, prepare, unavailable
from core.log.member import SqliteReader
from core.log.mirror import Mirror, PartitionState
from core.log.partitions import PartitionCounts
from core.log.port import Record, StoredRecord, TopicPartition, Work
from core.log.reading import ReadPool, read_offsets
from core.log.writer import Request, Writer
from core.telemetry import Telemetry

DEFAULT_PARTITIONS: Final = 4


class SqliteLog:
    """See `core.log.port.Log`. `path` is a file or ":memory:" (kept until `stop`). Used in one event loop.

    `start` raises LogLockedError where another process has the file, LogFormatError where the file is not readable by
    this release, LogUnavailableError where it cannot be opened now.
    """

    def __init__(self, path: str, *, config: LogConfig, telemetry: Telemetry, clock: Clock) -> None:
        self.mirror = Mirror()
        self._path = path
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._counts = PartitionCounts(
            dict.fromkeys(topics.RETENTION_H, config.partitions or DEFAULT_PARTITIONS) | {topics.DEAD_LETTERS: 1}
        )
        self._room = asyncio.Semaphore(config.max_pending)
        self._file_lock = None if path == MEMORY else FileLock(path)
        self._connection: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._pool: ReadPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._members: dict[str, SqliteReader] = {}
        telemetry.gauge("clearwatch.log.bytes", lambda: self.mirror.stored_bytes)

    async def start(self) -> None:
        """Open the file, take its lock, check or create its tables, start the writer."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._open)
        except sqlite3.Error as exc:
            self._close()
            raise unavailable(exc, self._path) from exc
        except BaseException:
            self._close()
            raise

    def partitions(self, topic: str) -> int:
        """Return the number of partitions. Raises ValueError for a topic outside `core.topics`."""
        return self._counts.of(topic)

    async def append(self, records: Sequence[Record]) -> None:
        """Store records durably, all or none. Raises LogFullError, LogUnavailableError."""
        if records:
            for record in records:
                self._counts.check(record.topic, record.partition)
            await self._submit(Request(future=self._future(), records=records))

    async def commit(self, group: str, partition: int, work: Work) -> None:
        """Apply one step of a group, all or nothing; `SqliteReader.commit` calls it."""
        for record in work.produce:
            self._counts.check(record.topic, record.partition)
        for topic in work.next_offsets:
            self._counts.check(topic, partition)
        request = Request(
            future=self._future(),
            records=work.produce,
            group=group,
            offsets={(topic, partition): offset for topic, offset in work.next_offsets.items()},
            partition=partition,
            store=work.store,
            state=work.state,
        )
        await self._submit(request)

    def reader(self, group: str, topics: Sequence[str], *, essential: bool = True) -> SqliteReader:
        """Make the member of a group; it counts in `lag` from now on."""
        partitions = self._counts.shared_by(group, topics)
        self.mirror.register(group, topics, essential=essential)
        self._telemetry.gauge("clearwatch.stage.lag", lambda: self.mirror.lag().get(group, 0), group=group)
        return SqliteReader(
            self,
            group=group,
            topics=topics,
            essential=essential,
            partitions=partitions,
            telemetry=self._telemetry,
        )

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        state = self.mirror.partitions[topic, partition]
        return await self.pool().run(lambda c, codec: read_offsets(c, codec, state, offsets))

    def units(self, topic: str) -> int:
        """Return the units of every record that was ever appended to a topic: exact, also after a kill."""
        return self.mirror.units(topic)

    async def lag(self) -> Mapping[str, int]:
        """Return, for each group, the records not yet committed."""
        return self.mirror.lag()

    async def forget(self, group: str) -> None:
        """Delete a group's offsets. Raises GroupInUseError, LogUnavailableError."""
        if group in self._members:
            raise GroupInUseError(group)
        await self._submit(Request(future=self._future(), group=group, forget=True))

    async def stop(self) -> None:
        """Write what waits, close. Idempotent."""
        await asyncio.to_thread(self._close)

    def pool(self) -> ReadPool:
        """Return the connections to read with."""
        if self._pool is None:
            raise LogUnavailableError(f"log {self._path} is not running")
        return self._pool

    async def join(self, member: SqliteReader) -> None:
        """Store the group and where it begins, so that retention respects it from now on, also after a restart."""
        if member.group in self._members:
            raise ValueError(f"group {member.group} has a reader already")
        self._members[member.group] = member
        self.mirror.register(member.group, member.topics, essential=member.essential)  # it may have been forgotten
        try:
            await self._submit(
                Request(
                    future=self._future(),
                    group=member.group,
                    essential=member.essential,
                    offsets=self._beginnings(member),
                )
            )
        except BaseException:
            del self._members[member.group]
            raise

    def leave(self, member: SqliteReader) -> None:
        """Forget a member; its group stays."""
        if self._members.get(member.group) is member:
            del self._members[member.group]

    def _open(self) -> None:
        if self._file_lock is not None:
            self._file_lock.acquire()
        self._connection = connect_writer(self._path)
        wanted = [(topic, p) for topic, count in self._counts.by_topic.items() for p in range(count)]
        prepare(self._connection, self._path, wanted)
        self._load(self._connection)
        lock = threading.Lock()
        self._pool = ReadPool(self._path, writer=self._connection, lock=lock)
        self._writer = Writer(
            self._connection,
            lock=lock,
            path=self._path,
            config=self._config,
            mirror=self.mirror,
            telemetry=self._telemetry,
            clock=self._clock,
            settle=self._settle,
        )
        self._writer.start()

    def _load(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT id, topic, partition, start_offset, next_offset, last_log_time_ms, stored_bytes, units"
            " FROM topic_partitions ORDER BY id"
        )
        self.mirror.load(
            (
                PartitionState(
                    topic_partition=(topic, partition),
                    row_base=row_id << OFFSET_BITS,
                    start_offset=start,
                    next_offset=end,
                    last_log_time_ms=log_time_ms,
                    stored_bytes=size,
                    units=units,
                )
                for row_id, topic, partition, start, end, log_time_ms, size, units in rows
            ),
            ((name, bool(essential)) for name, essential in connection.execute("SELECT * FROM consumer_groups")),
            connection.execute("SELECT consumer_group, topic, partition, next_offset FROM offsets"),
        )

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._file_lock is not None:
            self._file_lock.release()

    def _beginnings(self, member: SqliteReader) -> dict[TopicPartition, int]:
        """Return where a group begins in the partitions of which it has committed nothing."""
        mine = [tp for tp in self.mirror.partitions if tp[0] in member.topics]
        return {
            tp: start
            for tp, (start, _, _) in self.mirror.bounds(mine).items()
            if self.mirror.committed(member.group, tp) is None
        }

    def _future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    async def _submit(self, request: Request) -> None:
        """Hand a request to the writer and wait until it is durable; waits before that where too many wait."""
        async with self._room:
            if self._writer is None:
                raise LogUnavailableError(f"log {self._path} is not running")
            self._writer.submit(request)
            await request.future

    def _settle(self, requests: Sequence[Request]) -> None:
        """Called in the writer's thread: hand the outcome of a group to the event loop in one call."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._finish, requests)

    def _finish(self, requests: Sequence[Request]) -> None:
        grown: set[str] = set()
        for request in requests:
            if request.error is None:
                grown.update([r.topic for r in request.records])
            if request.future.done():  # its caller was cancelled
                continue
            if request.error is None:
                request.future.set_result(None)
            else:
                request.future.set_exception(request.error)
        for member in self._members.values():
            if not grown.isdisjoint(member.topics):
                member.wake()
