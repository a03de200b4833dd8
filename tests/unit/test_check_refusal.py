"""refusal: beyond the corpus, what the client says of a refusal and where it counts."""

import pytest

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import FinishReason, ToolCall
from detector.checks.port import Check, Outcome
from detector.checks.refusal import Refusal, RefusalConfig
from tests.unit.checks_kit import Story, failed, present

CHECK: Check = Refusal(RefusalConfig())
WORDS = "I'm sorry, but I can't help with that."


def test_a_refusal_that_the_client_names_needs_no_words() -> None:
    story = Story()
    story.llm(input=present("hi"), output=present("", refusal="Nope."))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini refuses to answer"
    assert (finding.severity, finding.kind, finding.category) == (Severity.LOW, FindingKind.PATTERN, Dimension.SAFETY)
    assert not finding.publish_at_once


def test_refusals_of_one_model_are_one_pattern() -> None:
    story = Story()
    for n in range(3):
        story.llm(input=present("hi"), output=present(f"{WORDS} {n}"))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert len(finding.span_ids) == 3


@pytest.mark.parametrize("facts", [{"finish_reason": FinishReason.CONTENT_FILTER}, {"error": failed()}])
def test_what_other_checks_report_is_no_refusal(facts: dict[str, object]) -> None:
    story = Story()
    story.llm(input=present("hi"), output=present(WORDS), **facts)  # type: ignore[arg-type]
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_an_agent_that_goes_on_has_not_refused() -> None:
    story = Story()
    story.llm(input=present("hi"), output=present(WORDS, ToolCall(name="hand_over")))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_wrapper_repeats_its_call_and_is_not_counted() -> None:
    story = Story()
    wrapper = story.llm(input=present("hi"), output=present(WORDS))
    call = story.llm(wrapper.span_id, input=present("hi"), output=present(f"{WORDS} "))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (call.span_id,)


def test_words_further_down_are_about_something_else() -> None:
    story = Story()
    story.llm(input=present("hi"), output=present(f"{'The hotel has a pool. ' * 30} An agent may say: {WORDS}"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    "text",
    [
        'Models say things such as "I can\'t help with that".',
        "This is how a model refuses to answer: I can't help with that.",
        '"I refuse to sell it for less!" the shopkeeper shouts.',
        "A refund is against our policy for used tickets.",
    ],
)
def test_quotations_and_the_policy_of_a_shop_are_no_refusal(text: str) -> None:
    story = Story()
    story.llm(output=present(text))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
