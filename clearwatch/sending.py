"""`clearwatch send`: OTLP files to a collector, as the OpenTelemetry Collector's file exporter writes them.

A file holds either one OTLP/JSON request a line (`.jsonl`, `.json`; gzip by `.gz`) or one protobuf request (`.pb`,
`.bin`, `.otlp`). Requests above the collector's limit are split by span.
"""

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from core.errors import PermanentError, RetryableError

# below the collector's 16 MiB limit, with room for headers that a split repeats
MAX_REQUEST_BYTES: Final = 8 << 20
PROTOBUF_ENDINGS: Final = (".pb", ".bin", ".otlp")
ID_FIELDS: Final = ("traceId", "spanId", "parentSpanId")
TRIES: Final = 8

Request = ExportTraceServiceRequest | ExportLogsServiceRequest


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector said to a file."""

    requests: int = 0
    items: int = 0
    """Spans and log records sent."""
    log_records: int = 0
    """Of these, log records."""
    rejected: int = 0
    """Of these, refused in partial_success."""
    reasons: tuple[str, ...] = ()


class FileError(PermanentError):
    """A file is not what `send` can read; `where` names file and line."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")


def read(path: Path) -> Iterator[Request]:
    """Yield the requests of a file. Raises FileError with file and line."""
    name = path.name.removesuffix(".gz")
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        if name.endswith(PROTOBUF_ENDINGS):
            with opener(path, "rb") as file:
                yield _from_protobuf(file.read(), str(path))
            return
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield from_json(line, where=f"{path}:{number}")
    except OSError as exc:
        raise FileError(str(path), exc.strerror or str(exc)) from exc


def from_json(line: bytes | str, *, where: str) -> Request:
    """Return the request that a line of OTLP/JSON holds. Raises FileError."""
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or not ({"resourceSpans", "resourceLogs"} & values.keys()):
            raise FileError(where, "holds neither `resourceSpans` nor `resourceLogs`")
        if "resourceSpans" in values:
            _ids_to_base64(
                s for r in values["resourceSpans"] for x in r.get("scopeSpans", ()) for s in x.get("spans", ())
            )
            return json_format.ParseDict(values, ExportTraceServiceRequest(), ignore_unknown_fields=True)
        _ids_to_base64(
            s for r in values["resourceLogs"] for x in r.get("scopeLogs", ()) for s in x.get("logRecords", ())
        )
        return json_format.ParseDict(values, ExportLogsServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, json_format.ParseError) as exc:
        raise FileError(where, f"is not OTLP/JSON: {exc}") from exc


def _ids_to_base64(items: Iterable[dict[str, Any]]) -> None:
    # OTLP/JSON writes ids in hex, protobuf's own JSON mapping wants base64 (OTLP, "JSON Protobuf Encoding")
    for item in items:
        for holder in (item, *item.get("links", ())):
            for field in ID_FIELDS:
                if holder.get(field):
                    holder[field] = base64.b64encode(bytes.fromhex(holder[field])).decode()


def _from_protobuf(data: bytes, where: str) -> Request:
    try:
        return ExportTraceServiceRequest.FromString(data)
    except DecodeError as exc:
        raise FileError(where, f"is not an OTLP trace request: {exc}") from exc


def latest_ns(requests: Iterable[Request]) -> int:
    """Return the latest time in these requests, nanoseconds since the epoch; 0 where there is none."""
    latest = 0
    for request in requests:
        if isinstance(request, ExportTraceServiceRequest):
            ends = [s.end_time_unix_nano for r in request.resource_spans for x in r.scope_spans for s in x.spans]
        else:
            records = [record for r in request.resource_logs for x in r.scope_logs for record in x.log_records]
            ends = [record.time_unix_nano or record.observed_time_unix_nano for record in records]
        latest = max(latest, *ends, 0)
    return latest


def shift(request: Request, by_ns: int) -> None:
    """Move every time in a request by `by_ns`."""
    if isinstance(request, ExportLogsServiceRequest):
        for record in (x for r in request.resource_logs for s in r.scope_logs for x in s.log_records):
            # 0 is not known, which it stays; then the time of its observation stands for it
            if record.time_unix_nano:
                record.time_unix_nano = max(0, record.time_unix_nano + by_ns)
            if record.observed_time_unix_nano:
                record.observed_time_unix_nano = max(0, record.observed_time_unix_nano + by_ns)
        return
    for span in (x for r in request.resource_spans for s in r.scope_spans for x in s.spans):
        span.start_time_unix_nano = max(0, span.start_time_unix_nano + by_ns)
        span.end_time_unix_nano = max(0, span.end_time_unix_nano + by_ns)
        for event in span.events:
            event.time_unix_nano = max(0, event.time_unix_nano + by_ns)


def split(request: Request, max_bytes: int = MAX_REQUEST_BYTES) -> Iterator[Request]:
    """Yield the request, or smaller ones that hold the same spans, each below `max_bytes` where one span allows it."""
    if isinstance(request, ExportLogsServiceRequest) or request.ByteSize() <= max_bytes:
        yield request
        return
    part = ExportTraceServiceRequest()
    size = 0
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                if size and size + span.ByteSize() > max_bytes:
                    yield part
                    part, size = ExportTraceServiceRequest(), 0
                group = part.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
                group.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=[span])
                size += span.ByteSize()
    yield part


def count(request: Request) -> int:
    """Return the number of spans or log records."""
    if isinstance(request, ExportTraceServiceRequest):
        return sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
    return sum(len(s.log_records) for r in request.resource_logs for s in r.scope_logs)


def send(requests: Iterable[Request], endpoint: str, *, progress: Callable[[int], None]) -> Sent:
    """Send requests to a collector over OTLP/HTTP; retry what it says is worth retrying.

    Raises RetryableError where the collector cannot be reached or stays overloaded, PermanentError where it refuses.
    """
    sent = Sent()
    with httpx.Client(base_url=endpoint.rstrip("/"), timeout=60.0, trust_env=False) as client:
        for whole in requests:
            for request in split(whole):
                rejected, reason = _post(client, request)
                items = count(request)
                reasons = (*sent.reasons, reason) if reason and reason not in sent.reasons else sent.reasons
                sent = Sent(
                    requests=sent.requests + 1,
                    items=sent.items + items,
                    log_records=sent.log_records + (items if isinstance(request, ExportLogsServiceRequest) else 0),
                    rejected=sent.rejected + rejected,
                    reasons=reasons[:20],
                )
                progress(items)
    return sent


def _post(client: httpx.Client, request: Request) -> tuple[int, str]:
    is_traces = isinstance(request, ExportTraceServiceRequest)
    path = "/v1/traces" if is_traces else "/v1/logs"
    body = request.SerializeToString()
    delay_s = 0.5
    for attempt in range(TRIES):
        try:
            response = client.post(path, content=body, headers={"content-type": "application/x-protobuf"})
        except httpx.TransportError as exc:
            if attempt == TRIES - 1 or isinstance(exc, httpx.ConnectError):
                raise RetryableError(
                    f"no collector answers at {client.base_url} ({exc}): start one with `clearwatch up`, "
                    "or name it with --endpoint"
                ) from exc
            response = None
        if response is not None and response.status_code == httpx.codes.OK:
            return _partial(response.content, is_traces=is_traces)
        if response is not None and response.status_code not in (429, 502, 503, 504):
            raise PermanentError(
                f"the collector refused a request: HTTP {response.status_code} {response.text[:200]!r}"
            )
        after = response.headers.get("retry-after", "") if response is not None else ""
        time.sleep(float(after) if after.isdigit() else delay_s)
        delay_s = min(delay_s * 2, 10.0)
    raise RetryableError(
        f"the collector at {client.base_url} stayed overloaded over {TRIES} tries: send less at a time"
    )


def _partial(body: bytes, *, is_traces: bool) -> tuple[int, str]:
    if is_traces:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
        return partial.rejected_spans, partial.error_message
    logs = ExportLogsServiceResponse.FromString(body).partial_success
    return logs.rejected_log_records, logs.error_message
