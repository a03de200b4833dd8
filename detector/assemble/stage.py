"""The assemble stage: spans in; trace versions, findings and measurements out."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Final

from core import topics
from core.dialects import Decode, decode
from core.dialects.log_records import items_of
from core.errors import SpanDecodeError
from core.log.port import Record, StateChange, StoredRecord, Work
from core.otlp.wire import DecodeFailure, SpanSlice, read_log_records, read_spans
from core.prices import PriceTable
from core.stage import Recall, RecallNeeded
from core.telemetry import Telemetry
from core.topics import LetterKind
from detector.assemble.assembler import Assembler
from detector.assemble.config import AssembleConfig
from detector.assemble.measuring import PartedBy
from detector.assemble.open_trace import Action, Due, OpenTrace
from detector.assemble.publication import Inspector, NameSession, Publisher, as_sent

NAME = "assemble"
STORE = "state.assemble"

# traces that are published together: enough to keep caches warm, few enough to stay in them, decoded
BATCH_TRACES: Final = 32
BATCH_BYTES: Final = 256 * 1024


class AssembleStage:
    """Makes the processors of trace assembly; see `core.stage.Stage`."""

    name = NAME
    topics = (topics.SPANS,)
    store = STORE

    def __init__(
        self,
        inspector: Inspector,
        config: AssembleConfig,
        telemetry: Telemetry,
        *,
        prices: PriceTable | None = None,
        decode: Decode = decode,
        name_session: NameSession = as_sent,
        parted_by: PartedBy = PartedBy.OPERATION,
    ) -> None:
        self._inspector = inspector
        self._decode = decode
        self._prices = prices
        self._name_session = name_session
        self._parted_by = parted_by
        self._config = config
        self._telemetry = telemetry
        self._processors: weakref.WeakSet[AssembleProcessor] = weakref.WeakSet()
        telemetry.gauge("clearwatch.traces.open", lambda: sum(p.open_count for p in list(self._processors)))

    def processor(self, partition: int, partitions: Mapping[str, int]) -> "AssembleProcessor":
        """Make the processor of a partition, with its share of what may be held."""
        publisher = Publisher(
            self._inspector,
            self._config,
            self._telemetry,
            partition=partition,
            partitions=partitions,
            prices=self._prices,
            decode=self._decode,
            name_session=self._name_session,
            parted_by=self._parted_by,
        )
        assembler = Assembler(self._config.share(partitions[topics.SPANS]))
        processor = AssembleProcessor(assembler, publisher, self._telemetry)
        self._processors.add(processor)
        return processor


class AssembleProcessor:
    """Assembles one partition; see `core.stage.Processor`.

    A step that needs records back raises `RecallNeeded` and keeps what it has done so far: nothing of it is visible
    until the repeated call returns its `Work`, and that call goes on where the first one stopped.
    """

    def __init__(self, assembler: Assembler, publisher: Publisher, telemetry: Telemetry) -> None:
        self._assembler = assembler
        self._publisher = publisher
        self._telemetry = telemetry
        self._produced: list[Record] = []
        self._position = -1
        self._now_s = 0.0
        self._committed = -1

    @property
    def open_count(self) -> int:
        """Return how many traces are open."""
        return self._assembler.open_count

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take the committed state; spans of open traces are read back when they are needed, not now."""
        self._assembler.restore(entries)
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take some of the records that were asked for; what is missing when the call is repeated is given up."""
        for record in records:
            if record.headers.get(topics.HEADER_SIGNAL) == topics.SIGNAL_LOGS:
                self._assembler.supply(items_of(read_log_records(record.value)[0])[0])
            else:
                self._assembler.supply(read_spans(record.value)[0])

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Take records in offset order; before each, everything due at its log time is done."""
        self._assembler.supplied()
        last_s = records[-1].log_time_ms / 1000 if records else self._now_s
        # what a call that is now repeated had left to do
        self._settle(horizon_s=last_s)
        for record in records:
            if record.offset < self._position:
                continue
            now_s = record.log_time_ms / 1000
            # records that were appended together have one time, at which nothing is left to do
            if now_s != self._now_s:
                self._now_s = now_s
                self._settle(horizon_s=last_s)
            self._take(record, now_s)
            self._position = record.offset + 1
            # evictions and traces over their cap: now, so that they do not depend on how records are batched
            self._settle(horizon_s=last_s)
        return self._work()

    def tick(self, now_s: float) -> Work:
        """Do what is due at `now_s`."""
        self._assembler.supplied()
        self._now_s = now_s
        self._settle(horizon_s=now_s)
        return self._work()

    def next_wake_s(self) -> float | None:
        """Return the log time of the next deadline, or None."""
        return self._assembler.next_wake_s()

    def _take(self, record: StoredRecord, now_s: float) -> None:
        headers = record.headers
        is_logs = headers.get(topics.HEADER_SIGNAL) == topics.SIGNAL_LOGS
        try:
            slices, failures = self._log_items(record) if is_logs else read_spans(record.value)
        except SpanDecodeError as exc:
            self._produced.append(
                self._publisher.dead_letter(
                    offset=record.offset,
                    reason="record_not_decodable",
                    error=exc,
                    value=record.value,
                    key=record.key,
                    headers=headers,
                )
            )
            return
        for failure in failures:
            self._produced.append(
                self._publisher.dead_letter(
                    offset=record.offset,
                    reason="log_record_not_readable" if is_logs else "span_not_readable",
                    error=failure.reason,
                    value=failure.data,
                    kind=LetterKind.PART,
                    headers=headers,
                )
            )
        by_trace: dict[bytes, list[SpanSlice]] = {}
        for item in slices:
            found = by_trace.get(item.trace_id)
            if found is None:
                by_trace[item.trace_id] = [item]
            else:
                found.append(item)
        assembler, offset = self._assembler, record.offset
        origin = headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE)
        experiment = headers.get(topics.HEADER_EXPERIMENT, "")
        for trace_id, items in by_trace.items():
            if is_logs:
                assembler.take_logs(trace_id, items, offset=offset, now_s=now_s, origin=origin)
            else:
                assembler.take(trace_id, items, offset=offset, now_s=now_s, origin=origin, experiment=experiment)

    def _log_items(self, record: StoredRecord) -> tuple[list[SpanSlice], list[DecodeFailure]]:
        """Return the log records that say something of their span; the others are counted. Raises SpanDecodeError."""
        records, failures = read_log_records(record.value)
        items, skipped = items_of(records)
        for reason, number in skipped.items():
            self._telemetry.count("clearwatch.dropped", number, reason=reason)
        return items, failures

    def _settle(self, *, horizon_s: float) -> None:
        """Do everything that is due by now, in the order of the deadlines. Raises RecallNeeded."""
        assembler, now_s = self._assembler, self._now_s
        while True:
            ready = assembler.to_close(now_s, max_traces=BATCH_TRACES, max_bytes=BATCH_BYTES)
            if ready:
                self._publish(ready)
                continue
            found = assembler.due(now_s)
            if found is None:
                return
            trace, due = found
            if due.action is Action.CHECKPOINT:
                assembler.checkpoint(trace)
                continue
            if offsets := assembler.recall(trace, horizon_s):
                raise RecallNeeded(Recall(topic=topics.SPANS, offsets=offsets))
            if due.is_eviction:
                assembler.tally["clearwatch.dropped", "open_trace_evicted"] += 1
            self._publish((found,))

    def _publish(self, batch: Sequence[tuple[OpenTrace, Due]]) -> None:
        assembler = self._assembler
        # one whose every span is gone has nothing to tell
        left = [found for found in batch if found[0].span_count]
        self._produced += self._publisher.publish(left)
        for _, due in left:
            assembler.tally["clearwatch.traces.closed", due.reason] += 1
        for trace, due in batch:
            if due.action is Action.PUBLISH:
                assembler.published(trace, at_s=due.at_s)
            else:
                assembler.closed(trace, at_s=due.at_s)

    def _work(self) -> Work:
        assembler = self._assembler
        assembler.sweep(self._now_s)
        for (name, reason), amount in assembler.tally.items():
            if amount:
                self._telemetry.count(name, amount, **({"reason": reason} if reason else {}))
        assembler.tally.clear()
        produce = tuple(self._produced + self._publisher.measurements())
        state = tuple(StateChange(key=key, value=value) for key, value in assembler.changes.items())
        assembler.changes.clear()
        self._produced = []
        next_offsets: dict[str, int] = {}
        if self._position >= 0:
            pin = assembler.pin()
            safe = self._position if pin is None else min(pin, self._position)
            if safe != self._committed:
                next_offsets[topics.SPANS] = self._committed = safe
        return Work(produce=produce, store=STORE, state=state, next_offsets=next_offsets)
