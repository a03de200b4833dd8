"""The log on Kafka: see `core.log.port.Log`. One for each process."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from core.errors import LogUnavailableError
from core.log.config import LogConfig
from core.log.kafka.appender import Appender
from core.log.kafka.client import TopicPartition
from core.log.kafka.groups import Groups
from core.log.kafka.reader import KafkaReader
from core.log.kafka.seeking import Seeker
from core.log.kafka.topic_setup import Topics
from core.log.partitions import PartitionCounts
from core.log.port import Record, StoredRecord
from core.telemetry import Telemetry


class KafkaLog:
    """Topics, groups and state on brokers.

    `instance_id` is this process's place in its groups, the same after a restart; empty for none.

    `start` raises TopicMismatchError where a topic does not fit, LogUnavailableError where the brokers do not answer.
    """

    def __init__(self, *, config: LogConfig, instance_id: str, telemetry: Telemetry) -> None:
        self._config = config
        self._instance_id = config.kafka.instance_id or instance_id
        self._telemetry = telemetry
        self.topics = Topics(config)
        self.appender = Appender(config.kafka, name=self.topics.name)
        self.seeker = Seeker(config.kafka)
        self.groups = Groups(config.kafka)
        self.counts = PartitionCounts({})
        self._groups: dict[str, tuple[str, ...]] = {}
        self._readers: set[KafkaReader] = set()
        self._is_running = False

    async def start(self) -> None:
        """Make or check the topics, connect the producer."""
        self.counts = PartitionCounts(await self.topics.prepare())
        await self.appender.start()
        self._is_running = True

    def partitions(self, topic: str) -> int:
        """Return the number of partitions. Raises ValueError for a topic outside `core.topics`."""
        return self.counts.of(topic)

    async def append(self, records: Sequence[Record]) -> None:
        """Store records, acknowledged by all in-sync replicas. Raises LogUnavailableError."""
        for record in records:
            self.counts.check(record.topic, record.partition)
        self.check_running()
        await self.appender.append(records)
        for topic, count in Counter([record.topic for record in records]).items():
            self._telemetry.count("clearwatch.log.records.appended", count, topic=topic)

    def reader(self, group: str, topics: Sequence[str], *, essential: bool = True) -> KafkaReader:
        """Make a member of a group; it counts in `lag` from now on. The brokers' retention waits for no group."""
        partitions = self.counts.shared_by(group, topics)
        self._groups[group] = tuple(topics)
        reader = KafkaReader(
            self,
            group=group,
            topics=topics,
            partitions=partitions,
            config=self._config.kafka,
            instance_id=self._instance_id,
            telemetry=self._telemetry,
        )
        self._readers.add(reader)
        return reader

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        self.check_running()
        return await self.seeker.read_at(TopicPartition(self.topics.name(topic), partition), topic, offsets)

    async def lag(self) -> Mapping[str, int]:
        """Return, for each group of ours that the brokers know or that was made here, the records not yet committed.

        Commits are read before the ends of the partitions, so a record on its way from one group to the next may be
        counted twice, and never not at all.
        """
        self.check_running()
        committed = await self.groups.committed()
        mine = {group: set(self._partitions_of(topics)) for group, topics in self._groups.items()}
        ours = set(self._partitions_of(tuple(self.counts.by_topic)))
        for group, offsets in committed.items():
            if offsets:  # one that has just joined has committed nothing: nobody can tell yet what it reads
                mine[group] = mine.get(group, set()) | (set(offsets) & ours)
        everything = sorted({at for partitions in mine.values() for at in partitions})
        bounds = await self.seeker.bounds(everything)
        return {
            group: sum(_behind(bounds[at], committed.get(group, {}).get(at, 0)) for at in partitions)
            for group, partitions in mine.items()
        }

    async def forget(self, group: str) -> None:
        """Delete a group, so that it has no lag any more. Raises LogUnavailableError, also where it has members."""
        self.check_running()
        self._groups.pop(group, None)
        await self.groups.forget(group)

    async def stop(self) -> None:
        """Close every reader, send what waits. Idempotent."""
        if not self._is_running:
            await self.appender.stop()
            return
        self._is_running = False
        await asyncio.gather(*(reader.stop() for reader in list(self._readers)))
        await self.appender.stop()
        await self.seeker.stop()
        await self.groups.stop()

    # -- for readers

    def check_running(self) -> None:
        """Raise LogUnavailableError where the log is not running."""
        if not self._is_running:
            raise LogUnavailableError("the log is not running")

    def leave(self, reader: KafkaReader) -> None:
        """Forget a reader that stopped; its group stays."""
        self._readers.discard(reader)

    def _partitions_of(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [
            TopicPartition(self.topics.name(topic), number)
            for topic in topics
            for number in range(self.partitions(topic))
        ]


def _behind(bounds: tuple[int, int], committed: int) -> int:
    begin, end = bounds
    return max(0, end - max(begin, committed))
