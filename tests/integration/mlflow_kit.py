"""What the tests of the MLflow sink share: records as the stages write them, and MLflow asked without our client."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import Status, TracesData

from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import AssignmentListener, Log, Record
from core.log.sqlite import SqliteLog
from core.model.finding import Dimension, FindingKind, Severity, Source
from core.model.issue import (
    Issue,
    IssueEvent,
    IssueEventKind,
    IssueLink,
    event_id_of,
    issue_id_of,
)
from core.model.trace import CloseReason, TraceChunk, TraceVersion
from core.telemetry import Telemetry
from sinks.mlflow import MlflowConfig, MlflowSink


class Api:
    """What MLflow itself says, asked without our client."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        reply = self._http.request(method, path, **options)
        reply.raise_for_status()
        return dict(reply.json())

    def experiment(self, name: str) -> str:
        found = self.call("GET", "/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name})
        return str(found["experiment"]["experiment_id"])

    def runs(self, experiment_id: str) -> list[dict[str, Any]]:
        body = {"experiment_ids": [experiment_id], "filter": "tags.`clears.monitor` = 'default'"}
        return list(self.call("POST", "/api/2.0/mlflow/runs/search", json=body).get("runs", []))

    def tags(self, name: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for run in self.runs(self.experiment(name)) for tag in run["data"]["tags"]}

    def issues(self, experiment_id: str) -> list[dict[str, Any]]:
        body = {"experiment_id": experiment_id, "include_trace_count": True}
        return list(self.call("POST", "/api/3.0/mlflow/issues/search", json=body).get("issues", []))

    def assessments(self, trace_id: str) -> list[dict[str, Any]]:
        found = self.call("GET", f"/api/3.0/mlflow/traces/tr-{trace_id}")
        return list(found["trace"]["trace_info"].get("assessments", []))

    def patch(self, issue_id: str, **changes: str) -> None:
        self.call("PATCH", f"/api/3.0/mlflow/issues/{issue_id}", json={"issue_id": issue_id, **changes})


@asynccontextmanager
async def open_log(path: str = ":memory:") -> AsyncIterator[Log]:
    log = SqliteLog(path, config=LogConfig(partitions=2), telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


@asynccontextmanager
async def running(log: Log, url: str, **options: Any) -> AsyncIterator[tuple[MlflowSink, Telemetry]]:
    telemetry = Telemetry()
    settings = {"tracking_uri": url, "poll_s": 0.5, "update_s": 0.2, "refresh_s": 0.5, **options}
    sink = MlflowSink(log=log, config=MlflowConfig(**settings), telemetry=telemetry, clock=SystemClock())
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop), name="sink")
    try:
        yield sink, telemetry
    finally:
        stop.set()
        await task


async def until(check: Callable[[], bool | Awaitable[bool]], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = check()
            if found if isinstance(found, bool) else await found:
                return
        except httpx.HTTPStatusError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("did not happen in time")


def new_trace_id() -> str:
    return os.urandom(16).hex()


def trace_records(
    log: Log, service: str, trace_id: str, *, session_id: str = "", span_id: bytes = b"\1" * 8
) -> list[Record]:
    data = TracesData()
    resource = data.resource_spans.add()
    span = resource.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(trace_id), span_id, "root"
    span.start_time_unix_nano = time.time_ns() - 10**9
    span.end_time_unix_nano = time.time_ns()
    span.status.code = Status.STATUS_CODE_ERROR
    if session_id:
        attribute = span.attributes.add()
        attribute.key, attribute.value.string_value = "session.id", session_id
    chunk = TraceChunk(trace_id=trace_id, version="v1", routing_key=service, index=0, otlp=data.SerializeToString())
    version = TraceVersion(
        trace_id=trace_id, version="v1", routing_key=service, span_count=1, close_reason=CloseReason.ROOT, chunk_count=1
    )
    partition = topics.partition_for(trace_id.encode(), log.partitions(topics.TRACES))
    return [
        Record(topic=topics.TRACES, partition=partition, value=msgspec.msgpack.encode(v), headers=topics.headers())
        for v in (chunk, version)
    ]


def an_issue(service: str, fingerprint: str = "0123456789abcdef0123", **changes: Any) -> Issue:
    issue = Issue(
        issue_id=issue_id_of(routing_key=service, fingerprint=fingerprint),
        routing_key=service,
        title="Tool search_orders fails with TimeoutError",
        description="The tool timed out after 30 s.",
        category=Dimension.EXECUTION,
        severity=Severity.MEDIUM,
        kind=FindingKind.FAULT,
        source=Source.RULE,
        check="tool_failure",
        fingerprint=fingerprint,
        target="search_orders",
        published=True,
        finding_count=1,
        trace_count=1,
        sequence=1,
    )
    return msgspec.structs.replace(issue, **changes)


def a_link(trace_id: str, *, rationale: str = "search_orders raised TimeoutError", **changes: Any) -> IssueLink:
    link = IssueLink(
        finding_id=f"f-{trace_id}",
        trace_id=trace_id,
        span_id="01" * 8,
        check="tool_failure",
        category=Dimension.EXECUTION,
        severity=Severity.MEDIUM,
        rationale=rationale,
    )
    return msgspec.structs.replace(link, **changes)


def event_record(
    log: Log,
    issue: Issue,
    *,
    kind: IssueEventKind = IssueEventKind.OPENED,
    links: Sequence[IssueLink] = (),
    withdrawn: tuple[str, ...] = (),
) -> Record:
    event = IssueEvent(
        event_id=event_id_of(issue_id=issue.issue_id, sequence=issue.sequence),
        kind=kind,
        issue=issue,
        at_s=time.time(),
        links=tuple(links),
        withdrawn=withdrawn,
    )
    key = issue.routing_key.encode()
    return Record(
        topic=topics.ISSUES,
        partition=topics.partition_for(key, log.partitions(topics.ISSUES)),
        key=key,
        value=msgspec.msgpack.encode(event),
        headers=topics.headers(),
    )


class _Listener(AssignmentListener):
    async def on_assigned(self, partitions: Sequence[int]) -> None:
        pass

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        pass


async def read_all(log: Log, topic: str) -> list[bytes]:
    reader = log.reader(f"test-{uuid.uuid4().hex}", [topic])
    await reader.start(_Listener())
    values: list[bytes] = []
    while records := (await reader.fetch(max_bytes=1 << 20, timeout_s=0.2)).records:
        values += [record.value for found in records.values() for record in found]
    await reader.stop()
    return values
