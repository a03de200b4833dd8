"""What of this process has stopped for good, and why: shown by /readyz and the status page until somebody acts.

A group stops a partition rather than lose records (a newer release wrote them, its code fails on each of them). The
log keeps what it has not read; a restart, usually of a newer release, goes on from there.
"""

import threading

import msgspec


class StoppedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that a group reads no further; `reason` names the record, what was found and what to do."""

    group: str
    topic: str
    partition: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.group}: stopped at {self.topic}[{self.partition}]@{self.offset}: {self.reason}"


class Stops:
    """The partitions stopped in this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped: dict[tuple[str, str, int], StoppedPartition] = {}

    def add(self, stopped: StoppedPartition) -> bool:
        """Note a stop, return whether it is news; the first one of a partition stays, since it is the cause."""
        key = (stopped.group, stopped.topic, stopped.partition)
        with self._lock:
            return self._stopped.setdefault(key, stopped) is stopped

    def forget(self, group: str, partition: int) -> None:
        """Drop what was noted: the partition belongs to another member now."""
        with self._lock:
            for key in [k for k in self._stopped if (k[0], k[2]) == (group, partition)]:
                del self._stopped[key]

    def now(self) -> tuple[StoppedPartition, ...]:
        """Return what is stopped, by group, topic and partition."""
        with self._lock:
            return tuple(self._stopped[key] for key in sorted(self._stopped))
