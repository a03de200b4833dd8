"""Time budgets by component."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from clearwatch.config import ConfigError, load
from core.model.finding import Finding
from core.model.span import FinishReason, SpanKind
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.catalogue import catalogue
from detector.checks.config import ChecksConfig
from detector.checks.port import Answer
from detector.checks.registry import Checks
from detector.config import DetectorConfig
from detector.rules.budgets import OverBudget
from tests.unit.checks_kit import Story, failed, present

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


def answer(trace: Trace, *budgets: dict[str, Any]) -> Answer:
    return OverBudget(DetectorConfig.model_validate({"budgets": budgets}).budgets).inspect(trace)


def only(trace: Trace, *budgets: dict[str, Any]) -> Finding:
    (found,) = answer(trace, *budgets).findings
    return found


def retrievals(*durations_ms: float, **facts: Any) -> Trace:
    story = Story()
    root = story.root()
    for duration_ms in durations_ms:
        story.add(SpanKind.RETRIEVER, "retrieve", parent=root.span_id, duration_ms=duration_ms, **facts)
    return story.trace()


def test_one_finding_tells_of_the_slowest_call_of_a_component() -> None:
    trace = retrievals(400, 501, 900, data_source="docs")
    found = only(trace, {"component": "retriever", "max_ms": 500})
    assert found.span_ids == (trace.spans[3].span_id, trace.spans[2].span_id)
    assert found.title == "Retrieval from docs exceeds its time budget"
    assert found.rationale == ("Took 900 ms, 400 ms over the budget of 500 ms (retriever); 2 calls of this trace were.")
    assert (found.category, found.severity, found.target) == ("latency", "low", "retriever:docs")


def test_what_keeps_its_budget_or_has_none_is_clear() -> None:
    assert answer(retrievals(500), {"component": "retriever", "max_ms": 500}).outcome == "clear"
    assert answer(retrievals(9_000), {"component": "tool", "max_ms": 500}).outcome == "clear"


def test_the_budget_that_says_most_counts_whichever_is_listed_first() -> None:
    story = Story()
    story.tool("search", story.root().span_id, duration_ms=3_000)
    trace = story.trace()
    wide = {"component": "tool", "max_ms": 1_000}
    of_service = {"component": "tool", "service": "travel", "max_ms": 2_000}
    named = {"component": "tool", "name": "sea*", "max_ms": 4_000, "severity": "high"}
    assert "(tool of travel)" in only(trace, wide, of_service).rationale
    assert answer(trace, wide, of_service, named).outcome == "clear"
    assert only(trace, named | {"max_ms": 2_500}, wide).severity == "high"
    assert only(trace, wide, named | {"name": "book"}).rationale.startswith("Took 3 s, 2 s over")


def test_failed_calls_are_left_to_the_checks_of_failures() -> None:
    assert answer(retrievals(900, error=failed()), {"component": "retriever", "max_ms": 500}).outcome == "clear"


def test_a_wrapper_of_the_same_kind_is_not_told_of() -> None:
    story = Story()
    outer = story.llm(story.root().span_id, duration_ms=5_000)
    inner = story.llm(outer.span_id, start_ns=outer.start_ns, duration_ms=4_900)
    assert only(story.trace(), {"component": "llm", "max_ms": 1_000}).span_ids == (inner.span_id,)


def test_first_tokens_have_budgets_of_their_own() -> None:
    story = Story()
    story.llm(story.root().span_id, time_to_first_token_s=3.5)
    budget = {"component": "llm", "measure": "first token", "max_ms": 3_000}
    found = only(story.trace(), budget)
    assert found.title == "LLM call to gpt-4o-mini exceeds its first token time budget"
    assert answer(story.trace(), {**budget, "max_ms": 4_000}).outcome == "clear"
    story.llm(story.spans[0].span_id)
    assert answer(story.trace(), {**budget, "max_ms": 4_000}).outcome == "unknown"


def test_a_trace_is_told_of_unless_one_call_explains_it() -> None:
    budgets = ({"component": "trace", "max_ms": 30_000}, {"component": "retriever", "max_ms": 500})
    story = Story()
    root = story.root(duration_ms=35_000)
    story.add(SpanKind.RETRIEVER, "retrieve", parent=root.span_id, duration_ms=1_500)
    small, whole = answer(story.trace(), *budgets).findings
    assert (small.target, whole.title) == ("retriever", "Traces of travel-agent exceed their time budget")
    story.add(SpanKind.RETRIEVER, "retrieve", parent=root.span_id, duration_ms=20_000)
    assert [each.target for each in answer(story.trace(), *budgets).findings] == ["retriever"]
    assert answer(story.trace(is_fragment=True), budgets[0]).outcome == "clear"


def test_a_call_that_failed_late_explains_its_trace() -> None:
    story = Story()
    root = story.root(duration_ms=35_000)
    story.tool("search", root.span_id, duration_ms=20_000, error=failed("deadline exceeded"))
    assert answer(story.trace(), {"component": "trace", "max_ms": 30_000}).outcome == "clear"
    assert answer(story.trace(), {"component": "trace", "max_ms": 10_000}).outcome == "found"


def test_one_late_first_token_is_one_finding() -> None:
    budgets = DetectorConfig.model_validate(
        {"budgets": [{"component": "llm", "measure": "first token", "max_ms": 3_000}]}
    ).budgets
    story = Story()
    facts = {"output": present("fine"), "finish_reason": FinishReason.STOP}
    story.llm(story.root().span_id, time_to_first_token_s=9.0, duration_ms=12_000, **facts)
    checks = Checks(ChecksConfig(), Telemetry(), extra=[OverBudget(budgets)])
    inspection = checks.inspect(story.trace())
    assert (inspection.answers["slow_first_token"], inspection.answers["over_budget"]) == ("found", "found")
    assert [each.check for each in inspection.findings] == ["over_budget"]


def test_bad_budgets_are_refused_each_with_its_key(tmp_path: Path) -> None:
    good = {"component": "tool", "max_ms": 5}
    given = [
        {**good, "component": "robot"},
        {**good, "max_ms": 0},
        {**good, "measure": "first_token"},
        {"component": "tool"},
        {**good, "max_s": 3},
    ]
    path = tmp_path / "clearwatch.yaml"
    path.write_text(json.dumps({"detector": {"budgets": given}}))
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    for number, reason in enumerate(("component", "max_ms", "is of component llm", "max_ms", "max_s: unknown key")):
        key = f"detector.budgets.{number}"
        assert any(key in line and reason in line for line in caught.value.problems), (key, caught.value.problems)
    path.write_text(json.dumps({"detector": {"budgets": [good, {"component": "llm", "max_ms": 1}, good]}}))
    with pytest.raises(ConfigError, match="`budgets` 0 and 2 are of the same component"):
        load(str(path), environ={})


def test_the_documented_budgets_are_accepted_and_listed() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("\n## Time budgets\n")[2]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    config = DetectorConfig.model_validate(yaml.safe_load(block[1])["detector"])
    (listed,) = [check for check in catalogue(config) if check.name == "over_budget"]
    assert listed.thresholds["tool:search"] == "2000 ms"
    assert listed.thresholds["llm:gpt-4o* of shop, checkout"] == "20000 ms"
    assert "over_budget" not in {check.name for check in catalogue(DetectorConfig())}
