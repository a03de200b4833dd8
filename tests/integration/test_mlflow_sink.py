"""The MLflow sink against a real MLflow server."""

import time
import uuid

import msgspec
import pytest

from clearwatch.letters import Replay, replay
from core import topics
from core.clock import SystemClock
from core.model.finding import HumanStatus
from core.model.issue import IssueEventKind, IssueFiled, IssueRecord, IssueStatus
from sinks.records.store import RecordStore
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
from tests.integration.mlflow_proxy import LosingProxy
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


async def test_a_trace_its_issue_its_link_and_its_feedback_appear_once_each(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    async with open_log() as log, running(log, mlflow_server.url) as (sink, _):
        await log.append(trace_records(log, service, trace_id, session_id="chat-1"))
        await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        (issue,) = api.issues(experiment_id)
        (run,) = api.runs(experiment_id)
        await until(lambda: api.runs(experiment_id)[0]["info"]["status"] == "RUNNING")
        filed = [msgspec.msgpack.decode(v, type=IssueRecord) for v in await read_all(log, topics.ISSUES)]
    assert issue["name"] == "Tool search_orders fails with TimeoutError"
    assert (issue["severity"], issue["status"], issue["categories"]) == ("medium", "pending", ["execution"])
    assert issue["created_by"] == "clearwatch/0123456789abcdef"
    assert issue["source_run_id"] == run["info"]["run_id"]
    assert issue["trace_count"] == 1
    reference, feedback = sorted(api.assessments(trace_id), key=lambda a: "feedback" in a)
    assert reference["assessment_name"] == issue["issue_id"]
    assert reference["rationale"] == "search_orders raised TimeoutError"
    assert (feedback["assessment_name"], feedback["feedback"]["value"]) == ("clears.execution", False)
    (announced,) = [record for record in filed if isinstance(record, IssueFiled)]
    assert announced.mlflow_issue_id == issue["issue_id"]
    assert announced.url.endswith(
        f"/evaluation-runs/{run['info']['run_id']}/issues?selectedIssueId={issue['issue_id']}"
    )


async def test_a_persons_rejection_is_reported_and_outlives_our_updates(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    issue = an_issue(service)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, telemetry):
        await log.append([event_record(log, issue)])
        await until(lambda: len(api.issues(api.experiment(service))) == 1 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        mlflow_id = api.issues(experiment_id)[0]["issue_id"]
        api.patch(mlflow_id, status="rejected")
        await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_status") == 1)
        later = msgspec.structs.replace(issue, sequence=2, trace_count=7)
        await log.append([event_record(log, later, kind=IssueEventKind.SEEN)])
        again = msgspec.structs.replace(issue, sequence=3, trace_count=8, regressed_at_s=time.time())
        await log.append([event_record(log, again, kind=IssueEventKind.REGRESSED)])
        await until(lambda: "8 traces" in api.issues(experiment_id)[0]["description"] and sink.waiting() == 0)
        found = [msgspec.msgpack.decode(v, type=HumanStatus) for v in await read_all(log, topics.FINDINGS)]
        (there,) = api.issues(experiment_id)
    assert [(human.issue_id, human.status) for human in found] == [(issue.issue_id, "rejected")]
    assert there["status"] == "rejected"


async def test_a_regression_reopens_what_a_person_resolved(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    issue = an_issue(service)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, telemetry):
        await log.append([event_record(log, issue)])
        await until(lambda: len(api.issues(api.experiment(service))) == 1 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        api.patch(api.issues(experiment_id)[0]["issue_id"], status="resolved")
        await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_status") == 1)
        echo = msgspec.structs.replace(issue, sequence=2, status=IssueStatus.RESOLVED)
        await log.append([event_record(log, echo, kind=IssueEventKind.STATUS_CHANGED)])
        back = msgspec.structs.replace(issue, sequence=3, trace_count=2, regressed_at_s=time.time())
        await log.append([event_record(log, back, kind=IssueEventKind.REGRESSED)])
        await until(lambda: api.issues(experiment_id)[0]["status"] == "pending" and sink.waiting() == 0)
        (there,) = api.issues(experiment_id)
    assert there["description"].startswith("Seen in 2 traces.")


async def test_words_and_severity_of_a_person_are_never_overwritten(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    issue = an_issue(service)
    async with open_log() as log, running(log, mlflow_server.url, poll_s=3600) as (sink, telemetry):
        await log.append([event_record(log, issue)])
        await until(lambda: len(api.issues(api.experiment(service))) == 1 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        api.patch(api.issues(experiment_id)[0]["issue_id"], description="known, see the runbook", severity="low")
        # nothing has polled since: the write itself has to notice
        later = msgspec.structs.replace(issue, sequence=2, trace_count=9)
        await log.append([event_record(log, later, kind=IssueEventKind.SEEN)])
        await until(lambda: telemetry.total("clearwatch.sink.sent", what="human_status") == 1)
        await until(lambda: sink.waiting() == 0)
        (there,) = api.issues(experiment_id)
    assert (there["description"], there["severity"]) == ("known, see the runbook", "low")


async def test_a_withdrawn_finding_takes_its_link_and_feedback_with_it(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    kept, withdrawn = new_trace_id(), new_trace_id()
    issue = an_issue(service, trace_count=2)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, _):
        for trace_id in (kept, withdrawn):
            await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, issue, links=[a_link(kept), a_link(withdrawn)])])
        await until(lambda: len(api.assessments(withdrawn)) == 2 and len(api.assessments(kept)) == 2)
        corrected = msgspec.structs.replace(issue, sequence=2, trace_count=1)
        record = event_record(log, corrected, kind=IssueEventKind.CORRECTED, withdrawn=(f"f-{withdrawn}",))
        await log.append([record])
        await until(lambda: not api.assessments(withdrawn) and sink.waiting() == 0)
        assert len(api.assessments(kept)) == 2


async def test_a_feedback_of_another_issue_of_the_dimension_takes_the_place_of_a_withdrawn_one(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    one, other = an_issue(service, "a" * 32), an_issue(service, "b" * 32)
    async with open_log() as log, running(log, mlflow_server.url) as (sink, _):
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, one, links=[a_link(trace_id, rationale="one", finding_id="f1")])])
        await until(lambda: len(api.assessments(trace_id)) == 2)
        await log.append([event_record(log, other, links=[a_link(trace_id, rationale="other", finding_id="f2")])])
        await until(lambda: len(api.assessments(trace_id)) == 3)
        corrected = msgspec.structs.replace(one, sequence=2)
        await log.append([event_record(log, corrected, kind=IssueEventKind.CORRECTED, withdrawn=("f1",))])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
    assert {a["rationale"] for a in api.assessments(trace_id)} == {"other"}


async def test_one_trace_that_mlflow_refuses_does_not_cost_the_others(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    good = [new_trace_id() for _ in range(5)]
    bad, long_session = new_trace_id(), new_trace_id()
    async with open_log() as log, running(log, mlflow_server.url) as (_, telemetry):
        records = [record for trace_id in good[:3] for record in trace_records(log, service, trace_id)]
        # MLflow refuses a whole batch for an empty span id, and for a session id of more than 250 characters
        records += trace_records(log, service, bad, span_id=b"")
        records += trace_records(log, service, long_session, session_id="s" * 300)
        records += [record for trace_id in good[3:] for record in trace_records(log, service, trace_id)]
        await log.append(records)
        await until(lambda: telemetry.total("clearwatch.dead_letters") == 1)
        await until(lambda: all(api.assessments(trace_id) == [] for trace_id in (*good, long_session)))
        (letter,) = [
            msgspec.msgpack.decode(v, type=topics.DeadLetter) for v in await read_all(log, topics.DEAD_LETTERS)
        ]
    assert bytes.fromhex(bad) in letter.value
    assert "mlflow refused POST /v1/traces with 4" in letter.error


async def test_spans_and_issues_that_mlflow_refused_are_there_once_their_letters_are_replayed(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    book = RecordStore("sqlite://")
    book.open()
    proxy = LosingProxy(mlflow_server.url, pattern="", takes_effect=True)
    proxy.refused = r"POST /v1/traces|POST /api/3.0/mlflow/issues"
    async with proxy.running(), open_log() as log, running(log, proxy.url) as (sink, telemetry):
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
        await until(lambda: telemetry.total("clearwatch.dead_letters") == 2 and sink.waiting() == 0)
        letters = [msgspec.msgpack.decode(v, type=topics.DeadLetter) for v in await read_all(log, topics.DEAD_LETTERS)]
        assert {(letter.stage, letter.kind) for letter in letters} == {
            ("sink.mlflow-spans", "record"),
            ("sink.mlflow", "effect"),
        }
        assert api.issues(api.experiment(service)) == []
        proxy.refused = ""
        book.letters.take([(letter, number) for number, letter in enumerate(letters)])
        done = await replay(Replay(all_=True), book=book.letters, log=log, clock=SystemClock())
        assert len(done.replayed) == 2
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        (there,) = api.issues(api.experiment(service))
        assert there["trace_count"] == 1
        assert telemetry.total("clearwatch.dead_letters") == 2
    book.close()


async def test_an_experiment_id_that_does_not_exist_gets_an_experiment_named_after_it(
    mlflow_server: RunningMlflow, api: Api
) -> None:
    missing = str(uuid.uuid4().int % 10**9 + 10**6)
    trace_id = new_trace_id()
    async with open_log() as log, running(log, mlflow_server.url) as (_, telemetry):
        await log.append(trace_records(log, f"experiment:{missing}", trace_id))
        await until(lambda: api.assessments(trace_id) == [])
        assert telemetry.total("clearwatch.dropped", reason="unknown_experiment_id") == 1
    assert api.experiment(f"clearwatch-{missing}")


async def test_the_run_says_how_much_was_scanned_and_is_finished_when_traces_stop(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    async with open_log() as log, running(log, mlflow_server.url, running_s=3) as (_, _telemetry):
        for _ in range(3):
            await log.append(trace_records(log, service, new_trace_id()))
        await log.append([event_record(log, an_issue(service))])
        await until(lambda: api.tags(service).get("total_traces") == "3" and api.tags(service)["categories"] != "")
        await until(lambda: api.runs(api.experiment(service))[0]["info"]["status"] == "FINISHED")
        tags = api.tags(service)
        (run,) = api.runs(api.experiment(service))
    assert tags["mlflow.runType"] == "issue_detection"
    assert tags["categories"] == "execution"
    assert tags["mlflow.issueDetection.result.issues"] == "1"
    assert tags["mlflow.issueDetection.result.totalTracesAnalyzed"] == "3"
    assert {m["key"]: m["value"] for m in run["data"]["metrics"]}["traces"] == 3


async def test_a_deleted_run_is_made_again_with_its_issues_and_links(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    async with open_log() as log, running(log, mlflow_server.url) as (sink, _):
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
        await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        (run,) = api.runs(experiment_id)
        api.call("POST", "/api/2.0/mlflow/runs/delete", json={"run_id": run["info"]["run_id"]})
        await until(lambda: len(api.issues(experiment_id)) == 2 and sink.waiting() == 0)
        (again,) = api.runs(experiment_id)
        assert again["info"]["run_id"] != run["info"]["run_id"]
        new = next(i for i in api.issues(experiment_id) if i["source_run_id"] == again["info"]["run_id"])
        await until(lambda: new["issue_id"] in {a["assessment_name"] for a in api.assessments(trace_id)})


async def test_after_a_burst_the_last_words_are_written_as_soon_as_it_is_quiet(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    issue = an_issue(service)
    async with open_log() as log, running(log, mlflow_server.url, update_s=3600.0) as (sink, telemetry):
        await log.append([event_record(log, issue)])
        await until(lambda: len(api.issues(api.experiment(service))) == 1 and sink.waiting() == 0)
        experiment_id = api.experiment(service)
        for count in (2, 3):
            later = msgspec.structs.replace(issue, sequence=count, trace_count=count)
            await log.append([event_record(log, later, kind=IssueEventKind.SEEN)])
            words = f"{count} traces"
            await until(lambda words=words: words in api.issues(experiment_id)[0]["description"], seconds=20)  # type: ignore[misc]
        await until(lambda: sink.waiting() == 0)
        assert telemetry.total("clearwatch.sink.sent", what="update") == 2
