"""The log: partitioned, replayable topics with consumer groups and compacted state, behind one port.

Two implementations fit it: SQLite (embedded) and Kafka. What a caller may rely on, whichever it is:

- **Offsets** are always the *next* offset to read. A group's committed offset is the first record it will see again.
- **`append` returns when the records are durable** (SQLite: after COMMIT; Kafka: acks=all). It raises
  `LogUnavailableError` (or its subclass `LogFullError`) without having stored a part that the caller cannot retry:
  a retry may store records twice (at least once), never lose them.
- **`commit(Work)` applies one step of a stage.** SQLite does it in one transaction. Kafka cannot, so the order is
  part of the contract: produced records first, then state changes, then the offset. A crash between them repeats the
  step, which is why everything produced carries a deterministic id.
- **State** is a compacted key-value store for each (store, partition): the last value of a key, `None` deletes.
  Values above the broker's limit are chunked by the implementation.
- **Within a partition, records are delivered in offset order; across partitions there is no order.**
- `log_time_ms` is the time of the append as the log saw it and never goes backwards within a partition.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

TopicPartition: TypeAlias = tuple[str, int]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record to append.

    `partition` is explicit: the caller hashes its key with `core.topics.partition_for`, so that every client agrees.
    `units` are what is to be counted with it (spans); a log that can sums them up in the same transaction.
    """

    topic: str
    partition: int
    value: bytes
    key: bytes = b""
    headers: Mapping[str, str] = {}
    units: int = 0


class StoredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record read back."""

    topic: str
    partition: int
    offset: int
    log_time_ms: int
    value: bytes
    key: bytes = b""
    headers: Mapping[str, str] = {}


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """Set (or delete, with None) one key of a compacted store, in the partition of the `Work` it belongs to."""

    key: bytes
    value: bytes | None


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one step of a stage changes, for one partition of its input.

    `next_offsets` maps input topics to the group's new committed offset in that partition; a topic left out keeps its
    offset. `state` goes to the compacted store named `store`.
    """

    produce: tuple[Record, ...] = ()
    store: str = ""
    state: tuple[StateChange, ...] = ()
    next_offsets: Mapping[str, int] = {}

    def is_empty(self) -> bool:
        """Return whether committing this would change nothing."""
        return not (self.produce or self.state or self.next_offsets)


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll returned.

    `records` maps (topic, partition) to records in offset order. `caught_up` holds the partitions of the assignment
    of which a *successful* fetch found nothing beyond what was already delivered: only there may idle time pass.
    `last_log_time_ms` gives the log time of the last record of each of these that ever had one, so that idle time has
    a beginning even where a restarted group finds nothing new.
    """

    records: Mapping[TopicPartition, Sequence[StoredRecord]] = {}
    caught_up: frozenset[TopicPartition] = frozenset()
    last_log_time_ms: Mapping[TopicPartition, int] = {}


class AssignmentListener(Protocol):
    """Told about partitions gained and lost; both are awaited before records of the new assignment are delivered."""

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Restore the state of these partitions; delivery starts when this returns."""
        ...

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish and commit these partitions; they belong to another member when this returns."""
        ...


class Reader(Protocol):
    """A member of a consumer group over topics that share their partition count (co-partitioned)."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group; `listener.on_assigned` runs before the first record is delivered."""
        ...

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Fetch:
        """Return the next records, at most about `max_bytes` (always at least one record where there is one).

        Waits up to `timeout_s` while there is nothing to return. Raises LogUnavailableError.
        """
        ...

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets (ascending), leaving out those that retention has deleted."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering these partitions until `resume`; backpressure without leaving the group."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver these partitions again."""
        ...

    async def load_state(self, store: str, partition: int) -> Sequence[tuple[bytes, bytes]]:
        """Return every live (key, value) of a compacted store in this partition, completely read."""
        ...

    async def commit(self, partition: int, work: Work) -> None:
        """Apply one step: produce, change state, move offsets. See the module's contract for atomicity."""
        ...

    async def stop(self) -> None:
        """Leave the group. Idempotent. Does not commit: the caller has, before."""
        ...


class Log(Protocol):
    """The log itself; one for each process."""

    async def start(self) -> None:
        """Open it and check (or create) the topics; raises LogUnavailableError."""
        ...

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        ...

    async def append(self, records: Sequence[Record]) -> None:
        """Store records durably. Raises LogFullError, LogUnavailableError."""
        ...

    def reader(self, group: str, topics: Sequence[str], *, essential: bool = True) -> Reader:
        """Make a member of `group` over co-partitioned `topics`.

        A group that is not `essential` (a sink) never holds back deletion by size: what it has not read in time is
        deleted and counted.
        """
        ...

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets (ascending), leaving out those that are deleted; no group is involved.

        Raises LogUnavailableError.
        """
        ...

    async def lag(self) -> Mapping[str, int]:
        """Return, for each consumer group known, the records not yet committed: one consistent snapshot.

        Known are the groups that a reader was made for and those that committed offsets in an earlier run.
        """
        ...

    async def forget(self, group: str) -> None:
        """Delete a consumer group, that is its offsets: it leaves `lag` and holds back no deletion. Idempotent.

        Its state stays. Should it ever come back, it begins at the earliest record, as a new group does. Raises
        GroupInUseError while the group has a member (Kafka: GROUP_NOT_EMPTY), LogUnavailableError.
        """
        ...

    async def stop(self) -> None:
        """Flush and close. Idempotent."""
        ...
