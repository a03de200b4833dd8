"""timeline_gap: time that no span explains."""

import pytest

from core.model.finding import Dimension, Severity
from core.model.span import SpanKind, ToolCall
from detector.checks.port import Outcome
from detector.checks.timeline_gap import TimelineGap, TimelineGapConfig
from tests.unit.checks_kit import START_NS, Story, failed, present

CHECK = TimelineGap(TimelineGapConfig())


def run(gap_s: float, *, total_s: float = 30, kind: SpanKind = SpanKind.TOOL, **facts: object) -> Story:
    """An agent with three steps of 100 ms, a gap before the last one."""
    story = Story()
    root = story.root(duration_ms=total_s * 1e3)
    story.llm(root.span_id)
    before = story.add(kind, "step", parent=root.span_id, **facts)
    story.llm(root.span_id, start_ns=before.end_ns + int(gap_s * 1e9))
    return story


def test_a_long_gap_between_two_steps_is_found_on_the_span_that_has_them() -> None:
    story = run(20)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.category is Dimension.LATENCY
    assert finding.span_ids == tuple(story.spans[n].span_id for n in (0, 2, 3))
    assert "20.0 s of 30.0 s" in finding.rationale


def test_a_short_gap_and_a_small_share_are_none() -> None:
    assert CHECK.inspect(run(4).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(run(20, total_s=100).trace()).outcome is Outcome.CLEAR


def test_waiting_after_a_failure_is_none() -> None:
    assert CHECK.inspect(run(20, error=failed()).trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize("kind", [SpanKind.HTTP, SpanKind.DB, SpanKind.RPC])
def test_steps_of_other_kinds_show_that_only_a_part_is_instrumented(kind: SpanKind) -> None:
    assert CHECK.inspect(run(20, kind=kind).trace()).outcome is Outcome.CLEAR


def test_a_step_that_still_runs_fills_the_gap() -> None:
    story = run(20)
    story.tool("slow", story.spans[0].span_id, start_ns=START_NS + 1, duration_ms=25_000)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_span_with_two_steps_is_none() -> None:
    story = Story()
    root = story.root()
    first = story.llm(root.span_id)
    story.llm(root.span_id, start_ns=first.end_ns + 20_000_000_000)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(Story().trace()).outcome is Outcome.CLEAR


def test_the_time_of_tools_that_are_not_traced_is_none() -> None:
    story = Story()
    root = story.root(duration_ms=30_000)
    for gap_s in (0, 1, 12):
        called = present("", ToolCall(name="search", call_id="c1"))
        story.llm(root.span_id, start_ns=story.spans[-1].end_ns + gap_s * 10**9 if gap_s else START_NS, output=called)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.tool("search", root.span_id)
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND
