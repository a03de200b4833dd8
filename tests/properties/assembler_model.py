"""A log in memory and a driver for trace assembly: appends, steps, kills, and what readers make of the output."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData

from core import topics
from core.log.port import Record, StoredRecord, Work
from core.model.finding import Dimension, Finding, FindingKind, FindingRecord, Severity, Source, finding_id_of
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import ContentState
from core.model.trace import Trace, TraceChunk, TraceRecord, TraceVersion, TraceWithdrawal
from core.stage import RecallNeeded
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.publication import Inspector
from detector.assemble.stage import AssembleProcessor, AssembleStage

PARTITIONS: Mapping[str, int] = dict.fromkeys(topics.RETENTION_H, 4) | {topics.SPANS: 1}
START_S = 1_700_000_000.0


class Inspection(msgspec.Struct, frozen=True):
    """What `Rules` says."""

    findings: tuple[Finding, ...]
    answers: Mapping[str, str]


class Rules:
    """Failed spans and answers hold in every larger version; orphans speak of absence."""

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspection]:
        """Inspect a version of each trace."""
        return list(map(self._inspect, traces))

    def _inspect(self, trace: Trace) -> Inspection:
        found = [_finding(trace, "failed", span.span_id) for span in trace.spans if span.error is not None]
        found += [
            _finding(trace, f"said {span.output.text}", span.span_id)
            for span in trace.spans
            if span.output.state is ContentState.PRESENT
        ]
        if trace.is_final and not trace.is_fragment:
            found += [_finding(trace, "orphan", span.span_id) for span in trace.orphans]
        return Inspection(tuple(found), {"failed": "found" if found else "clear"})


def _finding(trace: Trace, check: str, culprit: str) -> Finding:
    return Finding(
        finding_id=finding_id_of(unit=trace.trace_id, check=check, culprit=culprit, fingerprint=check),
        check=check,
        kind=FindingKind.FAULT,
        source=Source.RULE,
        category=Dimension.EXECUTION,
        severity=Severity.LOW,
        fingerprint=check,
        routing_key=trace.routing_key,
        title=check,
        rationale=check,
        trace_id=trace.trace_id,
        span_ids=(culprit,),
    )


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A span to be sent: `number` makes its id, `parent` 0 makes it a root."""

    number: int
    parent: int = 1
    trace: int = 1
    service: str = "shop"
    failed: bool = False
    session: str = ""
    text: str = ""

    @property
    def trace_id(self) -> bytes:
        """Return the trace id."""
        return self.trace.to_bytes(16, "big")

    @property
    def span_id(self) -> bytes:
        """Return the span id; number 0 has none, which no reader accepts."""
        return self.number.to_bytes(8, "big") if self.number else b""


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A log record to be sent: a choice of the model that span `number` called."""

    number: int
    trace: int = 1
    text: str = "hello"
    at_ns: int = 1
    name: str = "gen_ai.choice"


def encoded_logs(logs: Iterable[Logged]) -> bytes:
    """Return one record's value."""
    data = LogsData()
    scope = data.resource_logs.add().scope_logs.add()
    for sent in logs:
        record = scope.log_records.add(
            trace_id=sent.trace.to_bytes(16, "big"),
            span_id=sent.number.to_bytes(8, "big"),
            observed_time_unix_nano=sent.at_ns,
            event_name=sent.name,
        )
        message = record.body.kvlist_value.values.add(key="message").value.kvlist_value
        message.values.add(key="content").value.string_value = sent.text
        record.body.kvlist_value.values.add(key="index").value.int_value = sent.at_ns
    return bytes(data.SerializeToString())


def encoded(spans: Iterable[Sent]) -> bytes:
    """Return one record's value."""
    data = TracesData()
    for sent in spans:
        resource = data.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.CopyFrom(AnyValue(string_value=sent.service))
        span = resource.scope_spans.add().spans.add(
            trace_id=sent.trace_id,
            span_id=sent.span_id,
            parent_span_id=sent.parent.to_bytes(8, "big") if sent.parent else b"",
            name=f"step {sent.number}",
            start_time_unix_nano=int(START_S) * 10**9 + sent.number,
            end_time_unix_nano=int(START_S) * 10**9 + sent.number + 10**6,
        )
        if sent.failed:
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = "broken"
        if sent.session:
            span.attributes.add(key="session.id").value.string_value = sent.session
        if sent.text:
            span.attributes.add(key="input.value").value.string_value = sent.text
    return bytes(data.SerializeToString())


class World:
    """The log, the committed state and the processor that lives until it is killed."""

    def __init__(
        self, config: AssembleConfig | None = None, *, batch: int = 1000, inspector: Inspector | None = None
    ) -> None:
        self.config = config or AssembleConfig()
        self.telemetry = Telemetry()
        self.batch = batch
        self.records: list[StoredRecord] = []
        self.deleted: set[int] = set()
        self.state: dict[bytes, bytes] = {}
        self.committed = 0
        self.written: list[Record] = []
        self.recalls = 0
        self.works = 0
        self.stage = AssembleStage(inspector or Rules(), self.config, self.telemetry)
        self.kill()

    def kill(self) -> None:
        """Lose everything that was not committed, and start again."""
        self.processor: AssembleProcessor = self.stage.processor(0, PARTITIONS)
        assert self.processor.restore(list(self.state.items())) is None
        self.position = self.committed

    def append(self, at_s: float, spans: Iterable[Sent], **headers: str) -> None:
        """Append a record `at_s` seconds after the start."""
        self.append_bytes(at_s, encoded(spans), **headers)

    def append_logs(self, at_s: float, logs: Iterable[Logged]) -> None:
        """Append a record of log records."""
        self.append_bytes(at_s, encoded_logs(logs), **{topics.HEADER_SIGNAL: topics.SIGNAL_LOGS})

    def append_bytes(self, at_s: float, value: bytes, **headers: str) -> None:
        """Append a record with any value."""
        self.records.append(
            StoredRecord(
                topic=topics.SPANS,
                partition=0,
                offset=len(self.records),
                log_time_ms=round((START_S + at_s) * 1000),
                value=value,
                headers=topics.headers() | headers,
            )
        )

    def step(self, *, commit: bool = True, produce: bool = True) -> bool:
        """Process the next records and return whether there were any.

        Without `commit` the work is lost, but for what it produced where `produce` (Kafka writes that first).
        """
        batch = self.records[self.position : self.position + self.batch]
        if not batch:
            return False
        work = self._call(batch, None)
        self.position += len(batch)
        if commit:
            self._commit(work)
        elif produce:
            self.written += work.produce
        return True

    def drain(self) -> None:
        """Process all records."""
        while self.step():
            pass

    def pass_time(self, at_s: float) -> None:
        """Let time pass at the end of the partition, waking as the processor asks."""
        now_s = START_S + at_s
        while (wake_s := self.processor.next_wake_s()) is not None and wake_s <= now_s:
            self._commit(self._call((), wake_s))
        self._commit(self._call((), now_s))

    def run(self, until_s: float = 30_000) -> "World":
        """Process all records, then let time pass."""
        self.drain()
        self.pass_time(until_s)
        return self

    def _call(self, batch: Sequence[StoredRecord], now_s: float | None) -> Work:
        for _ in range(64):  # as often as the runner lets a step ask
            try:
                return self.processor.process(batch) if now_s is None else self.processor.tick(now_s)
            except RecallNeeded as needed:
                self.recalls += 1
                offsets = [offset for offset in needed.recall.offsets if offset not in self.deleted]
                assert offsets == sorted(offsets)
                for at in range(0, len(offsets), 3):
                    self.processor.recalled([self.records[offset] for offset in offsets[at : at + 3]])
        raise AssertionError("asked for records without going on")

    def _commit(self, work: Work) -> None:
        self.works += 1
        self.written += work.produce
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        self.committed = work.next_offsets.get(topics.SPANS, self.committed)
        assert self.committed <= self.position

    # -- what readers see

    def traces(self) -> list[TraceRecord]:
        """Return the values on `traces`, in order."""
        decode = msgspec.msgpack.Decoder(TraceRecord).decode
        return [decode(record.value) for record in self.written if record.topic == topics.TRACES]

    def versions(self, trace: int | None = None) -> list[TraceVersion]:
        """Return the versions, of one trace or of all, in order."""
        wanted = None if trace is None else trace.to_bytes(16, "big").hex()
        return [
            found
            for found in self.traces()
            if isinstance(found, TraceVersion) and (wanted is None or found.trace_id == wanted)
        ]

    def chunks(self) -> list[TraceChunk]:
        """Return the chunks, in order."""
        return [found for found in self.traces() if isinstance(found, TraceChunk)]

    def moves(self) -> list[TraceWithdrawal]:
        """Return the withdrawals of traces, in order."""
        return [found for found in self.traces() if isinstance(found, TraceWithdrawal)]

    def final(self) -> dict[str, TraceVersion]:
        """Return what a reader ends up with: of each trace the final version with the most spans."""
        kept: dict[str, TraceVersion] = {}
        for found in self.versions():
            before = kept.get(found.trace_id)
            if found.provisional or (found.fragment and before is not None and not before.fragment):
                continue
            if before is None or (found.span_count, found.log_count) >= (before.span_count, before.log_count):
                kept[found.trace_id] = found
        return kept

    def finding_records(self) -> list[FindingRecord]:
        """Return the values on `findings`, in order."""
        decode = msgspec.msgpack.Decoder(FindingRecord).decode
        return [decode(record.value) for record in self.written if record.topic == topics.FINDINGS]

    def findings(self) -> set[str]:
        """Return the ids of the findings that hold in the end."""
        kept: set[str] = set()
        for found in self.finding_records():
            if isinstance(found, Finding):
                kept.add(found.finding_id)
            elif getattr(found, "finding_id", ""):
                kept.discard(found.finding_id)  # type: ignore[union-attr]  # a withdrawal
        return kept

    def measurements(self) -> list[Measurement]:
        """Return every row on `measurements`."""
        decode = msgspec.msgpack.Decoder(MeasurementBatch).decode
        return [
            row
            for record in self.written
            if record.topic == topics.MEASUREMENTS
            for row in decode(record.value).measurements
        ]

    def dropped(self, reason: str) -> float:
        """Return how much was dropped for a reason."""
        return self.telemetry.total("clearwatch.dropped", reason=reason)


def outcome(world: World) -> tuple[object, ...]:
    """Return what must not depend on order, repeats and kills."""
    final = world.final().values()
    return (
        sorted(
            (v.trace_id, v.version, v.span_count, v.log_count, v.routing_key, v.session_id, v.finding_ids)
            for v in final
        ),
        world.findings(),
    )
