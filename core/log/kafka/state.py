"""Compacted state on Kafka, as atomic as a transaction would make it.

One step of a stage writes its changes to `state.<name>` and then a **manifest** with the offsets that the step moved.
Whoever restores the partition applies everything up to the last manifest and nothing behind it: what stands there is
half a step, which will be done again. The offsets in the manifest count where they are ahead of the group's own, so
state and offsets can never disagree, although Kafka moves them one after the other.

A half step has hidden older values of its keys from compaction, so its keys are written again before work begins
(`Restored.repairs`); `min.compaction.lag.ms` covers the time until then.

Keys: b"v" + key holds a value, or the number of its parts in the header `parts`; b"p" + index (4 bytes, big endian) +
key holds a part; b"m" is the manifest. A deleted key is a tombstone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core.log.port import Record, StateChange, StoredRecord

MANIFEST: Final = b"m"
HEADER_PARTS: Final = "parts"
_VALUE: Final = b"v"
_PART: Final = b"p"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a state topic; `value` None is a tombstone."""

    key: bytes
    value: bytes | None
    headers: Mapping[str, str] = {}


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a partition: values by key in the order of their first write, and the offsets they belong to.

    `part_counts` says how many parts a value has that was written in parts. `repairs` are the changes that put right
    what half a step left behind.
    """

    values: Mapping[bytes, bytes]
    next_offsets: Mapping[str, int]
    part_counts: Mapping[bytes, int]
    repairs: Sequence[StateChange]


def encode_changes(
    changes: Iterable[StateChange], *, limit: int, part_counts: Mapping[bytes, int]
) -> tuple[list[Entry], dict[bytes, int]]:
    """Return the entries of changes, in the order to write them, and how many parts each of their keys has now.

    Values above `limit` bytes are written in parts before the entry that names their number; parts that a shorter value
    leaves behind become tombstones.
    """
    entries: list[Entry] = []
    counts: dict[bytes, int] = {}
    for change in changes:
        before = counts.get(change.key, part_counts.get(change.key, 0))
        value = change.value
        count = 0
        headers: dict[str, str] = {}
        if value is not None and len(value) > limit:
            view = memoryview(value)
            count = -(-len(view) // limit)
            entries += [
                Entry(key=_part_key(change.key, index), value=bytes(view[index * limit : (index + 1) * limit]))
                for index in range(count)
            ]
            headers = {HEADER_PARTS: str(count)}
            value = b""
        entries.append(Entry(key=_VALUE + change.key, value=value, headers=headers))
        entries += [Entry(key=_part_key(change.key, index), value=None) for index in range(count, before)]
        counts[change.key] = count
    return entries, counts


def encode_manifest(next_offsets: Mapping[str, int]) -> Entry:
    """Return the entry that ends a step."""
    return Entry(key=MANIFEST, value=msgspec.msgpack.encode(dict(next_offsets)))


def restore(records: Iterable[StoredRecord], tombstones: frozenset[int]) -> Restored:
    """Fold a state topic's partition, read from its beginning; `tombstones` are the offsets of records without value.

    Offsets of topics that the last manifest does not name are those of the manifest before: it carries them all.
    """
    kept: dict[bytes, StoredRecord] = {}
    pending: list[StoredRecord] = []
    next_offsets: dict[str, int] = {}
    for record in records:
        pending.append(record)
        if record.key == MANIFEST:
            for done in pending[:-1]:
                if done.offset in tombstones:
                    kept.pop(done.key, None)
                else:
                    kept[done.key] = done
            pending.clear()
            next_offsets = msgspec.msgpack.decode(record.value, type=dict[str, int])
    values: dict[bytes, bytes] = {}
    counts: dict[bytes, int] = {}
    for key, record in kept.items():
        if not key.startswith(_VALUE):
            continue
        name = key[1:]
        count = int(record.headers.get(HEADER_PARTS, "0"))
        if count:
            counts[name] = count
            values[name] = b"".join([kept[_part_key(name, index)].value for index in range(count)])
        else:
            values[name] = record.value
    halved = dict.fromkeys(_name_of(record.key) for record in pending)
    repairs = [StateChange(key=name, value=values.get(name)) for name in halved]
    return Restored(values=values, next_offsets=next_offsets, part_counts=counts, repairs=repairs)


def as_records(entries: Iterable[Entry], *, topic: str, partition: int) -> list[tuple[Record, bool]]:
    """Return entries as records of a topic, each with whether it is a tombstone."""
    return [
        (
            Record(topic=topic, partition=partition, key=entry.key, value=entry.value or b"", headers=entry.headers),
            entry.value is None,
        )
        for entry in entries
    ]


def _part_key(key: bytes, index: int) -> bytes:
    return _PART + index.to_bytes(4, "big") + key


def _name_of(key: bytes) -> bytes:
    return key[1:] if key.startswith(_VALUE) else key[5:]
