"""`clearwatch up` as a newcomer meets it: one command, the demo, issues in MLflow, a clean end."""

import json
import re
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e import traffic
from tests.e2e.harness import START_S, Up, wait_for
from tests.http import CLIENT
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_the_demo_ends_within_a_minute_with_the_link_to_its_issues(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port('127.0.0.1')}"
    settings = {"CLEARWATCH__SINKS__MLFLOW__ENABLED": "true", "CLEARWATCH__SINKS__MLFLOW__LOCAL_LISTEN": listen}
    with Up(tmp_path / "data", **settings).start() as up:
        # how long the local server takes to import is the machine's affair; the demo's minute is the demo's
        wait_for(lambda: _is_healthy(listen), timeout_s=START_S, what=up.log_tail)
        started = time.monotonic()
        up.run("demo", "--help")
        # importing is the machine's affair too: beside other work it takes several times as long
        importing_s = time.monotonic() - started
        demo = up.run("demo")
        assert demo.returncode == 0, demo.stdout + demo.stderr + up.log_tail()
        assert time.monotonic() - started < 60 + 4 * importing_s
        link = re.search(rf"http://{re.escape(listen)}/#/experiments/(\d+)/evaluation-runs/(\w+)/issues", demo.stdout)
        assert link, demo.stdout
        up.wait_until_idle()
        issues = up.export("issues")
        assert {issue["category"] for issue in issues} >= {"execution", "latency", "safety"}
        search = {
            "experiment_id": link[1],
            "filter_string": f"source_run_id = '{link[2]}'",
            "include_trace_count": True,
        }
        url = f"http://{listen}/api/3.0/mlflow/issues/search"
        filed = CLIENT.post(url, json=search, timeout=30).raise_for_status().json()["issues"]
        assert len(filed) == len(issues) >= 5
        assert all(int(issue["trace_count"]) >= 1 for issue in filed)
        status = up.status()
        assert status["traces"]["closed"] >= 200
        assert status["sessions"]["open"] >= 2
        assert status["dead_letters"] == 0
        assert up.stop() == 0
    wait_for(lambda: not _listens(listen), timeout_s=20, what=lambda: "MLflow outlived `up`")


def test_without_mlflow_everything_else_works_and_a_restart_repeats_nothing(tmp_path: Path) -> None:
    prompt, _ = traffic.batches(traffic.spans(turns=60), size=64, late_ratio=0, duplicate_ratio=0, seed=1)
    up = Up(tmp_path / "data", CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S="0.5")
    with up.start():
        for body in prompt:
            headers = {"content-type": "application/x-protobuf"}
            url = f"http://{up.http}/v1/traces"
            assert CLIENT.post(url, content=body, headers=headers).status_code == httpx.codes.OK
        before = up.wait_until_idle()
        findings = up.export("findings")
        for what in ("findings", "issues"):
            printed = up.run("export", what, "--ops", f"http://{up.ops}")
            assert [json.loads(line) for line in printed.stdout.encode().splitlines()] == up.export(what), (
                printed.stderr
            )
        assert up.stop() == 0
        up.start()
        after = up.wait_until_idle()
        for key in ("traces", "findings", "issues"):
            assert after[key] == before[key]
        assert up.export("findings") == findings
    offline = up.run("export", "findings", "--data-dir", str(up.data_dir))
    assert len(offline.stdout.splitlines()) == len(findings), offline.stderr


def test_a_taken_port_is_named_with_its_key_and_a_free_one(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    with socket.create_server(("127.0.0.1", int(up.http.rpartition(":")[2]))):
        done = up.run("up", "--data-dir", str(up.data_dir))
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "collector.http.listen" in message
    assert re.search(r"CLEARWATCH__COLLECTOR__HTTP__LISTEN=127\.0\.0\.1:\d+", message)


def test_a_store_without_issues_is_refused(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", CLEARWATCH__SINKS__MLFLOW__ENABLED="true", MLFLOW_TRACKING_URI="databricks")
    done = up.run("up", "--data-dir", str(up.data_dir))
    assert done.returncode == 2
    assert "no issues API" in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", [("collector",), ("detector", "--stages", "assemble"), ("sink", "records")])
def test_a_role_without_a_log_to_share_is_refused_with_what_to_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    up = Up(tmp_path / "data")
    done = up.run(*command, "--data-dir", str(up.data_dir))
    assert done.returncode == 2
    assert "`log.kind`" in done.stderr
    assert "clearwatch up" in done.stderr


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("detector", "--stages", "assemble,nowhere"), "no stage nowhere"),
        (("sink", "pager"), "no sink pager"),
        (("sink", "webhook"), "`sinks.webhook`"),
        (("sink", "mlflow"), "`sinks.mlflow"),
    ],
)
def test_a_role_that_cannot_be_run_is_refused_before_it_starts(
    tmp_path: Path, command: tuple[str, ...], complaint: str
) -> None:
    up = Up(tmp_path / "data", CLEARWATCH__LOG__KIND="kafka")
    done = up.run(*command, "--data-dir", str(up.data_dir))
    assert done.returncode == 2
    assert complaint in done.stderr


def _listens(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _is_healthy(listen: str) -> bool:
    try:
        return CLIENT.get(f"http://{listen}/health", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
