"""failed_span: the deepest failure once, with the provider's error class."""

from typing import Any

import pytest

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ErrorClass, FinishReason, SpanError, SpanKind
from core.model.trace import Trace
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story, failed, present

CHECK = FailedSpan(FailedSpanConfig())
LIMIT = SpanError(error_class=ErrorClass.RATE_LIMIT, error_type="openai.RateLimitError", message="429 too many")


def only(trace: Trace) -> Finding:
    (finding,) = CHECK.inspect(trace).findings
    return finding


def test_only_the_deepest_failed_span_is_reported() -> None:
    story = Story(session_id="s1", release="1.4", environment="prod")
    root = story.root(error=LIMIT)
    step = story.add(SpanKind.CHAIN, parent=root.span_id, error=LIMIT)
    call = story.llm(step.span_id, error=LIMIT)
    finding = only(story.trace())
    assert finding.span_ids == (call.span_id,)
    assert finding.kind is FindingKind.FAULT
    assert finding.category is Dimension.EXECUTION
    assert finding.title == "LLM call to gpt-4o-mini hits a rate limit"
    assert "429 too many" in finding.rationale
    assert (finding.session_id, finding.release, finding.environment) == ("s1", "1.4", "prod")
    assert finding.observed_at_ns == call.end_ns
    assert finding.publish_at_once


def test_two_failures_are_two_findings_of_one_issue() -> None:
    story = Story()
    root = story.root()
    for _ in range(2):
        story.llm(root.span_id, error=LIMIT)
    one, two = CHECK.inspect(story.trace()).findings
    assert one.fingerprint == two.fingerprint
    assert one.finding_id != two.finding_id


def test_ids_do_not_depend_on_the_version_of_the_trace() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, error=LIMIT)
    before = only(story.trace())
    story.llm(root.span_id)
    after = only(story.trace())
    assert before.finding_id == after.finding_id
    assert (before.severity, after.severity) == (Severity.MEDIUM, Severity.LOW)


def test_a_failure_that_reached_the_root_is_high() -> None:
    story = Story()
    root = story.root(error=LIMIT)
    story.llm(root.span_id, error=LIMIT)
    assert only(story.trace()).severity is Severity.HIGH


def test_a_fallback_to_another_model_makes_it_low() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, error=LIMIT)
    story.llm(root.span_id, model="claude-haiku")
    finding = only(story.trace())
    assert finding.severity is Severity.LOW
    assert "succeeded" in finding.rationale


def test_an_earlier_success_is_no_recovery() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id)
    story.llm(root.span_id, error=LIMIT)
    assert only(story.trace()).severity is Severity.MEDIUM


@pytest.mark.parametrize("error_class", [ErrorClass.AUTH, ErrorClass.QUOTA])
def test_what_only_a_person_can_mend_is_high(error_class: ErrorClass) -> None:
    story = Story()
    story.llm(story.root().span_id, error=failed(error_class=error_class))
    assert only(story.trace()).severity is Severity.HIGH


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failed(error_class=ErrorClass.TIMEOUT), "times out"),
        (failed(error_class=ErrorClass.CONNECTION), "cannot connect"),
        (failed(error_class=ErrorClass.SERVER), "fails with a server error"),
        (failed(error_class=ErrorClass.CONTEXT_OVERFLOW), "exceeds the context window"),
        (failed(error_class=ErrorClass.AUTH), "is refused: authentication"),
        (failed(error_class=ErrorClass.QUOTA), "has no quota left"),
        (failed(error_type="openai.OddError"), "fails with OddError"),
        (failed(error_type="503"), "fails with status 503"),
        (failed(error_type="_OTHER"), "fails"),
        (failed(error_type="", message=""), "fails"),
    ],
)
def test_the_title_tells_the_class_of_the_error(error: SpanError, words: str) -> None:
    story = Story()
    story.llm(error=error)
    assert only(story.trace()).title == f"LLM call to gpt-4o-mini {words}"


def test_titles_hold_neither_user_text_nor_ids() -> None:
    story = Story()
    story.add(SpanKind.UNKNOWN, "GET /users/8819", error=failed("no user ann@example.org", error_type="KeyError"))
    assert only(story.trace()).title == "GET /users/* fails with KeyError"


def test_long_messages_are_cut_in_the_rationale() -> None:
    story = Story()
    story.llm(error=failed("x" * 100_000))
    assert len(only(story.trace()).rationale) < 600


def test_tools_and_filtered_calls_are_left_to_their_own_checks() -> None:
    story = Story()
    root = story.root()
    story.tool("search", root.span_id, error=failed())
    story.llm(root.span_id, error=failed(error_class=ErrorClass.CONTENT_FILTER))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_span_beside_the_call_that_repeats_its_error_is_the_same_issue() -> None:
    story = Story()
    root = story.root(error=LIMIT)
    story.add(SpanKind.CHAIN, "call_model", parent=root.span_id, error=LIMIT, duration_ms=500)
    story.llm(root.span_id, error=LIMIT, start_ns=story.spans[-1].start_ns + 1)
    echo, call = CHECK.inspect(story.trace()).findings
    assert echo.fingerprint == call.fingerprint
    assert echo.title == call.title
    assert echo.span_ids != call.span_ids


def test_the_class_of_an_error_separates_codes_that_masking_hides() -> None:
    story = Story()
    for error_class in (ErrorClass.RATE_LIMIT, ErrorClass.BAD_REQUEST):
        story.add(SpanKind.UNKNOWN, "answer", error=failed("Error code: 4", error_type="", error_class=error_class))
    one, other = CHECK.inspect(story.trace()).findings
    assert one.fingerprint != other.fingerprint


def test_a_cycle_of_parents_ends_and_hides_no_failure() -> None:
    story = Story()
    one = story.llm("0000000000000002", error=LIMIT)
    last = story.llm(one.span_id, error=LIMIT)
    (found,) = CHECK.inspect(story.trace()).findings
    assert found.span_ids[0] == last.span_id
    below = story.llm("0000000000000001", error=LIMIT)
    (found,) = CHECK.inspect(story.trace()).findings
    assert found.span_ids[0] == below.span_id


def test_an_agent_above_steps_that_ended_well_repeats_its_models_error_in_words_of_its_own() -> None:
    story = Story()
    said, repeated = (failed(words, error_class=ErrorClass.RATE_LIMIT) for words in ("Error code: 429", "run failed"))
    agent = story.add(SpanKind.AGENT, error=repeated, duration_ms=500)
    turn = story.add(parent=agent.span_id, start_ns=agent.start_ns + 1, duration_ms=400)
    story.llm(turn.span_id, error=said, start_ns=agent.start_ns + 2)
    findings = CHECK.inspect(story.trace()).findings
    assert len(findings) == 2
    assert len({finding.fingerprint for finding in findings}) == 1


def test_an_error_that_its_client_scrubbed_is_that_of_the_model_call_below() -> None:
    story = Story()
    marker = "[Scrubbed due to 'API key']"
    agent = story.add(SpanKind.AGENT, error=failed(marker, error_type=""), duration_ms=500)
    turn = story.add(parent=agent.span_id, start_ns=agent.start_ns + 1, duration_ms=400)
    refused = failed("Error code: 401", error_class=ErrorClass.AUTH)
    story.llm(turn.span_id, error=refused, start_ns=agent.start_ns + 2)
    findings = CHECK.inspect(story.trace()).findings
    assert len(findings) == 2
    assert len({finding.fingerprint for finding in findings}) == 1


def test_requests_of_a_model_call_that_failed_are_part_of_it() -> None:
    """An HTTP instrumentation beside: three tries, each of which says 429, and the call knows that it is the quota."""
    story = Story()
    root = story.root()
    quota = failed("Error code: 429 - insufficient_quota", error_class=ErrorClass.QUOTA)
    call = story.llm(root.span_id, error=quota, duration_ms=900)
    limited = failed("", error_type="429", error_class=ErrorClass.RATE_LIMIT)
    for _ in range(3):
        story.add(SpanKind.HTTP, "POST", parent=call.span_id, error=limited, start_ns=call.start_ns)
    trace = story.trace()
    assert trace.leaf_faults == (call,)
    (finding,) = FailedSpan(FailedSpanConfig()).inspect(trace).findings
    assert finding.title == "LLM call to gpt-4o-mini has no quota left"


def test_a_request_that_failed_below_a_call_that_ended_well_is_a_try_and_low() -> None:
    story = Story()
    call = story.llm(story.root().span_id, duration_ms=900)
    limited = failed("", error_type="429", error_class=ErrorClass.RATE_LIMIT)
    story.add(SpanKind.HTTP, "POST", parent=call.span_id, error=limited)
    story.add(SpanKind.HTTP, "POST", parent=call.span_id)
    (finding,) = FailedSpan(FailedSpanConfig()).inspect(story.trace()).findings
    assert finding.severity is Severity.LOW


def test_a_call_that_ended_well_with_the_words_of_a_failure_before_it_did_not_fail() -> None:
    """OpenInference's processor for Vercel AI gives the first error of a trace to what ends after it."""
    story = Story()
    root = story.root()
    story.tool("search", root.span_id, error=failed("service unavailable"))
    echo = failed("service unavailable", error_type="")
    story.llm(root.span_id, error=echo, output=present("It is down."), finish_reason=FinishReason.STOP)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.llm(root.span_id, error=echo)
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Rate limit reached for gpt-4o-mini on requests per min (RPM)", "Agent travel-agent hits a rate limit"),
        ("Unterminated string starting at: line 1 column 13 (char 12)", "Agent travel-agent cannot be parsed"),
    ],
)
def test_an_agent_that_answers_with_its_providers_error_has_failed(said: str, title: str) -> None:
    """Agno by OpenTelemetry: no span fails, the text is the answer and the finish reason says "error"."""
    story = Story()
    story.root(output=present(said), finish_reason=FinishReason.ERROR)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert (finding.title, finding.severity) == (title, Severity.HIGH)


@pytest.mark.parametrize(
    "facts",
    [
        {"output": present("Rate limits are set by hour."), "finish_reason": FinishReason.STOP},
        {"output": present("Your flight leaves at"), "finish_reason": FinishReason.ERROR},
        {"finish_reason": FinishReason.ERROR},
    ],
)
def test_an_answer_that_is_no_error_is_none(facts: dict[str, Any]) -> None:
    story = Story()
    story.root(**facts)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
