"""sequential_calls: what could have run side by side, and what could not."""

import json
from typing import Any

import pytest

from core.model.finding import Dimension, Severity
from core.model.span import Content, SpanKind, ToolCall
from detector.checks.port import Outcome
from detector.checks.sequential_calls import SequentialCalls, SequentialCallsConfig
from tests.unit.checks_kit import START_NS, Story, failed, present

CHECK = SequentialCalls(SequentialCallsConfig())
SUMMARY = "The first chapter tells of a journey to Lisbon"


def asked_at_once(*, duration_ms: int = 2_500, ids: tuple[str, ...] = ("c1", "c2"), **facts: Any) -> Story:
    story = Story()
    root = story.root(duration_ms=7_000)
    calls = [ToolCall(name="get_weather", call_id=i, arguments=f'{{"city": "{i}"}}') for i in ("c1", "c2")]
    story.llm(root.span_id, output=present("", *calls))
    for each in ids:
        called = ToolCall(name="get_weather", call_id=each)
        story.add(SpanKind.TOOL, parent=root.span_id, tool=called, duration_ms=duration_ms, **facts)
    return story


def test_calls_that_one_answer_asked_for_and_that_ran_in_a_row_are_found() -> None:
    story = asked_at_once()
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.category is Dimension.LATENCY
    assert finding.span_ids == tuple(span.span_id for span in story.spans[2:])
    assert "took 5.0 s one after the other; side by side they would have taken 2.5 s" in finding.rationale


def test_short_overlapping_failed_and_unknown_calls_are_none() -> None:
    assert CHECK.inspect(asked_at_once(duration_ms=1_500).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(asked_at_once(start_ns=START_NS + 10**9).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(asked_at_once(error=failed()).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(asked_at_once(ids=("x", "y")).trace()).outcome is Outcome.CLEAR


def test_calls_of_two_answers_are_none() -> None:
    story = Story()
    root = story.root(duration_ms=7_000)
    for each in ("c1", "c2"):
        call = ToolCall(name="get_weather", call_id=each)
        story.llm(root.span_id, output=present("", call))
        story.add(SpanKind.TOOL, parent=root.span_id, tool=call, duration_ms=2_500)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def siblings(inputs: list[Content], *, said: str = SUMMARY, kind: SpanKind = SpanKind.LLM) -> Outcome:
    story = Story()
    root = story.root(duration_ms=8_000)
    for given in inputs:
        story.add(kind, parent=root.span_id, input=given, output=present(said), duration_ms=2_000, model="gpt-4o")
    return CHECK.inspect(story.trace()).outcome


CHAPTERS = [present(f"summarise chapter {n}") for n in range(3)]


def test_calls_that_read_nothing_of_each_other_are_found() -> None:
    assert siblings(CHAPTERS) is Outcome.FOUND
    assert siblings(CHAPTERS, kind=SpanKind.RETRIEVER) is Outcome.FOUND
    assert siblings(CHAPTERS, kind=SpanKind.EMBEDDING, said="[0.1, 0.2]") is Outcome.FOUND


def test_a_prompt_that_holds_an_earlier_answer_depends_on_it() -> None:
    history = json.dumps([{"role": "assistant", "content": SUMMARY}, {"role": "user", "content": "go on"}])
    assert siblings([*CHAPTERS[:2], present(history)]) is Outcome.CLEAR


@pytest.mark.parametrize(
    "inputs", [CHAPTERS[:2], [*CHAPTERS[:2], Content()]], ids=["too few", "content that was not sent"]
)
def test_none(inputs: list[Content]) -> None:
    assert siblings(inputs) is Outcome.CLEAR


def test_answers_too_short_to_be_found_again_are_none() -> None:
    assert siblings(CHAPTERS, said="yes") is Outcome.CLEAR


def test_spans_without_ids_are_known_by_their_tools_names() -> None:
    story = asked_at_once(ids=("", ""))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == tuple(span.span_id for span in story.spans[2:])
    # one more of them, or an LLM call in between, and nobody knows which were asked for
    assert CHECK.inspect(asked_at_once(ids=("", "", "")).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(asked_at_once(ids=("",)).trace()).outcome is Outcome.CLEAR
