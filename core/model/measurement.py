"""What the baselines stage learns from: one row for each span worth timing, batched by partition."""

import msgspec

from core.model.span import SpanKind


class Measurement(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
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
    output_tokens: int = 0
    cost_usd: float | None = None


class MeasurementBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a record on `measurements`."""

    measurements: tuple[Measurement, ...]
