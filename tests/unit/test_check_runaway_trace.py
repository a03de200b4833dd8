"""runaway_trace: limits of calls, depth and time."""

import pytest

from core.model.finding import FindingKind, Severity
from core.model.span import SpanKind, ToolCall, Usage
from detector.checks.port import Outcome
from detector.checks.runaway_trace import RunawayTrace, RunawayTraceConfig
from tests.unit.checks_kit import Story, present

CHECK = RunawayTrace(RunawayTraceConfig(max_llm_calls=3, max_tool_calls=3, max_depth=5, max_duration_s=100))


def test_more_llm_calls_than_allowed_are_found_on_the_root() -> None:
    story = Story()
    root = story.root()
    for _ in range(4):
        story.llm(root.span_id)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.kind is FindingKind.PATTERN
    assert finding.severity is Severity.LOW
    assert finding.span_ids == (root.span_id,)
    assert finding.title == "Agent travel-agent makes too many LLM calls in one trace"
    assert finding.rationale == "The trace has 4 LLM calls where 3 are allowed."


def test_as_many_calls_as_allowed_are_none() -> None:
    story = Story()
    root = story.root()
    for n in range(3):
        story.llm(root.span_id)
        story.tool(f"tool{n}", root.span_id)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_agents_that_start_themselves_are_found_by_depth() -> None:
    story = Story()
    parent = ""
    for _ in range(6):
        parent = story.add(SpanKind.AGENT, parent=parent).span_id
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.llm(parent)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert "a depth of 7 spans where 5 are allowed" in finding.rationale


def test_a_trace_that_takes_too_long_is_found_where_it_has_llm_calls() -> None:
    story = Story()
    story.tool("batch", duration_ms=200_000)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.llm()
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "batch takes too long in one trace"


def test_many_spans_of_other_kinds_are_none() -> None:
    story = Story()
    for _ in range(50):
        story.add(SpanKind.HTTP)
    story.llm()
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(Story().trace()).outcome is Outcome.CLEAR


STEPS = RunawayTrace(RunawayTraceConfig(max_steps=3))


@pytest.mark.parametrize("shows_tools", [True, False])
def test_an_agent_that_goes_on_and_on_is_found_and_a_batch_is_not(shows_tools: bool) -> None:
    for growth, outcome in ((500, Outcome.FOUND), (0, Outcome.CLEAR)):
        story = Story()
        root = story.root()
        for n in range(4):
            usage = Usage(input_tokens=1_000 + n * growth, output_tokens=50)
            called = present("", ToolCall(name="search", call_id=f"c{n}"))
            story.llm(root.span_id, usage=usage, output=called)
            if shows_tools:
                story.tool("search", root.span_id)
        assert STEPS.inspect(story.trace()).outcome is outcome
        story.llm(root.span_id)
        assert STEPS.inspect(story.trace()).outcome is outcome


def test_an_agent_that_answers_without_tools_takes_no_steps() -> None:
    story = Story()
    root = story.root()
    for n in range(9):
        story.llm(root.span_id, usage=Usage(input_tokens=1_000 * (n + 1), output_tokens=50), output=present("word"))
    assert STEPS.inspect(story.trace()).outcome is Outcome.CLEAR
