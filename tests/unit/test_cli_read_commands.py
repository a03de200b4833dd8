"""The reading commands against the records, and against a process that does not run."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from clearwatch.reading import COMMANDS
from clearwatch.reading.source import OpsSource, ReadingError
from clearwatch.reading.terminal import safe
from clearwatch.roles import LOG_FILE
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.database import FileLock
from core.log.port import StoredRecord
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from detector.checks.defaults import DEFAULT_CHECKS
from sinks.records.config import sqlite_url
from sinks.records.store import RecordStore
from tests.unit.records_kit import ISSUE, MLFLOW_ISSUE, NOW_S, change, event, filed, finding, issue, link, store, trace

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]loud[/]\u202egnp.exe\r\nsecond line"


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is bound and not listened on: whoever connects is refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


class Cli:
    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self._port = port

    def run(self, *arguments: str) -> Result:
        group = click.Group(commands=list(COMMANDS))
        environment = {
            "CLEARWATCH_DATA_DIR": str(self.data_dir),
            "CLEARWATCH__OPS__LISTEN": f"127.0.0.1:{self._port}",
        }
        return CliRunner().invoke(group, arguments, env=environment)


@pytest.fixture
def cli(tmp_path: Path, unused_port: int) -> Cli:
    records = store(sqlite_url(tmp_path / "records.sqlite3"))
    records.apply([change(trace(session_id="s1")), change(finding()), change(finding("f2", title=HOSTILE), offset=1)])
    records.apply([change(event(issue(), link("f1"))), change(filed())])
    telemetry = Telemetry()
    telemetry.count("clearwatch.collector.spans.received", 42)
    records.save_counters("gone", telemetry.snapshot(), now_s=NOW_S)
    records.close()
    return Cli(tmp_path, unused_port)


def test_status_tells_what_the_records_say_where_nothing_runs(cli: Cli) -> None:
    shown = cli.run("status")
    assert shown.exit_code == 0
    assert "not running" in shown.stdout
    found = msgspec.json.decode(cli.run("status", "--json").stdout)
    assert found["spans"] == {"received": 42, "rejected": 0}
    assert found["traces"] == {"open": 0, "closed": 1}


def test_checks_are_listed_with_what_they_need_and_what_they_answered(cli: Cli) -> None:
    records = store(sqlite_url(cli.data_dir / "records.sqlite3"))
    telemetry = Telemetry()
    for outcome, times in (("found", 3), ("clear", 1_039), ("unknown", 7), ("failed", 1)):
        telemetry.count("clearwatch.check.answers", times, check="tool_failure", outcome=outcome)
    telemetry.count("clearwatch.findings", 4, check="tool_failure")
    telemetry.count("clearwatch.check.answers", 2, check="of_another_process", outcome="found")
    records.save_counters("another", telemetry.snapshot(), now_s=NOW_S)
    records.close()
    by_name = {check["name"]: check for check in msgspec.json.decode(cli.run("checks", "--json").stdout)["checks"]}
    found = by_name["tool_failure"]
    assert found["answers"] == {"found": 3, "clear": 1_039, "unknown": 7, "failed": 1}
    assert (found["findings"], found["needs"], found["dimension"]) == (4, ["tools", "content"], "execution")
    assert found["thresholds"] == {"read_results": True}
    assert by_name["slow_span"]["group"] == "baselines"
    # what only the counts know of is not left out
    assert (by_name["of_another_process"]["group"], by_name["of_another_process"]["answers"]) == (
        "elsewhere",
        {"found": 2},
    )
    shown = cli.run("checks")
    assert (shown.exit_code, "1,039" in shown.stdout, "slow_trace" in shown.stdout) == (0, True, True)


def test_findings_that_another_explains_are_told_by_their_check(cli: Cli) -> None:
    assert "inhibited" not in msgspec.json.decode(cli.run("status", "--json").stdout)
    records = store(sqlite_url(cli.data_dir / "records.sqlite3"))
    telemetry = Telemetry()
    telemetry.count("clearwatch.findings.inhibited", 3, check="retries", cause="failed_span")
    telemetry.count("clearwatch.findings.inhibited", 2, check="retries", cause="tool_failure")
    records.save_counters("another", telemetry.snapshot(), now_s=NOW_S)
    records.close()
    assert msgspec.json.decode(cli.run("status", "--json").stdout)["inhibited"] == {"retries": 5}
    assert "findings that another explains: retries 5" in cli.run("status").stdout
    told = msgspec.json.decode(cli.run("checks", "--json").stdout)["checks"]
    assert {each["name"]: each["inhibited"] for each in told if each["inhibited"]} == {"retries": 5}


def test_what_was_suppressed_is_told_with_its_reason(cli: Cli) -> None:
    assert "suppressed" not in msgspec.json.decode(cli.run("status", "--json").stdout)
    records = store(sqlite_url(cli.data_dir / "records.sqlite3"))
    telemetry = Telemetry()
    telemetry.count("clearwatch.findings.suppressed", 3, check="tool_failure", reason="index is rebuilt")
    records.save_counters("another", telemetry.snapshot(), now_s=NOW_S)
    records.close()
    assert msgspec.json.decode(cli.run("status", "--json").stdout)["suppressed"] == {"index is rebuilt": 3}
    assert "findings: 3 (index is rebuilt)" in cli.run("status").stdout
    config = cli.data_dir / "clearwatch.yaml"
    config.write_text("detector: {suppressions: [{check: retries, until: 2030-01-01, reason: index is rebuilt}]}")
    shown = cli.run("checks", "--config", str(config)).stdout
    assert re.search(r"index is rebuilt +check retries .* 3 ", shown)


def test_a_check_that_failed_is_told_by_status_and_checks(cli: Cli) -> None:
    assert "failed_checks" not in msgspec.json.decode(cli.run("status", "--json").stdout)
    records = store(sqlite_url(cli.data_dir / "records.sqlite3"))
    telemetry = Telemetry()
    telemetry.count("clearwatch.check.failures", 3, check="retries")
    telemetry.count("clearwatch.check.answers", 4, check="mine", outcome="clear")
    telemetry.count("clearwatch.check.seconds", 0.5, check="mine")
    records.save_counters("another", telemetry.snapshot(), now_s=NOW_S)
    records.close()
    assert msgspec.json.decode(cli.run("status", "--json").stdout)["failed_checks"] == {"retries": 3}
    assert re.search(r"failed checks +retries 3 times", cli.run("status").stdout)
    (mine,) = [c for c in msgspec.json.decode(cli.run("checks", "--json").stdout)["checks"] if c["mean_ms"] is not None]
    assert (mine["name"], mine["mean_ms"]) == ("mine", 125.0)
    assert "takes 125 ms each" in cli.run("checks").stdout


def test_checks_are_listed_where_there_is_neither_process_nor_record(tmp_path: Path, unused_port: int) -> None:
    cli = Cli(tmp_path, unused_port)
    assert cli.run("status").exit_code == 1
    found = msgspec.json.decode(cli.run("checks", "--json").stdout)["checks"]
    assert {check["name"] for check in found} >= {check.name for check in DEFAULT_CHECKS}
    assert not any(check["answers"] for check in found)


def test_issues_are_listed_with_their_place_in_mlflow(cli: Cli) -> None:
    shown = cli.run("issues").stdout
    assert ISSUE[:8] in shown
    assert "in MLflow: http://127.0.0.1:5000/#/experiments/7" in shown
    assert [row["issue_id"] for row in msgspec.json.decode(cli.run("issues", "--json").stdout)] == [ISSUE]
    assert msgspec.json.decode(cli.run("issues", "--json", "--status", "resolved").stdout) == []


@pytest.mark.parametrize("given", [ISSUE, ISSUE[:8], MLFLOW_ISSUE, ISSUE.replace("-", "")])
def test_one_issue_is_shown_by_any_of_its_ids(cli: Cli, given: str) -> None:
    shown = cli.run("issue", "show", given)
    assert shown.exit_code == 0
    assert "the call took longer than its deadline" in shown.stdout
    found = msgspec.json.decode(cli.run("issue", "show", given, "--json").stdout)
    assert (found["issue_id"], len(found["evidence"])) == (ISSUE, 1)


def test_export_writes_json_lines_to_stdout_or_a_file(cli: Cli, tmp_path: Path) -> None:
    lines = cli.run("export", "findings").stdout.splitlines()
    rows = {row["finding_id"]: row for row in map(msgspec.json.decode, lines)}
    assert (rows["f1"]["issue_id"], rows["f2"]["issue_id"]) == (ISSUE, None)
    assert rows["f1"]["span_ids"][0] == "b7ad6b7169203331"
    assert rows["f1"]["observed_at"] == "2023-11-14T22:13:20.123456Z"
    target = tmp_path / "out" / "i.jsonl"
    missing = cli.run("export", "issues", "-o", str(target))
    assert (missing.exit_code, "cannot be written" in missing.stderr) == (1, True)
    target.parent.mkdir()
    assert cli.run("export", "issues", "-o", str(target)).exit_code == 0
    assert msgspec.json.decode(target.read_bytes())["mlflow_issue_id"] == MLFLOW_ISSUE
    assert list(target.parent.iterdir()) == [target]


def test_hostile_text_neither_moves_the_cursor_nor_is_markup(cli: Cli) -> None:
    records = store(sqlite_url(cli.data_dir / "records.sqlite3"))
    records.apply([change(event(issue(sequence=2, title=HOSTILE, description=HOSTILE), link("f1")))])
    records.close()
    for arguments in (["issues"], ["issue", "show", ISSUE]):
        shown = cli.run(*arguments).stdout
        assert "[bold red]loud[/]" in re.sub(r"\s+", "", shown).replace("[boldred]", "[bold red]")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_text_is_one_line_without_control_characters() -> None:
    assert safe(HOSTILE).plain == "[2J]0;owned[bold red]loud[/]gnp.exe  second line"


def test_unknown_and_ambiguous_ids_fail_with_the_reason(cli: Cli) -> None:
    unknown = cli.run("issue", "show", "ffffffff")
    assert (unknown.exit_code, unknown.stderr) == (1, "clearwatch: no issue has the id 'ffffffff'\n")


def test_where_there_is_nothing_the_message_says_what_to_do(tmp_path: Path, unused_port: int) -> None:
    nothing = Cli(tmp_path / "none", unused_port).run("issues")
    assert nothing.exit_code == 1
    assert "start `clearwatch up`" in nothing.stderr
    assert "--data-dir" in nothing.stderr
    assert not (tmp_path / "none").exists()


def test_a_process_that_was_named_is_not_replaced_by_the_records(cli: Cli, unused_port: int) -> None:
    failed = cli.run("issues", "--ops", f"http://127.0.0.1:{unused_port}")
    assert (failed.exit_code, "does not answer" in failed.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [["issues", "--status", "odd"], ["export", "traces"], ["status", "--ops", "localhost"], ["issue", "show"]],
)
def test_bad_usage_is_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    assert cli.run(*arguments).exit_code == 2


def test_a_file_that_is_no_database_fails_with_the_reason(cli: Cli) -> None:
    (cli.data_dir / "records.sqlite3").write_bytes(b"not a database, and long enough to be read as one" * 50)
    failed = cli.run("status")
    assert (failed.exit_code, "not a database" in failed.stderr) == (1, True)


async def bury(data_dir: Path) -> None:
    """Leave two findings in the log that were dead letters, and a part of a record."""
    whole = topics.DeadLetter(
        topic=topics.FINDINGS, partition=1, offset=4, stage="issues", error=HOSTILE, error_type="ValueError",
        value=b"\x00value", key=b"shop", headers=topics.headers(experiment="7"),
    )  # fmt: skip
    records = RecordStore(sqlite_url(data_dir / "records.sqlite3"))
    part = msgspec.structs.replace(whole, offset=6, kind=topics.LetterKind.PART, stage="assemble")
    again = msgspec.structs.replace(whole, offset=5)
    records.letters.take([(whole, 1_700_000_000_000), (again, 1_700_000_001_000), (part, 1_700_000_002_000)])
    records.close()


async def appended(data_dir: Path) -> list[StoredRecord]:
    log = SqliteLog(str(data_dir / LOG_FILE), config=LogConfig(), telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    found = await log.reader("test", [topics.FINDINGS]).read_at(topics.FINDINGS, 1, range(9))
    await log.stop()
    return list(found)


def test_dead_letters_are_listed_and_shown_where_nothing_runs(cli: Cli) -> None:
    asyncio.run(bury(cli.data_dir))
    shown = cli.run("dead-letters", "list").stdout
    assert "findings:1:6" in shown
    assert "ValueError: [2J]0;owned[bold red]loud[/]gnp.exe second line" in " ".join(shown.split())
    assert "\x1b" not in shown
    rows = msgspec.json.decode(cli.run("dead-letters", "list", "--json", "--stage", "issues").stdout)
    assert [(row["offset"], row["size_bytes"]) for row in rows] == [(5, 6), (4, 6)]
    assert len(msgspec.json.decode(cli.run("dead-letters", "list", "--json", "--limit", "1").stdout)) == 1
    assert "no dead letters" in cli.run("dead-letters", "list", "--since", "1h").stdout
    one = cli.run("dead-letters", "show", "findings:1:4").stdout
    assert "00 76 61 6c 75 65" in one
    assert "experiment=7" in one
    assert "value" in msgspec.json.decode(cli.run("dead-letters", "show", "findings:1:4", "--json").stdout)


def test_dead_letters_are_replayed_into_the_log_where_nothing_runs(cli: Cli) -> None:
    asyncio.run(bury(cli.data_dir))
    assert "replayed findings:1:4:" in cli.run("dead-letters", "replay", "findings:1:4").stdout
    (record,) = asyncio.run(appended(cli.data_dir))
    assert (record.value, record.key, dict(record.headers)) == (b"\x00value", b"shop", topics.headers(experiment="7"))
    once_more = cli.run("dead-letters", "replay", "findings:1:4")
    assert (once_more.exit_code, "--again" in once_more.stdout) == (1, True)
    everything = cli.run("dead-letters", "replay", "--all")
    assert everything.exit_code == 0
    assert "replayed findings:1:5:" in everything.stdout
    assert "holds a part of a record whose rest was used" in " ".join(everything.stdout.split())
    assert "nothing to replay" in cli.run("dead-letters", "replay", "--all", "--stage", "issues").stdout
    assert cli.run("dead-letters", "replay", "findings:1:4", "--again").exit_code == 0
    assert len(asyncio.run(appended(cli.data_dir))) == 3


@pytest.mark.parametrize("arguments", [(), ("x", "--all"), ("x", "--stage", "issues")])
def test_a_replay_that_says_too_little_or_too_much_is_bad_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli.run("dead-letters", "replay", *arguments).exit_code == 2


def test_a_time_that_is_none_is_bad_usage(cli: Cli) -> None:
    assert cli.run("dead-letters", "list", "--since", "yesterday").exit_code == 2


def test_a_log_that_a_running_process_has_is_left_to_it(cli: Cli) -> None:
    asyncio.run(bury(cli.data_dir))
    lock = FileLock(str(cli.data_dir / LOG_FILE))
    lock.acquire()
    refused = cli.run("dead-letters", "replay", "--all")
    lock.release()
    assert refused.exit_code == 1
    assert "in use by another process: name it with --ops" in refused.stderr


@pytest.mark.parametrize("command", [("issue", "show"), ("trace",), ("dead-letters", "show")])
def test_an_empty_id_is_no_id(cli: Cli, command: tuple[str, ...]) -> None:
    answer = cli.run(*command, "")
    assert answer.exit_code == 1
    assert "has the id ''" in answer.stderr


def test_a_running_process_is_not_asked_for_an_empty_id(unused_port: int) -> None:
    source = OpsSource(f"http://127.0.0.1:{unused_port}")
    asked: list[Callable[[str], object]] = [source.issue, source.trace, source.letter]
    for ask in asked:
        with pytest.raises(ReadingError, match="has the id ''"):
            ask("")
    source.close()
