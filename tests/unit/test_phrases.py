"""Phrases are found where their pattern finds them, whatever the words are that they are looked for by."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dialects import errors
from core.dialects.phrases import Phrases, folded

_OF_ERRORS = {name: value for name, value in vars(errors).items() if isinstance(value, Phrases)}
_PIECES = sorted({piece for known in _OF_ERRORS.values() for piece in re.split(r"[^\w ]+", known.pattern.pattern)})


@pytest.mark.parametrize("name", _OF_ERRORS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_phrase_of_an_error_is_found(name: str, data: st.DataObject) -> None:
    phrases = _OF_ERRORS[name]
    text = data.draw(st.from_regex(phrases.pattern))
    assert phrases.are_in(text, folded(text))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES) | st.sampled_from("_ -\n5ıİſK") | st.text(max_size=3), max_size=6))
def test_nothing_else_is_found(pieces: list[str]) -> None:
    text = "".join(pieces)
    for phrases in _OF_ERRORS.values():
        assert phrases.are_in(text, folded(text)) == (phrases.pattern.search(text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "is_in"),
    [
        (r"a(?:b|c)+d|x{0,2}yz?", "Y", True),
        (r"a(?:b|c)+d|x{0,2}yz?", "ad", False),
        (r"[]|]+ok|no", "|ok", True),
        (r"(?:out)? of (?:the )?way\(s\)", " Of The Way(S)", True),
        (r"\d\d|(?:x|y)", "x", True),
        (r"K\.O", "K.o", True),
        (r"(?-i:\bUP\b)|down", "up", False),
        (r"stop(?! it)|go", "stop it", False),
        (r"tim(?:e(?:d|r)?|ing) out", "timed out", True),
    ],
)
def test_what_a_pattern_may_hold(pattern: str, text: str, is_in: bool) -> None:
    assert Phrases(pattern).are_in(text, folded(text)) is is_in
