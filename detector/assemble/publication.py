"""Makes the records of one trace version: decoded, inspected, measured, and its bytes to be forwarded.

A final version carries the bytes of the whole trace; a provisional one those of the spans that no earlier version held.
Measurements are of such spans only, so each span is measured once. Findings are written once, and withdrawn when a
later version that is final and no fragment no longer has them.
"""

import itertools
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from core import topics
from core.build import build_version
from core.dead_letters import record_of, text_of
from core.dialects import Decode, decode
from core.dialects.log_records import is_log, join, settled
from core.errors import PermanentError
from core.log.port import Record
from core.model.finding import Finding, Withdrawal
from core.model.span import Span
from core.model.trace import (
    Trace,
    TraceChunk,
    TraceVersion,
    TraceWithdrawal,
    Turn,
    default_routing_key,
    version_of,
)
from core.otlp.build import build_traces_data, join_spans
from core.otlp.wire import SpanSlice
from core.prices import PriceTable
from core.telemetry import Telemetry
from core.topics import LetterKind
from detector.assemble.config import AssembleConfig
from detector.assemble.measuring import Measurer, PartedBy
from detector.assemble.open_trace import Action, Due, OpenTrace
from detector.assemble.pricing import fill_in_costs
from detector.assemble.summary import Summary, summary
from detector.assemble.turn import turn_of, unkept_evaluations

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_odd_session = operator.attrgetter("odd_session")


NameSession: TypeAlias = Callable[[str, str], str]
"""Session id and user id of a trace -> the session that it stands under on `traces`; empty where it has none."""


def as_sent(session_id: str, user_id: str) -> str:
    """Return the session id that was sent."""
    return session_id


class Inspected(Protocol):
    """What the checks say of a trace."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return what was found."""
        ...

    @property
    def answers(self) -> Mapping[str, str]:
        """Return the outcome of each check."""
        ...


class Inspector(Protocol):
    """The checks, as assembly sees them."""

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspected]:
        """Inspect one version of each trace, each by itself; return what is said of them, in their order."""
        ...


class TraceNotPublishedError(PermanentError):
    """A fault of ours met a trace: its spans are replayed once that is mended."""


class _Job:
    """A trace that is being published: what each step has made of it."""

    __slots__ = (
        *("trace", "due", "noted", "slices", "forwarded", "spans", "seen", "findings", "answers", "chunks", "whole"),
        *("records", "failure", "logs"),
    )

    seen: Trace
    whole: Summary

    def __init__(self, trace: OpenTrace, due: Due) -> None:
        self.trace = trace
        self.due = due
        self.noted = trace.noted()
        self.slices = trace.slices()
        # readers of a provisional version have the rest already
        self.forwarded = self.slices if due.is_final else self.slices[trace.published :]
        self.logs: Sequence[SpanSlice] = ()
        if trace.log_count:
            self.logs = [item for item in self.slices if is_log(item.span_id)]
            fresh = {item.parent_span_id if is_log(item.span_id) else item.span_id for item in self.forwarded}
            self.slices = [item for item in self.slices if not is_log(item.span_id)]
            self.forwarded = [item for item in self.slices if item.span_id in fresh]
        self.spans: Sequence[Span] = ()
        self.findings: tuple[Finding, ...] = ()
        self.answers: Mapping[str, str] = {}
        self.chunks: Sequence[bytes] = ()
        self.records: list[Record] = []
        self.failure: Exception | None = None


class Publisher:
    """Turns due traces into records for one partition; collects measurements until `measurements()` takes them."""

    def __init__(
        self,
        inspector: Inspector,
        config: AssembleConfig,
        telemetry: Telemetry,
        *,
        partition: int,
        partitions: Mapping[str, int],
        prices: PriceTable | None = None,
        decode: Decode = decode,
        name_session: NameSession = as_sent,
        parted_by: PartedBy = PartedBy.OPERATION,
    ) -> None:
        self._inspector = inspector
        self._decode = decode
        self._prices = prices
        self._name_session = name_session
        self._config = config
        self._telemetry = telemetry
        self._partition = partition
        self._partitions = partitions
        self._measurer = Measurer(telemetry, partitions=partitions[topics.MEASUREMENTS], parted_by=parted_by)
        self._headers: Mapping[str, Mapping[str, str]] = {
            origin: topics.headers(origin=origin)
            for origin in (topics.ORIGIN_LIVE, topics.ORIGIN_BACKFILL, topics.ORIGIN_REPLAY)
        }
        self._failures = 0

    def publish(self, batch: Iterable[tuple[OpenTrace, Due]]) -> list[Record]:
        """Return the records of the versions that are due, and note in each trace what was published. Does not raise.

        Every span of the traces that still exists must be at hand. A trace that cannot be published costs itself only:
        its bytes become dead letters where it closes (`trace.is_given_up`); else the close will say it all again.
        """
        jobs = [_Job(trace, due) for trace, due in batch]
        for job in jobs:
            job.trace.is_given_up = False
        # step by step, not trace by trace: code that runs again at once finds the processor's caches warm
        for step in (self._read, self._index):
            self._each(jobs, step)
        self._inspect(jobs)
        for step in (self._build, self._write, self._measure):
            self._each(jobs, step)
        return [record for job in jobs for record in job.records]

    def _each(self, jobs: Iterable["_Job"], step: Callable[["_Job"], None]) -> None:
        """Take a step with each trace that none has failed with before."""
        for job in jobs:
            if job.failure is None:
                try:
                    step(job)
                except Exception as exc:  # noqa: BLE001 - a fault in one trace must not stop all others
                    self._give_up(job, exc)

    def measurements(self) -> list[Record]:
        """Return the records of everything measured since the last call."""
        return self._measurer.take()

    def dead_letter(
        self,
        *,
        offset: int,
        reason: str,
        error: Exception | str,
        value: bytes,
        kind: LetterKind = LetterKind.RECORD,
        key: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Record:
        """Return the record of something that could not be used; who commits it counts it under `reason`."""
        letter = topics.DeadLetter(
            topic=topics.SPANS,
            partition=self._partition,
            offset=offset,
            stage="assemble",
            error=text_of(error),
            error_type=type(error).__name__ if isinstance(error, Exception) else "",
            reason=reason,
            kind=kind,
            value=value,
            key=key,
            headers=dict(headers or {}),
            build=build_version(),
        )
        return record_of(letter)

    def _give_up(self, job: "_Job", exc: Exception) -> None:
        trace = job.trace
        job.failure = exc
        trace.restore(job.noted)
        trace.is_given_up = True
        self._failures += 1
        # at 1, 10, 100, …: a fault that every trace has would fill the disk
        if str(self._failures).rstrip("0") == "1":
            _log.exception("trace %s was not published (failure %d)", trace.trace_id.hex(), self._failures)
        if job.due.action is Action.PUBLISH:
            self._telemetry.count("clearwatch.stage.failures", stage="assemble", reason="provisional")
            job.records = []
            return
        headers = topics.headers(origin=trace.origin, experiment=trace.experiment)
        error = TraceNotPublishedError(f"trace {trace.trace_id.hex()} was not published: {type(exc).__name__}: {exc}")
        job.records = [
            self.dead_letter(
                offset=trace.offsets[0], reason="trace_not_published", error=error, value=chunk, headers=headers
            )
            for chunk in join_spans(job.slices, max_bytes=self._config.chunk_bytes)
        ]

    def _read(self, job: "_Job") -> None:
        if not job.logs:
            job.spans, job.records = self._decoded(job.trace, job.slices)
            return
        joined = join(job.slices, job.logs)
        spans, job.records = self._decoded(job.trace, joined.spans)
        job.spans = [settled(span, joined) for span in spans]
        forwarded = {item.span_id for item in job.forwarded}
        job.slices = joined.spans
        job.forwarded = [item for item in joined.spans if item.span_id in forwarded]

    def _index(self, job: "_Job") -> None:
        trace, due = job.trace, job.due
        if not trace.routing_key:
            trace.routing_key = default_routing_key(job.spans, experiment=trace.experiment)
        job.seen = Trace(
            trace_id=trace.trace_id.hex(),
            spans=job.spans,
            version=version_of(trace.span_ids()),
            routing_key=trace.routing_key,
            is_final=due.is_final,
            is_fragment=trace.is_fragment,
            close_reason=due.reason,
        )
        if (
            self._prices is not None
            and (unknown := fill_in_costs(job.seen, self._prices, job.slices))
            and not trace.published
        ):
            self._telemetry.count("clearwatch.dropped", sum(unknown.values()), reason="model_without_price")

    def _inspect(self, jobs: Sequence["_Job"]) -> None:
        """Ask the checks about all traces at once; where that fails, one by one to find out about which."""
        asked = [job for job in jobs if job.failure is None and job.seen.spans]
        try:
            inspected = self._inspector.inspect_all([job.seen for job in asked])
        except Exception:  # noqa: BLE001 - a fault in one trace must not stop all others
            self._each(asked, lambda job: self._take_in(job, self._inspector.inspect_all([job.seen])[0]))
            return
        for job, said in zip(asked, inspected, strict=True):
            self._take_in(job, said)

    def _take_in(self, job: "_Job", said: Inspected) -> None:
        job.findings, job.answers = said.findings, said.answers
        if job.trace.origin != topics.ORIGIN_LIVE:
            job.findings = tuple(msgspec.structs.replace(found, origin=job.trace.origin) for found in said.findings)

    def _build(self, job: "_Job") -> None:
        # spans that could not be decoded are not known
        mend_sessions = bool(job.records) or any(map(_odd_session, job.spans))
        job.records += self._moved(job.trace, job.seen)
        job.chunks = build_traces_data(
            job.forwarded,
            session_id=job.trace.session_id,
            user_id=job.seen.user_id,
            max_bytes=self._config.chunk_bytes,
            mend_sessions=mend_sessions,
        )

    def _write(self, job: "_Job") -> None:
        trace, due, seen, findings = job.trace, job.due, job.seen, job.findings
        job.whole = whole = summary(seen)
        version = self._version(trace, seen, due, whole, findings, job.answers, chunk_count=len(job.chunks))
        job.records += self._traces(trace, version, job.chunks)
        if findings or trace.findings:
            job.records += self._findings(trace, findings, may_withdraw=due.is_final and not trace.is_fragment)

    def _decoded(self, trace: OpenTrace, slices: Sequence[SpanSlice]) -> tuple[list[Span], list[Record]]:
        try:
            return [self._decode(item) for item in slices], []
        except Exception:  # noqa: BLE001 - whatever a dialect stumbles over must cost one span, not its trace
            return self._decoded_each(trace, slices)

    def _decoded_each(self, trace: OpenTrace, slices: Sequence[SpanSlice]) -> tuple[list[Span], list[Record]]:
        """Return the spans that can be decoded, and a dead letter for each other that is new."""
        spans: list[Span] = []
        letters: list[Record] = []
        fresh = set(itertools.islice(trace.spans, trace.published, None))
        for item in slices:
            try:
                spans.append(self._decode(item))
            except Exception as exc:  # noqa: BLE001 - as in `_decoded`
                if item.span_id in fresh:
                    letters.append(
                        self.dead_letter(
                            offset=trace.offsets[0],
                            reason="span_not_decodable",
                            error=exc,
                            value=item.span,
                            kind=LetterKind.PART,
                        )
                    )
        return spans, letters

    def _moved(self, trace: OpenTrace, seen: Trace) -> list[Record]:
        """Settle the key of this version on `traces`; where it changes, the old one gets a withdrawal."""
        # a fragment may lack the span that named the session
        session_id = seen.session_id or trace.session_id
        named = self._name_session(session_id, seen.user_id)
        key = f"{trace.routing_key}\0{named or seen.trace_id}"
        records: list[Record] = []
        if trace.traces_key and trace.traces_key != key and not trace.is_fragment:
            stood = trace.traces_key.partition("\0")[2]
            stitched = stood if not trace.session_id and stood != seen.trace_id else ""
            # whose user is all that was learned stood under no session
            if stitched or session_id != trace.session_id:
                gone = TraceWithdrawal(
                    trace_id=seen.trace_id,
                    routing_key=trace.routing_key,
                    session_id=trace.session_id,
                    stitched=stitched,
                )
                records += self._trace_records(trace, [_encode(gone)])
        trace.traces_key = key
        trace.session_id = session_id
        return records

    def _trace_records(self, trace: OpenTrace, values: Sequence[bytes]) -> list[Record]:
        key = trace.traces_key.encode()
        partition = topics.partition_for(key, self._partitions[topics.TRACES])
        headers = self._headers_of(trace.origin)
        return [
            Record(topic=topics.TRACES, partition=partition, key=key, value=value, headers=headers) for value in values
        ]

    def _headers_of(self, origin: str) -> Mapping[str, str]:
        """Return the headers of what is written; shared by records, so nobody may change them."""
        return self._headers.get(origin) or topics.headers(origin=origin)

    def _version(
        self,
        trace: OpenTrace,
        seen: Trace,
        due: Due,
        whole: Summary,
        findings: Iterable[Finding],
        answers: Mapping[str, str],
        *,
        chunk_count: int,
    ) -> TraceVersion:
        head = seen.root or (seen.spans[0] if seen.spans else None)
        return TraceVersion(
            trace_id=seen.trace_id,
            version=seen.version,
            routing_key=trace.routing_key,
            span_count=trace.span_count,
            close_reason=due.reason,
            provisional=not due.is_final,
            fragment=trace.is_fragment,
            has_root=trace.has_root,
            session_id=trace.session_id,
            user_id=seen.user_id,
            service=head.service if head else "",
            release=head.release if head else "",
            environment=head.environment if head else "",
            root_name=seen.root.name if seen.root else "",
            started_ns=whole.started_ns,
            ended_ns=whole.ended_ns,
            closed_at_s=due.at_s,
            last_append_s=trace.last_append_s,
            error_count=whole.error_count,
            input_tokens=whole.input_tokens,
            output_tokens=whole.output_tokens,
            cost_usd=whole.cost_usd,
            models=whole.models,
            dialects=whole.dialects,
            finding_ids=tuple(found.finding_id for found in findings),
            answers=answers,
            chunk_count=chunk_count,
            dropped_spans=trace.dropped_spans,
            log_count=trace.log_count,
            turn=self._turn(trace, seen),
        )

    def _turn(self, trace: OpenTrace, seen: Trace) -> Turn | None:
        """Return the digest of a trace that stands under a session; nobody reads it of others."""
        if not self._name_session(trace.session_id, seen.user_id):
            return None
        chars = self._config.turn_chars
        turn = turn_of(seen, chars=chars)
        if turn is not None and max(len(turn.question), len(turn.answer)) > 2 * chars:
            self._telemetry.count("clearwatch.dropped", reason="turn_text_cut")
        if turn is not None and turn.evaluations and (unkept := unkept_evaluations(seen)):
            self._telemetry.count("clearwatch.dropped", unkept, reason="turn_evaluation_left_out")
        return turn

    def _traces(self, trace: OpenTrace, version: TraceVersion, chunks: Sequence[bytes]) -> list[Record]:
        trace.version = version.version
        values = [
            _encode(
                TraceChunk(
                    trace_id=version.trace_id,
                    version=version.version,
                    routing_key=trace.routing_key,
                    index=index,
                    otlp=otlp,
                )
            )
            for index, otlp in enumerate(chunks)
        ]
        values.append(_encode(version))
        return self._trace_records(trace, values)

    def _findings(self, trace: OpenTrace, findings: Iterable[Finding], *, may_withdraw: bool) -> list[Record]:
        before = dict(trace.findings)
        now = {found.finding_id: found for found in findings}
        values = [_encode(found) for key, found in now.items() if key not in before]
        if may_withdraw:
            values += [
                _encode(
                    Withdrawal(
                        finding_id=key,
                        fingerprint=fingerprint,
                        routing_key=trace.routing_key,
                        trace_id=trace.trace_id.hex(),
                        reason="a larger version of the trace no longer has it",
                    )
                )
                for key, fingerprint in before.items()
                if key not in now
            ]
            before = {}
        trace.findings = tuple((before | {key: found.fingerprint for key, found in now.items()}).items())
        key = trace.routing_key.encode()
        partition = topics.partition_for(key, self._partitions[topics.FINDINGS])
        headers = self._headers_of(trace.origin)
        return [
            Record(topic=topics.FINDINGS, partition=partition, key=key, value=value, headers=headers)
            for value in values
        ]

    def _measure(self, job: "_Job") -> None:
        trace, seen = job.trace, job.seen
        if trace.origin != topics.ORIGIN_LIVE:
            return
        spans: Sequence[Span] = seen.spans
        if trace.published:
            fresh = {span_id.hex() for span_id in itertools.islice(trace.spans, trace.published, None)}
            spans = [span for span in spans if span.span_id in fresh]
        # once a trace: a late version must not count it twice
        is_whole = job.due.is_final and not trace.is_fragment and not trace.is_measured
        root = seen.root if is_whole else None
        if root is not None and job.whole.cost_usd:
            self._telemetry.count("clearwatch.traces.cost", job.whole.cost_usd)
        self._measurer.add(
            seen, spans, routing_key=trace.routing_key, session_id=trace.session_id, root=root, whole=job.whole
        )
        trace.is_measured = trace.is_measured or root is not None
