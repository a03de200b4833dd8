"""output_cut, content_filter, empty_output: what a model's answer looks like when it is none."""

import pytest

from core.model.finding import Dimension, Severity
from core.model.span import Content, ContentState, Details, ErrorClass, FinishReason, ToolCall, Usage
from core.model.trace import CloseReason
from detector.checks.content_filter import ContentFilter, ContentFilterConfig
from detector.checks.empty_output import EmptyOutput, EmptyOutputConfig
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.output_cut import OutputCut, OutputCutConfig
from detector.checks.port import Check, Outcome
from tests.unit.checks_kit import Story, failed, present

CUT: Check = OutputCut(OutputCutConfig())
FILTER: Check = ContentFilter(ContentFilterConfig())
EMPTY: Check = EmptyOutput(EmptyOutputConfig())
ALL = (CUT, FILTER, EMPTY)


def outcome(check: Check, story: Story, **facts: object) -> Outcome:
    return check.inspect(story.trace(**facts)).outcome


def test_an_answer_cut_by_length_is_found() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.LENGTH, output=present("and then"), usage=Usage(output_tokens=256))
    (finding,) = CUT.inspect(story.trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini is cut off by the token limit"
    assert finding.severity is Severity.MEDIUM
    assert "256" in finding.rationale


def test_a_cut_needs_no_content() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.LENGTH)
    assert outcome(CUT, story) is Outcome.FOUND


def test_reasoning_that_ate_the_whole_answer_is_high_and_reported_once() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.LENGTH, output=present(" "), usage=Usage(output_tokens=4096))
    (finding,) = CUT.inspect(story.trace()).findings
    assert finding.severity is Severity.HIGH
    assert outcome(EMPTY, story) is Outcome.CLEAR


def test_a_classifier_that_asks_for_one_token_is_no_cut() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.LENGTH, output=present("yes"), usage=Usage(output_tokens=1))
    assert outcome(CUT, story) is Outcome.CLEAR


@pytest.mark.parametrize(("check", "reason"), [(CUT, FinishReason.LENGTH), (FILTER, FinishReason.CONTENT_FILTER)])
def test_a_wrapper_repeats_its_call_and_is_not_counted(check: Check, reason: FinishReason) -> None:
    story = Story()
    wrapper = story.llm(finish_reason=reason)
    call = story.llm(wrapper.span_id, finish_reason=reason)
    (finding,) = check.inspect(story.trace()).findings
    assert finding.span_ids == (call.span_id,)


def test_a_filtered_answer_is_a_matter_of_safety() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.CONTENT_FILTER, output=present(""))
    (finding,) = FILTER.inspect(story.trace()).findings
    assert finding.category is Dimension.SAFETY
    assert finding.publish_at_once
    assert outcome(EMPTY, story) is Outcome.CLEAR


def test_a_filtered_prompt_is_found_at_the_deepest_span() -> None:
    error = failed("blocked by policy", error_type="BadRequestError", error_class=ErrorClass.CONTENT_FILTER)
    story = Story()
    root = story.root(error=error)
    call = story.llm(root.span_id, error=error)
    (finding,) = FILTER.inspect(story.trace()).findings
    assert finding.span_ids == (call.span_id,)
    assert "blocked by policy" in finding.rationale


def test_a_blank_last_answer_is_found() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, output=present("thinking"))
    last = story.llm(root.span_id, output=present(" \n"), finish_reason=FinishReason.STOP)
    (finding,) = EMPTY.inspect(story.trace()).findings
    assert finding.span_ids == (last.span_id,)
    assert finding.severity is Severity.MEDIUM


def test_a_blank_answer_that_is_the_whole_trace_is_high() -> None:
    story = Story()
    story.llm(output=present(""))
    (finding,) = EMPTY.inspect(story.trace()).findings
    assert finding.severity is Severity.HIGH


@pytest.mark.parametrize(
    "output",
    [
        present("an answer"),
        present("", ToolCall(name="search")),
        present("", refusal="I cannot help with that."),
    ],
)
def test_an_answer_a_call_or_a_refusal_is_not_empty(output: Content) -> None:
    story = Story()
    story.llm(output=output)
    assert outcome(EMPTY, story) is Outcome.CLEAR


def test_a_blank_answer_in_the_middle_is_none() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, output=present(""))
    story.llm(root.span_id, output=present("done"))
    assert outcome(EMPTY, story) is Outcome.CLEAR


@pytest.mark.parametrize("state", [s for s in ContentState if s is not ContentState.PRESENT])
def test_an_output_that_was_not_sent_is_unknown_never_empty(state: ContentState) -> None:
    story = Story()
    story.llm(output=Content(state=state))
    assert outcome(EMPTY, story) is Outcome.UNKNOWN


def test_a_trace_that_is_not_whole_says_nothing_of_absence() -> None:
    story = Story()
    story.llm(output=present(""))
    assert outcome(EMPTY, story, is_final=False, close_reason=CloseReason.PROVISIONAL) is Outcome.UNKNOWN
    assert outcome(EMPTY, story, is_fragment=True) is Outcome.UNKNOWN


def test_a_failed_call_is_left_to_the_check_of_failures() -> None:
    story = Story()
    story.llm(output=present(""), error=failed(), finish_reason=FinishReason.LENGTH)
    assert [outcome(check, story) for check in ALL] == [Outcome.CLEAR] * 3


def test_a_trace_without_models_is_clear() -> None:
    story = Story()
    story.root()
    assert [outcome(check, story) for check in ALL] == [Outcome.CLEAR] * 3


def test_an_answer_is_cut_where_the_chain_that_called_the_model_says_so() -> None:
    story = Story()
    chain = story.add(finish_reason=FinishReason.LENGTH)
    story.llm(chain.span_id, output=present("and then"))
    assert outcome(CUT, story) is Outcome.FOUND


def test_a_call_below_that_says_nothing_of_its_end_makes_no_wrapper() -> None:
    story = Story()
    outer = story.llm(finish_reason=FinishReason.LENGTH, output=present("and then"))
    story.llm(outer.span_id)
    assert outcome(CUT, story) is Outcome.FOUND


@pytest.mark.parametrize(
    ("check", "reason"), [(CUT, FinishReason.LENGTH), (FILTER, FinishReason.CONTENT_FILTER)], ids=["cut", "filtered"]
)
def test_a_call_that_failed_of_how_its_answer_ended_is_told_of_by_that(check: Check, reason: FinishReason) -> None:
    """OpenAI agents in JavaScript: "ended with unsuccessful terminal state"."""
    story = Story()
    error = failed('ended with unsuccessful terminal state "response.incomplete"', error_type="")
    call = story.llm(story.root(error=error).span_id, error=error, finish_reason=reason)
    (finding,) = check.inspect(story.trace()).findings
    assert finding.span_ids[0] == call.span_id
    assert FailedSpan(FailedSpanConfig()).inspect(story.trace()).outcome is Outcome.CLEAR


ASKED = present('[{"role": "user", "content": "Tell me about the flight"}]')


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # OpenTelemetry's and OpenLLMetry's instrumentations write no output where it is empty
        ({}, Outcome.FOUND),
        ({"usage": Usage(40, 0), "finish_reason": FinishReason.UNKNOWN}, Outcome.FOUND),
        ({"usage": Usage(40, 17)}, Outcome.UNKNOWN),
        ({"usage": None}, Outcome.UNKNOWN),
        ({"input": Content()}, Outcome.UNKNOWN),
        ({"details": Details(max_tokens=1)}, Outcome.UNKNOWN),
        ({"dropped_attributes": 3}, Outcome.UNKNOWN),
        ({"finish_reason": FinishReason.TOOL_CALLS}, Outcome.CLEAR),
        ({"output": Content(state=ContentState.REDACTED)}, Outcome.UNKNOWN),
    ],
)
def test_an_answer_left_out_beside_a_sent_question_is_empty_where_it_has_no_token(
    facts: dict[str, object], expected: Outcome
) -> None:
    story = Story()
    given = {"input": ASKED, "usage": Usage(40, 1), "finish_reason": FinishReason.STOP, **facts}
    story.llm(story.root().span_id, **given)
    assert EMPTY.inspect(story.trace()).outcome is expected


def test_a_limit_that_left_no_token_is_an_empty_answer_and_no_cut() -> None:
    # OpenLLMetry's spans of OpenAI agents call a filtered response "incomplete", as they call a cut one
    story = Story()
    story.llm(story.root().span_id, finish_reason=FinishReason.LENGTH, output=present(""), usage=Usage(40, 0))
    assert CUT.inspect(story.trace()).outcome is Outcome.CLEAR
    assert EMPTY.inspect(story.trace()).outcome is Outcome.FOUND


def test_a_finish_reason_of_error_beside_usage_is_an_empty_answer() -> None:
    # OpenLLMetry's word for Gemini's malformed call
    story = Story()
    story.llm(story.root().span_id, finish_reason=FinishReason.ERROR, output=present(""), usage=Usage(40, 17))
    assert EMPTY.inspect(story.trace()).outcome is Outcome.FOUND


def test_an_agent_that_says_nothing_is_found_where_no_call_is_sent() -> None:
    story = Story()
    story.root(output=present(""), finish_reason=FinishReason.STOP)
    assert EMPTY.inspect(story.trace()).outcome is Outcome.FOUND
    assert outcome(EMPTY, Story()) is not Outcome.FOUND


def test_a_blank_answer_is_none_where_tools_follow_or_the_agent_answers() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, output=present(""))
    assert outcome(EMPTY, story) is Outcome.FOUND
    story.tool("book", root.span_id)
    assert outcome(EMPTY, story) is Outcome.CLEAR
    for said, expected in (("Booked.", Outcome.CLEAR), ('""', Outcome.FOUND), ('{"messages": []}', Outcome.FOUND)):
        story = Story()
        story.llm(story.root(output=present(said)).span_id, output=present(""))
        assert outcome(EMPTY, story) is expected


def test_a_step_that_returned_nothing_answers_nothing() -> None:
    story = Story()
    step = story.root(output=present("null"))
    story.llm(step.span_id, output=present(""))
    assert outcome(EMPTY, story) is Outcome.FOUND
