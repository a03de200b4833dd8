"""What one member of a group has fetched and not yet delivered, by partition; of those that are open only."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from core.log.kafka.chunks import Joiner
from core.log.kafka.client import Consumer, ConsumerRecord, TopicPartition
from core.log.kafka.seeking import stored
from core.log.port import Fetch, StoredRecord
from core.log.port import TopicPartition as OurPartition

_END_OF_TIME_MS: Final = 1 << 60


class _Partition:
    """One topic's partition: what waits to be delivered, and how far the brokers are known to have it."""

    __slots__ = ("absorbed_s", "end", "end_asked_ms", "joiner", "last_log_time_ms", "ours", "waiting")

    def __init__(
        self, ours: OurPartition, *, position: int, end: int, last_log_time_ms: int | None, patience_ms: int
    ) -> None:
        self.ours = ours
        self.end = end
        self.end_asked_ms = time.time() * 1000
        self.joiner = Joiner(position, patience_ms=patience_ms)
        self.waiting: deque[StoredRecord] = deque()
        self.absorbed_s = time.monotonic()
        self.last_log_time_ms = last_log_time_ms


class Delivery:
    """Takes what a client polled and gives it out by bytes, the partitions taking turns.

    `fresh_ms` is how old an answer of the brokers about a partition's end may be to count as its end now;
    `patience_ms` how long parts of a record are waited for; `deleted` is told of records that retention deleted
    before they were read, `incomplete` of records whose producer died between their parts.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        fresh_ms: int,
        patience_ms: int,
        deleted: Callable[[int], None],
        incomplete: Callable[[int], None],
    ) -> None:
        self._names = names
        self._fresh_ms = fresh_ms
        self._patience_ms = patience_ms
        self._deleted = deleted
        self._incomplete = incomplete
        self._open: dict[TopicPartition, _Partition] = {}
        self._paused: set[OurPartition] = set()
        self._turn = 0
        self._abandoned = 0

    @property
    def is_open(self) -> bool:
        """Return whether any partition is open."""
        return bool(self._open)

    @property
    def is_all_paused(self) -> bool:
        """Return whether every open partition is paused."""
        return all(partition.ours in self._paused for partition in self._open.values())

    def partitions(self) -> Iterator[TopicPartition]:
        """Yield the partitions that are open."""
        yield from self._open

    def open(self, at: TopicPartition, *, position: int, end: int, last_log_time_ms: int | None) -> None:
        """Deliver from here on; `end` is what the brokers have just said."""
        self._open[at] = _Partition(
            (self._names[at.topic], at.partition),
            position=position,
            end=end,
            last_log_time_ms=last_log_time_ms,
            patience_ms=self._patience_ms,
        )

    def close(self) -> None:
        """Deliver nothing more; pauses belong to the assignment that ends."""
        self._open.clear()
        self._paused.clear()
        self._abandoned = 0

    def pause(self, partitions: Sequence[OurPartition]) -> None:
        """Deliver nothing of these."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[OurPartition]) -> None:
        """Deliver these again."""
        self._paused.difference_update(partitions)

    def is_paused(self, ours: OurPartition) -> bool:
        """Return whether a partition is paused."""
        return ours in self._paused

    def absorb(self, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> bool:
        """Take what the client found; return whether any of it was for an open partition."""
        is_any = False
        for at, found in polled.items():
            partition = self._open.get(at)
            if partition is None or not found:
                continue
            for raw in found:
                if raw.offset < partition.joiner.next_offset:  # sent for before the position was sought
                    continue
                self._deleted(raw.offset - partition.joiner.next_offset)
                partition.waiting.extend(partition.joiner.add(stored(raw, partition.ours[0])))
                partition.last_log_time_ms = raw.timestamp
            partition.absorbed_s = time.monotonic()
            is_any = True
        return is_any

    def give_up_parts(self, consumer: Consumer | None) -> None:
        """Where parts of a record are missing and no record follows to tell the time, let time pass here."""
        for at, partition in self._open.items():
            if not partition.joiner.is_waiting or partition.waiting:
                continue
            waits_s = time.monotonic() - partition.absorbed_s
            if waits_s * 1000 > self._patience_ms and self._has_read_all(consumer, at, partition):
                partition.waiting.extend(partition.joiner.let_pass(_END_OF_TIME_MS))
        abandoned = sum(partition.joiner.abandoned for partition in self._open.values())
        if abandoned > self._abandoned:
            self._incomplete(abandoned - self._abandoned)
        self._abandoned = abandoned

    def take(self, max_bytes: int) -> dict[OurPartition, Sequence[StoredRecord]]:
        """Return about so many bytes of what waits, at least one record where there is one."""
        waiting = [p for p in self._open.values() if p.waiting and p.ours not in self._paused]
        if not waiting:
            return {}
        self._turn += 1
        first = self._turn % len(waiting)
        share = max(1, max_bytes // len(waiting))
        found: dict[OurPartition, Sequence[StoredRecord]] = {}
        left = max_bytes
        for partition in [*waiting[first:], *waiting[:first]]:
            taken: list[StoredRecord] = []
            room = min(share, left)
            while partition.waiting and (not taken or room >= len(partition.waiting[0].value)):
                record = partition.waiting.popleft()
                room -= len(record.value)
                left -= len(record.value)
                taken.append(record)
            found[partition.ours] = taken
            if left <= 0:
                break
        return found

    def fetched(self, records: Mapping[OurPartition, Sequence[StoredRecord]], consumer: Consumer | None) -> Fetch:
        """Return records as a fetch, with the partitions in which nothing else is to be had."""
        caught_up: set[OurPartition] = set()
        stamps: dict[OurPartition, int] = {}
        for at, partition in self._open.items():
            if partition.ours in records or partition.ours in self._paused:
                continue
            if partition.waiting or partition.joiner.is_waiting or not self._has_read_all(consumer, at, partition):
                continue
            caught_up.add(partition.ours)
            if partition.last_log_time_ms is not None:
                stamps[partition.ours] = partition.last_log_time_ms
        return Fetch(records=records, caught_up=frozenset(caught_up), last_log_time_ms=stamps)

    def committed_as(self, at: TopicPartition, offset: int) -> int:
        """Return the offset to commit for `offset`: behind the parts of the record before it."""
        partition = self._open.get(at)
        return partition.joiner.committed_as(offset) if partition else offset

    def _has_read_all(self, consumer: Consumer | None, at: TopicPartition, partition: _Partition) -> bool:
        """Return whether a fetch that is not long ago found nothing beyond what was taken."""
        if consumer is None or at not in consumer.assignment():
            return False
        end, asked_ms = consumer.highwater(at), consumer.last_poll_timestamp(at)
        if end is not None and asked_ms is not None and asked_ms >= partition.end_asked_ms:
            partition.end, partition.end_asked_ms = int(end), float(asked_ms)
        is_fresh = time.time() * 1000 - partition.end_asked_ms < self._fresh_ms
        return is_fresh and partition.joiner.next_offset >= partition.end
