"""pii_in_output and secrets_in_output: what a report says, what it keeps to itself, and what it is grouped by."""

import json

from core.dialects.messages import MAX_CHARS
from core.model.finding import Severity
from core.model.span import Content, ContentState
from detector.checks.pii_in_output import PiiInOutput, PiiInOutputConfig
from detector.checks.port import Outcome
from detector.checks.secrets_in_output import SecretsInOutput, SecretsInOutputConfig
from tests.unit.checks_kit import Story, present

PII = PiiInOutput(PiiInOutputConfig())
SECRETS = SecretsInOutput(SecretsInOutputConfig())
CARD, OTHER_CARD = "4539 1488 0343 6467", "5187 4623 9041 5574"
KEY, OTHER_KEY = "gh" + "p_k3JdS92mXq7LtRw0Zb5VcY8nPf4Hg6Ua1Ei2", "gh" + "p_Zb5VcY8nPf4Hg6Ua1Ei2k3JdS92mXq7LtRw0"


def told(answer: str, *, asked: str = "hi") -> Story:
    story = Story()
    prompt = [{"role": "user", "content": asked}, {"role": "tool", "content": answer}]
    story.llm(input=present(json.dumps(prompt)), output=present(answer))
    return story


def test_different_data_of_one_kind_is_one_issue() -> None:
    for check, one, other in ((PII, CARD, OTHER_CARD), (SECRETS, KEY, OTHER_KEY)):
        first, second = (check.inspect(told(f"It is {value}.").trace()).findings[0] for value in (one, other))
        assert first.fingerprint == second.fingerprint
        assert first.rationale != second.rationale


def test_the_gravest_kind_names_the_issue_and_all_are_listed() -> None:
    (finding,) = PII.inspect(told(f"jana.kovarova@seznam.cz pays with {CARD}").trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini gives out personal data: payment card number"
    assert "payment card number 45…67 (16), e-mail address ja…va (13)@…" in finding.rationale
    assert finding.severity is Severity.MEDIUM
    assert finding.publish_at_once


def test_what_a_tool_brought_was_not_said_by_the_user() -> None:
    assert PII.inspect(told(f"It is {CARD}.").trace()).outcome is Outcome.FOUND


def test_what_the_user_said_is_not_known_where_the_prompt_was_not_sent_or_is_not_read() -> None:
    long = present(json.dumps([{"role": "user", "content": f"My card is {CARD}. {'x ' * (MAX_CHARS // 2)}"}]))
    for given in (Content(), Content(state=ContentState.REDACTED), Content(state=ContentState.TRUNCATED), long):
        story = Story()
        story.llm(input=given, output=present(f"I charged {CARD}."))
        assert PII.inspect(story.trace()).outcome is Outcome.SUSPICIOUS


def test_a_password_is_suspicious_and_a_token_found_where_the_prompt_is_not_known() -> None:
    password = "The password: Kj8#mQ2!vX9z"
    assert SECRETS.inspect(told(password).trace()).outcome is Outcome.FOUND
    for answer, outcome in ((password, Outcome.SUSPICIOUS), (f"It is {KEY}.", Outcome.FOUND)):
        story = Story()
        story.llm(output=present(answer))
        assert SECRETS.inspect(story.trace()).outcome is outcome


def test_of_a_long_list_that_the_user_gave_none_is_a_disclosure() -> None:
    given = ", ".join(f"jan.novak{number}@seznam.cz" for number in range(200))
    answer = "I wrote to jan.novak198@seznam.cz and jan.novak199@seznam.cz."
    assert PII.inspect(told(answer, asked=f"Write to {given}").trace()).outcome is Outcome.CLEAR


def test_the_same_number_written_otherwise_was_said() -> None:
    asked = f"My card is {CARD.replace(' ', '-')}"
    assert PII.inspect(told(f"I charged {CARD}.", asked=asked).trace()).outcome is Outcome.CLEAR


def test_contacts_may_be_the_purpose_of_an_application() -> None:
    story = told("Write to jana.kovarova@seznam.cz")
    assert PiiInOutput(PiiInOutputConfig(contacts=False)).inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_secret_is_shown_by_its_ends_alone() -> None:
    (finding,) = SECRETS.inspect(told(f"Use {KEY} or {OTHER_KEY}.").trace()).findings
    assert "GitHub token gh…i2 (40), GitHub token gh…w0 (40)" in finding.rationale


def test_wrappers_are_not_counted() -> None:
    story = Story()
    wrapper = story.llm(input=present("hi"), output=present(f"Use {KEY}, pay with {CARD}"))
    call = story.llm(wrapper.span_id, input=present("hi"), output=present(f"Use {KEY}, pay with {CARD} "))
    for check in (PII, SECRETS):
        (finding,) = check.inspect(story.trace()).findings
        assert finding.span_ids == (call.span_id,)


def test_one_address_that_a_tool_brought_is_as_a_rule_the_users_own() -> None:
    own, others = "jana.kovarova@seznam.cz", "p.novak@seznam.cz"
    story = Story()
    story.tool("get_user", output=present(f'{{"email": "{own}", "boss": "{others}"}}'))
    story.llm(input=present("where is my invoice?"), output=present(f"I sent it to {own}."))
    assert PII.inspect(story.trace()).outcome is Outcome.SUSPICIOUS
    story.llm(input=present("to whom?"), output=present(f"To {own} and {others}."))
    assert PII.inspect(story.trace()).outcome is Outcome.FOUND
    assert PII.inspect(told(f"It is {own}.").trace()).outcome is Outcome.SUSPICIOUS
