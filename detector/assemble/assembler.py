"""The state machine of trace assembly for one partition of `spans`: which trace is due when, and what may be forgotten.

A trace is *open* (its spans and their log records are gathered), *remembered* (closed; a late one reopens it) or
*forgotten* (known to have been closed: what comes now is a fragment); then nothing is known of it. The log is the
state: an open trace knows the records that hold its items, so their bytes may be dropped from memory at any time and
read again.

Guarantees:
- A trace *pins* the first of its records that no state entry covers; `pin()` is the smallest. What was published,
  closed or checkpointed is covered by its entry, and covered records are skipped when they are replayed.
- Deadlines are log times and computed from the appends of the trace's own items: a backlog, a restart and live
  traffic give the same boundaries.
- Every collection is bounded by the configuration.
"""

import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Container, Iterator, Sequence
from typing import Final

from core.dialects.log_records import is_log
from core.model.trace import CloseReason
from core.otlp.wire import SpanSlice
from detector.assemble.closed import SLACK, ClosedTraces
from detector.assemble.config import AssembleConfig
from detector.assemble.entry import Entry, Forgotten, decode, encode
from detector.assemble.open_trace import Action, Due, OpenTrace, is_root, reopened

# what Python's objects of one span cost beside its bytes: slice, three bytes objects, dictionary slot
SPAN_OVERHEAD_BYTES: Final = 400
# traces that are read back because they will be evicted soon, when one has to be
RECALL_AHEAD: Final = 2000


class Assembler:
    """See the module. `changes` (state to be written) and `tally` (what to count) are emptied by the caller."""

    def __init__(self, config: AssembleConfig) -> None:
        self._config = config
        self._open: OrderedDict[bytes, OpenTrace] = OrderedDict()
        self._resident: OrderedDict[bytes, OpenTrace] = OrderedDict()
        self._only_logs: dict[bytes, OpenTrace] = {}
        """Those of `_open` that are no trace yet."""
        self._pins: OrderedDict[bytes, int] = OrderedDict()
        self._deadlines: list[tuple[float, bytes]] = []
        self._waiting: dict[bytes, OpenTrace] = {}
        self.held_bytes = 0
        self.changes: dict[bytes, bytes | None] = {}
        self.tally: Counter[tuple[str, str]] = Counter()
        self._closed = ClosedTraces(config, self.changes, self.tally)

    @property
    def open_count(self) -> int:
        """Return how many traces are open; log records that wait for a span are none."""
        return len(self._open) - len(self._only_logs)

    @property
    def remembered_count(self) -> int:
        """Return how many closed traces are remembered."""
        return self._closed.remembered_count

    @property
    def forgotten_count(self) -> int:
        """Return how many traces are only known to have been closed."""
        return self._closed.forgotten_count

    def pin(self) -> int | None:
        """Return the first offset that a restart must see again, or None."""
        return next(iter(self._pins.values()), None)

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the state that was committed. Raises ValueError for a layout that is not known."""
        remembered: list[tuple[bytes, bytes, Entry]] = []
        forgotten: list[tuple[bytes, Forgotten]] = []
        known: list[OpenTrace] = []
        for trace_id, value in entries:
            entry = decode(value)
            if isinstance(entry, Forgotten):
                forgotten.append((trace_id, entry))
            elif entry.is_open:
                known.append(reopened(trace_id, entry))
            else:
                remembered.append((trace_id, value, entry))
        for trace in sorted(known, key=lambda t: (t.last_append_s, t.trace_id)):
            self._open[trace.trace_id] = trace
            if trace.is_only_logs:
                self._only_logs[trace.trace_id] = trace
            self._arm(trace)
        self._closed.restore(remembered, forgotten)

    def take(
        self, trace_id: bytes, slices: Sequence[SpanSlice], *, offset: int, now_s: float, origin: str, experiment: str
    ) -> None:
        """Add the spans of one trace in one record; spans that are known change nothing."""
        trace = self._open.get(trace_id)
        returns = False
        if trace is None:
            trace = self._opened(trace_id, slices, offset=offset, now_s=now_s, origin=origin)
            if trace is None:
                return
            returns, trace.is_given_up = trace.is_given_up, False
        elif trace.offsets and offset <= trace.offsets[-1]:
            return  # a replay: its entry covers this record
        if trace.log_count and self._only_logs.pop(trace_id, None) is not None:
            trace.origin = origin
        if trace.is_capped and not returns:
            fresh = [item for item in slices if item.span_id not in trace.spans]
            self.tally["clearwatch.spans.duplicate", ""] += len(slices) - len(fresh)
            self._refuse(trace, fresh)
            return
        added = self._add(trace, slices)
        if not added and not returns:
            return
        if trace.is_late:
            self.tally["clearwatch.spans.late", ""] += added
        self._note(trace, added, offset=offset, now_s=now_s, is_news=returns)
        if experiment and (not trace.experiment or experiment < trace.experiment):
            trace.experiment = experiment

    def take_logs(self, trace_id: bytes, items: Sequence[SpanSlice], *, offset: int, now_s: float, origin: str) -> None:
        """Add the log records of one trace in one record; those that are known change nothing.

        They keep a trace open, and make a new version of a closed one, as spans do. They never begin a trace and never
        end one: alone they wait for a span, and what exceeds the caps is refused while spans are still taken.
        """
        trace = self._open.get(trace_id)
        if trace is not None:
            if trace.offsets and offset <= trace.offsets[-1]:
                return  # a replay: its entry covers this record
            fresh = self._fitting(items, trace.spans, trace)
        else:
            trace, fresh = self._opened_by_logs(trace_id, items, offset=offset, now_s=now_s, origin=origin)
        if trace is None or not fresh:
            return
        self._open[trace_id] = trace
        returns, trace.is_given_up = trace.is_given_up, False
        trace.spans.update((item.span_id, item) for item in fresh)
        trace.log_count += len(fresh)
        if trace.is_only_logs:
            self._only_logs[trace_id] = trace
        size = sum([len(item.span) for item in fresh]) + len(fresh[0].resource)
        trace.size_bytes += size
        self._hold(trace, size + len(fresh) * SPAN_OVERHEAD_BYTES)
        self._note(trace, len(fresh), offset=offset, now_s=now_s, is_news=returns)

    def _note(self, trace: OpenTrace, added: int, *, offset: int, now_s: float, is_news: bool) -> None:
        """Note that a record has brought items to a trace."""
        trace_id = trace.trace_id
        if is_news or len(trace.spans) - added == trace.published:
            trace.fresh_since_s = now_s
        trace.offsets.append(offset)
        trace.last_append_s = now_s
        if trace_id not in self._pins:
            self._pins[trace_id] = offset
            trace.pin_at_s = now_s
        self._open.move_to_end(trace_id)
        self._resident[trace_id] = trace
        self._resident.move_to_end(trace_id)
        self._arm(trace)

    def due(self, now_s: float) -> tuple[OpenTrace, Due] | None:
        """Return the next trace with something to do at `now_s` or before, and what; nothing is changed by asking."""
        if (found := self._first_due(now_s)) is not None:
            return found
        if len(self._open) > self._config.max_open:
            # log records that wait in vain make room for traces
            trace = next(iter((self._only_logs or self._open).values()))
            reason = CloseReason.ROOT if trace.has_root else CloseReason.PROVISIONAL
            return trace, Due(
                now_s, Action.CLOSE, CloseReason.LATE if trace.is_late else reason, trace.has_root, is_eviction=True
            )
        return None

    def to_close(self, now_s: float, *, max_traces: int, max_bytes: int) -> list[tuple[OpenTrace, Due]]:
        """Take the traces that are due first, as long as they are only to be closed and their spans are at hand.

        At most `max_bytes` of spans, or one trace. The caller calls `closed` for each before it asks anything else.
        """
        taken: list[tuple[OpenTrace, Due]] = []
        left = max_bytes
        while len(taken) < max_traces and (found := self._first_due(now_s)) is not None:
            trace, due = found
            left -= trace.size_bytes
            if due.action is not Action.CLOSE or trace.missing or (taken and left < 0):
                break
            heapq.heappop(self._deadlines)
            trace.armed_s = math.inf
            taken.append(found)
        return taken

    def _first_due(self, now_s: float) -> tuple[OpenTrace, Due] | None:
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now_s:
            at_s, trace_id = deadlines[0]
            trace = self._open.get(trace_id)
            if trace is None or trace.armed_s != at_s:
                heapq.heappop(deadlines)
                continue
            due = self._due_of(trace)
            if due.at_s > at_s:
                trace.armed_s = due.at_s
                heapq.heapreplace(deadlines, (due.at_s, trace_id))
                continue
            return trace, due
        return None

    def next_wake_s(self) -> float | None:
        """Return the log time of the next deadline, or None."""
        times = [self._deadlines[0][0]] if self._deadlines else []
        if (next_s := self._closed.next_s()) is not None:
            times.append(next_s)
        return min(times, default=None)

    def recall(self, trace: OpenTrace, horizon_s: float) -> tuple[int, ...]:
        """Return the records to be read before `trace` can be published, or nothing.

        Others that are due up to `horizon_s`, or next to be evicted, are asked for as well, as far as the budget of
        bytes goes: each question costs a turn of the runner, and it allows a step but a few dozen.
        """
        if not trace.missing or trace.is_only_logs:
            return ()
        self._waiting = {trace.trace_id: trace}
        budget = max(self._config.max_open_bytes, self._config.max_bytes) - trace.size_bytes
        excess = len(self._open) - self._config.max_open
        oldest = itertools.islice(self._open, excess + RECALL_AHEAD) if excess > 0 else ()
        for trace_id in itertools.chain(self._due_until(horizon_s), tuple(oldest)):
            other = self._open.get(trace_id)
            if other is not None and other.missing and trace_id not in self._waiting:
                budget -= other.size_bytes
                if budget < 0:
                    break
                self._waiting[trace_id] = other
        return tuple(sorted({offset for waiting in self._waiting.values() for offset in waiting.missing}))

    def _due_until(self, horizon_s: float) -> Iterator[bytes]:
        """Walk the part of the heap that lies before `horizon_s`."""
        deadlines = self._deadlines
        places = [0]
        while places:
            place = places.pop()
            if place < len(deadlines) and deadlines[place][0] <= horizon_s:
                yield deadlines[place][1]
                places += (2 * place + 1, 2 * place + 2)

    def supply(self, slices: Sequence[SpanSlice]) -> None:
        """Take the spans of a record that `recall` asked for; those of other traces are ignored."""
        for item in slices:
            trace = self._waiting.get(item.trace_id)
            if trace is not None and trace.spans.get(item.span_id, item) is None:
                trace.spans[item.span_id] = item
                self._hold(trace, len(item.span) + SPAN_OVERHEAD_BYTES)

    def supplied(self) -> None:
        """Everything that `recall` asked for and that still exists has been supplied: what is absent now is gone."""
        for trace in self._waiting.values():
            trace.missing = []
            self._resident[trace.trace_id] = trace
            self._give_up_lost(trace)
        self._waiting = {}

    def checkpoint(self, trace: OpenTrace) -> None:
        """Write its entry: from here on its records pin nothing."""
        self.changes[trace.trace_id] = encode(trace.entry())
        self._pins.pop(trace.trace_id, None)
        trace.pin_at_s = float("inf")
        self._arm(trace)

    def published(self, trace: OpenTrace, *, at_s: float) -> None:
        """A provisional version holds all its spans now."""
        trace.published = len(trace.spans)
        trace.published_at_s = at_s
        self.checkpoint(trace)

    def closed(self, trace: OpenTrace, *, at_s: float) -> None:
        """Its version was published, or given up: remember it. Log records that waited in vain are dropped."""
        trace_id = trace.trace_id
        if trace.is_only_logs:
            self._drop_bytes(trace)
            del self._open[trace_id]
            self._only_logs.pop(trace_id, None)
            self._pins.pop(trace_id, None)
            self.changes[trace_id] = None
            self.tally["clearwatch.dropped", "log_record_without_span"] += trace.log_count
            return
        if not trace.is_given_up:
            trace.published = len(trace.spans)
        trace.published_at_s = trace.closed_at_s = at_s
        value = encode(trace.entry())
        self._drop_bytes(trace)
        del self._open[trace_id]
        self._pins.pop(trace_id, None)
        self._closed.remember(trace_id, value, has_root=trace.has_root, closed_at_s=at_s)

    def sweep(self, now_s: float) -> None:
        """Spill what exceeds the budget of bytes, and forget what is due to be forgotten, a bounded part of it."""
        while self.held_bytes > self._config.max_open_bytes and self._resident:
            trace = next(iter(self._resident.values()))
            self._drop_bytes(trace)
            trace.spans = dict.fromkeys(trace.spans)
            trace.missing = list(trace.offsets)
        # places of traces that were closed or evicted early, once they outnumber the others
        if len(self._deadlines) > 2 * len(self._open) + SLACK:
            self._deadlines = [(trace.armed_s, trace_id) for trace_id, trace in self._open.items()]
            heapq.heapify(self._deadlines)
        self._closed.sweep(now_s)

    def _opened_by_logs(
        self, trace_id: bytes, items: Sequence[SpanSlice], *, offset: int, now_s: float, origin: str
    ) -> tuple[OpenTrace | None, list[SpanSlice]]:
        """Return a trace for log records to wait in, or the closed one that they belong to, and what is new to it."""
        entry = self._closed.entry(trace_id, now_s)
        if entry is not None:
            if offset <= entry.last_offset:
                return None, []
            fresh = self._fitting(items, frozenset(entry.span_ids), entry)
            trace = reopened(trace_id, entry)
        else:
            gone = self._closed.gone(trace_id)
            if gone is not None and offset <= gone.last_offset:
                return None, []
            if gone is not None and self._closed.is_fragment(gone, now_s):
                self.tally["clearwatch.dropped", "log_record_too_late"] += len(items)
                return None, []
            fresh = self._fitting(items, (), None)
            trace = OpenTrace(trace_id, now_s=now_s, origin=origin)
        if fresh:
            self._closed.reopen(trace_id)
        return trace, fresh

    def _opened(
        self, trace_id: bytes, slices: Sequence[SpanSlice], *, offset: int, now_s: float, origin: str
    ) -> OpenTrace | None:
        """Return a new or reopened trace, or None where this record brings nothing new to a closed one."""
        entry = self._closed.entry(trace_id, now_s)
        if entry is not None:
            if offset <= entry.last_offset:
                return None
            known = set(entry.span_ids)
            fresh = [item for item in slices if item.span_id not in known]
            # of one that was given up, its own spans are news: they come back out of its dead letter
            if not entry.is_given_up and (not fresh or entry.is_capped):
                self.tally["clearwatch.spans.duplicate", ""] += len(slices) - len(fresh)
                self.tally["clearwatch.dropped", "trace_over_cap"] += len(fresh)
                return None
            trace = reopened(trace_id, entry)
        else:
            gone = self._closed.gone(trace_id)
            if gone is not None and offset <= gone.last_offset:
                return None
            trace = OpenTrace(trace_id, now_s=now_s, origin=origin)
            if gone is not None and self._closed.is_fragment(gone, now_s):
                trace.is_fragment = True
                trace.closed_at_s = trace.published_at_s = gone.at_s
        self._closed.reopen(trace_id)
        self._open[trace_id] = trace
        return trace

    def _fitting(
        self, items: Sequence[SpanSlice], known: Container[bytes], held: OpenTrace | Entry | None
    ) -> list[SpanSlice]:
        """Return the log records that are new to a trace and fit into it; count the others."""
        fresh = list({item.span_id: item for item in items if item.span_id not in known}.values())
        self.tally["clearwatch.dropped", "log_record_duplicate"] += len(items) - len(fresh)
        if not fresh:
            return fresh
        left = self._config.max_bytes - len(fresh[0].resource) - (held.size_bytes if held else 0)
        room = 0 if held and held.is_capped else self._config.max_spans - (held.log_count if held else 0)
        fitting: list[SpanSlice] = []
        for item in fresh[: max(room, 0)]:
            left -= len(item.span)
            if left < 0:
                break
            fitting.append(item)
        self.tally["clearwatch.dropped", "log_record_over_cap"] += len(fresh) - len(fitting)
        return fitting

    def _add(self, trace: OpenTrace, slices: Sequence[SpanSlice]) -> int:
        """Add spans that are new; return how many. The first bytes of a span id win."""
        spans = trace.spans
        before = len(spans)
        size = len(slices[0].resource)
        fresh: list[SpanSlice] = []
        for item in slices:
            if item.span_id not in spans:
                spans[item.span_id] = item
                size += len(item.span)
                fresh.append(item)
        added = len(spans) - before
        if added < len(slices):
            self.tally["clearwatch.spans.duplicate", ""] += len(slices) - added
        if not added:
            return 0
        if len(spans) - trace.log_count > self._config.max_spans or trace.size_bytes + size > self._config.max_bytes:
            added, size = self._cap(trace, fresh)
        else:
            trace.has_root = trace.has_root or is_root(fresh)
        trace.size_bytes += size
        self._hold(trace, size + added * SPAN_OVERHEAD_BYTES)
        return added

    def _cap(self, trace: OpenTrace, fresh: list[SpanSlice]) -> tuple[int, int]:
        """Keep of the spans just added as many as fit; the trace takes no more. Return how many and their bytes."""
        size = len(fresh[0].resource)
        fits = self._config.max_spans - (trace.span_count - len(fresh))
        kept = 0
        while kept < fits and trace.size_bytes + size + len(fresh[kept].span) <= self._config.max_bytes:
            size += len(fresh[kept].span)
            kept += 1
        for item in fresh[kept:]:
            del trace.spans[item.span_id]
        trace.is_capped = True
        trace.has_root = trace.has_root or is_root(fresh[:kept])
        self._refuse(trace, fresh[kept:])
        self._arm(trace)
        return kept, size

    def _refuse(self, trace: OpenTrace, slices: Sequence[SpanSlice]) -> None:
        trace.dropped_spans += len(slices)
        self.tally["clearwatch.dropped", "trace_over_cap"] += len(slices)

    def _due_of(self, trace: OpenTrace) -> Due:
        if trace.is_capped:
            # a closed trace that was reopened by spans over its cap is not closed earlier than it was
            return Due(max(trace.last_append_s, trace.closed_at_s), Action.CLOSE, CloseReason.SIZE)
        return trace.due(self._config)

    def _arm(self, trace: OpenTrace) -> None:
        at_s = self._due_of(trace).at_s
        if at_s < trace.armed_s:
            trace.armed_s = at_s
            heapq.heappush(self._deadlines, (at_s, trace.trace_id))

    def _hold(self, trace: OpenTrace, size: int) -> None:
        trace.held_bytes += size
        self.held_bytes += size

    def _drop_bytes(self, trace: OpenTrace) -> None:
        self.held_bytes -= trace.held_bytes
        trace.held_bytes = 0
        self._resident.pop(trace.trace_id, None)

    def _give_up_lost(self, trace: OpenTrace) -> None:
        lost = [number for number, item in enumerate(trace.spans.values()) if item is None]
        if not lost:
            return
        before = trace.span_count
        trace.published -= sum(number < trace.published for number in lost)
        trace.spans = {span_id: item for span_id, item in trace.spans.items() if item is not None}
        trace.log_count = sum(map(is_log, trace.spans))
        lost_spans = before - trace.span_count
        # log records that are gone leave their spans without content, but whole
        trace.is_fragment = trace.is_fragment or lost_spans > 0
        self.tally["clearwatch.dropped", "recalled_span_gone"] += lost_spans
        self.tally["clearwatch.dropped", "recalled_log_record_gone"] += len(lost) - lost_spans
