"""A model's answer was cut off by a token limit."""

from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, FinishReason, Span
from core.model.trace import Trace
from detector.checks.cut_answers import is_cut_answer, writer_of
from detector.checks.errors import message_of
from detector.checks.finding import finding, label_of, quoted
from detector.checks.model_calls import finish_of, is_cut_before_it_began, is_wrapper
from detector.checks.port import Answer, CheckConfig, Need, found

# members of an enum cost 100 ns to look up in Python 3.11
_CUT: Final = FinishReason.LENGTH


class OutputCutConfig(CheckConfig):
    """Which cuts are meant."""

    min_output_tokens: int = pydantic.Field(default=5, ge=0)
    """Shorter answers are cut on purpose: classifiers ask for one token, yes or no, a digit, a label."""


class OutputCut:
    """Found where all of these hold for a span:

    - it is an LLM call that did not fail, and no LLM span stands below it (wrappers repeat the finish reason);
    - its finish reason is `length`, in any dialect's word for it (max_tokens, max_output_tokens, …);
    - its output tokens, where they were sent, number at least `min_output_tokens`;

    or where a span failed, and none of its children, because its client could not use an answer that was cut.

    Severity: high where nothing but the limit is left of the answer (output sent and blank: reasoning took all of it),
    or where its client failed on it; medium else.

    Not findings: answers without any token, which no limit cuts (`empty_output`); answers of a few tokens (a classifier
    with `max_tokens=1`); a stream that broke (an error); a prompt that was too long (an error of class context
    overflow).
    """

    name = "output_cut"
    dimension = Dimension.EXECUTION
    needs = (Need.FINISH_REASON,)

    def __init__(self, config: OutputCutConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each answer that was cut."""
        faults = []
        for span in trace.llm_spans:
            if span.error is not None or finish_of(trace, span) is not _CUT:
                continue
            tokens = span.usage.output_tokens if span.usage is not None else 0
            if 0 < tokens < self._config.min_output_tokens or is_cut_before_it_began(span) or is_wrapper(trace, span):
                continue
            content = span.output
            blank = content.state is ContentState.PRESENT and not content.text.strip() and not content.tool_calls
            after = f" after {tokens} output tokens" if tokens else ""
            left = "; nothing of it is left" if blank else ""
            tail = f": it ends in {quoted(content.text[-80:])!r}" if content.text.strip() else ""
            faults.append(
                finding(
                    trace,
                    self,
                    culprit=span,
                    kind=FindingKind.FAULT,
                    severity=Severity.HIGH if blank else Severity.MEDIUM,
                    title=f"{label_of(span)} is cut off by the token limit",
                    rationale=f"The answer was cut off{after}{left}{tail}.",
                    publish_at_once=False,
                )
            )
        told = {finding.span_ids[0] for finding in faults}
        faults += [
            self._failure(trace, span, writer)
            for span in trace.leaf_faults
            if is_cut_answer(span) and (writer := writer_of(trace, span)).span_id not in told
        ]
        return found(faults)

    def _failure(self, trace: Trace, span: Span, writer: Span) -> Finding:
        said = quoted(message_of(span.error)) if span.error is not None else ""
        return finding(
            trace,
            self,
            culprit=writer,
            others=[span] if span is not writer else [],
            kind=FindingKind.FAULT,
            severity=Severity.HIGH,
            title=f"{label_of(writer)} is cut off by the token limit",
            rationale=f"{label_of(span)} failed on the answer: {said}",
            publish_at_once=False,
        )
