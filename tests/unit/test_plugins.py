"""Checks of third parties: by file in a folder, and by entry point of an installed package."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from click.testing import CliRunner

from clearwatch.cli import main
from clearwatch.plugins import PluginError, load_plugins
from core import topics
from core.log.port import StoredRecord
from core.model.finding import Dimension, Finding, FindingKind, FindingRecord, Severity
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.catalogue import catalogue
from detector.checks.config import ChecksConfig
from detector.checks.finding import finding
from detector.checks.plugin import Plugin
from detector.checks.port import Answer, Check, found
from detector.checks.registry import Checks
from detector.checks.timed import TimedCheck
from detector.config import DetectorConfig
from detector.stages import stages
from tests.unit.checks_kit import Story, failed
from tests.unit.test_session_checks import NOW_S, said, version

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"

MINIMAL = """
from clearwatch import CLEAR, Dimension

class Minimal:
    name = "{name}"
    dimension = Dimension.EXECUTION

    def inspect(self, trace):
        return CLEAR

CHECKS = (Minimal,)
"""


@pytest.fixture(autouse=True)
def _modules_come_and_go() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("clearwatch_checks_", "acme_checks")):
            del sys.modules[name]


def load(folder: Path, **settings: Any) -> tuple[Plugin, ...]:
    return load_plugins(DetectorConfig(checks_dir=str(folder), **settings))


def example(place: int = 0) -> str:
    """Return an example of the documentation: of a trace, of a session."""
    return str(re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[place])


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, entry: str = "unapproved_refund") -> None:
    """Lay a package out as an installer does, and put its folder on the path."""
    (folder / "acme_checks").mkdir()
    (folder / "acme_checks" / "__init__.py").write_text("")
    (folder / "acme_checks" / "refunds.py").write_text(example())
    info = folder / "acme_checks-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-checks\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[clearwatch.checks]\n{entry} = acme_checks.refunds:UnapprovedRefund\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_documented_check_runs_from_a_folder_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "refunds.py").write_text(example())
    (tmp_path / "_shared.py").write_text("raise RuntimeError('not a check')")
    plugins = load(tmp_path, plugins={"unapproved_refund": {"max_usd": 250}})
    checks = Checks(ChecksConfig(), Telemetry(), extra=[check for each in plugins for check in each.trace_check])
    outcomes = []
    for amount in (250, 251):
        story = Story()
        story.tool("refund", story.root().span_id, arguments=json.dumps({"amount_usd": amount}))
        outcomes.append(checks.inspect(story.trace()).answers["unapproved_refund"])
    assert outcomes == ["clear", "found"]


@pytest.mark.parametrize(("turns", "found"), [(10, False), (11, True)])
def test_the_documented_check_of_sessions_is_asked_of_conversations(tmp_path: Path, turns: int, found: bool) -> None:
    (tmp_path / "long.py").write_text(example(1))
    made = stages(DetectorConfig(), Telemetry(), plugins=load(tmp_path))
    processor = made["sessions"].processor(0, {topics.TRACES: 1, topics.FINDINGS: 1})
    for number in range(turns):
        turn = version(number, said(f"question {number}", f"answer {number}"))
        record = StoredRecord(
            topic=topics.TRACES,
            partition=0,
            offset=number,
            log_time_ms=int(turn.closed_at_s * 1000),
            value=msgspec.msgpack.encode(turn),
        )
        processor.process([record])
    produced = processor.tick(NOW_S + 86_400).produce
    checks = [msgspec.msgpack.decode(record.value, type=FindingRecord) for record in produced]
    assert [each.check for each in checks if isinstance(each, Finding)] == ["long_conversation"] * found


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    (plugin,) = load_plugins(DetectorConfig())
    assert plugin.origin == "entry point unapproved_refund of acme-checks 1.2"
    (told,) = [check for check in catalogue(DetectorConfig(), plugins=[plugin]) if check.group == "plug-ins"]
    assert (told.name, told.needs, told.thresholds) == ("unapproved_refund", ("tools", "content"), {"max_usd": 100.0})


def test_a_package_that_is_switched_off_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    assert load_plugins(DetectorConfig(plugins={"unapproved_refund": {"enabled": False}})) == ()
    assert "acme_checks.refunds" not in sys.modules


def test_an_entry_point_under_another_name_than_its_check_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, entry="refunds")
    with pytest.raises(PluginError, match="its check is named unapproved_refund"):
        load_plugins(DetectorConfig())


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    counted = tmp_path / "count"
    (tmp_path / "a.py").write_text(
        f"with open({str(counted)!r}, 'a') as file:\n    file.write('x')\n" + MINIMAL.format(name="mine")
    )
    first, second = load(tmp_path), load(tmp_path)
    assert type(first[0].check) is type(second[0].check)
    assert counted.read_text() == "x"


def test_everything_that_cannot_be_used_is_named_at_once_with_its_file_and_reason(tmp_path: Path) -> None:
    (tmp_path / "a_syntax.py").write_text("class Broken(:\n")
    (tmp_path / "b_raises.py").write_text("x = 1\n\nx / 0\n")
    (tmp_path / "c_lists_none.py").write_text("x = 1\n")
    (tmp_path / "d_taken.py").write_text(MINIMAL.format(name="failed_span"))
    (tmp_path / "e_name.py").write_text(MINIMAL.format(name="Not A Name"))
    (tmp_path / "f_dimension.py").write_text(MINIMAL.format(name="mine").replace("Dimension.EXECUTION", "'taste'"))
    (tmp_path / "g_twice.py").write_text(MINIMAL.format(name="ours"))
    (tmp_path / "h_twice.py").write_text(MINIMAL.format(name="ours"))
    (tmp_path / "j_speaks.py").write_text(
        MINIMAL.format(name="speaks").replace("    dim", "    speaks_of = 'x'\n    dim")
    )
    (tmp_path / "k_async.py").write_text(MINIMAL.format(name="waits").replace("def inspect", "async def inspect"))
    (tmp_path / "l_blind.py").write_text(MINIMAL.format(name="blind").replace("(self, trace)", "(self)"))
    (tmp_path / "i_settings.py").write_text(MINIMAL.format(name="set"))
    with pytest.raises(PluginError) as caught:
        load(tmp_path, plugins={"set": {"limit": 3}, "nobody": {}})
    problems = caught.value.problems
    for file, reason in (
        ("a_syntax.py", "SyntaxError"),
        ("b_raises.py", "ZeroDivisionError: division by zero (line 3)"),
        ("c_lists_none.py", "CHECKS = (MyCheck,)"),
        ("d_taken.py", "failed_span is taken by the checks that ship"),
        ("e_name.py", "'Not A Name'"),
        ("f_dimension.py", "`dimension` must be a Dimension"),
        ("h_twice.py", "g_twice.py"),
        ("i_settings.py", "detector.plugins.set.limit: unknown key"),
        ("k_async.py", "neither async nor a generator"),
        ("l_blind.py", "must take the trace"),
        ("j_speaks.py", "`speaks_of` must be"),
        ("detector.plugins.nobody", "no such check"),
    ):
        assert any(file in line and reason in line for line in problems), (file, problems)
    assert len(problems) == 12
    assert not any(name.startswith("clearwatch_checks_") and name.endswith("raises") for name in sys.modules)


def test_a_folder_that_is_not_there_is_refused_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"detector\.checks_dir.*nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["check-config", "up"])
def test_a_bad_check_ends_the_start_with_exit_2(tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.py").write_text("import no_such_module\n")
    environment = {"CLEARWATCH__DETECTOR__CHECKS_DIR": str(tmp_path), "CLEARWATCH_DATA_DIR": str(tmp_path / "data")}
    answer = CliRunner().invoke(main, [command], env=environment)
    assert answer.exit_code == 2
    assert "bad.py" in answer.stderr
    assert "no_such_module" in answer.stderr


def test_a_loaded_check_is_listed_with_its_origin(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINIMAL.format(name="mine"))
    environment = {
        "CLEARWATCH__DETECTOR__CHECKS_DIR": str(tmp_path),
        "CLEARWATCH_DATA_DIR": str(tmp_path / "data"),
        "CLEARWATCH__OPS__LISTEN": "127.0.0.1:1",
    }
    listed = msgspec.json.decode(CliRunner().invoke(main, ["checks", "--json"], env=environment).stdout)["checks"]
    (mine,) = [check for check in listed if check["name"] == "mine"]
    assert (mine["group"], mine["origin"]) == ("plug-ins", f"file {tmp_path / 'mine.py'}")


def test_what_a_check_may_import_stands_in_one_place() -> None:
    import clearwatch

    assert all(hasattr(clearwatch, name) for name in clearwatch.__all__)


def test_a_suppression_of_a_check_that_is_not_there_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINIMAL.format(name="my_check"))

    def suppressed(check: str) -> dict[str, Any]:
        return {"suppressions": ({"check": check, "until": "2030-01-01", "reason": "known"},)}

    for known in ("my_check", "tool_*", "slow_trace", "over_budget"):
        load(tmp_path, **suppressed(known))
    with pytest.raises(PluginError, match=r"suppressions\.0\.check: no check is named tool_failur; was tool_failure"):
        load(tmp_path, **suppressed("tool_failur"))


def test_what_a_check_takes_is_counted_also_where_it_raises() -> None:
    class Broken:
        name = "broken"
        dimension = Dimension.EXECUTION

        def inspect(self, _: Trace) -> Answer:
            raise RuntimeError("boom")

    telemetry = Telemetry()
    ticks = iter((1.0, 1.25))
    checks = Checks(ChecksConfig(), telemetry, extra=[TimedCheck(Broken(), telemetry, lambda: next(ticks))])
    story = Story()
    story.root()
    assert checks.inspect(story.trace()).answers["broken"] == "failed"
    assert telemetry.total("clearwatch.check.seconds", check="broken") == 0.25


def test_a_check_from_a_folder_is_timed_by_its_stage(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(example(1))
    telemetry = Telemetry()
    processor = stages(DetectorConfig(), telemetry, plugins=load(tmp_path))["sessions"].processor(
        0, {topics.TRACES: 1, topics.FINDINGS: 1}
    )
    turn = version(0, said("question", "answer"))
    processor.process(
        [
            StoredRecord(
                topic=topics.TRACES,
                partition=0,
                offset=0,
                log_time_ms=int(turn.closed_at_s * 1000),
                value=msgspec.msgpack.encode(turn),
            )
        ]
    )
    assert telemetry.total("clearwatch.check.seconds", check="long_conversation") > 0


@pytest.mark.parametrize(
    "changes", [{"rationale": "half a pair \ud800"}, {"severity": "grave"}, {"title": 7}, {"span_ids": None}]
)
def test_a_finding_that_cannot_be_written_costs_its_own_check_alone(changes: dict[str, Any]) -> None:
    class Odd:
        name = "odd"
        dimension = Dimension.EXECUTION

        def inspect(self, trace: Trace) -> Answer:
            sound = finding(
                trace,
                self,
                culprit=trace.spans[0],
                kind=FindingKind.FAULT,
                severity=Severity.LOW,
                title="odd",
                rationale="odd",
            )
            return found([msgspec.structs.replace(sound, **changes)])

    telemetry = Telemetry()
    checks = Checks(ChecksConfig(), telemetry, extra=[TimedCheck(Odd(), telemetry, lambda: 0.0)])
    story = Story()
    story.root(error=failed())
    said = checks.inspect(story.trace())
    assert (said.answers["odd"], said.answers["failed_span"]) == ("failed", "found")
    assert msgspec.msgpack.encode(said.findings)


def test_half_a_surrogate_pair_in_a_finding_is_replaced() -> None:
    class Quoting:
        name = "quoting"
        dimension = Dimension.EXECUTION

    story = Story()
    root = story.root()
    made = finding(
        story.trace(),
        cast("Check", Quoting()),
        culprit=root,
        kind=FindingKind.FAULT,
        severity=Severity.LOW,
        title="\ud83d",
        rationale="é \udfff",
        target="\ud800",
        error_type="\ud800",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Finding).rationale == "é ?"
