"""What a stage is: pure processors, one for each partition, driven by one runner over a `Reader`.

A `Processor` decides; it never does I/O, except that it may ask for records to be read back (`Recall`). The runner
(`core.runner`) fetches, keeps time, calls the processor off the event loop, and commits what it returns.

**Time.** `now_s` is log time: the append time of the record in hand, and at the end of the partition the last append
time plus the monotonic time since a successful empty fetch. A backlog therefore closes traces just as live traffic
would. It never runs backwards within a partition.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from core.log.port import StoredRecord, Work


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """Records that a processor needs again before it can go on: topic and ascending offsets in its own partition."""

    topic: str
    offsets: tuple[int, ...]


class RecallNeeded(Exception):  # noqa: N818 - a request to the runner, not an error
    """Raised by `process` or `tick` *before anything was changed*: read these, `recalled(...)`, then call again."""

    def __init__(self, recall: Recall) -> None:
        super().__init__(f"needs {len(recall.offsets)} records of {recall.topic} again")
        self.recall = recall


class Processor(Protocol):
    """The deciding part of a stage for one partition. Not thread-safe; called by one thread at a time."""

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take the state that was committed last; name records to be read back, or None."""
        ...

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take records that were asked for; some may be missing (deleted by retention)."""
        ...

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Take records in offset order (each carries its log time) and return what changes."""
        ...

    def tick(self, now_s: float) -> Work:
        """Let idle time pass up to `now_s`; only called at the end of the partition."""
        ...

    def next_wake_s(self) -> float | None:
        """Return the log time at which `tick` has something to do, or None."""
        ...


class Stage(Protocol):
    """A consumer group and how to make its processors."""

    @property
    def name(self) -> str:
        """Return the name: consumer group, `--stages` word and metric label in one."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the co-partitioned topics it reads."""
        ...

    @property
    def store(self) -> str:
        """Return the name of its compacted store (`state.<name>`)."""
        ...

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        """Make the processor of a partition; `partitions` gives the partition count of each topic."""
        ...
