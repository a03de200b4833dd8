"""Reading at given places: records by offset, a whole partition of state, the ends of partitions.

Consumers without a group, a few of them, each used by one caller at a time. Positions are sought by number, between
the beginning and the end that the brokers gave just before.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from core.errors import LogUnavailableError
from core.log.kafka.chunks import Joiner
from core.log.kafka.client import Consumer, ConsumerRecord, TopicPartition, headers_of, seeking_consumer, translated
from core.log.kafka.state import Restored, restore
from core.log.kafka_config import KafkaConfig
from core.log.port import StoredRecord

_CONSUMERS: Final = 4
# a gap between wanted offsets up to which reading on costs less than seeking
_GAP: Final = 64
_PATIENCE_S: Final = 15.0
_FOREVER_MS: Final = 1 << 60

# of each partition: the offset of its first record, and the one after its last
Bounds: TypeAlias = Mapping[TopicPartition, tuple[int, int]]


class Seeker:
    """A small pool of consumers. Used in one event loop."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._idle: list[Consumer] = []
        self._room = asyncio.Semaphore(_CONSUMERS)
        self._is_stopped = False

    async def bounds(self, partitions: Sequence[TopicPartition]) -> Bounds:
        """Return the offsets of the first record of each and after its last. Raises LogUnavailableError."""
        async with self._consumer("asking for the ends of partitions") as consumer:
            return await _bounds(consumer, partitions)

    async def read_at(self, at: TopicPartition, topic: str, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at ascending offsets that are still stored. Raises LogUnavailableError."""
        if not offsets:
            return ()
        found: list[StoredRecord] = []
        async with self._consumer(f"reading {at.topic} again") as consumer:
            begin, end = (await _bounds(consumer, [at]))[at]
            wanted = [offset for offset in offsets if begin <= offset < end]
            while wanted:
                run = 1
                while run < len(wanted) and wanted[run] - wanted[run - 1] <= _GAP:
                    run += 1
                found += await _read_run(consumer, at, topic, wanted[:run], end)
                wanted = wanted[run:]
        return found

    async def last_log_time_ms(self, bounds: Bounds) -> Mapping[TopicPartition, int]:
        """Return the log time of the last record within bounds, of each that holds one. Raises LogUnavailableError."""
        found: dict[TopicPartition, int] = {}
        async with self._consumer("reading the last records") as consumer:
            for at, (begin, end) in bounds.items():
                if begin < end:
                    async for raw in _read(consumer, at, end - 1, end):
                        found[at] = raw.timestamp
        return found

    async def restore(self, at: TopicPartition) -> Restored:
        """Return the state in a partition of a compacted topic, completely read. Raises LogUnavailableError."""
        records: list[StoredRecord] = []
        tombstones: set[int] = set()
        async with self._consumer(f"restoring {at.topic}") as consumer:
            begin, end = (await _bounds(consumer, [at]))[at]
            if begin < end:
                async for raw in _read(consumer, at, begin, end):
                    if raw.value is None:
                        tombstones.add(raw.offset)
                    records.append(stored(raw, at.topic))
        return await asyncio.to_thread(restore, records, frozenset(tombstones))

    async def stop(self) -> None:
        """Close every consumer. Idempotent."""
        self._is_stopped = True
        while self._idle:
            await self._idle.pop().stop()

    @asynccontextmanager
    async def _consumer(self, doing: str) -> AsyncIterator[Consumer]:
        async with self._room:
            if self._is_stopped:
                raise LogUnavailableError("the log is not running")
            consumer = self._idle.pop() if self._idle else None
            with translated(doing):
                try:
                    if consumer is None:
                        consumer = seeking_consumer(self._config)
                        async with asyncio.timeout(_PATIENCE_S):
                            await consumer.start()
                    yield consumer
                    consumer.unsubscribe()  # fetches nothing while nobody reads
                except BaseException:
                    # whatever state it is in, the next caller gets another
                    if consumer is not None:
                        await consumer.stop()
                    raise
            if self._is_stopped:
                await consumer.stop()
            else:
                self._idle.append(consumer)


async def _bounds(consumer: Consumer, partitions: Sequence[TopicPartition]) -> Bounds:
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    return {at: (begins[at], ends[at]) for at in partitions}


async def _read(consumer: Consumer, at: TopicPartition, begin: int, end: int) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of [begin, end); compaction may have left gaps, also at the end."""
    consumer.assign([at])
    consumer.seek(at, begin)
    while True:
        async with asyncio.timeout(_PATIENCE_S):
            found = (await consumer.getmany(at, timeout_ms=1000)).get(at, ())
        for raw in found:
            if raw.offset >= end:
                return
            yield raw
        if await consumer.position(at) >= end:
            return
        if not found:
            # nothing for a second: at the end unless the brokers are away, which their answer tells
            async with asyncio.timeout(_PATIENCE_S):
                await consumer.end_offsets([at])


async def _read_run(
    consumer: Consumer, at: TopicPartition, topic: str, offsets: Sequence[int], end: int
) -> list[StoredRecord]:
    """Return the records at offsets that lie close together; reads on until the parts of the last are there."""
    wanted = set(offsets)
    found: list[StoredRecord] = []
    joiner = Joiner(offsets[0], patience_ms=_FOREVER_MS)
    async for raw in _read(consumer, at, offsets[0], end):
        found += [record for record in joiner.add(stored(raw, topic)) if record.offset in wanted]
        if raw.offset >= offsets[-1] and not joiner.is_waiting:
            break
    return found


def stored(raw: ConsumerRecord, topic: str) -> StoredRecord:
    """Return a record as the port gives it, under our name of its topic."""
    return StoredRecord(
        topic=topic,
        partition=raw.partition,
        offset=raw.offset,
        log_time_ms=raw.timestamp,
        value=raw.value or b"",
        key=raw.key or b"",
        headers=headers_of(raw) if raw.headers else {},
    )
