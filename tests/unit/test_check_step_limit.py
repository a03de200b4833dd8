"""step_limit: a framework's sentence for an answer."""

import json

import pytest

from core.model.span import Content, ErrorClass, SpanKind
from core.model.trace import Trace
from detector.checks.port import Outcome
from detector.checks.step_limit import StepLimit, StepLimitConfig
from tests.unit.checks_kit import Story, failed, present
from tests.unit.dialect_spans import read_span

CHECK = StepLimit(StepLimitConfig())


def answered(text: str, **facts: object) -> Outcome:
    return CHECK.inspect(ending(text, **facts).trace()).outcome


def ending(text: str, **facts: object) -> Story:
    story = Story()
    root = story.root(output=present(text), **facts)
    story.llm(root.span_id, output=present("thinking"))
    return story


@pytest.mark.parametrize(
    "text",
    [
        "Agent stopped due to max iterations.",
        "Agent stopped due to iteration limit or time limit.",
        "Sorry, need more steps to process this request.",
        "Reached max steps.",
        "Maximum number of turns 10 reached.",
        "Max iterations of 20 was reached! Either something went wrong",
        json.dumps({"messages": [{"content": "Sorry, need more steps to process this request."}]}),
    ],
)
def test_the_sentence_of_a_framework_is_found(text: str) -> None:
    assert answered(text) is Outcome.FOUND


def test_the_deepest_span_that_says_so_is_named() -> None:
    story = ending("Agent stopped due to max iterations.")
    inner = story.add(
        SpanKind.AGENT,
        parent=story.spans[0].span_id,
        agent="planner",
        output=present("Agent stopped due to max iterations."),
    )
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (inner.span_id,)
    assert finding.title == "Agent planner is stopped by its limit of steps"


@pytest.mark.parametrize(
    "text",
    [
        "The solver reached max iterations without converging.",
        "Take these steps: stop, turn.",
        "It took 3 turns",
    ],
)
def test_text_that_speaks_of_steps_is_none(text: str) -> None:
    assert answered(text) is Outcome.CLEAR


def test_the_exception_of_the_limit_is_left_to_failed_span() -> None:
    error = failed("Recursion limit of 5 reached", error_class=ErrorClass.STEP_LIMIT)
    assert answered("Sorry, need more steps to process this request.", error=error) is Outcome.CLEAR


def test_output_that_was_not_sent_is_unknown() -> None:
    story = Story()
    story.root(output=Content())
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN
    assert CHECK.inspect(Story().trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize("reason", ["max_steps", "error_max_turns"])
def test_a_finish_reason_that_names_the_limit_is_found(reason: str) -> None:
    """smolagents by OpenTelemetry: the answer is the model's last word, and the reason says why it is the last."""
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.response.finish_reasons": [reason]}
    span = read_span(attributes)
    trace = Trace(trace_id=span.trace_id, spans=[span])
    (finding,) = StepLimit(StepLimitConfig()).inspect(trace).findings
    assert "limit of steps" in finding.title
