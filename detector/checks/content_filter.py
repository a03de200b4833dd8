"""A provider's content filter stopped a model call."""

from typing import Final

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import FinishReason, SpanKind
from core.model.trace import Trace
from detector.checks.errors import message_of, was_filtered
from detector.checks.finding import finding, label_of, quoted
from detector.checks.guardrail_tripped import is_tripwire
from detector.checks.model_calls import finish_of, is_wrapper
from detector.checks.port import Answer, CheckConfig, Need, found

# members of an enum cost 100 ns to look up in Python 3.11
_STOPPED: Final = FinishReason.CONTENT_FILTER


class ContentFilterConfig(CheckConfig):
    """Nothing to set but `enabled`: a filter that stopped a call is a fact."""


class ContentFilter:
    """Found where one of these holds:

    - an LLM call did not fail, no LLM span stands below it, and its finish reason is `content_filter`, in any dialect's
      word for it (safety, content-filter, refusal as a stop reason, …);
    - a span failed, none of its children did, and its error is of class content filter (the prompt was refused).

    Severity: medium; the filter did its work, and what it stopped needs a look.

    Not findings: refusals in the model's own words (`refusal`); guardrails of the
    application that tripped (`guardrail_tripped`).
    """

    name = "content_filter"
    dimension = Dimension.SAFETY
    needs = (Need.FINISH_REASON,)

    def __init__(self, config: ContentFilterConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each call that was stopped."""
        stopped = [
            (span, f"Finish reason content_filter after {span.duration_ms:.0f} ms: the answer was withheld or cut.")
            for span in trace.llm_spans
            if span.error is None and finish_of(trace, span) is _STOPPED and not is_wrapper(trace, span)
        ]
        stopped += [
            (span, f"The call was refused after {span.duration_ms:.0f} ms: {quoted(message_of(span.error))}")
            for span in trace.leaf_faults
            if span.error is not None
            and was_filtered(span, span.error)
            and span.kind is not SpanKind.TOOL
            and not is_tripwire(span)
        ]
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=span,
                    kind=FindingKind.FAULT,
                    severity=Severity.MEDIUM,
                    title=f"{label_of(span)} is stopped by a content filter",
                    rationale=rationale,
                )
                for span, rationale in stopped
            ]
        )
