"""An LLM says that it will now call a tool or an agent, and then does not."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, quoted, target_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.steps import Step, steps_of

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _AGENT = ContentState.PRESENT, SpanKind.AGENT
# names of tools and agents as prompts write them: web_search, web-search, webSearch, WebSearch, `search`; one word
# alone would be any word of the language
_NAME: Final = re.compile(
    r"\b[A-Za-z][A-Za-z0-9]{0,30}(?:[_-][A-Za-z0-9]{1,30}){1,6}\b|\b[A-Za-z][a-z0-9]{1,30}(?:[A-Z][a-z0-9]{1,30}){1,6}\b"
    r"|(?<=[`'\"])[A-Za-z][A-Za-z0-9]{2,40}(?=[`'\"])"
)
# the announcement stands in the sentence before the name: "I will now ask our search_agent", "let me call …"
_INTENT: Final = re.compile(
    r"(?:\bI(?:'|’)ll|\bI (?:will|shall|must|need to|am going to)|\bI'm going to|\blet me|\bwe (?:will|need to))\b"
    r"[^.!?\n]{0,60}\b(?:ask|call|use|invoke|query|instruct|send|delegate|consult|employ|request|run)\b[^.!?\n]*$",
    re.IGNORECASE,
)
# one of them stands in every announcement: finding them costs a tenth of the expressions
_INTENT_WORDS: Final = (
    "I will",
    "I shall",
    "I must",
    "I need to",
    "I am going",
    "I'm going",
    "'ll ",
    "’ll ",
    "et me ",
    "e will",
    "e need to",
)
# to the user, "I will ask you to call …" announces nothing either
_DENIAL: Final = re.compile(
    r"\b(?:not|never|if|unless|when|once|after|later|instead of|without|you to|you can|you could)\b", re.IGNORECASE
)
# "1. Use the search tool" is a plan, not an announcement
_LISTED: Final = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s")
_SENTENCE_CHARACTERS: Final = 200
# names that all answers are searched for, before any of them is read
_MAX_SOUGHT: Final = 50


class AnnouncedCallConfig(CheckConfig):
    """How far an answer is read."""

    max_characters: int = pydantic.Field(default=8_000, ge=100)
    """The beginning of an answer that is read: thoughts come first. A cap may cause a miss, never an invention."""


class AnnouncedCall:
    """Found where all of these hold for an LLM's answer:

    - a sentence announces, in the first person and for now, that a tool or agent is called ("I will ask the
      search_agent to …"), and it is no item of a list, no condition and no denial;
    - that name is one that the LLM was offered: it is defined for the call, stands in its input as the name of a tool
      or team member, or a span of the trace has it;
    - the answer asks for no such call, neither as a tool call nor in a line of code that is not a comment; where it is
      the agent's last, it does not go on with a question to the user;
    - until the agent's next LLM call nothing of that name was run, and no agent at all;
    - the trace shows tools or agents being run, so that a call would have been seen;
    - the trace is closed.

    Severity low; one pattern for each name and trace.

    Unknown where no answer was sent. Not findings: plans; announcements for later or on a condition; calls that were
    made and failed (other checks tell of those); clients that record no tools at all.
    """

    name = "announced_call"
    dimension = Dimension.EXECUTION
    needs = (Need.CONTENT, Need.TOOLS)

    def __init__(self, config: AnnouncedCallConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each name that was announced in vain."""
        if not trace.is_final or not trace.llm_spans or not trace.tool_spans:
            return CLEAR
        telling = [span for span in trace.llm_spans if span.output.state is _PRESENT]
        if not telling:
            return UNKNOWN
        seen = {target_of(span) for span in trace.tool_spans}
        # names with ids in them may be as many as calls
        if len(seen) <= _MAX_SOUGHT and not _may_name(telling, seen):
            return CLEAR
        broken: dict[str, list[tuple[Span, str]]] = {}
        for steps in steps_of(trace).values():
            for step in steps:
                is_last = step is steps[-1]
                for name, sentence in self._announced(step.llm, seen, may_ask=is_last):
                    if not _is_called(name, step):
                        broken.setdefault(name, []).append((step.llm, sentence))
        return found([self._finding(trace, name, where) for name, where in broken.items()])

    def _announced(self, llm: Span, seen: set[str], *, may_ask: bool) -> Iterator[tuple[str, str]]:
        text = llm.output.text[: self._config.max_characters]
        if not any(words in text for words in _INTENT_WORDS):
            return
        given: set[str] = set()
        for match in _NAME.finditer(text):
            name = match.group()
            if name in given:
                continue
            start = max(text.rfind("\n", 0, match.start()) + 1, match.start() - _SENTENCE_CHARACTERS)
            before = text[start : match.start()]
            intent = _INTENT.search(before)
            if intent is None or _DENIAL.search(before) or _LISTED.match(before):
                continue
            # the user is asked first: the call is for the next turn
            if may_ask and "?" in text[match.end() :]:
                continue
            if name in seen or _is_offered(name, llm):
                given.add(name)
                yield name, text[start : match.end() + 100].partition("\n")[0]

    def _finding(self, trace: Trace, name: str, where: Sequence[tuple[Span, str]]) -> Finding:
        first, sentence = where[0]
        times = f", {len(where)} times" if len(where) > 1 else ""
        return finding(
            trace,
            self,
            culprit=first,
            others=[span for span, _ in where[1:]],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{name} is announced and not called",
            rationale=f"the model said that it calls {name}{times}, and nothing of the kind was run before its next "
            f"step: {quoted(sentence)}",
            target=name,
            publish_at_once=False,
        )


def _may_name(telling: Sequence[Span], seen: set[str]) -> bool:
    for span in telling:
        text = span.output.text
        if "_" in text:
            return True
        for name in seen:
            if name in text:
                return True
    return False


def _is_offered(name: str, llm: Span) -> bool:
    """Return whether the call's definitions or its input name a tool so: `name:`, `name(`, or in quotes.

    Of names without an underscore, which may be words as well, only the definitions tell.
    """
    if "_" not in name:
        return re.search(rf'"name\\*"\s*:\s*\\*"{re.escape(name)}\\*"', llm.details.tool_definitions) is not None
    if name in llm.details.tool_definitions:
        return True
    text = llm.input.text
    at = text.find(name)
    while at >= 0:
        if text[at + len(name) : at + len(name) + 1] in (":", "(", '"', "'", "`"):
            return True
        at = text.find(name, at + len(name))
    return False


def _is_called(name: str, step: Step) -> bool:
    if any(call.name == name for call in step.llm.output.tool_calls):
        return True
    if any(span.kind is _AGENT or target_of(span) == name or span.name == name for span in step.work):
        return True
    return any(name + "(" in line.partition("#")[0] for line in step.llm.output.text.splitlines())
