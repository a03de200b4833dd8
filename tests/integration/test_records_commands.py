"""Every command that reads says the same of the same records, whichever database holds them."""

import re
import time
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from clearwatch.reading import COMMANDS
from core.telemetry import Telemetry
from sinks.records.config import sqlite_url
from tests.ports import free_port
from tests.unit.records_kit import ISSUE, MLFLOW_ISSUE, NOW_S, change, event, filed, finding, issue, link, store, trace

pytestmark = [pytest.mark.integration, pytest.mark.needs_postgres]

OTHER = "11111111-2222-5333-8444-555555555555"


def fill(url: str, *, reported_at_s: float = NOW_S) -> None:
    records = store(url)
    records.apply([change(trace(session_id="s1")), change(trace(trace_id="f" * 32, provisional=True))])
    records.apply([change(finding(f"f{n:03}", observed_at_ns=n), offset=n) for n in range(1_203)])
    records.apply([change(event(issue(), *(link(f"f{n:03}") for n in range(60)))), change(filed())])
    records.apply([change(event(issue(issue_id=OTHER, title="ß 🦉 [bold]x[/]", last_seen_ns=1)), offset=1)])
    telemetry = Telemetry()
    telemetry.count("clearwatch.collector.spans.received", 42)
    telemetry.count("clearwatch.dropped", 3, reason="late")
    telemetry.gauge("clearwatch.stage.lag", lambda: 5, group="issues")
    telemetry.gauge("clearwatch.traces.open", lambda: 7)
    records.save_counters("detector", telemetry.snapshot(), now_s=reported_at_s)
    records.close()


def run(url: str, *arguments: str) -> Result:
    environment = {
        "CLEARWATCH__SINKS__RECORDS__URL": url,
        "CLEARWATCH__OPS__LISTEN": f"127.0.0.1:{free_port('127.0.0.1')}",
    }
    return CliRunner().invoke(click.Group(commands=list(COMMANDS)), arguments, env=environment)


def test_every_reading_command_says_the_same_on_both_databases(postgres_url: str, tmp_path: Path) -> None:
    file_url = sqlite_url(tmp_path / "records.sqlite3")
    for url in (file_url, postgres_url):
        fill(url)
    for arguments in (
        ["status"],
        ["status", "--json"],
        ["issues"],
        ["issues", "--json"],
        ["issues", "--status", "resolved", "--json"],
        *(["issue", "show", given] for given in (ISSUE, ISSUE[:6], MLFLOW_ISSUE, MLFLOW_ISSUE[:9], "1111")),
        ["issue", "show", ISSUE, "--json"],
        ["issue", "show", "ffffffff"],
        ["export", "findings"],
        ["export", "issues"],
    ):
        told = [run(url, *arguments) for url in (file_url, postgres_url)]
        said = [(each.exit_code, each.stdout, each.stderr) for each in told]
        assert said[0] == said[1], arguments
        assert told[0].exit_code == (1 if "ffffffff" in arguments else 0)
    assert len(run(postgres_url, "export", "findings").stdout.splitlines()) == 1_203


def test_status_without_a_process_to_ask_tells_what_living_roles_report(postgres_url: str) -> None:
    fill(postgres_url, reported_at_s=time.time())
    found = msgspec.json.decode(run(postgres_url, "status", "--json").stdout)
    assert (found["lag"], found["traces"]["open"]) == ({"issues": 5}, 7)
    shown = re.sub(r"\s+", " ", run(postgres_url, "status").stdout)
    assert "what its processes wrote into the records" in shown
    assert "lag issues 5" in shown


def test_status_of_roles_that_died_tells_no_lag(postgres_url: str) -> None:
    fill(postgres_url, reported_at_s=time.time() - 60)
    found = msgspec.json.decode(run(postgres_url, "status", "--json").stdout)
    assert (found["lag"], found["traces"]["open"], found["spans"]["received"]) == ({}, 0, 42)


def test_what_is_wrong_is_one_line_and_exit_code_1(postgres_url: str) -> None:
    for url, why in (
        (postgres_url, "no records yet"),
        (re.sub(r":[^:@]+@", ":hunter2@", postgres_url), "password authentication failed"),
        (f"postgresql://u:hunter2@127.0.0.1:{free_port('127.0.0.1')}/d", "refused"),
    ):
        failed = run(url, "issues")
        assert (failed.exit_code, failed.stdout) == (1, "")
        assert why in failed.stderr
        assert "hunter2" not in failed.stderr
        assert len(failed.stderr.splitlines()) == 1
    refused = run("mysql://u:hunter2@h/d", "issues")
    assert (refused.exit_code, "hunter2" in refused.output) == (2, False)
