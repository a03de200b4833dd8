"""What people say of traces in MLflow: read, reported once, never undone."""

import msgspec
import pytest

from core import topics
from core.log.port import Log
from core.model.finding import Feedback, FindingRecord
from core.model.issue import IssueEventKind
from tests.integration.mlflow_kit import (
    Api,
    a_link,
    an_issue,
    event_record,
    new_trace_id,
    open_log,
    read_all,
    running,
    trace_records,
    until,
)
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


async def reported(log: Log) -> list[Feedback]:
    found = [msgspec.msgpack.decode(value, type=FindingRecord) for value in await read_all(log, topics.FINDINGS)]
    return [record for record in found if isinstance(record, Feedback)]


def say(api: Api, trace_id: str, name: str, *, overrides: str = "", value: object = False) -> None:
    said = {
        "assessment_name": name,
        "source": {"source_type": "HUMAN", "source_id": "ann"},
        "feedback": {"value": value},
        "rationale": "not what I asked for",
    }
    if overrides:
        said["overrides"] = overrides
    api.call("POST", f"/api/3.0/mlflow/traces/tr-{trace_id}/assessments", json={"assessment": said})


async def test_a_thumb_down_on_any_trace_is_reported_once_also_over_a_restart(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id, other = new_trace_id(), new_trace_id()
    async with open_log() as log:
        async with running(log, mlflow_server.url) as (_, telemetry):
            await log.append(trace_records(log, service, trace_id, session_id="chat-7"))
            await log.append(trace_records(log, service, other))
            await until(lambda: api.assessments(trace_id) == api.assessments(other) == [])
            say(api, trace_id, "helpful")
            say(api, other, "helpful", value=True)
            await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_feedback_negative") == 1)
            await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_feedback") == 1)
        async with running(log, mlflow_server.url) as (_, telemetry):
            third = new_trace_id()
            await log.append(trace_records(log, service, third))
            await until(lambda: api.assessments(third) == [])
            say(api, third, "helpful")
            await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_feedback_negative") == 1)
        found = await reported(log)
    assert sorted(said.trace_id for said in found) == sorted((trace_id, other, third))
    first = next(said for said in found if said.trace_id == trace_id)
    assert (first.name, first.value, first.is_negative, first.author) == ("helpful", "false", True, "ann")
    assert (first.session_id, first.rationale, first.routing_key) == ("chat-7", "not what I asked for", service)


async def test_a_contradiction_names_the_issue_and_outlives_the_withdrawal_of_the_finding(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    issue = an_issue(service)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, telemetry):
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, issue, links=[a_link(trace_id)])])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        ours = next(a for a in api.assessments(trace_id) if "feedback" in a)
        say(api, trace_id, "clears.execution", overrides=ours["assessment_id"], value=True)
        await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_feedback") == 1)
        corrected = msgspec.structs.replace(issue, sequence=2, trace_count=0)
        record = event_record(log, corrected, kind=IssueEventKind.CORRECTED, withdrawn=(f"f-{trace_id}",))
        await log.append([record])
        await until(lambda: telemetry.total("clearwatch.dropped", reason="feedback_of_person_kept") == 1)
        await until(lambda: sink.waiting() == 0)
        left = {a["assessment_id"] for a in api.assessments(trace_id)}
        (found,) = await reported(log)
    assert len(left) == 2
    assert ours["assessment_id"] in left
    assert found.contradicts == ours["metadata"]["clears.issue_id"]


async def test_a_feedback_that_a_person_deleted_does_not_come_back_with_another_issue(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    one, other = an_issue(service, "a" * 32), an_issue(service, "b" * 32)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, _):
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, one, links=[a_link(trace_id)])])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        ours = next(a for a in api.assessments(trace_id) if "feedback" in a)
        api.call("DELETE", f"/api/3.0/mlflow/traces/tr-{trace_id}/assessments/{ours['assessment_id']}")
        await log.append([event_record(log, other, links=[a_link(trace_id, finding_id="g")])])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        assert all("issue" in a for a in api.assessments(trace_id))
