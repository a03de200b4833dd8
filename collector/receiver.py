"""What both transports do with a request once they have its bytes.

reserve -> check -> slice -> append -> count. An answer is given only after the log has the records (OK means durable).
Bytes taken and not yet answered are bounded over both transports together; beyond the bound, and when the log cannot
store, the caller gets a retryable error with a delay.
"""

import math
from functools import lru_cache
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.batching import AppendBatcher
from collector.config import CollectorConfig
from collector.logs import split_logs
from collector.outage import Outage
from collector.slicer import Part, slice_traces
from core import topics
from core.clock import Clock, SystemClock
from core.errors import PermanentError, RetryableError, SpanDecodeError
from core.log.port import Log, Record
from core.telemetry import Telemetry

# the longest experiment id we keep: MLflow's are at most 32 digits, other servers' ids stay below this too
MAX_EXPERIMENT_CHARS: Final = 128
# how long a refused client should wait: a few group commits, yet short beside an exporter's 5 s schedule
OVERLOAD_RETRY_AFTER_S: Final = 1.0
_SYSTEM_CLOCK: Final = SystemClock()


class OverloadedError(RetryableError):
    """Taking the request would exceed `max_in_flight_bytes`."""

    def __init__(self, *, in_flight_bytes: int, request_bytes: int, max_in_flight_bytes: int) -> None:
        super().__init__(
            f"{in_flight_bytes} bytes are in flight, {request_bytes} more would exceed {max_in_flight_bytes}",
            retry_after_s=OVERLOAD_RETRY_AFTER_S,
        )


class RequestTooLargeError(PermanentError):
    """A request is larger than `max_request_bytes`, before or after decompression."""

    def __init__(self, *, max_request_bytes: int) -> None:
        super().__init__(f"request is larger than {max_request_bytes} bytes")


class InvalidExperimentError(PermanentError):
    """The experiment that the client named cannot be one."""

    def __init__(self) -> None:
        super().__init__(f"x-mlflow-experiment-id is not 1 to {MAX_EXPERIMENT_CHARS} printable ASCII characters")


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request came to; `rejected` > 0 must reach the client as `partial_success`."""

    accepted: int
    rejected: int = 0
    reason: str = ""


REJECTED_IDS: Final = "trace id or span id is absent, of a wrong length or all zero"


class Receiver:
    """The transport-independent half of the collector. One event loop."""

    def __init__(
        self, *, log: Log, config: CollectorConfig, telemetry: Telemetry, clock: Clock = _SYSTEM_CLOCK
    ) -> None:
        self._log = log
        self._batcher = AppendBatcher(log)
        self._outage = Outage(clock)
        self._config = config
        self._telemetry = telemetry
        # requests that may be in hand already for a new one to be parsed as well
        self._parse_below = {"full": math.inf, "auto": 1, "framing": 0}[config.validate_]
        self._in_hand = 0
        self._in_flight_bytes = 0
        telemetry.gauge("clearwatch.collector.in_flight", lambda: float(self._in_flight_bytes))

    @property
    def in_flight_bytes(self) -> int:
        """Return the bytes taken and not yet answered."""
        return self._in_flight_bytes

    def reserve(self, size: int) -> None:
        """Take `size` bytes of the bound; give them back with `release`. Raises OverloadedError."""
        if self._in_flight_bytes + size > self._config.max_in_flight_bytes:
            self._telemetry.count("clearwatch.dropped", reason="overloaded")
            raise OverloadedError(
                in_flight_bytes=self._in_flight_bytes,
                request_bytes=size,
                max_in_flight_bytes=self._config.max_in_flight_bytes,
            )
        self._in_flight_bytes += size

    def release(self, size: int) -> None:
        """Give back what `reserve` took."""
        self._in_flight_bytes -= size

    async def take_traces(self, data: bytes, experiment: str = "") -> Accepted:
        """Store the spans of a request.

        Raises SpanDecodeError, InvalidExperimentError, LogUnavailableError and LogFullError; then nothing was accepted.
        """
        headers = record_headers(topics.SIGNAL_TRACES, experiment)
        if self._in_hand < self._parse_below:
            try:
                ExportTraceServiceRequest.FromString(data)
            except DecodeError as exc:
                raise SpanDecodeError(str(exc)) from exc
        sliced = slice_traces(
            data, partitions=self._log.partitions(topics.SPANS), max_record_bytes=self._config.max_record_bytes
        )
        self._in_hand += 1
        try:
            await self._append(sliced.parts, headers, spans=sliced.accepted)
        finally:
            self._in_hand -= 1
        self._telemetry.count("clearwatch.collector.spans.received", sliced.accepted)
        if not sliced.rejected:
            return Accepted(accepted=sliced.accepted)
        self._telemetry.count("clearwatch.collector.spans.rejected", sliced.rejected, reason="invalid_id")
        return Accepted(accepted=sliced.accepted, rejected=sliced.rejected, reason=REJECTED_IDS)

    async def take_logs(self, data: bytes, experiment: str = "") -> Accepted:
        """Store the log records of a request that belong to a trace; the others are accepted and dropped, counted.

        Raises as `take_traces`.
        """
        headers = record_headers(topics.SIGNAL_LOGS, experiment)
        parts, kept, without_trace = split_logs(
            data, partitions=self._log.partitions(topics.SPANS), max_record_bytes=self._config.max_record_bytes
        )
        await self._append(parts, headers)
        self._telemetry.count("clearwatch.collector.logs.received", kept + without_trace)
        if without_trace:
            self._telemetry.count("clearwatch.dropped", without_trace, reason="log_without_trace")
        return Accepted(accepted=kept + without_trace)

    async def _append(self, parts: tuple[Part, ...], headers: dict[str, str], *, spans: int = 0) -> None:
        if parts:
            # stored together or not at all: the first may count for all
            records = [
                Record(
                    topic=topics.SPANS,
                    partition=part.partition,
                    value=part.value,
                    headers=headers,
                    units=0 if number else spans,
                )
                for number, part in enumerate(parts)
            ]
            with self._outage.watched():
                await self._batcher.append(records)


@lru_cache(maxsize=1024)
def record_headers(signal: str, experiment: str) -> dict[str, str]:
    """Return the headers of a record, made once for each experiment. Raises InvalidExperimentError."""
    if len(experiment) > MAX_EXPERIMENT_CHARS or not (experiment.isascii() and (experiment + "x").isprintable()):
        raise InvalidExperimentError
    return topics.headers(signal=signal, experiment=experiment)
