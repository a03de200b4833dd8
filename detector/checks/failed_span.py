"""A call failed: the deepest failed span, with the provider's error class."""

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanError, SpanKind
from core.model.trace import Trace
from detector.checks.cut_answers import is_cut_answer
from detector.checks.errors import (
    MODEL_KINDS,
    blames_answer,
    consequence,
    failure_words,
    identity_of,
    is_echo,
    message_of,
    recovery_of,
    repeats_tool,
    severity_of,
    source_of,
    told_failure,
    tool_around,
    was_filtered,
    was_refused,
)
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.incomplete_stream import was_left
from detector.checks.port import Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans


class FailedSpanConfig(CheckConfig):
    """Nothing to set but `enabled`: a failed span is a fact."""


class FailedSpan:
    """Found where all of these hold for a span:

    - it failed (status ERROR, or an exception was recorded on a span that did not end OK);
    - none of its children failed: ancestors repeat a child's error, one failure is one report;
    - it is neither a tool call nor the step that ran one (`tool_failure` reports those) nor the run that ended with it,
      nor was it stopped by a content filter (`content_filter` does) or the model's refusal (`refusal`);
    - it did not fail because an answer was cut (`output_cut` reports that) or not what was asked for (`output_schema`);
    - it is no stream whose reader left (`incomplete_stream`).

    Found also where no span failed, and an agent's answer is a provider's error, by its words and its finish reason.

    A span that repeats the error of a model call beside it counts for that call's issue (`errors.source_of`).

    Severity: low where a later sibling succeeded (a retry, a fallback model) or the call was cancelled; high where the
    failure reached the root, or where authentication or quota is the cause, since only a person can help; else medium.

    Not findings: calls that ended well and bear the words of a failure before them (a client that marks what follows);
    ancestors of a failed span; retries inside a client that ended well (they leave one OK span).
    """

    name = "failed_span"
    dimension = Dimension.EXECUTION
    needs: tuple[Need, ...] = ()

    def __init__(self, config: FailedSpanConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each deepest failed span."""
        faults = []
        for span in trace.leaf_faults:
            error = span.error
            if error is None or _is_told_elsewhere(trace, span, error):
                continue
            source = source_of(trace, span)
            recovery = recovery_of(trace, source)
            error = source.error or error
            error_type, message = identity_of(error, of_model=source.kind in MODEL_KINDS)
            faults.append(
                finding(
                    trace,
                    self,
                    culprit=span,
                    kind=FindingKind.FAULT,
                    severity=severity_of(trace, source, error, recovered=recovery is not None),
                    title=f"{label_of(source)} {failure_words(source, error)}",
                    rationale=f"{label_of(span)} failed after {span.duration_ms:.0f} ms: {quoted(message_of(error))}. "
                    f"{consequence(trace, source, recovery)}",
                    target=target_of(source),
                    error_type=error_type,
                    message=message,
                )
            )
        if not trace.failed_spans:
            faults += [
                self._told(trace, span, error)
                for span in rarer_spans(trace).agents
                if (error := told_failure(span)) is not None
            ]
        return found(faults)

    def _told(self, trace: Trace, span: Span, error: SpanError) -> Finding:
        error_type, message = identity_of(error, of_model=True)
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.HIGH if not span.parent_span_id else Severity.MEDIUM,
            title=f"{label_of(span)} {failure_words(span, error)}",
            rationale=f"The failure was given for an answer: {quoted(message_of(error))}.",
            target=target_of(span),
            error_type=error_type,
            message=message,
        )


def _is_told_elsewhere(trace: Trace, span: Span, error: SpanError) -> bool:
    """Return whether another check tells of this failure, or an earlier span."""
    return (
        span.kind is SpanKind.TOOL
        or was_filtered(span, error)
        or is_cut_answer(span)
        or was_left(span)
        or blames_answer(span, error)
        or tool_around(trace, span) is not None
        or repeats_tool(trace, span)
        or is_echo(trace, span, error)
        or was_refused(span)
    )
