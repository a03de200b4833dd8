"""Fixed limits over windows: one episode of one issue, with its recovery."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from clearwatch.config import ConfigError, load
from core import topics
from core.log.port import StoredRecord, Work
from core.model.finding import Finding, FindingRecord, Shift
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import SpanKind
from core.telemetry import Telemetry
from detector.assemble.measuring import PartedBy
from detector.baselines.stage import BaselinesStage
from detector.catalogue import catalogue
from detector.config import DetectorConfig
from detector.rules.limits import parted_by
from detector.rules.limits_stage import LimitsStage
from detector.rules.window import SLICES, Window
from detector.stages import stages
from tests.unit.dialect_spans import encoded
from tests.unit.test_issues_registry import Issues

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
START_S = 1_700_000_000.0
ONE = dict.fromkeys((topics.MEASUREMENTS, topics.FINDINGS), 1)
ERRORS = {"name": "many_errors", "metric": "error_rate", "max": 0.1, "window_s": 60, "min_calls": 10}


def measured(number: int, at_s: float, **facts: Any) -> Measurement:
    ended_ns = int((START_S + at_s) * 1e9)
    duration_ms = facts.get("duration_ms", 100.0)
    known: dict[str, Any] = {
        "routing_key": "shop",
        "service": "shop",
        "operation": "checkout",
        "kind": SpanKind.UNKNOWN,
        "model": "",
        "duration_ms": duration_ms,
        "failed": False,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "session_id": "",
        "started_ns": ended_ns - int(duration_ms * 1e6),
        "ended_ns": ended_ns,
        "is_trace": True,
    }
    return Measurement(**{**known, **facts})


class Limits:
    """The baselines stage with limits, and its committed state."""

    def __init__(self, *limits: dict[str, Any], **config: Any) -> None:
        # baselines that never speak: these are tests of limits
        quiet = {"min_observations": 500, "window": 500}
        self.config = DetectorConfig.model_validate({"limits": limits, "baselines": quiet, **config})
        self.telemetry = Telemetry()
        self.state: dict[bytes, bytes] = {}
        self.committed = 0
        self.records: list[StoredRecord] = []
        self.restart()

    def restart(self) -> None:
        """Go on from the committed state; what was not committed is read again."""
        within = BaselinesStage(config=self.config.baselines, telemetry=self.telemetry)
        stage = LimitsStage(within, self.config.limits, self.telemetry)
        self.processor = stage.processor(0, ONE)
        self.processor.restore(list(self.state.items()))

    def take(self, *rows: Measurement, at_s: float, origin: str = topics.ORIGIN_LIVE) -> list[FindingRecord]:
        record = StoredRecord(
            topic=topics.MEASUREMENTS,
            partition=0,
            offset=len(self.records),
            log_time_ms=int((START_S + at_s) * 1000),
            value=msgspec.msgpack.encode(MeasurementBatch(measurements=rows)),
            headers=topics.headers(origin=origin),
        )
        self.records.append(record)
        return self.commit(self.processor.process([record]))

    def tick(self, at_s: float) -> list[FindingRecord]:
        return self.commit(self.processor.tick(START_S + at_s))

    def commit(self, work: Work) -> list[FindingRecord]:
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        self.committed = work.next_offsets.get(topics.MEASUREMENTS, self.committed)
        return [msgspec.msgpack.decode(record.value, type=FindingRecord) for record in work.produce]

    def calls(self, times: Iterable[float], **facts: Any) -> list[FindingRecord]:
        """Take one measurement at each time."""
        said: list[FindingRecord] = []
        for at_s in times:
            said += self.take(measured(len(self.records), at_s, **facts), at_s=at_s)
        return said


def kinds(said: Iterable[FindingRecord]) -> list[str]:
    return [
        "finding" if isinstance(each, Finding) else ("ended" if each.ended_ns else "began")
        for each in said
        if isinstance(each, Finding | Shift)
    ]


def test_an_excess_is_one_finding_and_one_episode_however_many_traces_are_in_it() -> None:
    limits = Limits(ERRORS)
    assert limits.calls(range(30)) == []
    said = limits.calls(range(30, 60), failed=True)
    assert kinds(said) == ["finding", "began"]
    finding, began = said
    assert isinstance(finding, Finding)
    assert isinstance(began, Shift)
    assert (finding.check, finding.kind, finding.category, finding.service) == (
        "many_errors", "rate", "execution", "shop",
    )  # fmt: skip
    assert finding.title == "Error rate of shop exceeds its limit"
    # three failures of 33 are no more than a tenth, four of 34 are
    assert finding.rationale == "11.8 % in 1 min; the limit is 10 %. This trace was one of them."
    assert finding.trace_id == f"{33:032x}"
    assert began.fingerprint == finding.fingerprint


def test_it_is_over_when_a_whole_window_has_passed_without_an_excess() -> None:
    limits = Limits(ERRORS)
    limits.calls(range(20), failed=True)
    said = limits.calls(range(20, 200))
    assert kinds(said) == ["ended"]
    (ended,) = said
    assert isinstance(ended, Shift)
    assert re.fullmatch(r"error rate of shop 100 % at its worst, now 0 %; the limit is 10 % in 1 min", ended.text)
    # the next one is another episode of the same issue
    again = limits.calls(range(200, 220), failed=True)
    assert kinds(again) == ["finding", "began"]
    assert isinstance(again[1], Shift)
    assert again[1].fingerprint == ended.fingerprint
    assert again[1].began_ns > ended.began_ns


def test_a_figure_that_wavers_about_its_limit_is_one_episode() -> None:
    limits = Limits(ERRORS)
    said: list[FindingRecord] = []
    for at_s in range(0, 600, 40):
        said += limits.calls(range(at_s, at_s + 10), failed=True)
        said += limits.calls(range(at_s + 10, at_s + 40))
    assert kinds(said) == ["finding", "began"]


def test_silence_ends_an_episode_too() -> None:
    limits = Limits(ERRORS)
    limits.calls(range(20), failed=True)
    wake_s = limits.processor.next_wake_s()
    assert wake_s is not None
    assert kinds(limits.tick(78.0)) == []
    (ended,) = limits.tick(79.0)
    assert isinstance(ended, Shift)
    assert "and no calls since" in ended.text
    assert limits.tick(200.0) == []


@pytest.mark.parametrize("started_ns", [0, 2**64 - 1])
def test_an_episode_of_a_broken_clock_is_dated_by_the_log(started_ns: int) -> None:
    limits = Limits(ERRORS)
    said = limits.calls(range(20), failed=True, started_ns=started_ns, ended_ns=started_ns)
    said += limits.tick(2_000.0)
    assert kinds(said) == ["finding", "began", "ended"]
    began, ended = (each for each in said if isinstance(each, Shift))
    assert START_S <= began.began_ns / 1e9 <= START_S + 20
    assert began.began_ns == ended.began_ns < ended.ended_ns


def test_what_lasts_is_said_again_in_one_issue() -> None:
    limits = Limits({**ERRORS, "repeat_s": 600})
    said = limits.calls(range(0, 1_900, 5), failed=True)
    assert kinds(said) == ["finding", "began", "finding", "finding", "finding"]
    assert len({each.fingerprint for each in said if isinstance(each, Finding)}) == 1


def test_few_calls_say_nothing() -> None:
    limits = Limits(ERRORS)
    assert limits.calls(range(9), failed=True) == []
    # more of them, but never ten within a minute
    assert limits.calls(range(100, 1_000, 10), failed=True) == []


@pytest.mark.parametrize("cut", range(1, 50, 7))
def test_a_restart_anywhere_changes_nothing_and_counts_nothing_twice(cut: int) -> None:
    def story(limits: Limits, until: int, begin: int = 0) -> list[FindingRecord]:
        said: list[FindingRecord] = []
        for at_s in range(begin, until):
            said += limits.take(measured(at_s, at_s, failed=20 <= at_s < 30), at_s=at_s)
        return said

    whole = Limits(ERRORS)
    expected = story(whole, 160)
    cut_off = Limits(ERRORS)
    before = story(cut_off, cut)
    cut_off.restart()
    # what was not committed comes again
    for record in cut_off.records[cut_off.committed :]:
        before += [each for each in cut_off.commit(cut_off.processor.process([record])) if each not in before]
    assert before + story(cut_off, 160, cut) == expected
    assert kinds(expected) == ["finding", "began", "ended"]


def test_durations_are_judged_by_their_quantile_of_what_did_not_fail() -> None:
    limits = Limits({"name": "slow", "metric": "p95_ms", "max": 500, "by": "operation", "min_calls": 20, "of": "calls"})
    rows = {"is_trace": False, "operation": "search", "kind": SpanKind.TOOL}
    assert limits.calls(range(19), **rows) == []
    assert limits.calls(range(19, 30), duration_ms=9_000.0, failed=True, **rows) == []
    finding, *_ = limits.calls(range(30, 60), duration_ms=900.0, **rows)
    assert isinstance(finding, Finding)
    assert finding.title == "95th percentile of durations of search exceeds its limit"
    assert (finding.category, finding.target) == ("latency", "search")
    assert finding.rationale.startswith("90")


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_quantile_is_right_within_one_per_cent(share: float) -> None:
    metric = {0.5: "p50_ms", 0.95: "p95_ms", 0.99: "p99_ms"}[share]
    limit = DetectorConfig.model_validate({"limits": [{"name": "quantile", "metric": metric, "max": 1}]}).limits[0]
    window = Window(limit.metric, limit.length_s)
    durations = [1.07**n for n in range(200)]
    for number, duration_ms in enumerate(durations):
        window.add(measured(number, number * 0.1, duration_ms=duration_ms), START_S, failed=False)
    exact = durations[round(share * 200) - 1]
    assert window.value() == pytest.approx(exact, rel=0.011)


def test_cost_and_tokens_add_up_over_an_hour_and_are_counted_once() -> None:
    dear = {"name": "dear", "metric": "cost_usd", "max": 10, "by": "model"}
    many = {"name": "many", "metric": "tokens", "max": 1_000, "by": ["service", "model"]}
    limits = Limits(dear, many)
    call = {"is_trace": False, "model": "gpt-4o", "cost_usd": 0.5, "input_tokens": 10}
    # agents repeat what the calls below them cost
    assert limits.calls(range(0, 60, 2), kind=SpanKind.AGENT, **call) == []
    # 20 calls in two hours are five dollars an hour
    assert limits.calls(range(60, 7_260, 360), kind=SpanKind.LLM, **call) == []
    finding, *_ = limits.calls(range(7_260, 7_360, 4), kind=SpanKind.LLM, **call)
    assert isinstance(finding, Finding)
    assert (finding.title, finding.category) == ("Cost of gpt-4o exceeds its limit", "cost")
    assert finding.rationale.startswith("$10.50 in 1 h; the limit is $10.00")


def test_keys_have_windows_of_their_own() -> None:
    limits = Limits(ERRORS)
    said = [
        *limits.calls(range(12), service="shop"),
        *limits.calls(range(12, 24), service="mail", failed=True),
        *limits.calls(range(24, 36), service="shop", routing_key="experiment:7"),
    ]
    (finding,) = [each for each in said if isinstance(each, Finding)]
    assert (finding.service, finding.target) == ("mail", "mail")


def test_a_limit_says_of_which_calls_it_is() -> None:
    limits = Limits({**ERRORS, "of": "calls", "kind": "tool", "service": "sh*", "operation": ["search", "book_*"]})
    rows = {"is_trace": False, "failed": True, "is_fault": True, "kind": SpanKind.TOOL, "operation": "book_flight"}
    assert limits.calls(range(15), **{**rows, "kind": SpanKind.LLM}) == []
    assert limits.calls(range(15), **{**rows, "operation": "cancel"}) == []
    assert limits.calls(range(15), **{**rows, "service": "mail"}) == []
    assert limits.calls(range(15), **{**rows, "is_trace": True}) == []
    assert kinds(limits.calls(range(15, 30), **rows)) == ["finding", "began"]


def test_what_is_replayed_is_not_counted() -> None:
    limits = Limits(ERRORS)
    for number in range(30):
        assert limits.take(measured(number, number, failed=True), at_s=number, origin=topics.ORIGIN_REPLAY) == []


def test_windows_are_bounded_and_what_is_let_go_is_counted() -> None:
    limits = Limits({**ERRORS, "max_keys": 10})
    for number in range(25):
        limits.take(measured(number, number, service=f"s{number}"), at_s=number)
    limits.tick(1_000.0)
    assert limits.telemetry.total("clearwatch.dropped", reason="limit_key_evicted") == 15
    assert sum(key.startswith(b"\xc1") for key in limits.state) == 10 + 1


def test_state_of_a_limit_that_is_no_more_is_let_go() -> None:
    limits = Limits(ERRORS)
    limits.calls(range(20), failed=True)
    limits.tick(20.0)
    assert len([key for key in limits.state if key.startswith(b"\xc1")]) == 2
    limits.config = DetectorConfig.model_validate({"limits": [{**ERRORS, "name": "another"}]})
    limits.restart()
    limits.calls([30.0])
    limits.tick(40.0)
    keys = [key for key in limits.state if key.startswith(b"\xc1")]
    assert not any(b"many_errors" in key for key in keys)


def test_without_limits_the_state_of_former_ones_is_let_go_and_baselines_go_on() -> None:
    limits = Limits(ERRORS)
    limits.calls(range(20), failed=True)
    limits.tick(20.0)
    limits.config = DetectorConfig.model_validate({})
    limits.processor = stages(limits.config, limits.telemetry)["baselines"].processor(0, ONE)
    limits.processor.restore(list(limits.state.items()))
    limits.calls([30.0])
    limits.tick(40.0)
    assert limits.state
    assert not any(key.startswith(b"\xc1") and b"position" not in key for key in limits.state)


def test_a_window_forgets_in_slices() -> None:
    limit = DetectorConfig.model_validate(
        {"limits": [{"name": "quantile", "metric": "calls", "max": 1, "window_s": 60}]}
    )
    window = Window(limit.limits[0].metric, 60.0)
    for at_s in range(120):
        window.add(measured(at_s, at_s), START_S + at_s, failed=False)
        window.forget(START_S + at_s)
    assert 55 <= window.value() <= 60
    assert len(window.slices) == SLICES


def test_bad_limits_are_refused_each_with_its_key(tmp_path: Path) -> None:
    given: list[Mapping[str, Any]] = [
        {**ERRORS, "max": 5},
        {**ERRORS, "metric": "p93_ms"},
        {**ERRORS, "window_s": 1},
        {**ERRORS, "by": "colour"},
        {**ERRORS, "of": "traces", "kind": "llm"},
        {key: value for key, value in ERRORS.items() if key != "max"},
        {**ERRORS, "name": "Many Errors"},
    ]
    path = tmp_path / "clearwatch.yaml"
    path.write_text(json.dumps({"detector": {"limits": given}}))
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    for number, reason in enumerate(("below 1", "metric", "window_s", "by", "`of` says traces", "max", "name")):
        key = f"detector.limits.{number}"
        assert any(key in line and reason in line for line in caught.value.problems), (key, caught.value.problems)
    path.write_text(json.dumps({"detector": {"limits": [{**ERRORS, "name": "tool_failure"}]}}))
    with pytest.raises(ConfigError, match="tool_failure is taken"):
        load(str(path), environ={})


def test_limits_run_where_latency_is_not_asked_for() -> None:
    limits = Limits(ERRORS, dimensions=["safety"])
    assert "baselines" not in stages(limits.config, limits.telemetry)
    limits = Limits({**ERRORS, "dimension": "safety"}, dimensions=["safety"])
    limits.processor = stages(limits.config, limits.telemetry)["baselines"].processor(0, ONE)
    assert kinds(limits.calls(range(15), failed=True)) == ["finding", "began"]


def test_the_documented_limits_are_accepted_and_listed() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("\n## Limits\n")[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    config = DetectorConfig.model_validate(yaml.safe_load(block[1])["detector"])
    listed = {check.name: check for check in catalogue(config) if check.group == "rules"}
    assert listed["shop_errors"].thresholds["error_rate"] == "> 0.05"
    assert listed["cost_per_hour"].needs == ("cost",)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (("service", "operation"), PartedBy.OPERATION),
        ("operation", PartedBy.OPERATION),
        ("service", PartedBy.SERVICE),
        (("service", "model"), PartedBy.SERVICE),
        ("model", PartedBy.ROUTING_KEY),
        ((), PartedBy.ROUTING_KEY),
    ],
)
def test_all_that_a_window_is_of_stands_in_one_partition(by: Any, expected: PartedBy) -> None:
    config = DetectorConfig.model_validate({"limits": [{**ERRORS, "of": "calls", "by": by}]})
    assert parted_by(config.limits) is expected
    sent = [
        encoded({"n": n}, name=f"operation {n}", resource={"service.name": f"s{n % 3}", "mlflow.experiment.id": "7"})
        for n in range(60)
    ]
    partitions = dict.fromkeys((topics.SPANS, topics.TRACES, topics.FINDINGS, topics.MEASUREMENTS), 16)
    processor = stages(config, Telemetry())["assemble"].processor(0, partitions)
    places: dict[str, set[int]] = {}
    for number, value in enumerate(sent):
        # each its own trace
        value = value.replace(b"t" * 16, f"{number:016}".encode())
        taken = StoredRecord(topic=topics.SPANS, partition=0, offset=number, log_time_ms=1_000, value=value)
        processor.process([taken])
    for record in processor.tick(60.0).produce:
        if record.topic == topics.MEASUREMENTS:
            for m in msgspec.msgpack.decode(record.value, type=MeasurementBatch).measurements:
                if m.is_trace:
                    places.setdefault(m.service, set()).add(record.partition)
    assert all((len(found) == 1) is (expected is not PartedBy.OPERATION) for found in places.values())
    assert (len(set.union(*places.values())) == 1) is (expected is PartedBy.ROUTING_KEY)


def test_each_excess_is_an_episode_of_one_issue_that_recovers() -> None:
    limits = Limits(ERRORS)
    said = [
        *limits.calls(range(20), failed=True),
        *limits.calls(range(20, 200)),
        *limits.calls(range(200, 220), failed=True),
        *limits.calls(range(220, 400)),
    ]
    issues = Issues()
    events = issues.take(*said, at_s=START_S + 400)
    assert [event.kind for event in events if event.kind in ("opened", "recovered")] == [
        "opened",
        "recovered",
        "recovered",
    ]
    (issue,) = issues.processor.issues
    assert (issue.check, issue.episodes, issue.trace_count) == ("many_errors", 2, 2)
    description = events[-1].issue.description
    assert re.search(r"Recovered at .*; from .*: error rate of shop 35.7 % at its worst, now 0 %", description), (
        description
    )
    assert "It is episode 2." in description


def test_the_trace_that_is_shown_has_a_part_in_the_excess() -> None:
    limits = Limits(ERRORS)
    limits.calls(range(8), failed=True)
    # the tenth call makes it enough calls to speak of, and did not fail
    assert limits.calls(range(8, 12)) == []
    finding, _ = limits.calls([12], failed=True)
    assert isinstance(finding, Finding)
    assert finding.trace_id == f"{12:032x}"


def test_among_all_calls_of_a_service_one_failure_is_counted_once() -> None:
    errors = {"name": "faults", "metric": "errors", "max": 2, "of": "calls"}
    failing = [
        {"is_trace": False, "failed": True, "is_fault": is_fault, "operation": operation}
        for operation, is_fault in (("agent", False), ("chain", False), ("search", True))
    ]
    of_service, of_operation = Limits(errors), Limits({**errors, "by": "operation"})
    for number in range(3):
        rows = [measured(number, number, **facts) for facts in failing]
        found = [each for each in of_service.take(*rows, at_s=number) if isinstance(each, Finding)]
        assert len(found) == (number == 2)
        # each operation by itself did fail three times
        assert kinds(of_operation.take(*rows, at_s=number)).count("finding") == (3 if number == 2 else 0)
    assert found[0].span_ids
