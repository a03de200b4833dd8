"""The MLflow sink killed after any of its calls, with that call's reply lost, and started again over the same log."""

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

# what one trace with one issue costs: /version, eight to warm up, experiment, run, issue, spans, two assessments and
# the run's tags come to about 20; beyond that number the whole scenario passes unharmed
_CALLS = 24


async def killed_when_lost(log: Log, proxy: LosingProxy) -> bool:
    """Run a sink until the proxy has lost its reply, or everything is done; then cancel it, without any stop."""
    config = MlflowConfig(tracking_uri=proxy.url, poll_s=0.5, update_s=0.2, refresh_s=0.3)
    sink = MlflowSink(log=log, config=config, telemetry=Telemetry(), clock=SystemClock())
    task = asyncio.create_task(sink.run(asyncio.Event()), name="sink")
    try:
        async with asyncio.timeout(4.0):
            await proxy.lost.wait()
    except TimeoutError:
        pass  # it makes fewer calls than that
    task.cancel()
    await asyncio.wait([task])
    return proxy.lost.is_set()


@pytest.mark.parametrize("lose", range(1, _CALLS + 1))
async def test_a_kill_with_a_lost_reply_leaves_one_issue_one_link_and_one_feedback(
    mlflow_server: RunningMlflow, api: Api, service: str, lose: int
) -> None:
    trace_id = new_trace_id()
    async with open_log() as log:
        await log.append(trace_records(log, service, trace_id))
        await log.append([event_record(log, an_issue(service), links=[a_link(trace_id)])])
        async with LosingProxy(mlflow_server.url, lose=lose).running() as proxy:
            await killed_when_lost(log, proxy)
        async with running(log, mlflow_server.url) as (sink, _):
            await until(lambda: len(api.assessments(trace_id)) == 2 and sink.waiting() == 0)
            experiment_id = api.experiment(service)
            assert len(api.issues(experiment_id)) == 1
            assert len(api.runs(experiment_id)) == 1
            assert len(api.assessments(trace_id)) == 2
