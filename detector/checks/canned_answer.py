"""Different questions get the same answer, word for word."""

from typing import Final

import pydantic

from core.dialects.messages import input_messages, is_whole
from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_NO_PROSE: Final = ("{", "[", "<", "```")


class CannedAnswerConfig(CheckConfig):
    """Which answers count."""

    min_characters: int = pydantic.Field(default=40, ge=1)
    """Shorter ones repeat by themselves: yes, thanks, a label."""


class CannedAnswer:
    """Found where all of these hold for two LLM calls of one trace:

    - their answers are equal, at least `min_characters` long, prose, and ask for no tool;
    - the later call was given the earlier answer as the assistant's own: they are of one conversation;
    - the user's last messages before them differ;
    - no LLM span stands below either.

    Severity low, one pattern a model and trace. The same across the traces of a session is a check of sessions.

    Unknown where nothing was found and an answer was not sent, or a question before equal ones not, or not read.

    Not findings: calls side by side that find the same ("nothing relevant in this document"); a repetition that the
    user asked for in the same words; retries; JSON and labels; what agents say beside their tool calls.
    """

    name = "canned_answer"
    dimension = Dimension.RELEVANCE
    needs = (Need.CONTENT,)

    def __init__(self, config: CannedAnswerConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each model that repeats itself."""
        spans = trace.llm_spans
        otherwise = CLEAR
        if len(spans) < 2:
            return otherwise
        by_text: dict[str, list[Span]] = {}
        for span in spans:
            output = span.output
            text = output.text
            if not text and output.state is not _PRESENT and span.error is None:
                otherwise = UNKNOWN
            if len(text) >= self._config.min_characters and not output.tool_calls:
                by_text.setdefault(text, []).append(span)
        if len(by_text) == len(spans):
            return otherwise
        repeated: dict[str, list[Span]] = {}
        for text, alike in by_text.items():
            if len(alike) < 2 or text.lstrip().startswith(_NO_PROSE):
                continue
            if len(canned := _canned(trace, alike)) > 1:
                repeated.setdefault(alike[0].model, canned)
            elif not all(is_whole(span.input) or is_wrapper(trace, span) for span in alike):
                otherwise = UNKNOWN
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=alike[-1],
                    others=alike[:-1],
                    kind=FindingKind.PATTERN,
                    severity=Severity.LOW,
                    title=f"{label_of(alike[-1])} gives different questions the same answer",
                    rationale=f"{len(alike)} different messages of the user were answered with the same "
                    f"{len(alike[-1].output.text)} characters.",
                    publish_at_once=False,
                )
                for alike in repeated.values()
            ],
            otherwise=otherwise,
        )


def _canned(trace: Trace, alike: list[Span]) -> list[Span]:
    """Return the first of these calls and those that repeat it to another question, knowing that they had said it."""
    kept: list[Span] = []
    questions: set[str] = set()
    for span in alike:
        messages = input_messages(trace, span)
        question = next((m.text.strip() for m in reversed(messages) if m.role == "user" and m.text), "")
        said = any(m.role == "assistant" and m.text == span.output.text for m in messages)
        if question and question not in questions and (not kept or said) and not is_wrapper(trace, span):
            kept.append(span)
            questions.add(question)
    return kept
