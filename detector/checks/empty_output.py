"""The last answer of a trace is empty."""

import operator
from typing import Final

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import ContentState, FinishReason, Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import finish_of, is_cut_before_it_began, is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _CALLS = ContentState.PRESENT, FinishReason.TOOL_CALLS
_BY_END: Final = operator.attrgetter("end_ns", "start_ns", "span_id")
# who allows no more asks for a word, and gets it
_CLASSIFIER_TOKENS: Final = 5
# these reasons have checks of their own: one failure, one report
_REPORTED_ELSEWHERE: Final = frozenset(
    {FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.ERROR, FinishReason.MALFORMED_CALL}
)


_SPEAKING: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})
# a graph's state, or a list of messages: what of it is an answer is not known here
_NO_PROSE: Final = ("{", "[")
# JSON and Python for a function that returned nothing
_NOTHING: Final = frozenset({"null", "None"})
_READ_CHARACTERS: Final = 1_000
# the latest to start are the last
_LAST_TOOLS: Final = 20


class EmptyOutputConfig(CheckConfig):
    """Nothing to set but `enabled`: blank is blank."""


class EmptyOutput:
    """Found where all of these hold:

    - the trace is closed and whole (neither provisional nor a fragment): what is absent may still arrive otherwise;
    - its last LLM call (the latest end, wrappers aside) did not fail; where it has none, its root, which is an agent
      that says that it stopped by itself;
    - the output of that call was sent, and is blank: no text, no tool calls, no refusal; or its client sent the prompt
      and nothing of the answer (several leave out what is empty), and counted one output token at most;
    - it was not stopped by a token limit or a content filter (`output_cut`, `content_filter`).

    Severity: medium; high where that call is the whole trace, since the caller got nothing.

    Unknown where the output was not sent (content off, redacted, in log records, cut) or the trace is not whole.
    Clear where the trace has no LLM call.

    Not findings: blank text beside tool calls, those included that only the tools' spans show; blank answers in the
    middle of a run, or at its end where an agent or chain above it answers; content that is switched off; the one token
    of a classifier whose limit is as low, where its text was not sent.
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
        if last is None or last.error is not None:
            return CLEAR
        output = last.output
        is_said = output.text and not output.text.isspace()
        if is_said or output.tool_calls or output.refusal:
            return CLEAR
        reason = finish_of(trace, last)
        if reason is _CALLS or (reason in _REPORTED_ELSEWHERE and not _is_told_nowhere(last, reason)):
            return CLEAR
        if output.state is not _PRESENT and not _is_left_out(last):
            return UNKNOWN
        if _goes_on(trace, last) or _is_answered(trace, last):
            return CLEAR
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


def _is_left_out(span: Span) -> bool:
    """Return whether a client sent the prompt, and nothing of an answer of at most one token."""
    usage, limit = span.usage, span.details.max_tokens
    return (
        span.output.state is ContentState.ABSENT
        and span.input.state is _PRESENT
        and usage is not None
        and usage.output_tokens <= 1
        and usage.input_tokens > 0
        and (limit is None or limit > _CLASSIFIER_TOKENS)
        and not span.dropped_attributes
    )


def _is_told_nowhere(span: Span, reason: FinishReason) -> bool:
    """Return whether the check of a reason leaves this call out: no limit cuts what has no token, and what a provider
    calls an error is no broken stream where its usage came."""
    usage = span.usage
    if usage is None or span.output.state is not _PRESENT:
        return False
    return reason is FinishReason.ERROR or (reason is FinishReason.LENGTH and is_cut_before_it_began(span))


def _last_call(trace: Trace) -> Span | None:
    last = max(trace.llm_spans, key=_BY_END, default=None)
    root = trace.root
    if last is None and root is not None and root.kind is SpanKind.AGENT and root.finish_reason is FinishReason.STOP:
        return root
    # a wrapper with text ends what its call said; asking for the tree is left to the blank ones
    if last is None or last.output.text:
        return last
    calls = sorted(trace.llm_spans, key=_BY_END, reverse=True)
    return next((span for span in calls if span.output.text or not is_wrapper(trace, span)), None)


def _goes_on(trace: Trace, last: Span) -> bool:
    """Return whether tools ran after a blank answer: it asked for them, and its client does not send that."""
    return any(tool.start_ns >= last.end_ns for tool in trace.tool_spans[-_LAST_TOOLS:])


def _is_answered(trace: Trace, last: Span) -> bool:
    """Return whether an agent or chain above it ended with a text of its own."""
    above, passed = trace.by_id.get(last.parent_span_id), {last.span_id}
    while above is not None and above.span_id not in passed:
        output = above.output
        if above.kind in _SPEAKING and output.state is _PRESENT and _is_prose(output.text):
            return True
        passed.add(above.span_id)
        above = trace.by_id.get(above.parent_span_id)
    return False


def _is_prose(text: str) -> bool:
    text = text[:_READ_CHARACTERS].strip(" \t\r\n\"'")
    return bool(text) and text not in _NOTHING and not text.startswith(_NO_PROSE)
