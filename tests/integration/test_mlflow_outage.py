"""MLflow that is not there yet, goes away, comes back, or has no route to the internet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
from tests.integration.mlflow_server import READY_S, RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(700)]

_OFFLINE = """
import fcntl, json, socket, struct, sys
from pathlib import Path
from tests.integration.mlflow_server import RunningMlflow

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
server = RunningMlflow(Path(sys.argv[1]))
ready_s = server.start()
server.stop()
print(json.dumps(ready_s))
"""


async def test_what_happens_while_mlflow_is_down_is_there_once_when_it_is_back(tmp_path: Path, service: str) -> None:
    server = RunningMlflow(tmp_path)
    before, during = new_trace_id(), new_trace_id()
    async with open_log() as log, running(log, server.url) as (sink, telemetry):
        await log.append(trace_records(log, service, before))
        await log.append([event_record(log, an_issue(service, "a" * 32), links=[a_link(before)])])
        await until(lambda: telemetry.total("clearwatch.sink.failed", reason="unavailable") > 2)
        assert (await log.lag())["mlflow"] == 0, "the outbox takes what MLflow cannot"
        try:
            server.start()
            api = Api(server.url)
            await until(lambda: len(api.assessments(before)) == 2 and sink.waiting() == 0, seconds=120)
            server.stop()
            await log.append(trace_records(log, service, during))
            await log.append([event_record(log, an_issue(service, "b" * 32), links=[a_link(during)])])
            await until(lambda: sink.waiting() > 0)
            server.start()
            await until(lambda: len(api.assessments(during)) == 2 and sink.waiting() == 0, seconds=120)
            experiment_id = api.experiment(service)
            assert len(api.issues(experiment_id)) == 2
            assert len(api.runs(experiment_id)) == 1
            assert telemetry.total("clearwatch.dead_letters") == 0
            assert telemetry.total("clearwatch.dropped") == 0
            assert (await log.lag())["mlflow-spans"] == 0
            api.close()
        finally:
            server.stop()


def test_mlflow_beside_litellm_becomes_ready_with_no_route_to_the_internet(tmp_path: Path) -> None:
    pytest.importorskip("litellm")
    alone: tuple[str, ...] = ("unshare", "--net")
    if subprocess.run((*alone, "true"), capture_output=True, check=False).returncode:
        alone = ("unshare", "--net", "--map-root-user")
        if subprocess.run((*alone, "true"), capture_output=True, check=False).returncode:
            pytest.skip("NOT TESTED: no right to make a network namespace, so no way to take the internet away")
    root = str(Path(__file__).parents[2])
    found = subprocess.run(
        (*alone, sys.executable, "-c", _OFFLINE, str(tmp_path)),
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        timeout=READY_S + 60,
        check=False,
    )
    assert found.returncode == 0, found.stderr.decode()[-2000:]
    assert json.loads(found.stdout) < READY_S
