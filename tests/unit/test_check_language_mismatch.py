"""language_mismatch: a question in one language, the answer in another, and what only looks like it."""

import json
from pathlib import Path

import pytest
import yaml

from core.model.finding import Dimension, Severity
from core.model.span import Content, ContentState, ToolCall
from detector.checks.language_mismatch import LanguageMismatch, LanguageMismatchConfig
from detector.checks.port import Check, Outcome
from detector.checks.text.language import are_near, language_of
from tests.unit.checks_kit import Story, present

CHECK: Check = LanguageMismatch(LanguageMismatchConfig())
SAID: dict[str, str] = yaml.safe_load(
    Path(__file__).with_name("sentences_by_language.yaml").read_text(encoding="utf-8")
)


def told(
    question: str, answer: str, *, system: str = "You are a travel assistant.", earlier: tuple[str, ...] = ()
) -> Outcome:
    messages = [{"role": "system", "content": system}]
    messages += [{"role": "user", "content": text} for text in (*earlier, question)]
    story = Story()
    story.llm(input=present(json.dumps(messages)), output=present(answer))
    return CHECK.inspect(story.trace()).outcome


@pytest.mark.parametrize(("language", "text"), SAID.items(), ids=SAID)
def test_a_sentence_shows_its_language(language: str, text: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize("asked", SAID)
def test_each_pair_of_languages_that_are_not_near_is_a_mismatch(asked: str) -> None:
    for answered, text in SAID.items():
        expected = Outcome.CLEAR if are_near(asked, answered) else Outcome.FOUND
        assert told(SAID[asked], text) is expected, (asked, answered)


def test_a_mismatch_is_low_and_named_by_its_languages() -> None:
    story = Story()
    story.llm(input=present(SAID["de"]), output=present(SAID["en"]))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini answers in another language than the user's"
    assert (finding.severity, finding.category) == (Severity.LOW, Dimension.ADHERENCE)
    assert "in de, the answer is in en" in finding.rationale


@pytest.mark.parametrize(
    "question",
    [
        f"Please translate this: {SAID['de']}",
        f"{SAID['de']} Answer in English, please.",
        f"{SAID['de']} Bitte auf Englisch.",
        f"{SAID['en']} My note says: {SAID['de']}",
        "def main(): return von_der_und(die, das, nicht, auf)",
        "Hans Müller, Karl Schmidt, Anna Weber, Otto Fischer, Emma Wagner, Paul Becker",
        "Flug?",
    ],
)
def test_asked_for_mixed_or_unclear_questions_are_no_mismatch(question: str) -> None:
    assert told(question, SAID["en"]) is Outcome.CLEAR


@pytest.mark.parametrize(
    "answer",
    [
        "```python\nfor the in of: and_to = that\n```",
        '{"answer": "the flight is on time and it is what you need"}',
        "OK",
        "LH 1172, TP 575, 09:15, 129 EUR",
    ],
)
def test_code_data_and_short_answers_are_no_mismatch(answer: str) -> None:
    assert told(SAID["de"], answer) is Outcome.CLEAR


def test_instructions_may_set_the_language() -> None:
    assert told(SAID["de"], SAID["en"], system="Always answer in English.") is Outcome.CLEAR


def test_a_user_who_wrote_in_both_languages_reads_both() -> None:
    assert told(SAID["de"], SAID["en"], earlier=(SAID["en"],)) is Outcome.CLEAR


def test_a_template_around_a_question_is_no_mismatch() -> None:
    template = f"Use the following context to answer the question at the end of it. Question: {SAID['de']}"
    assert told(template, SAID["de"]) is Outcome.CLEAR


def test_only_the_last_answer_that_is_none_of_a_tool_call_counts() -> None:
    story = Story()
    story.llm(input=present(SAID["de"]), output=present(SAID["en"]))
    story.llm(input=present(SAID["de"]), output=present(SAID["de"]))
    story.llm(input=present(SAID["de"]), output=present(SAID["en"], ToolCall(name="search")))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize("side", ["input", "output"])
def test_without_question_or_answer_it_is_unknown(side: str) -> None:
    redacted = Content(state=ContentState.REDACTED)
    story = Story()
    story.llm(
        input=redacted if side == "input" else present(SAID["de"]),
        output=redacted if side == "output" else present(SAID["en"]),
    )
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN
