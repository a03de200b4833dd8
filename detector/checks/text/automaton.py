"""Many expressions looked for in one pass over a text (Vectorscan): which kinds of them are in it."""

import threading
from typing import Final

import hyperscan

_FLAGS: Final = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_PREFILTER


class Automaton:
    """Expressions with their kinds (any numbers), capital letters of ASCII alike.

    What of an expression Vectorscan cannot tell (look-around) it takes as given: it finds too much, never too little.
    Compiled when it is made; safe to use in many threads.
    """

    def __init__(self, *expressions: tuple[int, str]) -> None:
        self._kinds = [kind for kind, _ in expressions]
        self._database = hyperscan.Database()
        self._database.compile(
            expressions=[expression.encode() for _, expression in expressions],
            ids=list(range(len(expressions))),
            flags=[_FLAGS] * len(expressions),
        )
        self._working = threading.local()

    def kinds_in(self, text: str) -> set[int]:
        """Return the kinds of the expressions that a text holds; lone surrogates in it match nothing."""
        # working memory, which no two threads may share
        scratch = getattr(self._working, "scratch", None)
        if scratch is None:
            scratch = self._working.scratch = hyperscan.Scratch(self._database)
        found: set[int] = set()
        kinds = self._kinds

        def note(number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.add(kinds[number])

        self._database.scan(text.encode("utf-8", "surrogatepass"), note, scratch=scratch)
        return found
