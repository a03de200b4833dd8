"""SIGKILL of `up` at any moment: nothing is lost, nothing is repeated, also in a real MLflow server."""

import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from detector.baselines.measures import CHECKS as ADAPTIVE
from tests.e2e import traffic
from tests.e2e.harness import Up
from tests.http import CLIENT
from tests.integration.mlflow_server import RunningMlflow

KILLS = 10
# short enough for a test, long enough that a kill falls before, between and after closes
SETTINGS = {"CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "1.0"}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def post(up: Up, body: bytes) -> None:
    """Send until it is acknowledged, as an exporter does."""
    for _ in range(200):
        try:
            answer = CLIENT.post(
                f"http://{up.http}/v1/traces",
                content=body,
                headers={"content-type": "application/x-protobuf"},
                timeout=10,
            )
            if answer.status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("never acknowledged")


def outcome(up: Up, *, adaptive: bool) -> dict[str, Any]:
    """Return what must be equal: spans received, trace versions, findings, issues and their counts.

    What is slow depends on what was learned before, and so on the order in which traces of several partitions close,
    which no two live runs share; `adaptive` says whether these findings count.
    """
    with sqlite3.connect(f"file:{up.data_dir / 'records.sqlite3'}?mode=ro", uri=True) as records:
        versions = dict(records.execute("SELECT trace_id, version FROM traces"))
    findings = [f for f in up.export("findings") if adaptive or f["check"] not in ADAPTIVE]
    issues = [i for i in up.export("issues") if adaptive or i["check"] not in ADAPTIVE]
    return {
        "versions": versions,
        "findings": {(f["trace_id"], f["check"], f["span_ids"][0], f["fingerprint"], f["issue_id"]) for f in findings},
        "received": up.status()["spans"]["received"],
        "issues": {i["issue_id"]: (i["trace_count"], i["session_count"], i["finding_count"]) for i in issues},
    }


def play(up: Up, prompt: list[bytes], late: list[bytes], *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    at = sorted(rng.sample(range(len(prompt) + len(late)), kills))
    for number, body in enumerate([*prompt, *late]):
        if number == len(prompt):
            time.sleep(2.5)  # until everything is closed: what follows is late by the log's clock
        if number in at:
            time.sleep(rng.uniform(0, 1.5))
            up.kill()
            up.start()
        post(up, body)


def links_in(mlflow: RunningMlflow, issues: set[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the names of the issues of this test's run, and every (trace, issue) link to them, in a real MLflow."""
    marks = ", ".join("?" * len(issues))
    with sqlite3.connect(f"file:{mlflow.database}?mode=ro", uri=True) as store:
        where = f"source_run_id IN (SELECT source_run_id FROM issues WHERE issue_id IN ({marks}))"  # noqa: S608
        names = [row[0] for row in store.execute(f"SELECT name FROM issues WHERE {where}", [*issues])]  # noqa: S608
        linked = f"assessment_type = 'issue' AND name IN ({marks})"
        links = list(store.execute(f"SELECT trace_id, name FROM assessments WHERE {linked}", [*issues]))  # noqa: S608
    return names, links


def test_ten_kills_change_nothing(tmp_path: Path, mlflow_server: RunningMlflow) -> None:
    finished = traffic.spans(turns=120)
    prompt, late = traffic.batches(finished, size=16, late_ratio=0.03, duplicate_ratio=0.05, seed=3)
    with Up(tmp_path / "whole", **SETTINGS).start() as whole:
        play(whole, prompt, late, kills=0, seed=0)
        whole.wait_until_idle()
        expected = outcome(whole, adaptive=False)
    with Up(tmp_path / "killed", mlflow_url=mlflow_server.url, **SETTINGS).start() as killed:
        play(killed, prompt, late, kills=KILLS, seed=5)
        killed.wait_until_idle(timeout_s=240)
        found = outcome(killed, adaptive=False)
        filed = {issue["mlflow_issue_id"] for issue in killed.export("issues") if issue["mlflow_issue_id"]}
    assert len(expected["issues"]) >= 5
    assert found == expected
    names, links = links_in(mlflow_server, filed)
    assert len(names) == len(set(names)) == len(filed) >= len(expected["issues"])
    assert len(links) == len(set(links)) > 0


def test_with_one_partition_even_what_is_learned_is_the_same(tmp_path: Path) -> None:
    finished = traffic.spans(turns=120)
    prompt, late = traffic.batches(finished, size=16, late_ratio=0, duplicate_ratio=0.05, seed=4)
    outcomes = []
    for kills in (0, 4):
        with Up(tmp_path / f"kills-{kills}", CLEARWATCH__LOG__PARTITIONS="1", **SETTINGS).start() as up:
            play(up, prompt, late, kills=kills, seed=7)
            up.wait_until_idle()
            outcomes.append(outcome(up, adaptive=True))
    assert any(check.startswith("slow") for _, check, *_ in outcomes[0]["findings"])
    assert outcomes[1] == outcomes[0]
