"""A guardrail of the application stopped something."""

import re
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, ErrorClass, Span, SpanKind
from core.model.trace import Trace
from detector.checks.errors import message_of
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_GUARDRAIL: Final = SpanKind.GUARDRAIL
# verdicts are short; a guardrail that hands on the text it looked at writes more
_READ_CHARACTERS: Final = 4_000
_HEAD_CHARACTERS: Final = 200
# how guardrails say that they stopped something: OpenAI agents, Bedrock, NeMo, Guardrails AI, Llama Guard, moderation
_TRIPPED: Final = re.compile(
    r"""
      ["'](?:tripwire_?triggered|triggered|tripped|blocked|is_?blocked|flagged|is_?flagged|violation|rejected|unsafe
        |violated|has_?violations?|intervened|injection_?detected|is_?injection|is_?toxic|denied)["']
        \s*:\s*true\b
    | ["'](?:pass|passed|is_?safe|safe|allow|allowed|is_?allowed|is_?valid|valid|validation_?passed
        |(?:is_?)?compliant)["']\s*:\s*false\b
    | guardrail_?intervened
    | ["'](?:action|decision|verdict|outcome|result|status)["']\s*:\s*["'](?:block|blocked|deny|denied|reject|rejected
        |fail|failed|unsafe|intervened|refrain|exception)["']
    | \A\s*["']?(?:blocked|denied|rejected|unsafe)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


class GuardrailTrippedConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class GuardrailTripped:
    """Found where one of these holds:

    - a guardrail span ended normally and its output says that it blocked, flagged or refused what it looked at;
    - a guardrail span failed with a refusal (an error of class content filter);
    - a call failed with the exception of a tripped wire (`InputGuardrailTripwireTriggered` and the like), and none of
      its children did.

    Severity: low. It is the guard's success; many of them are an attack, or a guard that is too strict. One finding a
    trace and guardrail.

    Unknown where a guardrail ran and its output was not sent.

    Not findings: a guardrail that broke (`failed_span`); a provider's own filter (`content_filter`); guardrails that
    let pass.
    """

    name = "guardrail_tripped"
    dimension = Dimension.SAFETY
    needs = (Need.CONTENT,)

    def __init__(self, config: GuardrailTrippedConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each guardrail that stopped something."""
        guardrails = rarer_spans(trace).guardrails
        if not guardrails and not trace.failed_spans:
            return CLEAR
        tripped: dict[str, tuple[Span, str]] = {}
        is_unknown = False
        for span in guardrails:
            if span.error is not None:
                continue
            if span.output.state is not _PRESENT:
                is_unknown = True
            elif _TRIPPED.search(span.output.text[:_READ_CHARACTERS]):
                tripped.setdefault(target_of(span), (span, quoted(span.output.text)))
        for span in trace.leaf_faults:
            # the exception is raised because a guardrail said so: one report, on the guardrail
            if is_tripwire(span) and (span.kind is _GUARDRAIL or not tripped):
                said = quoted(message_of(span.error)) if span.error is not None else ""
                tripped.setdefault(target_of(span), (span, said))
        faults = [self._finding(trace, span, said) for span, said in tripped.values()]
        return found(faults, otherwise=UNKNOWN if is_unknown else CLEAR)

    def _finding(self, trace: Trace, span: Span, said: str) -> Finding:
        error_type = span.error.error_type if span.error is not None else ""
        what = label_of(span) if span.kind is _GUARDRAIL else "A guardrail"
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.LOW,
            title=f"{what} stops a request",
            rationale=f"It said: {said}",
            error_type=error_type,
            publish_at_once=False,
        )


def is_tripwire(span: Span) -> bool:
    """Return whether a span failed because a guardrail of the application stopped it."""
    error = span.error
    if error is None:
        return False
    # OpenAI agents by OpenInference: no type, "Guardrail tripwire triggered: {…}"
    if "tripwire" in error.error_type.lower() or "tripwire triggered" in error.message[:_HEAD_CHARACTERS].lower():
        return True
    return span.kind is _GUARDRAIL and error.error_class is ErrorClass.CONTENT_FILTER
