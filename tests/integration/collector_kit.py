"""A log that records, ready requests, and a running collector: for every test of the receivers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.config import CollectorConfig
from collector.service import Collector
from core import topics
from core.clock import SystemClock
from core.log.port import Log, Record, StoredRecord
from core.telemetry import Telemetry


class RecordingLog:
    """Keeps what is appended, or raises `failure`; sets `entered` at once and waits for `gate` where there is one."""

    def __init__(self, partitions: int = 4) -> None:
        self.records: list[Record] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self._partitions = partitions

    def partitions(self, topic: str) -> int:
        return self._partitions

    async def append(self, records: Sequence[Record]) -> None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.records += records

    def spans(self) -> list[Any]:
        """Return every span stored, parsed by protobuf."""
        return spans_in(self.records)


def make_request(spans: int = 3, *, text: str = "hello") -> Any:
    """Return a request with one trace for each span, ids counting from 1."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add(schema_url="urn:resource")
    resource.resource.attributes.add(key="service.name").value.string_value = "kit"
    scope = resource.scope_spans.add(schema_url="urn:scope")
    scope.scope.name = "kit"
    for number in range(1, spans + 1):
        span = scope.spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name=f"span-{number}",
            start_time_unix_nano=1,
            end_time_unix_nano=2,
        )
        span.attributes.add(key="text").value.string_value = text
    return request


def make_config(**values: Any) -> CollectorConfig:
    """Return a configuration on random ports."""
    free = {"listen": "127.0.0.1:0"}
    return CollectorConfig.model_validate({"grpc": free, "http": free} | values)


@asynccontextmanager
async def running(log: Any, telemetry: Telemetry, **values: Any) -> AsyncIterator[Collector]:
    """Run a collector over a log."""
    collector = Collector(log=log, config=make_config(**values), telemetry=telemetry, clock=SystemClock())
    await collector.start()
    try:
        yield collector
    finally:
        await collector.stop(5)


def spans_in(records: Sequence[Any]) -> list[Any]:
    """Return the spans of records, parsed by protobuf."""
    return [
        span
        for record in records
        for resource in ExportTraceServiceRequest.FromString(record.value).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


class _AnyAssignment:
    async def on_assigned(self, partitions: Sequence[int]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


async def stored_records(log: Log) -> list[StoredRecord]:
    """Return every record of the topic `spans`, as a consumer group sees them."""
    reader = log.reader("collector-test", [topics.SPANS])
    await reader.start(_AnyAssignment())
    found: list[StoredRecord] = []
    try:
        caught_up: frozenset[tuple[str, int]] = frozenset()
        while len(caught_up) < log.partitions(topics.SPANS):
            fetch = await reader.fetch(max_bytes=1 << 20, timeout_s=1)
            caught_up |= fetch.caught_up
            for records in fetch.records.values():
                found += records
    finally:
        await reader.stop()
    return found
