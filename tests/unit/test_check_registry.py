"""The registry: every check is asked, none can harm another."""

import logging
from typing import Any

import pydantic
import pytest

from core.model.finding import Dimension
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.port import Answer, Outcome
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, failed


class BrokenCheck:
    name = "broken"
    dimension = Dimension.EXECUTION

    def inspect(self, trace: Trace) -> Answer:
        raise RuntimeError("cannot read this trace")


class Careless:
    name = "careless"
    dimension = Dimension.EXECUTION

    def __init__(self, said: Any) -> None:
        self._said = said

    def inspect(self, trace: Trace) -> Answer:
        answer: Answer = self._said
        return answer


def failing_trace(faults: int = 1) -> Trace:
    story = Story()
    root = story.root()
    for _ in range(faults):
        story.llm(root.span_id, error=failed())
    return story.trace()


def test_a_check_that_raises_costs_only_its_own_answer(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    checks = Checks(ChecksConfig(), telemetry, extra=[BrokenCheck()])
    with caplog.at_level(logging.ERROR):
        inspections = [checks.inspect(failing_trace()) for _ in range(12)]
    assert all(inspection.answers["broken"] == "failed" for inspection in inspections)
    assert all(inspection.answers["failed_span"] == "found" for inspection in inspections)
    assert telemetry.total("clearwatch.check.failures", check="broken") == 12
    # said at the first and the tenth, not twelve times
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "said",
    [None, True, ["finding"], Answer(outcome="good"), Answer(outcome=Outcome.FOUND, findings=("text",))],  # type: ignore[arg-type]
)
def test_what_is_no_answer_is_a_failure_of_that_check_alone(said: Any) -> None:
    inspection = Checks(ChecksConfig(), Telemetry(), extra=[Careless(said)]).inspect(failing_trace())
    assert inspection.answers["careless"] == "failed"
    assert [each.check for each in inspection.findings] == ["failed_span"]


def test_every_enabled_check_answers_and_is_counted() -> None:
    telemetry = Telemetry()
    checks = Checks(ChecksConfig(), telemetry)
    inspection = checks.inspect(failing_trace())
    assert set(inspection.answers) == {check.name for check in DEFAULT_CHECKS} == set(checks.names)
    assert telemetry.total("clearwatch.check.answers") == len(DEFAULT_CHECKS)
    assert telemetry.total("clearwatch.findings", check="failed_span") == 1


def test_a_disabled_check_gives_no_answer() -> None:
    config = ChecksConfig.model_validate({"failed_span": {"enabled": False}})
    inspection = Checks(config, Telemetry()).inspect(failing_trace())
    assert "failed_span" not in inspection.answers
    assert not inspection.findings


def test_unknown_checks_and_keys_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="no_such_check"):
        ChecksConfig.model_validate({"no_such_check": {}})
    with pytest.raises(pydantic.ValidationError, match="threshold"):
        ChecksConfig.model_validate({"failed_span": {"threshold": 1}})


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="failed_span"):
        Checks(ChecksConfig(), Telemetry(), extra=[FailedSpan(FailedSpanConfig())])


def test_findings_beyond_the_bound_are_dropped_and_counted() -> None:
    telemetry = Telemetry()
    checks = Checks(ChecksConfig(max_findings_per_check=3), telemetry)
    findings = checks.inspect(failing_trace(faults=5)).findings
    assert [finding.check for finding in findings].count("failed_span") == 3
    assert telemetry.total("clearwatch.dropped", reason="findings_per_check") == 2
