"""An agent asks a tool nearly the same question over and over, in other words each time."""

import bisect
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of
from detector.checks.finding import finding, quoted, target_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found

_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_NUMBER: Final = re.compile(r"\d+")
# longer arguments are documents or code, not questions: a search query of 600 characters has 100 words
_MAX_CHARACTERS: Final = 600
_MAX_DEPTH: Final = 4


class SimilarCallsConfig(CheckConfig):
    """When questions are alike."""

    min_similar: int = pydantic.Field(default=3, ge=2)
    """One rewording is good practice; published loop guards stop at three."""
    similarity_ratio: float = pydantic.Field(default=0.5, gt=0, le=1)
    """Shared words by all words of two questions (Jaccard): at half they share more than either has of its own."""
    min_words: int = pydantic.Field(default=4, ge=1)
    """A question of fewer words is a name or an id: "Paris" and "Paris France" are two cities' worth of nothing."""
    max_calls: int = pydantic.Field(default=60, ge=3)
    """Calls of one tool that are compared: each with each."""


class SimilarCalls:
    """Found where all of these hold for the tool spans of one trace:

    - at least `min_similar` calls of one tool were given free text (a value of at least `min_words` words), and each of
      them shares `similarity_ratio` of the words with one before it;
    - they are not all the same text (`repeated_tool_call` tells of that), and do not differ in numbers alone;
    - a model was asked anew before at least `min_similar` of them: what is asked at once is a list.

    Severity low: some of it is how research is done. One pattern for each tool and trace.

    Unknown where tools were called and no arguments were sent, or more calls of one tool than `max_calls`.

    Not findings: pagination and lists of ids (they differ in numbers, or hold no free text); the same template filled
    with other names (they share less than half, or differ in words with capitals alone).
    """

    name = "similar_calls"
    dimension = Dimension.EXECUTION
    needs = (Need.CONTENT, Need.TOOLS)

    def __init__(self, config: SimilarCallsConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each tool that was asked the same in other words."""
        tools = trace.tool_spans
        if len(tools) < self._config.min_similar:
            return CLEAR
        by_tool: dict[str, list[Span]] = {}
        for span in tools:
            by_tool.setdefault(span.tool.name if span.tool is not None else "", []).append(span)
        findings: list[Finding] = []
        are_sent = True
        for tool, spans in by_tool.items():
            if len(spans) < self._config.min_similar or not tool:
                continue
            told = [(span, text) for span in spans if (text := arguments_of(span))]
            are_sent = are_sent and bool(told) and len(told) <= self._config.max_calls
            group = self._alike(trace, told[: self._config.max_calls])
            if group:
                findings.append(self._finding(trace, tool, group))
        return found(findings, otherwise=CLEAR if are_sent else UNKNOWN)

    def _alike(self, trace: Trace, told: Sequence[tuple[Span, str]]) -> list[tuple[Span, str]]:
        """Return the largest group of calls in which each resembles an earlier one."""
        told = [(span, text) for span, text in told if len(text) <= _MAX_CHARACTERS]
        if len(told) < self._config.min_similar or not self._may_be_alike([text for _, text in told]):
            return []
        groups: list[list[tuple[Span, str, frozenset[str]]]] = []
        for span, arguments in told:
            text = _free_text(arguments)
            words = frozenset(_WORD.findall(text.lower()))
            if len(words) < self._config.min_words:
                continue
            at = next(
                (g for g in groups if any(self._is_like(words, o) and not _is_template(text, t) for _, t, o in g)), None
            )
            if at is None:
                groups.append([(span, text, words)])
            else:
                at.append((span, text, words))
        largest = max(groups, key=len, default=[])
        if len(largest) < self._config.min_similar:
            return []
        if len({_NUMBER.sub("#", text) for _, text, _ in largest}) < 2:
            return []
        if _rounds(trace, [span for span, _, _ in largest]) < self._config.min_similar:
            return []
        return [(span, text) for span, text, _ in largest]

    def _may_be_alike(self, texts: Sequence[str]) -> bool:
        """Return whether enough texts share blank-separated pieces: at a tenth of the cost of reading their values."""
        least = self._config.similarity_ratio / 4
        # the first of them resembles none before it
        missing, left = self._config.min_similar - 1, len(texts)
        shortest = 0
        before: set[str] = set()
        for text in texts:
            # quotation marks cling to the first and the last word of a value
            pieces = set(text.replace('"', " ").split())
            # what it shares with one of them it shares with all of them together
            if before and len(pieces & before) >= least * (len(pieces) + shortest):
                missing -= 1
            left -= 1
            if missing <= 0 or left < missing:
                break
            shortest = min(shortest, len(pieces)) if before else len(pieces)
            before |= pieces
        return missing <= 0

    def _is_like(self, one: frozenset[str], other: frozenset[str]) -> bool:
        shared = len(one & other)
        return shared >= self._config.similarity_ratio * (len(one) + len(other) - shared)

    def _finding(self, trace: Trace, tool: str, group: Sequence[tuple[Span, str]]) -> Finding:
        first, last = group[0], group[-1]
        return finding(
            trace,
            self,
            culprit=first[0],
            others=[span for span, _ in group[1:]],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{tool} is asked nearly the same again and again",
            rationale=f"{len(group)} calls of {tool} share most of their words, the first: {quoted(first[1])} "
            f"the last: {quoted(last[1])}",
            target=target_of(first[0]),
            publish_at_once=False,
        )


def _rounds(trace: Trace, spans: Sequence[Span]) -> int:
    """Return how often a model was asked before calls of these were made; of calls made at once none is a rewording."""
    asked = [llm.start_ns for llm in trace.llm_spans]
    return len({bisect.bisect(asked, span.start_ns) for span in spans}) if asked else len(spans)


def _is_template(one: str, other: str) -> bool:
    """Return whether two texts are one but for names or numbers in the same places: a list is gone through."""
    mine, theirs = one.split(), other.split()
    if len(mine) != len(theirs):
        return False
    differing = [pair for pair in zip(mine, theirs, strict=True) if pair[0] != pair[1]]
    return bool(differing) and all(not a.islower() and not b.islower() for a, b in differing)


def _free_text(arguments: str) -> str:
    """Return the texts of several words in arguments: their values where they are JSON, else the whole."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return arguments
    texts: list[str] = []
    _gather(value, texts, 0)
    return " ".join(texts)


def _gather(value: Any, texts: list[str], depth: int) -> None:
    if isinstance(value, str):
        if " " in value:
            texts.append(value)
    elif depth < _MAX_DEPTH:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for each in inner:
            _gather(each, texts, depth + 1)
