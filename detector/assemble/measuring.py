"""Collects measurements of spans and traces until a step of the stage writes them, by their partition.

What is written reads as `MeasurementBatch`.
"""

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from core import topics
from core.log.port import Record
from core.model.measurement import Measurement, group_of
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.assemble.own_time import given_times_ns
from detector.assemble.summary import Summary

# rows of one record on `measurements`: about 250 bytes each, so well under a broker's 1 MB
ROWS_PER_RECORD: Final = 2000
# places of operations that are kept; operations are few, names with ids in them are not
PLACES: Final = 20_000
# kinds whose operation may be the span's name; members of an enum cost 100 ns to look up in Python 3.11
_UNKNOWN, _TOOL = SpanKind.UNKNOWN, SpanKind.TOOL

# `Measurement` as it is encoded: its values in the order of its fields; made in a third of the time of the struct
_Row: TypeAlias = tuple[Any, ...]
# service, and what `group_of` says
_Group: TypeAlias = tuple[str, str]
# partition, operation, kind and group of an operation
_Place: TypeAlias = tuple[int, str, str, _Group]
_FIELDS: Final = (
    *("routing_key", "service", "operation", "kind", "model", "duration_ms", "failed", "trace_id", "span_id"),
    *("session_id", "started_ns", "ended_ns", "is_trace", "release", "environment", "time_to_first_token_s"),
    *("input_tokens", "output_tokens", "cost_usd", "own_ms", "is_fault", "largest_tokens"),
)
if Measurement.__struct_fields__ != _FIELDS or not Measurement.__struct_config__.array_like:
    raise TypeError("`Measurement` has other fields than the rows that are written here")

_encode = msgspec.msgpack.Encoder().encode


class PartedBy(enum.IntEnum):
    """What stands in one partition of `measurements`: the value is how much of the key is left out."""

    OPERATION = 0
    """What is learned together: an operation, or the code of a service."""
    SERVICE = 1
    ROUTING_KEY = 2


class Measurer:
    """Live traffic only: what is replayed or backfilled would be counted twice."""

    def __init__(self, telemetry: Telemetry, *, partitions: int, parted_by: PartedBy = PartedBy.OPERATION) -> None:
        self._telemetry = telemetry
        self._parted_by = parted_by
        self._partitions = partitions
        self._headers: Mapping[str, str] = topics.headers()
        self._places: dict[tuple[str, ...], _Place] = {}
        self._rows: defaultdict[int, list[_Row]] = defaultdict(list)

    def add(
        self,
        trace: Trace,
        spans: Iterable[Span],
        *,
        routing_key: str,
        session_id: str,
        root: Span | None,
        whole: Summary,
    ) -> None:
        """Measure each of the spans, which are of the trace, and the whole trace where its root is given.

        All or, where it raises, nothing.
        """
        given_ns = given_times_ns(trace)
        faults = frozenset([span.span_id for span in trace.leaf_faults]) if trace.failed_spans else frozenset()
        partitions, rows, groups = self._span_rows(spans, routing_key, session_id, given_ns, faults)
        if root is not None:
            if len(rows) < len(trace.spans):
                _, _, groups = self._span_rows(trace.spans, routing_key, session_id, given_ns, faults)
            largest = max([u.input_tokens + u.output_tokens for s in trace.spans if (u := s.usage)], default=0)
            # what a group has is told where the group is learned: two reports of one slow call would be one too many
            longest_ms = max(groups.values(), default=0.0)
            partition, row = self._trace_row(root, routing_key, session_id, whole, longest_ms, max(largest, 0))
            partitions.append(partition)
            rows.append(row)
        for partition, row in zip(partitions, rows, strict=True):
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

    def _encoded(self, rows: Sequence[_Row]) -> list[bytes]:
        """Return the value of a record; rows that cannot be encoded (numbers beyond 64 bits) are dropped."""
        try:
            return [_encode({"measurements": rows})]
        except (ValueError, OverflowError):
            if len(rows) == 1:
                self._telemetry.count("clearwatch.dropped", reason="measurement_not_encodable")
                return []
        half = len(rows) // 2
        return self._encoded(rows[:half]) + self._encoded(rows[half:])

    def _span_rows(
        self,
        spans: Iterable[Span],
        routing_key: str,
        session_id: str,
        given_ns: Mapping[str, int],
        faults: frozenset[str],
    ) -> tuple[list[int], list[_Row], Mapping[_Group, float]]:
        """Return the partition and the row of each span, and the own times of their groups in milliseconds."""
        partitions: list[int] = []
        rows: list[_Row] = []
        groups: dict[_Group, float] = {}
        places = self._places
        for span in spans:
            kind, tool, usage, service, model = span.kind, span.tool, span.usage, span.service, span.model
            span_id, started_ns, ended_ns = span.span_id, span.start_ns, span.end_ns
            # all that the operation of a span depends on; working it out costs five times as much as looking it up
            facts = (
                routing_key,
                service,
                kind,
                tool.name if tool is not None else "",
                span.agent,
                span.data_source,
                model,
                span.name if kind is _UNKNOWN or kind is _TOOL else "",
            )
            partition, operation, kind_name, group = places.get(facts) or self._place(facts, span.target, kind)
            duration_ns = ended_ns - started_ns if ended_ns > started_ns else 0
            own_ms = (duration_ns - given_ns.get(span_id, 0)) / 1e6
            groups[group] = groups.get(group, 0.0) + own_ms
            row = (
                routing_key,
                service,
                operation,
                kind_name,
                model,
                duration_ns / 1e6,
                span.error is not None,
                span.trace_id,
                span_id,
                session_id,
                started_ns,
                ended_ns,
                False,
                span.release,
                span.environment,
                span.time_to_first_token_s,
                usage.input_tokens if usage is not None else 0,
                usage.output_tokens if usage is not None else 0,
                span.cost_usd,
                own_ms,
                span_id in faults,
                0,
            )
            partitions.append(partition)
            rows.append(row)
        return partitions, rows, groups

    def _trace_row(
        self, root: Span, routing_key: str, session_id: str, whole: Summary, longest_ms: float, largest: int
    ) -> tuple[int, _Row]:
        """Return the row of a trace; `longest_ms` is the own time of its slowest group, `largest` its largest call."""
        facts = (routing_key, root.service, root.name)
        place = self._places.get(facts) or self._place(facts, root.name, SpanKind.UNKNOWN, is_trace=True)
        partition, operation, kind_name, _ = place
        started_ns, ended_ns = whole.started_ns, whole.ended_ns
        duration_ms = (ended_ns - started_ns) / 1e6 if ended_ns > started_ns else 0.0
        row = (
            routing_key,
            root.service,
            operation,
            kind_name,
            root.model,
            duration_ms,
            root.error is not None,
            root.trace_id,
            root.span_id,
            session_id,
            started_ns,
            ended_ns,
            True,
            root.release,
            root.environment,
            root.time_to_first_token_s,
            whole.input_tokens,
            whole.output_tokens,
            whole.cost_usd,
            max(0.0, duration_ms - longest_ms),
            False,
            largest,
        )
        return partition, row

    def _place(self, facts: tuple[str, ...], operation: str, kind: SpanKind, *, is_trace: bool = False) -> _Place:
        if len(self._places) >= PLACES:
            self._places.clear()
        # a group is learned, and an episode of it told, in one partition
        group = operation if is_trace else group_of(kind.value, operation, facts[1])
        key = "|".join((facts[0], facts[1], group)[: 3 - self._parted_by]).encode()
        partition = topics.partition_for(key, self._partitions)
        place = self._places[facts] = (partition, operation, kind.value, (facts[1], group))
        return place
