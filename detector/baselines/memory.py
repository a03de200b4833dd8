"""What is known of the keys of one partition, as it is committed, and its bound.

**State**: one compacted entry for each key: the window of a baseline, or the watch over a group. Entries that a release
wrote which learned whole durations are dropped: own times start anew. An entry counts as used when it is asked for; the
longest unused go first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from core.log.port import StateChange
from core.telemetry import Telemetry
from detector.baselines.baseline import Baseline
from detector.baselines.config import BaselinesConfig
from detector.baselines.watch import Watch


class Key(msgspec.Struct, frozen=True, array_like=True):
    """What has one baseline; of a group: what has one watch, `kind` and `model` being empty."""

    routing_key: str
    service: str
    operation: str
    kind: str
    model: str
    measure: str = ""


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """The value of an entry: `used` orders the keys by last use."""

    used: int
    learned: bytes
    fed: int = 0
    held: bytes = b""
    watch: Watch | None = None


_Entry: TypeAlias = Baseline | Watch


class Memory:
    """Baselines and watches by key. What changes is gathered for the next commit."""

    def __init__(self, *, config: BaselinesConfig, max_keys: int, telemetry: Telemetry) -> None:
        self._config = config
        self._max_keys = max_keys
        self._telemetry = telemetry
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._used: dict[Key, int] = {}
        self._uses = 0
        self._changed: dict[Key, None] = {}
        self._stale: list[bytes] = []

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state, in any order."""
        stored: list[tuple[Key, _Stored]] = []
        for raw, value in entries:
            key = msgspec.msgpack.decode(raw, type=Key)
            if key.measure:
                stored.append((key, msgspec.msgpack.decode(value, type=_Stored)))
            else:
                self._stale.append(raw)
        for key, entry in sorted(stored, key=lambda found: found[1].used):
            made = self._baseline(entry.learned, entry.fed, entry.held) if entry.watch is None else entry.watch
            self._entries[key] = made
            self._used[key] = entry.used
            self._uses = entry.used + 1

    def take_changes(self) -> tuple[StateChange, ...]:
        """Return what has changed since the last call, one entry for each key."""
        changes = [StateChange(key=raw, value=None) for raw in self._stale]
        changes += [StateChange(key=msgspec.msgpack.encode(key), value=self._value(key)) for key in self._changed]
        self._stale.clear()
        self._changed.clear()
        return tuple(changes)

    def baseline(self, key: Key) -> Baseline:
        """Return the baseline of a key, an empty one if need be; what is done to it will be written."""
        entry = self._entries.get(key)
        if not isinstance(entry, Baseline):
            entry = self._entries[key] = self._baseline()
        self._use(key)
        return entry

    def watch(self, key: Key) -> Watch:
        """Return the watch over a group."""
        entry = self._entries.get(key)
        return entry if isinstance(entry, Watch) else Watch()

    def put(self, key: Key, watch: Watch) -> None:
        """Set the watch over a group."""
        self._entries[key] = watch
        self._use(key)

    def peek(self, key: Key) -> Baseline | None:
        """Return the baseline of a key if there is one; this is no use of it."""
        entry = self._entries.get(key)
        return entry if isinstance(entry, Baseline) else None

    def release(self, keys: Sequence[Key], *, learn: bool) -> None:
        """End an episode for its keys, as `Baseline.release` does."""
        for key in keys:
            entry = self._entries.get(key)
            if isinstance(entry, Baseline):
                entry.release(learn=learn)
                self._changed[key] = None

    def keys_of(self, routing_key: str, service: str, measure: str) -> list[Key]:
        """Return the keys of the baselines of a service."""
        return [
            key
            for key in self._entries
            if key.measure == measure and key.service == service and key.routing_key == routing_key
        ]

    def _use(self, key: Key) -> None:
        self._entries.move_to_end(key)
        self._used[key] = self._uses
        self._uses += 1
        self._changed[key] = None
        while len(self._entries) > self._max_keys:
            gone, _ = self._entries.popitem(last=False)
            del self._used[gone]
            self._changed[gone] = None
            self._telemetry.count("clearwatch.dropped", reason="baseline_evicted")

    def _baseline(self, learned: bytes = b"", fed: int = 0, held: bytes = b"") -> Baseline:
        config = self._config
        return Baseline(
            quantile=config.quantile,
            shift_quantile=config.shift_quantile,
            window=config.window,
            drift_delta=config.drift_delta,
            learned=learned,
            fed=fed,
            held=held,
        )

    def _value(self, key: Key) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if isinstance(entry, Watch):
            return msgspec.msgpack.encode(_Stored(self._used[key], b"", watch=entry))
        return msgspec.msgpack.encode(_Stored(self._used[key], *entry.learned()))
