"""Regular expressions of many alternatives, each searched for only where a text has its word.

Ignoring case, Python searches for an alternation some 0.2 ms in 2 kB of text, and a dozen of them read each new message
of a failure; to look for a word takes 0.2 µs. The words are taken from the pattern: of each alternative its longest
part that stands in every match.
"""

import re
from typing import Final

# escapes that stand for no character of their own
_CLASSES: Final = frozenset("bBdDsSwWAZ")
# what matches a plain letter where case is ignored, and is not made one by lower()
_ODD_LETTERS: Final = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s"})


def folded(text: str) -> str:
    """Return text as `Phrases.are_in` wants it beside the text itself; made once for many."""
    return text.lower() if text.isascii() else text.translate(_ODD_LETTERS).lower()


class Phrases:
    """Alternatives to be looked for."""

    def __init__(self, pattern: str, flags: re.RegexFlag = re.IGNORECASE) -> None:
        self.pattern: Final = re.compile(pattern, flags)
        """All of them, as they were given."""
        by_word: dict[str, list[str]] = {}
        for alternative in _alternatives(pattern):
            by_word.setdefault(_word(alternative), []).append(alternative)
        self._by_word = [(word, re.compile("|".join(found), flags)) for word, found in by_word.items()]

    def are_in(self, text: str, folded_text: str) -> bool:
        """Return whether one of them stands in a text; `folded_text` is `folded` of it."""
        for word, pattern in self._by_word:  # noqa: SIM110 - a generator would cost as much as the words
            if word in folded_text and pattern.search(text) is not None:
                return True
        return False


def _alternatives(pattern: str) -> list[str]:
    found = [""]
    for part in _parts(pattern):
        if part == "|":
            found.append("")
        else:
            found[-1] += part
    return found


def _parts(pattern: str) -> list[str]:
    """Return a pattern as characters, escapes, classes, repetitions and groups, each whole."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        start = at
        if pattern[at] == "\\":
            at += 2
        elif pattern[at] == "[":
            at += 2
            while pattern[at] != "]":
                at += 2 if pattern[at] == "\\" else 1
            at += 1
        elif pattern[at] == "{":
            at = pattern.index("}", at) + 1
        elif pattern[at] == "(":
            at += 1
            for inner in _parts(pattern[at:]):
                at += len(inner)
                if inner == ")":
                    break
        else:
            at += 1
        found.append(pattern[start:at])
        if found[-1] == ")":
            # the end of a group around: what follows is not ours
            break
    return found


def _word(alternative: str) -> str:
    """Return the longest part that every match holds, in lower case; nothing where there is none."""
    runs = [""]
    parts = _parts(alternative)
    for at, part in enumerate(parts):
        repeated = parts[at + 1] if at + 1 < len(parts) else ""
        is_optional = repeated[:1] in ("?", "*") or repeated[:2] == "{0"
        if part[0] == "(" and not is_optional and part.startswith(("(?:", "(?-i:")):
            inner = part[part.index(":") + 1 : -1]
            runs += ["" if "|" in _parts(inner) else _word(inner), ""]
        elif part[0] in "([{.^$?*+|" or (part[0] == "\\" and part[1] in _CLASSES) or is_optional:
            runs.append("")
        else:
            runs[-1] += part[-1]
    return max(runs, key=len).lower()
