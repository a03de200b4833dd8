"""Collects measurements of spans and traces until a step of the stage writes them, by their partition."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import Span, SpanKind
from core.telemetry import Telemetry
from detector.assemble.summary import Summary

# rows of one record on `measurements`: about 250 bytes each, so well under a broker's 1 MB
ROWS_PER_RECORD: Final = 2000
# places of operations that are kept; operations are few, names with ids in them are not
PLACES: Final = 20_000
# kinds whose operation may be the span's name
_NAMED: Final = frozenset((SpanKind.UNKNOWN, SpanKind.TOOL))

_encode = msgspec.msgpack.Encoder().encode


class Measurer:
    """Live traffic only: what is replayed or backfilled would be counted twice."""

    def __init__(self, telemetry: Telemetry, *, partitions: int) -> None:
        self._telemetry = telemetry
        self._partitions = partitions
        self._headers: Mapping[str, str] = topics.headers()
        self._places: dict[tuple[str, ...], tuple[str, int]] = {}
        self._rows: defaultdict[int, list[Measurement]] = defaultdict(list)

    def add(
        self, spans: Iterable[Span], *, routing_key: str, session_id: str, root: Span | None, whole: Summary
    ) -> None:
        """Measure each of the spans, and the whole trace where its root is given. All or, where it raises, nothing."""
        rows = [self._span_row(span, routing_key, session_id) for span in spans]
        if root is not None:
            rows.append(self._trace_row(root, routing_key, session_id, whole))
        for partition, row in rows:
            self._rows[partition].append(row)

    def take(self) -> list[Record]:
        """Return the records of everything measured since the last call."""
        records = [
            Record(topic=topics.MEASUREMENTS, partition=partition, value=value, headers=self._headers)
            for partition, rows in self._rows.items()
            for at in range(0, len(rows), ROWS_PER_RECORD)
            for value in self._encoded(rows[at : at + ROWS_PER_RECORD])
        ]
        self._rows.clear()
        return records

    def _encoded(self, rows: Sequence[Measurement]) -> list[bytes]:
        """Return the value of a record; rows that cannot be encoded (numbers beyond 64 bits) are dropped."""
        try:
            return [_encode(MeasurementBatch(measurements=tuple(rows)))]
        except (ValueError, OverflowError):
            if len(rows) == 1:
                self._telemetry.count("clearwatch.dropped", reason="measurement_not_encodable")
                return []
        half = len(rows) // 2
        return self._encoded(rows[:half]) + self._encoded(rows[half:])

    def _span_row(self, span: Span, routing_key: str, session_id: str) -> tuple[int, Measurement]:
        kind, tool = span.kind, span.tool
        # all that the operation of a span depends on; working it out costs five times as much as looking it up
        facts = (
            routing_key,
            span.service,
            kind,
            tool.name if tool is not None else "",
            span.agent,
            span.model,
            span.name if kind in _NAMED else "",
        )
        place = self._places.get(facts)
        if place is None:
            place = self._place(facts, span.target)
        started_ns, ended_ns = span.start_ns, span.end_ns
        usage = span.usage
        return place[1], Measurement(
            routing_key=routing_key,
            service=span.service,
            operation=place[0],
            kind=kind,
            model=span.model,
            duration_ms=(ended_ns - started_ns) / 1e6 if ended_ns > started_ns else 0.0,
            failed=span.error is not None,
            trace_id=span.trace_id,
            span_id=span.span_id,
            session_id=session_id,
            started_ns=started_ns,
            ended_ns=ended_ns,
            is_trace=False,
            release=span.release,
            environment=span.environment,
            time_to_first_token_s=span.time_to_first_token_s,
            input_tokens=usage.input_tokens if usage is not None else 0,
            output_tokens=usage.output_tokens if usage is not None else 0,
            cost_usd=span.cost_usd,
        )

    def _trace_row(self, root: Span, routing_key: str, session_id: str, whole: Summary) -> tuple[int, Measurement]:
        row = self._span_row(root, routing_key, session_id)[1]
        facts = (routing_key, root.service, root.name)
        place = self._places.get(facts)
        if place is None:
            place = self._place(facts, root.name)
        duration_ns = max(0, whole.ended_ns - whole.started_ns)
        return place[1], msgspec.structs.replace(
            row,
            operation=root.name,
            kind=SpanKind.UNKNOWN,
            duration_ms=duration_ns / 1e6,
            started_ns=whole.started_ns,
            ended_ns=whole.ended_ns,
            is_trace=True,
        )

    def _place(self, facts: tuple[str, ...], operation: str) -> tuple[str, int]:
        if len(self._places) >= PLACES:
            self._places.clear()
        key = "|".join((facts[0], facts[1], operation)).encode()
        place = self._places[facts] = (operation, topics.partition_for(key, self._partitions))
        return place
