"""What the embedded log knows without asking SQLite: ends, starts, bytes and committed offsets.

Changed by the writer thread alone, in one step after each COMMIT, under one lock: a snapshot taken by anyone is a state
that the file really had.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

from core.log.port import TopicPartition


class PartitionState:
    """Where one topic partition begins and ends. `row_base` is the rowid of its offset 0."""

    __slots__ = (
        "last_log_time_ms", "next_offset", "row_base", "start_offset", "stored_bytes", "topic_partition", "units",
    )  # fmt: skip

    def __init__(
        self,
        *,
        topic_partition: TopicPartition,
        row_base: int,
        start_offset: int = 0,
        next_offset: int = 0,
        last_log_time_ms: int = 0,
        stored_bytes: int = 0,
        units: int = 0,
    ) -> None:
        self.topic_partition = topic_partition
        self.row_base = row_base
        self.start_offset = start_offset
        self.next_offset = next_offset
        self.last_log_time_ms = last_log_time_ms
        self.stored_bytes = stored_bytes
        self.units = units


class Mirror:
    """Thread-safe. `partitions` itself never changes after `load`; the states in it do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._essential: dict[str, bool] = {}
        self._topics: dict[str, set[str]] = {}
        self._committed: dict[tuple[str, TopicPartition], int] = {}
        self.partitions: Mapping[TopicPartition, PartitionState] = {}
        self.stored_bytes = 0

    def load(
        self,
        partitions: Iterable[PartitionState],
        groups: Iterable[tuple[str, bool]],
        committed: Iterable[tuple[str, str, int, int]],
    ) -> None:
        """Take what the file holds; groups registered before keep their registration."""
        with self._lock:
            self.partitions = {p.topic_partition: p for p in partitions}
            self.stored_bytes = sum(p.stored_bytes for p in self.partitions.values())
            for name, essential in groups:
                self._essential.setdefault(name, essential)
            for group, topic, partition, offset in committed:
                self._committed[group, (topic, partition)] = offset
                self._topics.setdefault(group, set()).add(topic)

    def register(self, group: str, topics: Sequence[str], *, essential: bool) -> None:
        """Count this group from now on."""
        with self._lock:
            self._essential[group] = essential
            self._topics.setdefault(group, set()).update(topics)

    def appended(
        self,
        ends: Iterable[tuple[PartitionState, int, int, int, int]],
        committed: Mapping[tuple[str, TopicPartition], int],
        forgotten: Collection[str] = (),
    ) -> None:
        """Apply one transaction: (partition, next offset, log time, bytes, units), groups forgotten, offsets."""
        with self._lock:
            for group in forgotten:
                self._topics.pop(group, None)
                self._essential.pop(group, None)
                self._committed = {key: offset for key, offset in self._committed.items() if key[0] != group}
            for state, next_offset, last_log_time_ms, added, units in ends:
                state.units += units
                state.next_offset = next_offset
                state.last_log_time_ms = last_log_time_ms
                state.stored_bytes += added
                self.stored_bytes += added
            for group, (topic, _) in committed:
                self._topics.setdefault(group, set()).add(topic)
            self._committed.update(committed)

    def deleted(self, state: PartitionState, start_offset: int, removed_bytes: int) -> None:
        """Apply one deletion."""
        with self._lock:
            state.start_offset = start_offset
            state.stored_bytes -= removed_bytes
            self.stored_bytes -= removed_bytes

    def units(self, topic: str) -> int:
        """Return the units of every record that was ever appended to a topic."""
        with self._lock:
            return sum(state.units for (name, _), state in self.partitions.items() if name == topic)

    def committed(self, group: str, topic_partition: TopicPartition) -> int | None:
        """Return the offset that was committed, or None."""
        with self._lock:
            return self._committed.get((group, topic_partition))

    def bounds(self, topic_partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int, int]]:
        """Return (start offset, next offset, last log time in ms) of each."""
        with self._lock:
            found = {}
            for topic_partition in topic_partitions:
                state = self.partitions[topic_partition]
                found[topic_partition] = (state.start_offset, state.next_offset, state.last_log_time_ms)
            return found

    def lag(self) -> dict[str, int]:
        """Return, for each group, the records that are stored and not committed."""
        with self._lock:
            behind = dict.fromkeys(self._topics, 0)
            for group, topics in self._topics.items():
                for topic_partition, state in self.partitions.items():
                    if topic_partition[0] in topics:
                        position = max(self._committed.get((group, topic_partition), 0), state.start_offset)
                        behind[group] += max(0, state.next_offset - position)
            return behind

    def needed_from(self, topic_partition: TopicPartition, *, essential_only: bool) -> int:
        """Return the first offset that a group still has to read; the end where no group does."""
        with self._lock:
            state = self.partitions[topic_partition]
            positions = (
                self._committed.get((group, topic_partition), 0)
                for group, topics in self._topics.items()
                if topic_partition[0] in topics and (not essential_only or self._essential.get(group, True))
            )
            return max(state.start_offset, min(positions, default=state.next_offset))
