"""guardrail_tripped: the guards of the application, and what is not theirs."""

import pytest

from core.model.finding import Dimension, Severity
from core.model.span import Content, ErrorClass, SpanKind
from detector.checks.content_filter import ContentFilter, ContentFilterConfig
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.guardrail_tripped import GuardrailTripped, GuardrailTrippedConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story, failed, present

CHECK = GuardrailTripped(GuardrailTrippedConfig())
TRIPWIRE = failed(
    "Guardrail InputGuardrail triggered tripwire",
    error_type="InputGuardrailTripwireTriggered",
    error_class=ErrorClass.CONTENT_FILTER,
)


def guarded(**facts: object) -> Story:
    story = Story()
    story.add(SpanKind.GUARDRAIL, "pii_guard", parent=story.root().span_id, agent="", **facts)
    return story


@pytest.mark.parametrize(
    "said",
    [
        '{"tripwire_triggered": true}',
        '{"passed": false, "reason": "email"}',
        "{'flagged': True}",
        '{"action": "GUARDRAIL_INTERVENED"}',
        '{"verdict": "blocked"}',
        "unsafe\nS1",
    ],
)
def test_a_guardrail_that_says_it_stopped_something_is_found(said: str) -> None:
    (finding,) = CHECK.inspect(guarded(output=present(said)).trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.category is Dimension.SAFETY


@pytest.mark.parametrize(
    "said", ['{"tripwire_triggered": false}', '{"passed": true}', "safe", "nothing was blocked here", ""]
)
def test_a_guardrail_that_lets_pass_is_none(said: str) -> None:
    assert CHECK.inspect(guarded(output=present(said)).trace()).outcome is Outcome.CLEAR


def test_output_that_was_not_sent_is_unknown() -> None:
    assert CHECK.inspect(guarded(output=Content()).trace()).outcome is Outcome.UNKNOWN


def test_the_exception_of_a_tripwire_is_one_report_of_this_check_alone() -> None:
    story = Story()
    root = story.root(error=TRIPWIRE)
    story.add(SpanKind.AGENT, "agent", parent=root.span_id, error=TRIPWIRE)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (story.spans[1].span_id,)
    assert ContentFilter(ContentFilterConfig()).inspect(story.trace()).outcome is Outcome.CLEAR
    assert FailedSpan(FailedSpanConfig()).inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_guardrail_and_the_exception_it_raises_are_one_report() -> None:
    story = guarded(output=present('{"tripwire_triggered": true}'))
    story.add(SpanKind.AGENT, "agent", parent=story.spans[0].span_id, error=TRIPWIRE)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (story.spans[1].span_id,)


def test_a_guardrail_that_broke_is_none() -> None:
    assert CHECK.inspect(guarded(error=failed("boom")).trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    "said",
    [
        '{"intervened": true}',
        "{'injection_detected': True, 'score': 0.97}",
        '{"validationPassed": false}',
        '{"is_allowed": false}',
        '{"action": "intervened"}',
    ],
)
def test_verdicts_are_read_in_the_words_of_other_libraries(said: str) -> None:
    story = Story()
    story.add(SpanKind.GUARDRAIL, "guard", parent=story.root().span_id, output=present(said))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND
