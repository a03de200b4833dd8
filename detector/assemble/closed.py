"""Closed traces: *remembered* while late items are taken in, then *forgotten*: only known to have been closed.

Their entries stand in the state of the stage; `changes` and `tally` are those of `Assembler`, emptied by its caller.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Final

from detector.assemble.config import AssembleConfig
from detector.assemble.entry import Entry, Forgotten, encode, entry_of

# places of closed traces that may stand in a queue of deadlines before it is tidied up
SLACK: Final = 1000
# traces forgotten in one step; the rest waits for the next
SWEEP: Final = 2000


class ClosedTraces:
    """See the module. Bounded by `max_remembered` and `max_forgotten`."""

    def __init__(
        self, config: AssembleConfig, changes: dict[bytes, bytes | None], tally: Counter[tuple[str, str]]
    ) -> None:
        self._config = config
        self._changes = changes
        self._tally = tally
        self._remembered: OrderedDict[bytes, bytes] = OrderedDict()
        self._forgotten: OrderedDict[bytes, Forgotten] = OrderedDict()
        # by whether the trace has a root: in each the places are in the order of their time
        self._expiries: Mapping[bool, deque[tuple[float, bytes]]] = {True: deque(), False: deque()}

    @property
    def remembered_count(self) -> int:
        """Return how many are remembered."""
        return len(self._remembered)

    @property
    def place_count(self) -> int:
        """Return how many places stand in the queues of deadlines."""
        return sum(map(len, self._expiries.values()))

    @property
    def forgotten_count(self) -> int:
        """Return how many are only known to have been closed."""
        return len(self._forgotten)

    def restore(
        self, remembered: Iterable[tuple[bytes, bytes, Entry]], forgotten: Iterable[tuple[bytes, Forgotten]]
    ) -> None:
        """Take the state that was committed: trace id, value and entry of each that is remembered, and the others."""
        for trace_id, value, entry in sorted(remembered, key=lambda found: (found[2].closed_at_s, found[0])):
            self._remembered[trace_id] = value
            self._expiries[entry.has_root].append((self._expiry(entry), trace_id))
        for trace_id, gone in sorted(forgotten, key=lambda found: (found[1].at_s, found[0])):
            self._forgotten[trace_id] = gone

    def next_s(self) -> float | None:
        """Return when the next one is to be forgotten, or not to be known any more."""
        times = [queue[0][0] for queue in self._expiries.values() if queue]
        if self._forgotten:
            times.append(next(iter(self._forgotten.values())).at_s + self._config.forgotten_s)
        return min(times, default=None)

    def entry(self, trace_id: bytes, now_s: float) -> Entry | None:
        """Return the entry of a trace that is remembered at `now_s`."""
        value = self._remembered.get(trace_id)
        if value is None:
            return None
        entry = entry_of(value)
        expiry_s = self._expiry(entry)
        if expiry_s <= now_s:  # sweeping lags behind
            self._forget(trace_id, entry, now_s=expiry_s)
            return None
        return entry

    def gone(self, trace_id: bytes) -> Forgotten | None:
        """Return what is known of a forgotten trace; it may be known for longer than it has to be."""
        return self._forgotten.get(trace_id)

    def is_fragment(self, gone: Forgotten, now_s: float) -> bool:
        """Return whether what comes now of a forgotten trace is a fragment of it."""
        return gone.at_s + self._config.forgotten_s > now_s

    def reopen(self, trace_id: bytes) -> None:
        """Let go of a trace that is open again."""
        self._remembered.pop(trace_id, None)
        self._forgotten.pop(trace_id, None)

    def remember(self, trace_id: bytes, value: bytes, *, has_root: bool, closed_at_s: float) -> None:
        """Remember a trace by its entry; beyond the bound the one closed longest ago is forgotten."""
        self._changes[trace_id] = self._remembered[trace_id] = value
        self._expiries[has_root].append((closed_at_s + self._remember_s(has_root), trace_id))
        if len(self._remembered) > self._config.max_remembered:
            oldest_id, oldest = next(iter(self._remembered.items()))
            self._forget(oldest_id, entry_of(oldest), now_s=closed_at_s)
            self._tally["clearwatch.dropped", "trace_memory_evicted"] += 1

    def sweep(self, now_s: float) -> None:
        """Forget what is due to be forgotten, a bounded part of it."""
        if self.place_count > 2 * len(self._remembered) + SLACK:
            for queue in self._expiries.values():
                kept = [place for place in queue if place[1] in self._remembered]
                queue.clear()
                queue.extend(kept)
        left = SWEEP
        for queue in self._expiries.values():
            while queue and queue[0][0] <= now_s and left:
                left -= 1
                at_s, trace_id = queue.popleft()
                value = self._remembered.get(trace_id)
                # closed again since: a later place in the queue stands for it
                if value is not None and self._expiry(entry := entry_of(value)) <= at_s:
                    self._forget(trace_id, entry, now_s=at_s)
        while self._forgotten:
            trace_id, gone = next(iter(self._forgotten.items()))
            if len(self._forgotten) <= self._config.max_forgotten and self.is_fragment(gone, now_s):
                break
            del self._forgotten[trace_id]
            self._changes[trace_id] = None

    def _remember_s(self, has_root: bool) -> float:
        return self._config.remember_s if has_root else self._config.remember_rootless_s

    def _expiry(self, entry: Entry) -> float:
        return entry.closed_at_s + self._remember_s(entry.has_root)

    def _forget(self, trace_id: bytes, entry: Entry, *, now_s: float) -> None:
        del self._remembered[trace_id]
        if entry.is_given_up and not entry.published:
            # nobody knows anything of it: what returns of it is no fragment of what was
            self._changes[trace_id] = None
            return
        self._forgotten[trace_id] = gone = Forgotten(now_s, entry.last_offset)
        self._forgotten.move_to_end(trace_id)
        self._changes[trace_id] = encode(gone)
