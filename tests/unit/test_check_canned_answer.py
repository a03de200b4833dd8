"""canned_answer: the same words to different questions of one conversation."""

import json

import pytest

from core.model.finding import Severity
from core.model.span import Content, ContentState, ToolCall
from detector.checks.canned_answer import CannedAnswer, CannedAnswerConfig
from detector.checks.port import Check, Outcome
from tests.unit.checks_kit import Story, present

CHECK: Check = CannedAnswer(CannedAnswerConfig())
CANNED = "Thank you for your message. Our team is happy to help you with everything around your trip."


def conversation(*turns: tuple[str, str], together: bool = True) -> Story:
    """Return a trace with a call for each (question, answer); each is told what was said before."""
    story = Story()
    said: list[dict[str, str]] = []
    for question, answer in turns:
        said.append({"role": "user", "content": question})
        story.llm(input=present(json.dumps(said if together else said[-1:])), output=present(answer))
        said.append({"role": "assistant", "content": answer})
    return story


def outcome(story: Story) -> Outcome:
    return CHECK.inspect(story.trace()).outcome


def test_one_answer_to_different_questions_is_canned() -> None:
    story = conversation(("Where is my bag?", CANNED), ("And my refund?", CANNED), ("Hello?", CANNED))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.span_ids[0] == story.spans[-1].span_id
    assert "3 different messages" in finding.rationale


def test_the_same_question_may_have_the_same_answer() -> None:
    assert outcome(conversation(("Where is my bag?", CANNED), ("Where is my bag?", CANNED))) is Outcome.CLEAR


def test_calls_side_by_side_that_find_the_same_are_no_conversation() -> None:
    turns = [(f"Is it in document {n}?", "There is nothing relevant about this in the document.") for n in range(5)]
    assert outcome(conversation(*turns, together=False)) is Outcome.CLEAR


@pytest.mark.parametrize(
    "answer", ["Yes.", '{"label": "the-same-label-for-both-of-the-questions"}', "```\n" + "x " * 40]
)
def test_short_answers_and_data_repeat_by_themselves(answer: str) -> None:
    assert outcome(conversation(("One?", answer), ("Two?", answer))) is Outcome.CLEAR


def test_what_is_said_beside_tool_calls_does_not_count() -> None:
    story = Story()
    said: list[dict[str, str]] = []
    for question in ("One?", "Two?"):
        said.append({"role": "user", "content": question})
        story.llm(input=present(json.dumps(said)), output=present(CANNED, ToolCall(name="search")))
        said.append({"role": "assistant", "content": CANNED})
    assert outcome(story) is Outcome.CLEAR


def test_a_wrapper_repeats_its_call_and_is_not_counted() -> None:
    story = conversation(("Where is my bag?", CANNED))
    wrapper = story.llm(input=present("Another?"), output=present(CANNED))
    again = {"role": "user", "content": "Where is my bag?"}
    said = [again, {"role": "assistant", "content": CANNED}, again]
    story.llm(wrapper.span_id, input=present(json.dumps(said)), output=present(CANNED))
    assert outcome(story) is Outcome.CLEAR


def test_answers_that_were_not_sent_are_unknown() -> None:
    story = conversation(("One?", CANNED))
    story.llm(input=present("Two?"), output=Content(state=ContentState.REDACTED))
    assert outcome(story) is Outcome.UNKNOWN


def test_equal_answers_to_questions_that_were_not_sent_or_not_read_are_unknown() -> None:
    for asked in (Content(), present(json.dumps([{"role": "user", "content": "x" * 2_000_000}]))):
        story = Story()
        for _ in range(2):
            story.llm(input=asked, output=present(CANNED))
        assert outcome(story) is Outcome.UNKNOWN
