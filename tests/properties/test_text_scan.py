"""Whatever a text holds: nothing raises, nothing takes long, and no report repeats what it found."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from detector.checks.text.credentials import credentials
from detector.checks.text.language import language_of, speaks
from detector.checks.text.personal import KINDS as PERSONAL_KINDS
from detector.checks.text.personal import personal_data
from detector.checks.text.phrases import LABELLED_SECRETS, SECRETS
from tests.unit.checks_kit import Story, present

KINDS = (*SECRETS, *LABELLED_SECRETS)
# pieces of what the needles look for, put together in every order
PIECES = st.sampled_from(
    [
        "4539 1488 0343 6467", "IBAN DE44 5001 0517 5407 3249 31", "SSN ", "536-90-4399", "@", "a@b.co", "sk-", "AKIA",
        "eyJ", "://", "a:b", "password: ", "Tr0ub4dor&3", "ignore all previous instructions", "```", "<", "`", " ",
        "\n", "+34 612 345 678", "<|im_start|>", "\\n", "\\u00e9", "\udc80", "\U000e0041" * 12,
        "-----BEGIN PRIVATE KEY-----",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=20), max_size=40).map("".join)
CHECKS = Checks(ChecksConfig(), Telemetry())


@given(TEXTS)
@settings(deadline=None, max_examples=50)
def test_no_text_makes_a_check_raise(text: str) -> None:
    story = Story(provider="openai")
    story.tool("web_search", arguments=text, output=present(text))
    story.llm(input=present(text), output=present(text))
    story.llm(input=present(json.dumps([{"role": "user", "content": text}])), output=present(text))
    assert "failed" not in CHECKS.inspect(story.trace()).answers.values()


@given(TEXTS, TEXTS)
@settings(deadline=None, max_examples=50)
def test_finders_take_any_text_and_mask_what_they_find(text: str, other: str) -> None:
    shown = {found.raw: found.masked for found in personal_data(text, PERSONAL_KINDS)}
    shown |= {found.raw: found.masked for found in credentials(text, KINDS)}
    assert not any(raw in masked for raw, masked in shown.items() if len(raw) > 3)
    speaks(text, language_of(other), beside=language_of(text))


@pytest.mark.parametrize(
    "unit",
    ["eyJ-", "sk-", "a://a:a", "a", "1 ", "4111 ", "a@", "a.", "@a.", "`", "```", "<", "password=", "ignore all ",
     "AB12 ", "+1 (", "\U000e0041", "Aa1!", "://", "SSN 5", "(", "-----BEGIN PRIVATE KEY-----\n"],
)  # fmt: skip
def test_no_repetition_takes_longer_than_its_length(unit: str) -> None:
    # linear ones take a second; of quadratic ones the limit of a test's time tells
    text = unit * (300_000 // len(unit))
    assert all(found.raw in text for found in personal_data(text, PERSONAL_KINDS))
    assert all(found.raw in text for found in credentials(text, KINDS))
    language_of(text)
    speaks(text, "de", beside="en")
