"""Tokens, cost and first tokens, learned like durations, each failure told once."""

from core.model.finding import Dimension, Finding, FindingKind, Severity, Shift
from core.model.measurement import Measurement
from core.model.span import SpanKind
from core.telemetry import Telemetry
from detector.baselines.config import BaselinesConfig
from detector.baselines.stage import BaselinesProcessor
from tests.unit.test_baselines_stage import Baselines, measured


def call(number: int, duration_ms: float = 1_000.0, **fields: object) -> Measurement:
    llm: dict[str, object] = {"kind": SpanKind.LLM, "operation": "llm:gpt-4o", "model": "gpt-4o"}
    usual: dict[str, object] = {
        "input_tokens": 2_000 + number % 5,
        "output_tokens": 200,
        "cost_usd": 0.01,
        "time_to_first_token_s": 0.4,
    }
    return measured(number, duration_ms, **llm, **(usual | fields))


def trace(number: int, duration_ms: float = 2_000.0, **fields: object) -> Measurement:
    usual: dict[str, object] = {"input_tokens": 9_000, "largest_tokens": 4_000, "own_ms": 500.0}
    return measured(number, duration_ms, is_trace=True, kind=SpanKind.UNKNOWN, operation="chat", **(usual | fields))


def learned() -> Baselines:
    baselines = Baselines()
    for number in range(80):
        assert baselines.told(call(number), trace(number)) == []
    return baselines


def test_a_call_that_reads_far_more_is_one_finding_of_cost_with_its_figures() -> None:
    (found,) = learned().told(call(99, input_tokens=90_000, cost_usd=0.9))
    assert isinstance(found, Finding)
    assert (found.check, found.category, found.kind) == ("token_spike", Dimension.COST, FindingKind.FAULT)
    assert found.title == "LLM call to gpt-4o uses more tokens than usual"
    assert found.rationale == "read 90,000 tokens; p99 of the last 80 was 2,004 tokens"
    assert found.severity is Severity.LOW


def test_a_call_that_costs_more_at_the_usual_tokens_is_told_as_its_cost() -> None:
    (found,) = learned().told(call(99, cost_usd=0.9))
    assert isinstance(found, Finding)
    assert found.check == "cost_spike"
    assert found.rationale == "cost $0.9; p99 of the last 80 was $0.01"


def test_a_trace_of_many_calls_is_told_but_not_one_whose_largest_call_is_told_already() -> None:
    (found,) = learned().told(trace(99, input_tokens=400_000))
    assert isinstance(found, Finding)
    assert (found.check, found.kind) == ("token_spike", FindingKind.PATTERN)
    assert found.title == "Traces of chat use more tokens than usual"
    assert learned().told(trace(99, input_tokens=400_000, largest_tokens=395_000)) == []


def test_first_tokens_that_come_late_for_a_while_are_an_episode_and_a_single_one_is_not() -> None:
    baselines = learned()
    assert baselines.told(call(99, time_to_first_token_s=5.0)) == []
    for number in range(100, 110):
        assert baselines.told(call(number)) == []
    said = [found for number in range(200, 210) for found in baselines.told(call(number, time_to_first_token_s=1.2))]
    findings = [found for found in said if isinstance(found, Finding)]
    (began,) = [found for found in said if isinstance(found, Shift)]
    assert {found.check for found in findings} == {"late_first_token"}
    assert began.text == "llm:gpt-4o gave its first token after 1.2 s (median) instead of 400 ms"


def test_a_late_first_token_of_a_slow_call_is_the_slow_call() -> None:
    baselines = learned()
    said = [
        found
        for number in range(200, 210)
        for found in baselines.told(call(number, duration_ms=9_000.0, time_to_first_token_s=8.0))
    ]
    assert {found.check for found in said if isinstance(found, Finding)} == {"slow_span"}


def test_a_trace_is_slow_by_what_its_longest_part_does_not_explain() -> None:
    assert learned().told(trace(99, duration_ms=9_000.0)) == []
    (found,) = learned().told(trace(99, duration_ms=9_000.0, own_ms=5_000.0))
    assert isinstance(found, Finding)
    assert found.rationale == "took 9 s, 5 s of it beside its longest part; p99 of the last 80 was 500 ms"


def test_only_the_dimensions_that_are_asked_for_are_learned() -> None:
    processor = BaselinesProcessor(
        config=BaselinesConfig(),
        finding_partitions=1,
        max_keys=100,
        telemetry=Telemetry(),
        dimensions=(Dimension.EXECUTION,),
    )
    baselines = Baselines()
    baselines.processor = processor
    baselines.told(call(1))
    assert len(baselines.state) == 1
