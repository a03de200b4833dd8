"""The embedded log's reader: the only member of its group, so it owns every partition from start to stop."""

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from core.log.headers import HeaderCodec
from core.log.mirror import Mirror
from core.log.port import AssignmentListener, Fetch, StoredRecord, TopicPartition, Work
from core.log.reading import ReadPool, read_range
from core.telemetry import Telemetry

# least bytes of one partition in a fetch: below it, more partitions in a fetch cost more than fairness gains
_LEAST_SHARE_BYTES: Final = 64 * 1024
_LOOK_AGAIN_S: Final = 0.01


class Host(Protocol):
    """What a member needs of its log."""

    @property
    def mirror(self) -> Mirror:
        """Return the log's mirror."""
        ...

    def pool(self) -> ReadPool:
        """Return the connections to read with. Raises LogUnavailableError where the log is not running."""
        ...

    async def join(self, member: "SqliteReader") -> None:
        """Make the group durable and wake the member whenever its topics grow."""
        ...

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        ...

    def leave(self, member: "SqliteReader") -> None:
        """Undo `join`."""
        ...

    async def commit(self, group: str, partition: int, work: Work) -> None:
        """Apply one step."""
        ...


class SqliteReader:
    """See `core.log.port.Reader`. Used in the event loop that the log was started in."""

    def __init__(
        self, host: Host, *, group: str, topics: Sequence[str], essential: bool, partitions: int, telemetry: Telemetry
    ) -> None:
        self.group = group
        self.topics = tuple(topics)
        self.essential = essential
        self._host = host
        self._telemetry = telemetry
        self._partitions = partitions
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._grown = asyncio.Event()
        self._turn = 0

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group and deliver from what it committed; from the beginning where it has committed nothing."""
        await self._host.join(self)
        try:
            await listener.on_assigned(range(self._partitions))
        except BaseException:
            # so that it may be started again: half of what is assigned may have been restored
            self._host.leave(self)
            await listener.on_revoked(range(self._partitions))
            raise
        mirror = self._host.mirror
        assigned = [(topic, p) for p in range(self._partitions) for topic in self.topics]
        for topic_partition, (start, _, _) in mirror.bounds(assigned).items():
            committed = mirror.committed(self.group, topic_partition)
            self._positions[topic_partition] = start if committed is None else committed

    def wake(self) -> None:
        """Look again: a topic has grown."""
        self._grown.set()

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Fetch:
        """Return the next records; partitions take turns at being first."""
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + timeout_s
        while True:
            pool = self._host.pool()
            self._grown.clear()
            active = [tp for tp in self._positions if tp not in self._paused]
            bounds = self._host.mirror.bounds(active)
            for topic_partition, (start, _, _) in bounds.items():
                self._skip_deleted(topic_partition, start)
            waiting = [tp for tp in active if self._positions[tp] < bounds[tp][1]]
            caught_up = [tp for tp in active if self._positions[tp] >= bounds[tp][1]]
            records: dict[TopicPartition, Sequence[StoredRecord]] = {}
            if waiting:
                ends = {tp: bounds[tp][1] for tp in self._take_turns(waiting)}
                records = await pool.run(functools.partial(self._read, ends, max_bytes))
            for topic_partition, found in records.items():
                self._skip_deleted(topic_partition, found[0].offset)  # deleted since `bounds` was taken
                self._positions[topic_partition] = found[-1].offset + 1
            left_s = deadline_s - now_s()
            if records or left_s <= 0:
                return Fetch(
                    records=records,
                    caught_up=frozenset(caught_up),
                    last_log_time_ms={tp: bounds[tp][2] for tp in caught_up if bounds[tp][1]},
                )
            # what was to be read was deleted in the meantime: look again soon
            await self._wait(min(left_s, _LOOK_AGAIN_S) if waiting else left_s)

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        return await self._host.read_at(topic, partition, offsets)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering these partitions."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver these partitions again."""
        self._paused.difference_update(partitions)
        self._grown.set()

    async def load_state(self, store: str, partition: int) -> Sequence[tuple[bytes, bytes]]:
        """Return every live entry of a store, in the order in which its keys first appeared."""
        return await self._host.pool().run(
            lambda c, _: c.execute(
                "SELECT key, value FROM state WHERE store = ? AND partition = ? ORDER BY id", (store, partition)
            ).fetchall()
        )

    async def commit(self, partition: int, work: Work) -> None:
        """Apply one step in one transaction."""
        if not work.is_empty():
            await self._host.commit(self.group, partition, work)

    async def stop(self) -> None:
        """Leave the group."""
        self._positions.clear()
        self._host.leave(self)

    def _skip_deleted(self, topic_partition: TopicPartition, start: int) -> None:
        gone = start - self._positions[topic_partition]
        if gone > 0:
            self._telemetry.count("clearwatch.dropped", gone, reason=f"retention_{self.group}")
            self._positions[topic_partition] = start

    def _take_turns(self, waiting: Sequence[TopicPartition]) -> list[TopicPartition]:
        self._turn += 1
        first = self._turn % len(waiting)
        return [*waiting[first:], *waiting[:first]]

    def _read(
        self, ends: Mapping[TopicPartition, int], max_bytes: int, connection: sqlite3.Connection, codec: HeaderCodec
    ) -> dict[TopicPartition, Sequence[StoredRecord]]:
        partitions = self._host.mirror.partitions
        share = max(_LEAST_SHARE_BYTES, max_bytes // len(ends))
        found: dict[TopicPartition, Sequence[StoredRecord]] = {}
        left = max_bytes
        for topic_partition, end in ends.items():
            records = read_range(
                connection,
                codec,
                partitions[topic_partition],
                self._positions[topic_partition],
                end,
                min(share, left),
            )
            if records:
                found[topic_partition] = records
                left -= sum([len(r.value) for r in records])
            if left <= 0:
                break
        return found

    async def _wait(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._grown.wait()
