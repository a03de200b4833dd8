"""A model refuses to answer."""

import re
from typing import Final

import pydantic

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import FinishReason, Span
from core.model.trace import Trace
from detector.checks.cut_answers import writer_of
from detector.checks.errors import was_refused
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.text.needles import REFUSAL, prepare
from detector.checks.text.scan import ANSWER, scan_of

# members of an enum cost 100 ns to look up in Python 3.11
_FILTERED: Final = FinishReason.CONTENT_FILTER


# a quotation that is open, or a colon that something is told behind; "I'm sorry: …" is no such
_QUOTING: Final = re.compile(r"""(?:["“„«「]|.{16}[:：])[^"”»」.!?\n]*\Z""")


class RefusalConfig(CheckConfig):
    """Where in an answer a refusal stands."""

    max_position_bytes: int = pydantic.Field(default=400, ge=20)
    """A refusal opens an answer; words further down are about something else. UTF-8 bytes."""


class Refusal:
    """Found where all of these hold for an LLM call:

    - its answer was sent, it did not fail, and no LLM span stands below it;
    - the client sent a refusal as such (a field beside the text), or the answer begins with words by which models
      refuse: "I can't help with that", "as an AI model I cannot", "this goes against my guidelines". Looked for in
      English, Spanish, French, German, Portuguese, Italian, Dutch, Polish, Turkish, Russian, Chinese, Japanese and
      Korean;
    - it asks for no tool: the agent goes on;

    or where a run failed because the model refused (OpenAI agents: "Model refused to produce output").

    Severity low, one pattern a model and trace: a refusal is as a rule what it should be. Many of them, or one where
    none is due, are worth a look.

    Unknown where nothing was found and an answer was not sent, or not read to its end.

    Not findings: apologies ("I'm sorry, there are no seats left"); rules of the business in the agent's words ("I
    cannot change basic economy fares"); what a content filter stopped (`content_filter`); refusals that are quoted or
    stand further down.
    """

    name = "refusal"
    dimension = Dimension.SAFETY
    needs = (Need.CONTENT,)

    def __init__(self, config: RefusalConfig) -> None:
        self._config = config
        prepare()

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each model that refused."""
        scan = scan_of(trace)
        refusing: dict[str, list[tuple[Span, str]]] = {}
        for span in trace.llm_spans:
            if span.output.refusal and self._counts(trace, span):
                refusing.setdefault(span.model, []).append((span, "said so in the field for refusals"))
        for passage in scan.of(REFUSAL, ANSWER) if scan.passages else ():
            span = passage.span
            language = next(
                (
                    n.label
                    for n, end in passage.needles
                    if n.family == REFUSAL
                    and end <= self._config.max_position_bytes
                    and not _is_quoted(passage.text, end)
                ),
                None,
            )
            if language and not span.output.refusal and not span.output.tool_calls and self._counts(trace, span):
                refusing.setdefault(span.model, []).append(
                    (span, f"opens its answer with words of refusal ({language})")
                )
        for span in trace.leaf_faults:
            if was_refused(span):
                writer = writer_of(trace, span)
                if all(writer is not told for where in refusing.values() for told, _ in where):
                    refusing.setdefault(writer.model, []).append((writer, "refused, of which the run failed"))
        faults = [
            finding(
                trace,
                self,
                culprit=where[0][0],
                others=[span for span, _ in where[1:]],
                kind=FindingKind.PATTERN,
                severity=Severity.LOW,
                title=f"{label_of(where[0][0])} refuses to answer",
                rationale=f"The model {where[0][1]}, in {len(where)} {'call' if len(where) == 1 else 'calls'} of this "
                "trace. That may well be right: compare with what was asked.",
                publish_at_once=False,
            )
            for where in refusing.values()
        ]
        return found(faults, otherwise=UNKNOWN if scan.unread & ANSWER else CLEAR)

    def _counts(self, trace: Trace, span: Span) -> bool:
        return span.error is None and span.finish_reason is not _FILTERED and not is_wrapper(trace, span)


def _is_quoted(text: str, end: int) -> bool:
    """Return whether the words that end at this byte are told as somebody else's."""
    return _QUOTING.search(text.encode("utf-8", "replace")[:end].decode("utf-8", "ignore")) is not None
