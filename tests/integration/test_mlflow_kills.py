"""The MLflow sink killed in the middle of each of its calls, and started again over the same log."""

import asyncio

import pytest

from core.clock import SystemClock
from core.log.port import Log
from core.telemetry import Telemetry
from sinks.mlflow import MlflowConfig, MlflowSink
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
from tests.integration.mlflow_proxy import LosingProxy
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

_CALLS = {
    "experiment": (r"POST /api/2\.0/mlflow/experiments/create", 1),
    "run": (r"POST /api/2\.0/mlflow/runs/create", 1),
    "spans": (r"POST /v1/traces", 1),
    "look for the issue": (r"POST /api/2\.0/mlflow/runs/search", 1),
    "issue": (r"POST /api/3\.0/mlflow/issues", 1),
    "link": (r"POST /api/3\.0/mlflow/traces/tr-\w+/assessments", 1),
    "feedback": (r"POST /api/3\.0/mlflow/traces/tr-\w+/assessments", 2),
    "tags": (r"POST /api/2\.0/mlflow/runs/log-batch", 1),
}


async def killed_when_lost(log: Log, proxy: LosingProxy) -> None:
    """Run a sink until the proxy breaks, then cancel it in the middle of what it does, without any stop."""
    config = MlflowConfig(tracking_uri=proxy.url, poll_s=0.5, update_s=0.2, refresh_s=0.3)
    sink = MlflowSink(log=log, config=config, telemetry=Telemetry(), clock=SystemClock())
    task = asyncio.create_task(sink.run(asyncio.Event()), name="sink")
    async with asyncio.timeout(60):
        await proxy.lost.wait()
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("takes_effect", [True, False], ids=["reply lost", "request lost"])
@pytest.mark.parametrize("call", list(_CALLS))
async def test_a_kill_in_the_middle_of_a_call_leaves_one_issue_one_link_and_one_feedback(
    mlflow_server: RunningMlflow, api: Api, service: str, call: str, takes_effect: bool
) -> None:
    trace_id = new_trace_id()
    pattern, number = _CALLS[call]
    breaking = LosingProxy(mlflow_server.url, pattern=pattern, number=number, takes_effect=takes_effect)
    async with open_log() as log:
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
        async with breaking.running() as proxy:
            await killed_when_lost(log, proxy)
        async with running(log, mlflow_server.url) as (sink, _):
            await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
            experiment_id = api.experiment(service)
            assert len(api.issues(experiment_id)) == 1
            assert len(api.runs(experiment_id)) == 1
            assert len(api.assessments(trace_id)) == 2


async def test_a_server_that_answers_500_to_everything_costs_no_issue_and_no_trace(
    mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    trace_id = new_trace_id()
    async with open_log() as log:
        async with LosingProxy(mlflow_server.url, pattern="never", takes_effect=True).running() as proxy:
            proxy.is_failing = True
            async with running(log, proxy.url) as (sink, telemetry):
                await log.append(trace_records(log, service, trace_id))
                await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
                await until(lambda: proxy.failed > 20)
                proxy.is_failing = False
                await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
                assert telemetry.total("clearwatch.dead_letters") == 0
        assert len(api.issues(api.experiment(service))) == 1
