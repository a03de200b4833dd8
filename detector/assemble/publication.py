"""Makes the records of one trace version: decoded, inspected, measured, and its bytes to be forwarded.

A final version carries the bytes of the whole trace; a provisional one those of the spans that no earlier version held.
Measurements are of such spans only, so each span is measured once. Findings are written once, and withdrawn when a
later version that is final and no fragment no longer has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from core import dialects, topics
from core.errors import PermanentError
from core.log.port import Record
from core.model.finding import Finding, Withdrawal
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import Span, SpanKind
from core.model.trace import (
    Trace,
    TraceChunk,
    TraceVersion,
    TraceWithdrawal,
    default_routing_key,
    version_of,
)
from core.otlp.build import build_traces_data
from core.otlp.wire import SpanSlice
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.open_trace import Due, OpenTrace
from detector.assemble.summary import models, tokens_and_cost

# rows of one record on `measurements`: about 250 bytes each, so well under a broker's 1 MB
MEASUREMENTS_PER_RECORD = 2000
# partitions of (routing key, service, operation) that are kept; operations are few, names with ids in them are not
PARTITION_CACHE = 20_000

_encode = msgspec.msgpack.Encoder().encode


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

    def inspect(self, trace: Trace) -> Inspected:
        """Inspect one version of a trace. Does not raise."""
        ...


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
    ) -> None:
        self._inspector = inspector
        self._config = config
        self._telemetry = telemetry
        self._partition = partition
        self._partitions = partitions
        self._partition_of: dict[tuple[str, str, str], int] = {}
        self._measured: dict[tuple[int, str], list[Measurement]] = {}

    def publish(self, trace: OpenTrace, due: Due) -> list[Record]:
        """Return the records of the version that is due, and note in `trace` what was published.

        Every span of the trace that still exists must be at hand.
        """
        slices = trace.slices()
        spans, records = self._decoded(trace, slices)
        if not trace.routing_key:
            trace.routing_key = default_routing_key(spans, experiment=trace.experiment)
        seen = Trace(
            trace_id=trace.trace_id.hex(),
            spans=spans,
            version=version_of(trace.spans),
            routing_key=trace.routing_key,
            is_final=due.is_final,
            is_fragment=trace.is_fragment,
            close_reason=due.reason,
        )
        findings, answers = self._inspected(seen, trace.origin)
        records += self._moved(trace, seen)
        chunks = build_traces_data(
            slices if due.is_final else slices[trace.published :],
            session_id=trace.session_id,
            user_id=seen.user_id,
            max_bytes=self._config.chunk_bytes,
        )
        version = self._version(trace, seen, due, findings, answers, chunk_count=len(chunks))
        records += self._traces(trace, version, chunks)
        records += self._findings(trace, findings, may_withdraw=due.is_final and not trace.is_fragment)
        self._measure(trace, seen, due)
        return records

    def measurements(self) -> list[Record]:
        """Return the records of everything measured since the last call."""
        records = [
            Record(
                topic=topics.MEASUREMENTS,
                partition=partition,
                value=_encode(MeasurementBatch(measurements=tuple(rows[at : at + MEASUREMENTS_PER_RECORD]))),
                headers=topics.headers(origin=origin),
            )
            for (partition, origin), rows in self._measured.items()
            for at in range(0, len(rows), MEASUREMENTS_PER_RECORD)
        ]
        self._measured.clear()
        return records

    def dead_letter(
        self, *, offset: int, reason: str, error: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> Record:
        """Return the record of something that could not be read, counted under `reason`."""
        self._telemetry.count("clearwatch.dead_letters", stage="assemble", reason=reason)
        letter = topics.DeadLetter(
            topic=topics.SPANS,
            partition=self._partition,
            offset=offset,
            error=error,
            value=value,
            headers=dict(headers or {}),
        )
        return Record(
            topic=topics.DEAD_LETTERS,
            partition=self._partition % self._partitions[topics.DEAD_LETTERS],
            value=_encode(letter),
            headers=topics.headers(),
        )

    def _decoded(self, trace: OpenTrace, slices: Sequence[SpanSlice]) -> tuple[list[Span], list[Record]]:
        spans: list[Span] = []
        letters: list[Record] = []
        for number, item in enumerate(slices):
            try:
                spans.append(dialects.decode(item))
            except (PermanentError, ValueError) as exc:
                if number >= trace.published:
                    letters.append(
                        self.dead_letter(
                            offset=trace.offsets[0], reason="span_not_decodable", error=str(exc), value=item.span
                        )
                    )
        return spans, letters

    def _inspected(self, seen: Trace, origin: str) -> tuple[tuple[Finding, ...], Mapping[str, str]]:
        if not seen.spans:
            return (), {}
        inspection = self._inspector.inspect(seen)
        findings = inspection.findings
        if origin != topics.ORIGIN_LIVE:
            findings = tuple(msgspec.structs.replace(found, origin=origin) for found in findings)
        return findings, inspection.answers

    def _moved(self, trace: OpenTrace, seen: Trace) -> list[Record]:
        """Settle the key of this version on `traces`; where it changes, the old one gets a withdrawal."""
        # a fragment may lack the span that named the session
        session_id = seen.session_id or trace.session_id
        key = f"{trace.routing_key}\0{session_id or seen.trace_id}"
        records: list[Record] = []
        if trace.traces_key and trace.traces_key != key and not trace.is_fragment:
            gone = TraceWithdrawal(trace_id=seen.trace_id, routing_key=trace.routing_key, session_id=trace.session_id)
            records.append(self._trace_record(trace, _encode(gone)))
        trace.traces_key = key
        trace.session_id = session_id
        return records

    def _trace_record(self, trace: OpenTrace, value: bytes) -> Record:
        key = trace.traces_key.encode()
        return Record(
            topic=topics.TRACES,
            partition=topics.partition_for(key, self._partitions[topics.TRACES]),
            key=key,
            value=value,
            headers=topics.headers(origin=trace.origin),
        )

    def _version(
        self,
        trace: OpenTrace,
        seen: Trace,
        due: Due,
        findings: Iterable[Finding],
        answers: Mapping[str, str],
        *,
        chunk_count: int,
    ) -> TraceVersion:
        head = seen.root or (seen.spans[0] if seen.spans else None)
        input_tokens, output_tokens, cost_usd = tokens_and_cost(seen)
        return TraceVersion(
            trace_id=seen.trace_id,
            version=seen.version,
            routing_key=trace.routing_key,
            span_count=len(trace.spans),
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
            started_ns=seen.started_ns,
            ended_ns=seen.ended_ns,
            closed_at_s=due.at_s,
            last_append_s=trace.last_append_s,
            error_count=sum(span.error is not None for span in seen.spans),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            models=models(seen),
            dialects=tuple(sorted({span.dialect for span in seen.spans})),
            finding_ids=tuple(found.finding_id for found in findings),
            answers=answers,
            chunk_count=chunk_count,
            dropped_spans=trace.dropped_spans,
        )

    def _traces(self, trace: OpenTrace, version: TraceVersion, chunks: Sequence[bytes]) -> list[Record]:
        trace.version = version.version
        records = [
            self._trace_record(
                trace,
                _encode(
                    TraceChunk(
                        trace_id=version.trace_id,
                        version=version.version,
                        routing_key=trace.routing_key,
                        index=index,
                        otlp=otlp,
                    )
                ),
            )
            for index, otlp in enumerate(chunks)
        ]
        records.append(self._trace_record(trace, _encode(version)))
        return records

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
        headers = topics.headers(origin=trace.origin)
        return [
            Record(topic=topics.FINDINGS, partition=partition, key=key, value=value, headers=headers)
            for value in values
        ]

    def _measure(self, trace: OpenTrace, seen: Trace, due: Due) -> None:
        if trace.origin != topics.ORIGIN_LIVE:
            return
        session_id = trace.session_id
        if trace.published:
            fresh = {span_id.hex() for number, span_id in enumerate(trace.spans) if number >= trace.published}
            spans: Iterable[Span] = (span for span in seen.spans if span.span_id in fresh)
        else:
            spans = seen.spans
        for span in spans:
            self._note(trace, span, span.target, session_id)
        root = seen.root
        if root is not None and due.is_final and not trace.is_fragment and not trace.is_measured:
            # once a trace: a late version must not count it twice
            trace.is_measured = True
            self._note(trace, root, root.name, session_id, whole=seen)

    def _note(self, trace: OpenTrace, span: Span, operation: str, session_id: str, whole: Trace | None = None) -> None:
        place = (trace.routing_key, span.service, operation)
        partition = self._partition_of.get(place)
        if partition is None:
            if len(self._partition_of) >= PARTITION_CACHE:
                self._partition_of.clear()
            partition = topics.partition_for("|".join(place).encode(), self._partitions[topics.MEASUREMENTS])
            self._partition_of[place] = partition
        rows = self._measured.get((partition, trace.origin))
        if rows is None:
            rows = self._measured[partition, trace.origin] = []
        started_ns = span.start_ns if whole is None else whole.started_ns
        ended_ns = span.end_ns if whole is None else whole.ended_ns
        usage = span.usage
        rows.append(
            Measurement(
                routing_key=trace.routing_key,
                service=span.service,
                operation=operation,
                kind=span.kind if whole is None else SpanKind.UNKNOWN,
                model=span.model,
                duration_ms=(ended_ns - started_ns) / 1e6 if ended_ns > started_ns else 0.0,
                failed=span.error is not None,
                trace_id=span.trace_id,
                span_id=span.span_id,
                session_id=session_id,
                started_ns=started_ns,
                ended_ns=ended_ns,
                is_trace=whole is not None,
                release=span.release,
                environment=span.environment,
                time_to_first_token_s=span.time_to_first_token_s,
                input_tokens=usage.input_tokens if usage else 0,
                output_tokens=usage.output_tokens if usage else 0,
                cost_usd=span.cost_usd,
            )
        )
