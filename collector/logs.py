"""Split an OTLP logs request by trace. Logs are few beside spans, so messages are parsed and built again."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs

from collector.slicer import TRACE_ID_BYTES, Part
from core.errors import SpanDecodeError
from core.topics import partition_for_trace


def split_logs(data: bytes, *, partitions: int, max_record_bytes: int) -> tuple[tuple[Part, ...], int, int]:
    """Return (parts, records in them, records without a usable trace id, which are left out).

    Each part is a `LogsData` of one partition. One record above `max_record_bytes` makes a part of its own.
    Raises SpanDecodeError for bytes that are not a request.
    """
    try:
        request = ExportLogsServiceRequest.FromString(data)
    except DecodeError as exc:
        raise SpanDecodeError(str(exc)) from exc
    builders: dict[int, _Builder] = {}
    parts: list[Part] = []
    kept = without_trace = 0
    for resource, scope, record in _records(request):
        trace_id = record.trace_id
        if len(trace_id) != TRACE_ID_BYTES or not any(trace_id):
            without_trace += 1
            continue
        kept += 1
        partition = partition_for_trace(trace_id, partitions)
        builder = builders.setdefault(partition, _Builder())
        if builder.size and builder.size + record.ByteSize() > max_record_bytes:
            parts.append(Part(partition=partition, value=builder.value()))
            builder = builders[partition] = _Builder()
        builder.add(resource, scope, record)
    parts += [Part(partition=partition, value=builder.value()) for partition, builder in builders.items()]
    return tuple(parts), kept, without_trace


def _records(request: ExportLogsServiceRequest) -> Iterator[tuple[ResourceLogs, ScopeLogs, LogRecord]]:
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield resource, scope, record


class _Builder:
    """Grows one `LogsData`; the headers of a resource and of a scope are copied once for each that is met."""

    def __init__(self) -> None:
        self._data = LogsData()
        self._resource: ResourceLogs | None = None
        self._scope: ScopeLogs | None = None
        self.size = 0

    def add(self, resource: ResourceLogs, scope: ScopeLogs, record: LogRecord) -> None:
        if resource is not self._resource:
            own = self._data.resource_logs.add(schema_url=resource.schema_url)
            own.resource.CopyFrom(resource.resource)
            self.size += resource.resource.ByteSize()
            self._resource, self._scope = resource, None
        if scope is not self._scope:
            own_scope = self._data.resource_logs[-1].scope_logs.add(schema_url=scope.schema_url)
            own_scope.scope.CopyFrom(scope.scope)
            self.size += scope.scope.ByteSize()
            self._scope = scope
        self._data.resource_logs[-1].scope_logs[-1].log_records.append(record)
        self.size += record.ByteSize()

    def value(self) -> bytes:
        return bytes(self._data.SerializeToString())
