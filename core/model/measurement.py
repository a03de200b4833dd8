"""What the baselines stage learns from: one row for each span worth timing, batched by partition."""

from collections.abc import Sequence
from typing import Final

import msgspec

from core.model.span import SpanKind

CODE_KINDS: Final = frozenset({SpanKind.UNKNOWN, SpanKind.HTTP, SpanKind.RPC})
"""Kinds whose operations are code of one service: what made one of them slow makes its neighbours slow too."""

CLOCK_SKEW_S: Final = 3_600.0
"""By how much a client's clock may be ahead of the log's and still be believed: clocks that nobody sets are off by
minutes; one bad clock must not be "last seen", or the last episode, for ever."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Duration and outcome of one span (or of a whole trace, `is_trace`)."""

    routing_key: str
    service: str
    operation: str
    """`Span.target` (or the root's name for a trace)."""
    kind: SpanKind
    model: str
    duration_ms: float
    failed: bool
    trace_id: str
    span_id: str
    session_id: str
    started_ns: int
    ended_ns: int
    is_trace: bool = False
    release: str = ""
    environment: str = ""
    time_to_first_token_s: float | None = None
    input_tokens: int = 0
    """Of a trace: all of it, counted once."""
    output_tokens: int = 0
    cost_usd: float | None = None
    own_ms: float | None = None
    """The part of the duration in which no other span of the trace worked for it. Of a trace: its duration without the
    own times of the group (`group_of`) that has most of it. None in records of earlier releases."""
    is_fault: bool = False
    """Whether it is a deepest failed span: failed, without a failed child."""
    largest_tokens: int = 0
    """Of a trace: input and output tokens of its largest call."""


class MeasurementBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a record on `measurements`."""

    measurements: tuple[Measurement, ...]


def dated(rows: Sequence[Measurement], at_s: float) -> Sequence[Measurement]:
    """Return measurements with times that can be: log time, where the client's clock says nothing or lies far ahead."""
    latest_ns = int((at_s + CLOCK_SKEW_S) * 1e9)
    # a list: a generator costs three times as much
    if all([0 < m.started_ns <= latest_ns and m.ended_ns <= latest_ns for m in rows]):  # noqa: C419
        return rows
    at_ns = int(at_s * 1e9)
    return [
        m
        if 0 < m.started_ns <= latest_ns and m.ended_ns <= latest_ns
        else msgspec.structs.replace(m, started_ns=at_ns, ended_ns=at_ns)
        for m in rows
    ]


def group_of(kind: str, operation: str, service: str) -> str:
    """Return what one would look at were it slow: the operation, or, as "", the service that its code stands in."""
    return "" if service and kind in CODE_KINDS else operation
