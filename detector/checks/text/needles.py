"""The needles: every pattern that a check of text looks for, compiled into one automaton (Vectorscan).

One pass over a text tells which needles are in it; nearly all texts hold none, and only those that do are looked at
with finer means. Expressions are a subset that Vectorscan and Python's `re` both read: no look-around, no
back-references, no characters above U+007F in a class.

In a phrase an apostrophe stands for any apostrophe or none. Prompts are scanned as they were sent, and JSON may have
escaped what is not ASCII: phrases looked for in prompts find either form, and a blank in them any white space. Line
ends that JSON escaped are line ends again (`encoded`), so that words begin where they do. Capital letters of ASCII do
not matter, except in shapes that say so.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from detector.checks.text import phrases
from detector.checks.text.automaton import Automaton, Expression

REFUSAL: Final = 1
PERSONAL: Final = 2
CONTACT: Final = 4
SECRET: Final = 8
INJECTION: Final = 16

_APOSTROPHE: Final = "(?:'|’)?"
_APOSTROPHE_OF_JSON: Final = r"(?:'|’|\\u2019)?"
_BLANK_OF_JSON: Final = r"(?:[\s\\]+)"


class Needle(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look for. `family` is one of the bits above."""

    family: int
    label: str
    """What a person calls it; it may stand in titles and fingerprints."""
    expression: str
    is_cased: bool = False
    is_weak: bool = False
    """Seen by itself it proves nothing."""


def _shapes(family: int, shapes: dict[str, str], *, is_cased: bool = True) -> tuple[Needle, ...]:
    return tuple(
        Needle(family=family, label=label, expression=shape, is_cased=is_cased) for label, shape in shapes.items()
    )


def _phrases(
    family: int, table: Mapping[str, Sequence[str]], *, is_of_json: bool = True, is_weak: bool = False
) -> tuple[Needle, ...]:
    return tuple(
        Needle(family=family, label=label, expression=expression, is_weak=is_weak)
        for label, found in table.items()
        for phrase in found
        for expression in worded(phrase, is_of_json=is_of_json)
    )


def worded(phrase: str, *, is_of_json: bool) -> tuple[str, ...]:
    """Return the expressions of a phrase, for each form in which it is sent one."""
    if not is_of_json:
        return (phrase.replace("'", _APOSTROPHE),)
    phrase = phrase.replace(" ", _BLANK_OF_JSON)
    escaped = "".join(c if c.isascii() else "".join(f"\\\\u{unit:04x}" for unit in _units(c)) for c in phrase)
    plain = phrase.replace("'", _APOSTROPHE_OF_JSON)
    return (plain,) if escaped == phrase else (plain, escaped.replace("'", _APOSTROPHE_OF_JSON))


def _units(c: str) -> memoryview:
    return memoryview(c.encode("utf-16-le")).cast("H")


NEEDLES: Final = (
    *_phrases(REFUSAL, phrases.REFUSALS, is_of_json=False),
    *_phrases(INJECTION, phrases.OVERRIDES),
    *_phrases(INJECTION, phrases.HINTS, is_weak=True),
    *_shapes(INJECTION, phrases.MARKUP, is_cased=False),
    *_shapes(SECRET, phrases.SECRETS),
    *_shapes(SECRET, phrases.LABELLED_SECRETS, is_cased=False),
    *_shapes(PERSONAL, phrases.PERSONAL),
    *_phrases(PERSONAL, phrases.ID_LABELS),
    *_shapes(CONTACT, phrases.CONTACTS),
)


@functools.cache
def _automaton() -> Automaton:
    return Automaton([Expression(needle.expression, needle.is_cased) for needle in NEEDLES])


def prepare() -> None:
    """Compile the needles, so that the first trace does not have to wait for it (a tenth of a second)."""
    _automaton()


def sightings(data: bytes) -> list[tuple[int, int]]:
    """Return (index into `NEEDLES`, the byte behind its first sighting) for each needle in a text, in UTF-8."""
    return _automaton().sightings(data)


def encoded(text: str) -> bytes:
    """Return a text as it is scanned; lone surrogates, which JSON may hold, stand for themselves."""
    return unescaped(text).encode("utf-8", "surrogatepass")


def unescaped(text: str) -> str:
    """Return a text with the line ends that JSON escaped, each in the room that its escape took."""
    return text.replace("\\n", " \n") if "\\" in text else text
