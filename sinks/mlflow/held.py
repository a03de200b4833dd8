"""Which traces go to MLflow under `forward: flagged`, and where the bytes of the others stand in the log.

A trace is *wanted* when a version of it has findings, when a finding names it later (a baseline's, a session's), or
when the uniform share takes it. Of one that is not, the offsets of its chunks are kept, so that it can be read back
from the log and sent when it becomes wanted. The index is bounded; it is committed with the offset it was read up to.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from core.log.port import StateChange
from core.model.trace import TraceChunk, TraceVersion
from core.telemetry import Telemetry

# a routing key, the other kind of key in this store, never begins with NUL
_PREFIX: Final = b"\0h"
# chunks are up to a megabyte; a trace of more is an endless one
_MOST_CHUNKS: Final = 512


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A trace as far as it was read: what was not sent of it stands in the log at `chunks` (version, offset)."""

    routing_key: str
    chunks: tuple[tuple[str, int], ...] = ()
    is_wanted: bool = False


def is_in_share(trace_id: str, share: float) -> bool:
    """Return whether the uniform share takes this trace: the same answer whoever asks, however often."""
    drawn = int.from_bytes(hashlib.blake2b(trace_id.encode(), digest_size=8).digest(), "big")
    return drawn < share * 2.0**64


class HeldTraces:
    """The index of one partition of `traces`; `take_changes` returns what is to be committed."""

    def __init__(self, *, share: float, most: int, telemetry: Telemetry) -> None:
        self._share = share
        self._most = most
        self._telemetry = telemetry
        self._found: OrderedDict[str, Held] = OrderedDict()
        self._dirty: set[str] = set()

    def get(self, trace_id: str) -> Held | None:
        """Return what is known of a trace."""
        return self._found.get(trace_id)

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state; keys of another kind are ignored."""
        found = [(k[2:].decode(), msgspec.msgpack.decode(v, type=Held)) for k, v in entries if is_held_key(k)]
        self._found.update(sorted(found, key=lambda item: max((o for _, o in item[1].chunks), default=0)))

    def add_chunk(self, chunk: TraceChunk, offset: int) -> None:
        """Take note of a chunk; its version follows it."""
        held = self._found.get(chunk.trace_id) or Held(routing_key=chunk.routing_key)
        if (chunk.version, offset) in held.chunks:
            return
        if len(held.chunks) >= _MOST_CHUNKS:
            self._telemetry.count("clearwatch.dropped", reason="held_chunk_over_cap")
            return
        self._put(chunk.trace_id, msgspec.structs.replace(held, chunks=(*held.chunks, (chunk.version, offset))))

    def decide(self, version: TraceVersion, *, is_wanted: bool) -> None:
        """Take note of a version, whose chunks were added; `is_wanted` where something else than itself says so."""
        held = self._found.get(version.trace_id)
        if held is None:
            if not version.chunk_count:
                return
            held = Held(routing_key=version.routing_key)
        chunks = held.chunks
        if not (version.provisional or version.fragment):
            # a final version carries the whole trace again
            chunks = tuple((v, offset) for v, offset in chunks if v == version.version)
        is_wanted = is_wanted or held.is_wanted or bool(version.finding_ids)
        is_wanted = is_wanted or is_in_share(version.trace_id, self._share)
        self._put(version.trace_id, msgspec.structs.replace(held, chunks=chunks, is_wanted=is_wanted))

    def want(self, trace_id: str) -> None:
        """Mark a trace that is known as wanted."""
        held = self._found[trace_id]
        if not held.is_wanted:
            self._put(trace_id, msgspec.structs.replace(held, is_wanted=True))

    def sent(self, trace_id: str, offsets: Sequence[int]) -> None:
        """Take note that these chunks are in MLflow, or nowhere any more."""
        held = self._found.get(trace_id)
        if held is not None:
            gone = set(offsets)
            left = tuple((v, offset) for v, offset in held.chunks if offset not in gone)
            self._put(trace_id, msgspec.structs.replace(held, chunks=left))

    def take_changes(self) -> tuple[StateChange, ...]:
        """Return the changes since the last call, having dropped what is over the bound, longest untouched first."""
        while len(self._found) > self._most:
            trace_id, held = self._found.popitem(last=False)
            self._dirty.add(trace_id)
            if held.chunks:
                self._telemetry.count("clearwatch.dropped", reason="held_trace_forgotten")
        changes = tuple(self._change(trace_id) for trace_id in sorted(self._dirty))
        self._dirty.clear()
        return changes

    def _change(self, trace_id: str) -> StateChange:
        held = self._found.get(trace_id)
        value = None if held is None else msgspec.msgpack.encode(held)
        return StateChange(key=_PREFIX + trace_id.encode(), value=value)

    def _put(self, trace_id: str, held: Held) -> None:
        self._found[trace_id] = held
        self._found.move_to_end(trace_id)
        self._dirty.add(trace_id)


def is_held_key(key: bytes) -> bool:
    """Return whether a key of the store belongs to this index."""
    return key[:2] == _PREFIX
