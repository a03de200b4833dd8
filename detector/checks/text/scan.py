"""The one scan of a trace that all checks of text share: which texts hold a needle, by side and role.

Four sides are read: answers of LLM calls; their prompts; arguments of tools; results of tools and retrieved documents.
Where a trace has no LLM call with an answer, what its agents and its root returned are answers, and what its root was
given is the prompt.

All texts of a trace are scanned at once, as they were sent; most traces hold no needle, and that is all. Otherwise each
side is scanned, and where it holds one that it is looked at for, each text by itself, a prompt message by message, each
distinct message once: calls repeat the conversation.

A text longer than `max_text_characters` is read at its head and its tail; a trace beyond `max_trace_characters` is not
read on. What was not read is counted in `TextScan.unread_characters`, and checks of that side answer "unknown" in
place of "clear".
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import pydantic

from core.dialects.messages import input_messages, messages_of
from core.model.span import Content, ContentState, Span, SpanKind
from core.model.trace import Trace
from detector.checks.model_calls import is_wrapper
from detector.checks.text.needles import (
    CONTACT,
    INJECTION,
    NEEDLES,
    PERSONAL,
    REFUSAL,
    SECRET,
    Needle,
    encoded,
    sightings,
    unescaped,
)

_LLM, _TOOL, _RETRIEVER, _AGENT, _CHAIN = (
    SpanKind.LLM,
    SpanKind.TOOL,
    SpanKind.RETRIEVER,
    SpanKind.AGENT,
    SpanKind.CHAIN,
)
_PRESENT: Final = ContentState.PRESENT

ANSWER: Final = 1
PROMPT: Final = 2
ARGUMENTS: Final = 4
RESULT: Final = 8

# what each side is looked at for
_FAMILIES: Final = {
    ANSWER: REFUSAL | PERSONAL | CONTACT | SECRET,
    PROMPT: PERSONAL | SECRET | INJECTION,
    ARGUMENTS: PERSONAL | SECRET,
    RESULT: INJECTION,
}
_ALL: Final = REFUSAL | PERSONAL | CONTACT | SECRET | INJECTION
# the longest needle that is not a token without end: a cut may fall into it
_OVERLAP_CHARACTERS: Final = 400
# shorter prompts are scanned faster than compared
_LEAST_COMPARED_CHARACTERS: Final = 4_096
_DERIVED: Final = "text_scan"
_LIMITS: Final = "text_limits"


class TextLimits(pydantic.BaseModel):
    """`detector.checks.text`: how much text is read; a scan costs about a millisecond a megabyte."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_text_characters: int = pydantic.Field(default=1_000_000, ge=1_000)
    """Of a longer text the first three quarters and the last quarter of as many are read."""
    max_searched_characters: int = pydantic.Field(default=200_000, ge=1_000)
    """Of a text that holds something, as many around the first sighting are looked at more closely."""
    max_trace_characters: int = pydantic.Field(default=16_000_000, ge=1_000)
    """A trace's texts beyond are not read; what was not read counts as `text_not_scanned` dropped."""


DEFAULT_LIMITS: Final = TextLimits()


class Passage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A text that holds needles. `role` is that of its message in a prompt, else empty."""

    span: Span
    side: int
    role: str
    text: str
    needles: tuple[tuple[Needle, int], ...]
    """Each needle in it, with the byte behind its first sighting."""
    families: int

    def labels(self, families: int) -> tuple[str, ...]:
        """Return the distinct labels of its needles of these families."""
        return tuple(dict.fromkeys(needle.label for needle, _ in self.needles if needle.family & families))


class TextScan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a trace's texts hold."""

    passages: tuple[Passage, ...] = ()
    unread: int = 0
    """The sides of which something was not sent, or not read."""
    unread_characters: int = 0

    def of(self, family: int, sides: int) -> list[Passage]:
        """Return the passages on these sides with a needle of this family, in the order of their spans."""
        return [p for p in self.passages if p.families & family and p.side & sides]


def limit_text(trace: Trace, limits: TextLimits) -> None:
    """Set what of a trace is read, before it is scanned."""
    trace.derived[_LIMITS] = limits


def scan_of(trace: Trace) -> TextScan:
    """Return the scan of a trace; made once."""
    found: TextScan | None = trace.derived.get(_DERIVED)
    if found is None:
        found = trace.derived[_DERIVED] = _Reader(trace).scan()
    return found


def unread_characters(trace: Trace) -> int:
    """Return how much text of a trace was left out by its limits; 0 where nothing asked for its scan."""
    found: TextScan | None = trace.derived.get(_DERIVED)
    return found.unread_characters if found is not None else 0


class _Reader:
    """Reads one trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        limits: TextLimits = trace.derived.get(_LIMITS, DEFAULT_LIMITS)
        self._max_text = limits.max_text_characters
        self._max_searched = limits.max_searched_characters
        self._left = limits.max_trace_characters
        self._unread = 0
        self._unread_characters = 0
        self._seen: set[object] = set()

    def scan(self) -> TextScan:
        sides: dict[int, list[tuple[Span, str]]] = {ANSWER: [], PROMPT: [], ARGUMENTS: [], RESULT: []}
        self._collect(sides[ANSWER], sides[PROMPT], sides[ARGUMENTS], sides[RESULT])
        texts = [text for side in sides.values() for _, text in side]
        length = sum(map(len, texts))
        if length <= self._max_text and length <= self._left:
            seen = _families_in("\n\n".join(texts))
            passages = self._passages_of(sides, seen) if seen else []
        else:
            passages = self._passages_of({side: self._bounded(told, side) for side, told in sides.items()}, _ALL)
        return TextScan(passages=tuple(passages), unread=self._unread, unread_characters=self._unread_characters)

    def _passages_of(self, sides: Mapping[int, list[tuple[Span, str]]], seen: int) -> list[Passage]:
        """Return the passages of the sides that are looked at for a family of which the trace holds a needle."""
        passages: list[Passage] = []
        for side, texts in sides.items():
            families = _FAMILIES[side]
            if texts and families & seen and families & _families_in("\n\n".join([text for _, text in texts])):
                passages += self._passages(side, families, self._parts(texts, side, families))
        return passages

    def _collect(
        self,
        answers: list[tuple[Span, str]],
        prompts: list[tuple[Span, str]],
        arguments: list[tuple[Span, str]],
        results: list[tuple[Span, str]],
    ) -> None:
        """Gather the texts of each side, and note which side has some that were not sent, or not whole."""
        trace = self._trace
        last = ""
        for span in trace.llm_spans:
            output = span.output
            text = output.text or output.refusal
            if text:
                answers.append((span, text))
            if output.state is not _PRESENT and span.error is None:
                self._unread |= ANSWER
            text = span.input.text
            if span.input.flat:
                prompts.append((span, self._flat(span.input)))
            elif text:
                prompts.append((span, _fresh(text, last)))
                last = text
            if span.input.state is not _PRESENT and span.error is None:
                self._unread |= PROMPT
        for span in trace.tool_spans:
            text = span.tool.arguments if span.tool is not None and span.tool.arguments else span.input.text
            if text:
                arguments.append((span, text))
            text = span.output.text
            if text:
                results.append((span, text))
            if span.output.state is not _PRESENT and span.error is None:
                self._unread |= RESULT
        if not trace.tool_spans:
            arguments += [
                (span, call.arguments) for span in trace.llm_spans for call in span.output.tool_calls if call.arguments
            ]
        if len(trace.spans) > len(trace.llm_spans) + len(trace.tool_spans):
            self._others(answers, prompts, results)

    def _others(
        self, answers: list[tuple[Span, str]], prompts: list[tuple[Span, str]], results: list[tuple[Span, str]]
    ) -> None:
        """Gather retrieved documents, and what agents say where no LLM call says anything."""
        for span in self._trace.spans:
            if span.kind is _RETRIEVER:
                documents = span.details.documents
                texts = [d.text for d in documents if d.text] if documents else []
                results += [(span, text) for text in texts or [span.output.text] if text]
        if answers:
            return
        root = self._trace.root
        speaking = (s for s in self._trace.spans if s.kind is _AGENT or (s is root and s.kind is _CHAIN))
        answers += [(span, span.output.text) for span in speaking if span.output.text]
        if root is not None and root.input.text and not prompts and answers:
            prompts.append((root, root.input.text))

    def _flat(self, content: Content) -> str:
        """Return the flattened messages that no call before had, still encoded."""
        fresh = [pair for pair in content.flat if pair not in self._seen]
        self._seen.update(fresh)
        return b"\n\n".join(fresh).decode("utf-8", "replace")

    def _bounded(self, texts: list[tuple[Span, str]], side: int) -> list[tuple[Span, str]]:
        """Return what is read of the texts of a side; nearly always all of them."""
        length = sum([len(text) for _, text in texts])
        if length <= self._max_text and length <= self._left:
            self._left -= length
            return texts
        return [(span, self._cut(text, side)) for span, text in texts]

    def _cut(self, text: str, side: int) -> str:
        """Return what is read of a text, and count what is not."""
        length = len(text)
        if length > self._max_text:
            tail = self._max_text // 4
            text = f"{text[: self._max_text - tail]}\n\n{text[-tail:]}"
        if len(text) > self._left:
            text = text[: self._left]
        self._left -= len(text)
        if len(text) < length:
            self._unread |= side
            self._unread_characters += length - len(text)
        return text

    def _messages(self, texts: list[tuple[Span, str]], families: int) -> Iterator[tuple[Span, str, str]]:
        """Yield each distinct message of the prompts that hold a needle: (span, role, text)."""
        for span, raw in texts:
            if not families & _families_in(raw):
                continue
            messages = input_messages(self._trace, span)
            if not messages:
                yield span, "", raw
            for message in messages:
                key = (message.role, message.text)
                if message.text and key not in self._seen:
                    self._seen.add(key)
                    yield span, message.role, self._within(message.text)

    def _parts(self, texts: list[tuple[Span, str]], side: int, families: int) -> Iterator[tuple[Span, str, str]]:
        """Yield what of a side is looked at one by one: (span, role, text)."""
        if side == PROMPT:
            yield from self._messages(texts, families)
            return
        for span, text in texts:
            if side == ANSWER and is_wrapper(self._trace, span):
                # its answer is that of the call below it, which is the one to report
                continue
            said: list[str] = []
            if side == ANSWER and text[:1] in ("{", "["):
                # some clients send an answer within a graph's whole state
                said = [m.text for m in messages_of(span.output, role="assistant") if m.role == "assistant" and m.text]
            yield from ((span, "", self._within(part)) for part in said or (text,))

    def _within(self, text: str) -> str:
        """Return a message as far as its prompt was read, which has counted what was not."""
        if len(text) <= self._max_text:
            return text
        tail = self._max_text // 4
        return f"{text[: self._max_text - tail]}\n\n{text[-tail:]}"

    def _passages(self, side: int, families: int, texts: Iterator[tuple[Span, str, str]]) -> Iterator[Passage]:
        seen: set[tuple[str, str]] = set()
        for span, role, text in texts:
            if not role:
                text = unescaped(text)
            data = encoded(text)
            needles = [(NEEDLES[needle], end) for needle, end in sightings(data)]
            kept = tuple(found for found in needles if found[0].family & families)
            if kept and (role, text) not in seen:
                seen.add((role, text))
                union = 0
                for needle, _ in kept:
                    union |= needle.family
                text = self._around(text, data, min(end for _, end in kept), side)
                yield Passage(span=span, side=side, role=role, text=text, needles=kept, families=union)

    def _around(self, text: str, data: bytes, end: int, side: int) -> str:
        """Return what finer means look at: they cost a hundred times the scan, and some texts are made to."""
        if len(text) <= self._max_searched:
            return text
        first = len(data[:end].decode("utf-8", "ignore"))
        start = max(0, min(first - self._max_searched // 4, len(text) - self._max_searched))
        self._unread |= side
        self._unread_characters += len(text) - self._max_searched
        return text[start : start + self._max_searched]


def _families_in(text: str) -> int:
    """Return the families of which a text holds a needle, as bits."""
    families = 0
    for needle, _ in sightings(encoded(text)):
        families |= NEEDLES[needle].family
    return families


def _fresh(text: str, before: str) -> str:
    """Return a prompt without the beginning that it shares with the one before, which was read."""
    if len(before) < _LEAST_COMPARED_CHARACTERS or text[:_OVERLAP_CHARACTERS] != before[:_OVERLAP_CHARACTERS]:
        return text
    low, high = 0, min(len(text), len(before))
    if text[:high] == before[:high]:
        low = high
    while high - low > _OVERLAP_CHARACTERS:
        middle = (low + high) // 2
        if text[low:middle] == before[low:middle]:
            low = middle
        else:
            high = middle
    return text[max(0, low - _OVERLAP_CHARACTERS) :]
