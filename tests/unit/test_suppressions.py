"""Suppressions: what they hold back, until when, and that it is told."""

import datetime
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from clearwatch.config import ConfigError, load
from clearwatch.ops.checks import checks_shape
from clearwatch.ops.trace_shapes import marked, trace_shape
from clearwatch.reading.trace_view import trace_view
from core.log.port import StoredRecord
from core.model.finding import Finding, Severity, Shift, Withdrawal
from core.model.issue import IssueEvent
from core.telemetry import Telemetry
from core.topics import FINDINGS, headers
from detector.catalogue import catalogue
from detector.config import DetectorConfig
from detector.issues.config import IssuesConfig
from detector.issues.stage import IssuesProcessor
from sinks.records.views import Series, TraceDetail
from tests.unit.records_kit import row, trace
from tests.unit.test_issues_registry import DAY_S, NOW_S, finding, withdrawal

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
AT = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC)
UNTIL = AT.isoformat()


class Stage:
    """The issues stage with suppressions."""

    def __init__(self, *suppressions: dict[str, Any]) -> None:
        given = [{"until": UNTIL, "reason": "known", **each} for each in suppressions]
        self.config = DetectorConfig.model_validate({"suppressions": given})
        self.telemetry = Telemetry()
        self.state: dict[bytes, bytes] = {}
        self.offset = 0
        self.processor = self._made()

    def _made(self) -> IssuesProcessor:
        made = IssuesProcessor(
            partition=0,
            config=IssuesConfig(),
            max_age_s=DAY_S,
            telemetry=self.telemetry,
            suppressions=self.config.suppressions,
        )
        made.restore(list(self.state.items()))
        return made

    def restart(self, *suppressions: dict[str, Any]) -> None:
        """Go on with other suppressions."""
        given = [{"until": UNTIL, "reason": "known", **each} for each in suppressions]
        self.config = DetectorConfig.model_validate({"suppressions": given})
        self.processor = self._made()

    def take(self, *findings: Finding | Shift | Withdrawal, at_s: float = NOW_S) -> list[IssueEvent]:
        records = [
            StoredRecord(
                topic=FINDINGS,
                partition=0,
                offset=self.offset + n,
                log_time_ms=int(at_s * 1000),
                value=msgspec.msgpack.encode(each),
                headers=headers(),
            )
            for n, each in enumerate(findings)
        ]
        self.offset += len(findings)
        work = self.processor.process(records)
        assert work.next_offsets == {FINDINGS: self.offset}
        self.state |= {change.key: change.value for change in work.state if change.value is not None}
        return [msgspec.msgpack.decode(record.value, type=IssueEvent) for record in work.produce]

    @property
    def held_back(self) -> int:
        return int(self.telemetry.total("clearwatch.findings.suppressed"))


def observed(number: int, seconds_before: float, **fields: object) -> Finding:
    return finding(number, observed_at_ns=int((NOW_S - seconds_before) * 1e9), **fields)


def test_what_was_observed_before_the_day_makes_no_issue_and_what_comes_after_does() -> None:
    stage = Stage({"check": "failed_span"})
    assert stage.take(observed(1, 0.001)) == []
    assert stage.held_back == 1
    (event,) = stage.take(observed(2, 0.0))
    assert event.issue.finding_count == 1
    # whenever it is read: the time of observation decides
    assert stage.take(observed(3, 0.001), at_s=NOW_S + 3_600) == []
    assert stage.telemetry.total("clearwatch.findings.suppressed", check="failed_span", reason="known") == 2


def test_a_trace_says_which_of_its_findings_are_held_back_and_why() -> None:
    stage = Stage({"check": "other_check"}, {"check": "failed_span", "reason": "OPS-123"}, {"check": "*"})
    of_an_issue = row(finding_id="grouped", observed_at=(AT - datetime.timedelta(days=1)).isoformat())
    before, since = (
        row(finding_id=at.isoformat(), observed_at=at.isoformat(), issue_id=None)
        for at in (AT - datetime.timedelta(microseconds=1), AT)
    )
    detail = TraceDetail(trace=trace(), findings=(of_an_issue, before, since))
    shape = marked(trace_shape(detail, None), stage.config.suppressions)
    assert shape.suppressed == {before.finding_id: f"until {AT:%Y-%m-%d %H:%M} UTC: OPS-123"}
    out = StringIO()
    Console(file=out, width=160).print(trace_view(shape, is_full=False))
    assert out.getvalue().count("suppressed until") == 1


def test_log_time_stands_in_where_nothing_was_observed() -> None:
    stage = Stage({"check": "failed_span"})
    assert stage.take(finding(1, observed_at_ns=0), at_s=NOW_S - 1) == []
    assert stage.take(finding(2, observed_at_ns=0), at_s=NOW_S)
    # a client whose clock runs a year ahead
    assert stage.take(observed(3, -365 * DAY_S), at_s=NOW_S - 1) == []


@pytest.mark.parametrize(
    ("matcher", "is_held_back"),
    [
        ({"check": ["other", "failed_span"]}, True),
        ({"check": "failed*"}, True),
        ({"check": "failed"}, False),
        ({"service": "shop"}, True),
        ({"service": "shop", "environment": "staging"}, False),
        ({"target": "search_*"}, True),
        ({"error_type": "Timeout?"}, False),
        ({"dimension": "latency"}, False),
        ({"dimension": ["latency", "execution"]}, True),
        ({"title": "fails$"}, True),
        ({"title": "^fails"}, False),
        ({"routing_key": "experiment:*"}, False),
    ],
)
def test_every_matcher_must_fit(matcher: dict[str, Any], is_held_back: bool) -> None:
    stage = Stage(matcher)
    found = observed(
        1,
        1.0,
        service="shop",
        target="search_flights",
        environment="production",
        error_type="Timeout",
        title="Search fails",
    )
    assert bool(stage.take(found)) is not is_held_back
    assert stage.held_back == is_held_back


def test_what_is_suppressed_does_not_count_towards_an_issue_that_stands() -> None:
    stage = Stage({"environment": "staging"})
    stage.take(observed(1, 1.0))
    assert stage.take(observed(2, 1.0, environment="staging", severity=Severity.HIGH)) == []
    (issue,) = stage.processor.issues
    assert issue.finding_count == 1


def test_suppressions_are_listed_with_their_reason_count_and_whether_they_are_over() -> None:
    stage = Stage({"check": "failed_span"}, {"service": "x", "reason": "later", "until": "2999-01-01"})
    stage.take(observed(1, 1.0), observed(2, 1.0))
    series = [
        Series(instance="a", name=name, labels=dict(labels), value=value, updated_at_s=NOW_S)
        for (name, labels), value in stage.telemetry.snapshot().items()
    ]
    told = checks_shape(catalogue(stage.config), stage.config.suppressions, series, now_s=NOW_S + 1)
    assert [(each.reason, each.suppressed, each.is_over) for each in told.suppressions] == [
        ("known", 2, True),
        ("later", 0, False),
    ]
    assert {check.name: check.suppressed for check in told.checks if check.suppressed} == {"failed_span": 2}


def test_bad_suppressions_are_refused_all_at_once_each_with_its_key(tmp_path: Path) -> None:
    good = {"check": "x", "until": "2030-01-01T00:00:00Z", "reason": "why"}
    given = [
        {key: value for key, value in good.items() if key != "until"},
        {key: value for key, value in good.items() if key != "reason"},
        {key: value for key, value in good.items() if key != "check"},
        {**good, "until": "2030-01-01T00:00:00"},
        {**good, "title": "("},
        {**good, "dimension": "taste"},
        {**good, "chekc": "x"},
        {**good, "reason": ""},
    ]
    path = tmp_path / "clearwatch.yaml"
    path.write_text(json.dumps({"detector": {"suppressions": given}}))
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    for number, reason in enumerate(
        ("until", "reason", "else all is hidden", "timezone", "regular expression", "dimension", "chekc", "reason")
    ):
        key = f"detector.suppressions.{number}"
        assert any(key in line and reason in line for line in caught.value.problems), (key, caught.value.problems)


def test_the_documented_suppressions_are_accepted() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("\n## Suppressions\n")[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    first, second = DetectorConfig.model_validate(yaml.safe_load(block[1])["detector"]).suppressions
    assert first.matchers == {"check": ("tool_failure",), "target": ("search", "search_*"), "environment": ("staging",)}
    assert second.until == datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)


def shift(began_s_before: float, *, ended: bool = False) -> Shift:
    began_ns = int((NOW_S - began_s_before) * 1e9)
    return Shift(
        fingerprint="f1", routing_key="shop", began_ns=began_ns, ended_ns=began_ns + 1 if ended else 0, text="slow"
    )


def test_an_episode_that_began_before_the_day_is_held_back_with_its_end() -> None:
    stage = Stage({"check": "failed_span"})
    assert stage.take(observed(1, 10.0), shift(10.0), shift(10.0, ended=True)) == []
    assert stage.telemetry.total("clearwatch.dropped") == 0
    # one that begins afterwards makes the issue, and is told from beginning to end
    assert stage.take(observed(2, 0.0), shift(0.0))
    assert stage.take(shift(5.0), at_s=NOW_S + 5) == []
    assert stage.take(shift(0.0, ended=True), at_s=NOW_S + 10)
    (issue,) = stage.processor.issues
    assert issue.episodes == 1
    assert issue.episode_ended_ns


def test_the_end_of_an_episode_that_was_told_of_is_told() -> None:
    stage = Stage({"target": "something else"})
    stage.take(observed(1, 10.0), shift(10.0))
    stage.restart({"check": "failed_span"})
    assert [event.kind for event in stage.take(shift(10.0, ended=True))] == ["recovered"]


def test_what_is_taken_back_of_a_suppressed_finding_is_no_loss() -> None:
    stage = Stage({"check": "failed_span"})
    held_back = observed(1, 10.0)
    assert stage.take(held_back, withdrawal(held_back)) == []
    assert stage.telemetry.total("clearwatch.dropped") == 0
    told = observed(2, 0.0)
    assert [event.kind for event in stage.take(told, withdrawal(told))] == ["opened", "corrected"]
