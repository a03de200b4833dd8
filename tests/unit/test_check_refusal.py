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


REFUSING = """
I'm sorry, but I'm unable to help with that request.
I can't help you with that.
Sorry, I can't do that.
I'm not able to assist with creating malware.
I cannot provide assistance with illegal activities.
I can't create content that promotes violence.
I'm unable to provide instructions on how to make explosives.
I won't write that.
I can't engage in that kind of roleplay.
I must decline this request.
I have to refuse.
I don't think I should help with that.
It would be inappropriate for me to answer that.
I'm designed to be helpful and harmless, so I can't assist with that.
As a large language model, I cannot have personal opinions.
That's not something I can help with.
This request goes against my guidelines.
I apologize, but I cannot fulfill this request.
I'm really sorry, but I can't assist with that.
I cannot in good conscience help with this.
I can't discuss that topic.
Unfortunately, I can't comply with this request.
I am programmed to be a harmless AI assistant. I am not able to fulfill this request.
As an AI developed by OpenAI, I don't have opinions on that.
I'm really sorry that you're feeling this way, but I'm unable to provide the help that you need.
This is not something I'm able to assist with.
My guidelines prevent me from answering this.
Unfortunately, I can't assist with hacking into accounts.
I can't create sexual content involving minors.
I'd rather not help with that.
I’m just an AI, I cannot provide medical diagnoses.
I can't share personal information about private individuals.
Lo siento, no puedo proporcionar esa información.
Je ne suis pas en mesure de fournir ce contenu.
No puedo ayudar con esa solicitud.
Je ne peux pas vous aider avec ça.
Ich kann dir dabei leider nicht helfen.
Das kann ich leider nicht tun.
Não posso ajudar com isso.
Non posso aiutarti con questo.
抱歉，我无法提供帮助。
すみませんが、お手伝いできません。
죄송하지만 도와드릴 수 없습니다.
"""
BUSINESS = """
I can't find that flight.
I'm unable to change flights after departure per policy.
I cannot provide a refund for basic economy tickets.
I can't cancel the order since it has been shipped.
I'm sorry, but I can't process refunds to a different card.
I am unable to assist with changes to a past flight, but I can transfer you to a human agent.
I'm afraid that item is out of stock.
I can't see your screen, so please tell me what it says.
I do not have access to real-time data.
I can't wait to help you!
I can help you with that.
Unfortunately, I can't modify the number of passengers.
I won't charge your card until you confirm.
I can't recommend this hotel enough!
I'm an AI assistant, and I can help you with your booking.
This is something I'm able to help with.
I can't share the passenger's seat number before check-in.
I'd rather not book the early flight, as it has two stops.
Our guidelines prevent changes within an hour of departure.
I can't provide violet lamps, only white ones.
"""


@pytest.mark.parametrize("text", REFUSING.strip().splitlines())
def test_models_refuse_in_many_words(text: str) -> None:
    story = Story()
    story.llm(output=present(text))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


@pytest.mark.parametrize("text", BUSINESS.strip().splitlines())
def test_what_an_agent_cannot_do_for_its_business_is_no_refusal(text: str) -> None:
    story = Story()
    story.llm(output=present(text))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
