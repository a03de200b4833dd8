"""`sinks.mlflow.forward: flagged` against a real MLflow server."""

from typing import Any

import msgspec
import pytest

from core import topics
from core.log.port import Log, Record
from core.model.finding import Dimension, Finding, FindingKind, Severity, Source
from core.model.trace import TraceRecord, TraceVersion
from sinks.mlflow.held import is_in_share
from tests.integration.mlflow_kit import (
    Api,
    a_link,
    an_issue,
    event_record,
    new_trace_id,
    open_log,
    running,
    trace_records,
    until,
)
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
FLAGGED: dict[str, Any] = {"forward": "flagged", "forward_share": 0.0}


def traced(log: Log, service: str, trace_id: str, *, findings: tuple[str, ...] = ()) -> list[Record]:
    found = []
    for record in trace_records(log, service, trace_id):
        value = msgspec.msgpack.decode(record.value, type=TraceRecord)
        if isinstance(value, TraceVersion):
            value = msgspec.structs.replace(value, finding_ids=findings)
        found.append(msgspec.structs.replace(record, value=msgspec.msgpack.encode(value)))
    return found


def a_finding(log: Log, service: str, trace_id: str) -> Record:
    finding = Finding(
        finding_id=f"f-{trace_id}",
        check="slow_trace",
        kind=FindingKind.RATE,
        source=Source.RULE,
        category=Dimension.LATENCY,
        severity=Severity.LOW,
        fingerprint="slow",
        routing_key=service,
        title="slow",
        rationale="slow",
        trace_id=trace_id,
    )
    key = service.encode()
    partition = topics.partition_for(key, log.partitions(topics.FINDINGS))
    value = msgspec.msgpack.encode(finding)
    return Record(topic=topics.FINDINGS, partition=partition, key=key, value=value, headers=topics.headers())


def has_trace(api: Api, trace_id: str) -> bool:
    body = {"trace_ids": [f"tr-{trace_id}"]}
    return bool(api.call("POST", "/api/3.0/mlflow/traces/batchGetInfos", json=body).get("trace_infos"))


async def test_only_traces_with_a_finding_and_the_share_of_the_rest_are_forwarded(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    flagged, *others = (new_trace_id() for _ in range(21))
    async with open_log() as log, running(log, mlflow_server.url, forward="flagged", forward_share=0.3):
        for trace_id in others:
            await log.append(traced(log, service, trace_id))
        await log.append(traced(log, service, flagged, findings=("f",)))
        expected = {flagged, *(trace_id for trace_id in others if is_in_share(trace_id, 0.3))}
        await until(lambda: all(has_trace(api, trace_id) for trace_id in expected))
        await until(lambda: log_is_read(log))
        assert {trace_id for trace_id in (flagged, *others) if has_trace(api, trace_id)} == expected


async def log_is_read(log: Log) -> bool:
    return (await log.lag())["mlflow-spans"] == 0


async def test_a_finding_that_comes_after_its_trace_brings_it_to_mlflow_even_after_a_restart(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    before, after, never = (new_trace_id() for _ in range(3))
    async with open_log() as log:
        async with running(log, mlflow_server.url, **FLAGGED):
            for trace_id in (before, after, never):
                await log.append(traced(log, service, trace_id))
            await until(lambda: log_is_read(log))
            assert not has_trace(api, before)
            await log.append([a_finding(log, service, before)])
            await until(lambda: has_trace(api, before))
        await log.append([a_finding(log, service, after)])
        async with running(log, mlflow_server.url, **FLAGGED) as (sink, _):
            await until(lambda: has_trace(api, after) and sink.waiting() == 0)
            assert not has_trace(api, never)


async def test_a_finding_that_comes_before_its_trace_is_not_forgotten(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    async with open_log() as log:
        await log.append([a_finding(log, service, trace_id)])
        await log.append(traced(log, service, trace_id))
        async with running(log, mlflow_server.url, **FLAGGED) as (sink, telemetry):
            await until(lambda: has_trace(api, trace_id) and sink.waiting() == 0)
            assert telemetry.total("clearwatch.dropped") == 0


async def test_a_linked_trace_is_forwarded_and_one_that_the_log_lost_is_counted_at_once(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    held, lost = new_trace_id(), new_trace_id()
    async with open_log() as log, running(log, mlflow_server.url, **FLAGGED) as (sink, telemetry):
        await log.append(traced(log, service, held))
        await log.append([event_record(log, an_issue(service), links=[a_link(held), a_link(lost)])])
        await until(lambda: len(api.assessments(held)) == 2)
        await until(lambda: sink.waiting() == 0, seconds=20)
        assert telemetry.total("clearwatch.dropped", reason="link_trace_not_forwarded") == 1


async def test_a_link_to_a_trace_that_was_never_in_the_log_is_given_up_within_seconds(
    mlflow_server: RunningMlflow, service: str
) -> None:
    async with open_log() as log, running(log, mlflow_server.url) as (sink, telemetry):
        await log.append([event_record(log, an_issue(service), links=[a_link(new_trace_id())])])
        await until(lambda: telemetry.total("clearwatch.dropped", reason="link_trace_not_forwarded") == 1, seconds=40)
        await until(lambda: sink.waiting() == 0)
