"""The compacted stores of one member of a group: loaded with its partitions, written step by step (`state`)."""

import logging
from collections.abc import Mapping, Sequence

from core.log.kafka.appender import Appender
from core.log.kafka.client import TopicPartition
from core.log.kafka.seeking import Seeker
from core.log.kafka.state import as_records, encode_changes, encode_manifest
from core.log.kafka.topic_setup import Topics, store_topic
from core.log.port import StateChange

logger = logging.getLogger(__name__)


class Stores:
    """What the last manifest of each partition says, and how many parts its values have. Used in one event loop."""

    def __init__(self, *, appender: Appender, seeker: Seeker, topics: Topics, partitions: int, limit: int) -> None:
        self._appender = appender
        self._seeker = seeker
        self._topics = topics
        self._partitions = partitions
        self._limit = limit
        self._offsets: dict[int, dict[str, int]] = {}
        self._part_counts: dict[tuple[str, int], dict[bytes, int]] = {}

    def forget(self) -> None:
        """Forget every partition: they are loaded again with the next assignment."""
        self._offsets.clear()
        self._part_counts.clear()

    def offset(self, partition: int, topic: str) -> int:
        """Return the offset that the state of a partition stands for, 0 where it says nothing."""
        return self._offsets.get(partition, {}).get(topic, 0)

    async def prepare(self, store: str) -> None:
        """Make or check the topic of a store, once. Raises TopicMismatchError, LogUnavailableError."""
        await self._topics.prepare_store(store, self._partitions)

    async def load(self, store: str, partition: int) -> Sequence[tuple[bytes, bytes]]:
        """Return every live entry of a store, after putting right what half a step left behind."""
        await self.prepare(store)
        restored = await self._seeker.restore(TopicPartition(self._topics.name(store_topic(store)), partition))
        self._part_counts[store, partition] = dict(restored.part_counts)
        self._offsets.setdefault(partition, {}).update(restored.next_offsets)
        if restored.repairs:
            logger.info("%s[%d]: %d entries of half a step are put right", store, partition, len(restored.repairs))
            await self.write(store, partition, restored.repairs, {})
        return list(restored.values.items())

    async def write(
        self, store: str, partition: int, changes: Sequence[StateChange], next_offsets: Mapping[str, int]
    ) -> None:
        """Write the changes of a step, then the manifest that makes them count. Raises LogUnavailableError."""
        counts = self._part_counts.setdefault((store, partition), {})
        entries, changed = encode_changes(changes, limit=self._limit, part_counts=counts)
        offsets = self._offsets.get(partition, {}) | dict(next_offsets)
        topic = store_topic(store)
        await self._appender.append_state(as_records(entries, topic=topic, partition=partition))
        # alone, so that no broker has it before all that it speaks of
        await self._appender.append_state(as_records([encode_manifest(offsets)], topic=topic, partition=partition))
        self._offsets[partition] = offsets
        for key, count in changed.items():
            if count:
                counts[key] = count
            else:
                counts.pop(key, None)
