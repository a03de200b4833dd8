"""The answers of OTLP, as bytes: `google.rpc.Status` for failures, export responses for successes.

https://opentelemetry.io/docs/specs/otlp (failures, partial success, throttling).
"""

import json
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

# google/rpc/code.proto
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

_NANOS = 1_000_000_000


def status_proto(code: int, message: str, retry_after_s: float | None = None) -> bytes:
    """Return a `google.rpc.Status`; with a delay it carries `RetryInfo`, which is what makes a client retry."""
    status = Status(code=code, message=message)
    if retry_after_s is not None:
        status.details.add().Pack(_retry_info(retry_after_s))
    return bytes(status.SerializeToString())


def retry_info_proto(retry_after_s: float) -> bytes:
    """Return a `google.rpc.RetryInfo`."""
    return bytes(_retry_info(retry_after_s).SerializeToString())


def _retry_info(retry_after_s: float) -> RetryInfo:
    nanos = round(retry_after_s * _NANOS)
    return RetryInfo(retry_delay=Duration(seconds=nanos // _NANOS, nanos=nanos % _NANOS))


def status_json(code: int, message: str) -> bytes:
    """Return a `google.rpc.Status` as JSON; the delay is in the Retry-After header there."""
    return json.dumps({"code": code, "message": message}).encode()


def partial_success_proto(rejected: int, message: str) -> bytes:
    """Return an `ExportTraceServiceResponse` which says what was rejected."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return bytes(ExportTraceServiceResponse(partial_success=partial).SerializeToString())


def partial_success_json(rejected: int, message: str) -> bytes:
    """Return the same as JSON; an int64 is a string there."""
    return json.dumps({"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}}).encode()
