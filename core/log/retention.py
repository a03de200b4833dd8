"""What the embedded log deletes, oldest first within a partition, a batch at a time.

By time: whatever is older than its topic is kept. By size, where `log.max_bytes` is exceeded: first what every group
has committed, then what only groups that are not essential have still to read. What an essential group needs is never
deleted by size.
"""

import sqlite3
from typing import Final

from core.log.config import LogConfig
from core.log.database import OFFSET_BITS
from core.log.mirror import Mirror, PartitionState
from core.telemetry import Telemetry

# one batch holds writers up for some 20 ms; it may be larger than a write group, so that deletion keeps pace
_BATCH_RECORDS: Final = 4096
_BATCH_BYTES: Final = 32 * 1024**2
# batches that one request may wait for; the rest is left to the steps between groups
_BATCHES_PER_REQUEST: Final = 4


class Retention:
    """Used by the writer's thread alone, outside its transactions."""

    def __init__(
        self, connection: sqlite3.Connection, *, config: LogConfig, mirror: Mirror, telemetry: Telemetry
    ) -> None:
        self._connection = connection
        self._config = config
        self._mirror = mirror
        self._telemetry = telemetry
        self._next_look_ms = 0

    def step(self, now_ms: int) -> bool:
        """Delete one batch if something is due; return whether there may be more. Raises sqlite3.Error."""
        excess = self._mirror.stored_bytes - self._config.max_bytes
        if excess > 0 and self._by_size(excess):
            return True
        if now_ms < self._next_look_ms:
            return False
        if self._by_time(now_ms):
            return True
        self._next_look_ms = now_ms + int(self._config.retention_interval_s * 1000)
        return False

    def make_room(self, size: int, limit: int) -> bool:
        """Delete by size until `size` bytes fit under `limit`; return whether they do. Raises sqlite3.Error."""
        for _ in range(_BATCHES_PER_REQUEST):
            excess = self._mirror.stored_bytes + size - limit
            if excess <= 0:
                return True
            if not self._by_size(excess):
                return False
        return self._mirror.stored_bytes + size <= limit

    def _by_time(self, now_ms: int) -> bool:
        for (topic, _), state in self._mirror.partitions.items():
            oldest_kept_ms = now_ms - int(self._config.hours_kept(topic) * 3_600_000)
            if state.start_offset < state.next_offset and self._delete(
                state, upto=state.next_offset, before_ms=oldest_kept_ms, reason="time"
            ):
                return True
        return False

    def _by_size(self, excess: int) -> bool:
        # a little more than asked for: otherwise each request at the limit would wait for a deletion of its own
        excess += min(_BATCH_BYTES, self._config.max_bytes // 64)
        for essential_only, reason in ((False, "size"), (True, "size_unread")):
            found: list[tuple[int, PartitionState, int]] = []
            for topic_partition, state in self._mirror.partitions.items():
                upto = self._mirror.needed_from(topic_partition, essential_only=essential_only)
                if upto > state.start_offset:
                    found.append((self._oldest_ms(state), state, upto))
            if found:
                _, state, upto = min(found, key=lambda f: f[0])
                return self._delete(state, upto=upto, max_bytes=excess, reason=reason)
        return False

    def _oldest_ms(self, state: PartitionState) -> int:
        row = self._connection.execute(
            "SELECT log_time_ms FROM records WHERE id = ?", (state.row_base + state.start_offset,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _delete(
        self,
        state: PartitionState,
        *,
        upto: int,
        reason: str,
        before_ms: int | None = None,
        max_bytes: int = _BATCH_BYTES,
    ) -> bool:
        """Delete from the start of a partition up to these bounds; return whether anything went."""
        first = state.row_base + state.start_offset
        last = state.row_base + min(upto, state.start_offset + _BATCH_RECORDS)
        removed_bytes, start_offset = 0, state.start_offset
        for log_time_ms, size in self._connection.execute(
            "SELECT log_time_ms, length(value) FROM records WHERE id >= ? AND id < ? ORDER BY id", (first, last)
        ):
            if (before_ms is not None and log_time_ms >= before_ms) or removed_bytes >= min(max_bytes, _BATCH_BYTES):
                break
            removed_bytes += size
            start_offset += 1
        count = start_offset - state.start_offset
        if not count:
            return False
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", (first, state.row_base + start_offset))
        self._connection.execute(
            "UPDATE topic_partitions SET start_offset = ?, stored_bytes = stored_bytes - ? WHERE id = ?",
            (start_offset, removed_bytes, state.row_base >> OFFSET_BITS),
        )
        self._connection.execute("COMMIT")
        self._mirror.deleted(state, start_offset, removed_bytes)
        self._telemetry.count("clearwatch.log.deleted", count, topic=state.topic_partition[0], reason=reason)
        return True
