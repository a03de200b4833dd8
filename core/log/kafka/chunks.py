"""Records above the brokers' limit: split on the way in, joined on the way out.

A large record becomes parts in the same partition. The first carries its key and headers; each carries the header
`chunk`, "id:index:count". The joined record has the offset of its first part, so an offset committed at it or before
it reads it whole again, and one committed behind it begins among its parts, which are then known to be leftovers.
Other producers' records may stand between the parts: they wait, so that offsets never go backwards.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from core.log.port import Record, StoredRecord

HEADER_CHUNK: Final = "chunk"


def split(record: Record, limit: int, chunk_id: str) -> Sequence[Record]:
    """Return a record as parts of at most `limit` bytes of value; as it is where it is no larger."""
    if len(record.value) <= limit:
        return (record,)
    view = memoryview(record.value)
    count = -(-len(view) // limit)
    return [
        Record(
            topic=record.topic,
            partition=record.partition,
            value=bytes(view[index * limit : (index + 1) * limit]),
            key=record.key if index == 0 else b"",
            headers={**(record.headers if index == 0 else {}), HEADER_CHUNK: f"{chunk_id}:{index}:{count}"},
        )
        for index in range(count)
    ]


class _Slot:
    """A record in the order of offsets: whole, or the parts that came so far."""

    __slots__ = ("chunk_id", "count", "first", "parts")

    def __init__(self, record: StoredRecord, chunk_id: str = "", count: int = 1) -> None:
        self.first = record
        self.chunk_id = chunk_id
        self.count = count
        self.parts = [record.value]

    def is_whole(self) -> bool:
        return len(self.parts) == self.count

    def joined(self) -> StoredRecord:
        if self.count == 1:
            return self.first
        headers = {name: value for name, value in self.first.headers.items() if name != HEADER_CHUNK}
        return msgspec.structs.replace(self.first, value=b"".join(self.parts), headers=headers)


class Joiner:
    """Joins the records of one partition, given in offset order. Pure.

    A first part whose others do not follow within `patience_ms` of log time was left by a producer that died: it never
    was acknowledged. `abandoned` counts these, `next_offset` is the one after the last record taken.
    """

    def __init__(self, next_offset: int, *, patience_ms: int) -> None:
        self.next_offset = next_offset
        self.abandoned = 0
        self._patience_ms = patience_ms
        self._slots: collections.deque[_Slot] = collections.deque()
        self._leftovers: set[int] = set()

    @property
    def is_waiting(self) -> bool:
        """Return whether a record is held whose parts are not all there."""
        return bool(self._slots)

    def add(self, record: StoredRecord) -> Iterator[StoredRecord]:
        """Take the next record and yield what can be delivered now."""
        self.next_offset = record.offset + 1
        mark = record.headers.get(HEADER_CHUNK)
        if mark is None:
            if not self._slots:
                yield record
                return
            self._slots.append(_Slot(record))
        else:
            self._add_part(record, mark)
        self._abandon(record.log_time_ms)
        yield from self._deliver()

    def let_pass(self, now_ms: int) -> Iterator[StoredRecord]:
        """Give up what has waited too long by log time, and yield what waited behind it."""
        self._abandon(now_ms)
        yield from self._deliver()

    def committed_as(self, offset: int) -> int:
        """Return the offset to commit for `offset`: behind the parts of the record before it."""
        while offset in self._leftovers:
            offset += 1
        self._leftovers = {part for part in self._leftovers if part >= offset}
        return offset

    def _add_part(self, record: StoredRecord, mark: str) -> None:
        chunk_id, index, count = mark.rsplit(":", 2)
        if index == "0":
            self._slots.append(_Slot(record, chunk_id, int(count)))
            return
        # a part of which nobody has the first: of a record that was taken before, or given up
        self._leftovers.add(record.offset)
        for slot in self._slots:
            if slot.chunk_id == chunk_id and len(slot.parts) == int(index):
                slot.parts.append(record.value)

    def _abandon(self, now_ms: int) -> None:
        kept = [s for s in self._slots if s.is_whole() or now_ms - s.first.log_time_ms <= self._patience_ms]
        self.abandoned += len(self._slots) - len(kept)
        self._slots = collections.deque(kept)

    def _deliver(self) -> Iterator[StoredRecord]:
        while self._slots and self._slots[0].is_whole():
            yield self._slots.popleft().joined()
