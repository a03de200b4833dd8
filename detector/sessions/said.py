"""What somebody said in a session, and what the lexicon reads out of it, each worked out once."""

import functools
from collections.abc import Sequence
from typing import Final

from detector.language import lexicon
from detector.language.words import Words, plain

# where a speaker says what the rest is about: an apology, a yes, a failure
_OPENING_CHARACTERS: Final = 300
# figures beyond it are those of tables
_READ_CHARACTERS: Final = 1_500


class Said(Words):
    """A text with its readings."""

    @functools.cached_property
    def is_frustrated(self) -> bool:
        """Return whether it shows a discontented user, outside of what is quoted."""
        return bool(lexicon.frustrated(self.own))

    @functools.cached_property
    def wants_human(self) -> bool:
        """Return whether it asks for a person instead of the assistant, outside of what is quoted."""
        return bool(lexicon.wants_human(self.own))

    @functools.cached_property
    def speaks_of_human(self) -> bool:
        """Return whether it speaks of a person who could take over."""
        return lexicon.speaks_of_human(self.plain)

    @functools.cached_property
    def is_question(self) -> bool:
        """Return whether it asks something, outside of what is quoted."""
        return lexicon.is_question(self.own)

    @functools.cached_property
    def asks_back(self) -> bool:
        """Return whether it asks the user something."""
        return "?" in self.plain and lexicon.asks_back(self.plain)

    @functools.cached_property
    def says_no_answer(self) -> bool:
        """Return whether it says that there is no answer, or that something failed, outside of what is quoted."""
        return lexicon.says_no_answer(self.own)

    @functools.cached_property
    def takes_back(self) -> bool:
        """Return whether it begins by taking back what its speaker said before."""
        return bool(lexicon.takes_back(self.plain[:_OPENING_CHARACTERS].replace(",", "")))

    @functools.cached_property
    def corrected(self) -> Sequence[tuple[Words, frozenset[str]]]:
        """Return the sentences that give figures for what is "actually" so, with these figures."""
        if not lexicon.says_actually(self.plain):
            return ()
        found = lexicon.sentences_with_figures(self.text[:_READ_CHARACTERS])
        return [(Words(piece), figures) for piece, figures in found if lexicon.says_actually(plain(piece))]

    @functools.cached_property
    def figures(self) -> Sequence[tuple[Words, frozenset[str]]]:
        """Return the sentences that hold figures, with these figures."""
        found = lexicon.sentences_with_figures(self.text[:_READ_CHARACTERS])
        return [(Words(piece), figures) for piece, figures in found]

    @functools.cached_property
    def polarity(self) -> int:
        """Return 1 where it begins with a yes, -1 with a no, else 0."""
        return lexicon.polarity(self.plain)

    @functools.cached_property
    def is_thanks(self) -> bool:
        """Return whether the user says thanks or goodbye."""
        return lexicon.is_thanks(self.plain)
