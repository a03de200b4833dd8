"""One call was tried again and again."""

import itertools
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import NO_DETAILS, ContentState, Span
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of
from detector.checks.errors import MODEL_KINDS, recovery_of
from detector.checks.finding import finding, label_of, target_of
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.checks.steps import owner_of

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT


class RetriesConfig(CheckConfig):
    """When trying again is worth a word."""

    min_tries: int = pydantic.Field(default=3, ge=2)
    """Tries of one call, the first included; clients try a failed call twice more by themselves (OpenAI, Anthropic)."""


class Retries:
    """Found where one of these holds:

    - at least `min_tries` - 1 calls of one tool, or of one model, failed one after the other with equal inputs in one
      agent's run, or, where inputs were not sent, under one parent; and another try of the same followed, failed or
      not;
    - a span says that it had been tried `min_tries` - 1 times before (`http.request.resend_count`, an attempt number).

    Severity: low. The failures themselves are reported each (`failed_span`, `tool_failure`), this tells how they were
    met: retries hide a fault from users, multiply its load and its cost.

    Not findings: calls that failed at the same time (branches of one step); calls with other inputs, an agent that
    corrects itself; one more try, which heals most faults; a redirected request, which counts as one resend.
    """

    name = "retries"
    dimension = Dimension.EXECUTION
    needs: tuple[Need, ...] = ()

    def __init__(self, config: RetriesConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each call that was tried too often."""
        patterns = []
        if len(trace.failed_spans) >= self._config.min_tries - 1:
            patterns = [self._of_siblings(trace, tries) for tries in self._chains(trace)]
        for span in trace.spans:
            if span.details is not NO_DETAILS and span.details.attempt >= self._config.min_tries - 1:
                patterns.append(self._of_attempts(trace, span))
        return found(patterns) if patterns else CLEAR

    def _chains(self, trace: Trace) -> list[list[Span]]:
        """Return the failed tries of each call that was tried often enough, in start order."""
        failed: dict[tuple[str, str, str], list[Span]] = {}
        for span in trace.leaf_faults:
            if span.parent_span_id and (span.tool is not None or span.kind in MODEL_KINDS):
                asked = span.input.text if span.input.state is _PRESENT else arguments_of(span)
                # steps of an agent have parents of their own; without its input a call is known by its place alone
                within = owner_of(trace, span) if asked else span.parent_span_id
                failed.setdefault((within, target_of(span), asked), []).append(span)
        return [
            tries
            for tries in failed.values()
            if len(tries) >= self._config.min_tries - 1
            and all(later.start_ns >= earlier.end_ns for earlier, later in itertools.pairwise(tries))
            and (len(tries) >= self._config.min_tries or _tried_again(trace, tries[-1]) is not None)
        ]

    def _of_siblings(self, trace: Trace, tries: list[Span]) -> Finding:
        first, last = tries[0], tries[-1]
        again = _tried_again(trace, last)
        ended = "none of them succeeded" if again is None else "then it succeeded"
        count = len(tries) + (again is not None)
        took_s = max(0, (again or last).end_ns - first.start_ns) / 1e9
        return self._finding(
            trace, first, [*tries[1:], *([again] if again else [])], f"{count} tries in {took_s:.1f} s; {ended}."
        )

    def _of_attempts(self, trace: Trace, span: Span) -> Finding:
        return self._finding(trace, span, [], f"The span says that it had been tried {span.details.attempt} times.")

    def _finding(self, trace: Trace, culprit: Span, others: list[Span], rationale: str) -> Finding:
        return finding(
            trace,
            self,
            culprit=culprit,
            others=others,
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{label_of(culprit)} is tried again and again",
            rationale=rationale,
            publish_at_once=False,
        )


def _tried_again(trace: Trace, last: Span) -> Span | None:
    """Return the try that followed and succeeded: of the same tool or model, with the same input where it was sent."""
    again = recovery_of(trace, last)
    if again is None or target_of(again) != target_of(last):
        return None
    if last.input.state is _PRESENT and again.input.state is _PRESENT and again.input.text != last.input.text:
        return None
    return again
