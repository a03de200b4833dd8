"""The last answer of a trace is empty."""

import operator
from typing import Final

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import ContentState, FinishReason, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _CALLS = ContentState.PRESENT, FinishReason.TOOL_CALLS
_BY_END: Final = operator.attrgetter("end_ns", "start_ns", "span_id")
# these reasons have checks of their own: one failure, one report
_REPORTED_ELSEWHERE: Final = frozenset(
    {FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.ERROR, FinishReason.MALFORMED_CALL}
)


class EmptyOutputConfig(CheckConfig):
    """Nothing to set but `enabled`: blank is blank."""


class EmptyOutput:
    """Found where all of these hold:

    - the trace is closed and whole (neither provisional nor a fragment): what is absent may still arrive otherwise;
    - its last LLM call (the latest end, wrappers aside) did not fail;
    - the output of that call was sent, and is blank: no text, no tool calls, no refusal;
    - it was not stopped by a token limit or a content filter (`output_cut`, `content_filter`).

    Severity: medium; high where that call is the whole trace, since the caller got nothing.

    Unknown where the output was not sent (content off, redacted, in log records, cut) or the trace is not whole.
    Clear where the trace has no LLM call.

    Not findings: blank text beside tool calls; blank answers in the middle of a run; content that is switched off.
    """

    name = "empty_output"
    dimension = Dimension.EXECUTION
    needs = (Need.CONTENT,)

    def __init__(self, config: EmptyOutputConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one fault: the last LLM call said nothing."""
        if not trace.is_final or trace.is_fragment:
            return UNKNOWN
        last = _last_call(trace)
        if last is None or last.error is not None or last.finish_reason in _REPORTED_ELSEWHERE:
            return CLEAR
        output = last.output
        is_said = output.text and not output.text.isspace()
        if is_said or output.tool_calls or output.refusal or last.finish_reason is _CALLS:
            return CLEAR
        if output.state is not _PRESENT:
            return UNKNOWN
        tokens = f" and {last.usage.output_tokens} output tokens" if last.usage is not None else ""
        alone = len(trace.spans) == 1
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=last,
                    kind=FindingKind.FAULT,
                    severity=Severity.HIGH if alone else Severity.MEDIUM,
                    title=f"{label_of(last)} returns an empty answer",
                    rationale=f"The last LLM call of the trace ended normally after {last.duration_ms:.0f} ms{tokens}, "
                    "with no text, no tool call and no refusal.",
                    publish_at_once=False,
                )
            ]
        )


def _last_call(trace: Trace) -> Span | None:
    last = max(trace.llm_spans, key=_BY_END, default=None)
    # a wrapper with text ends what its call said; asking for the tree is left to the blank ones
    if last is None or last.output.text:
        return last
    calls = sorted(trace.llm_spans, key=_BY_END, reverse=True)
    return next((span for span in calls if span.output.text or not is_wrapper(trace, span)), None)
