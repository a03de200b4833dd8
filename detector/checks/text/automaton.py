"""Many expressions looked for in one pass over a text (Vectorscan): which of them are in it."""

import threading
from collections.abc import Sequence

import hyperscan
import msgspec


class Expression(msgspec.Struct, frozen=True):
    """What to look for. Capital letters of ASCII do not matter unless it `is_cased`.

    What of an expression that `is_approximate` Vectorscan cannot tell (look-around) it takes as given: it finds too
    much, never too little.
    """

    text: str
    is_cased: bool = False
    is_approximate: bool = False

    @property
    def flags(self) -> int:
        """Return Vectorscan's flags; each expression is told once a text: how often it is there is a finer question."""
        cased = 0 if self.is_cased else hyperscan.HS_FLAG_CASELESS
        approximate = hyperscan.HS_FLAG_PREFILTER if self.is_approximate else 0
        return int(hyperscan.HS_FLAG_SINGLEMATCH | cased | approximate)


class Automaton:
    """Expressions, known by their places. Compiled when it is made; safe to use in many threads."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        database = hyperscan.Database()
        database.compile(
            expressions=[each.text.encode() for each in expressions],
            ids=list(range(len(expressions))),
            flags=[each.flags for each in expressions],
        )
        self._scan = database.scan
        self._working = _Working(database)

    def sightings(self, data: bytes) -> list[tuple[int, int]]:
        """Return (place of the expression, the byte behind its first sighting) of each that a text in UTF-8 holds."""
        found: list[tuple[int, int]] = []
        self._scan(data, _note, context=found, scratch=self._working.scratch)
        return found


class _Working(threading.local):
    """Vectorscan's working memory, which no two threads may share."""

    def __init__(self, database: hyperscan.Database) -> None:
        self.scratch = hyperscan.Scratch(database)


def _note(place: int, _start: int, end: int, _flags: int, found: object) -> None:
    found.append((place, end))  # type: ignore[attr-defined]
