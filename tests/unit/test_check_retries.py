"""retries: one call tried again and again, and what merely looks like it."""

from core.model.finding import FindingKind, Severity
from core.model.span import Details, ErrorClass, SpanKind
from core.model.trace import Trace
from detector.checks.port import Outcome
from detector.checks.retries import Retries, RetriesConfig
from tests.unit.checks_kit import Story, failed, present

CHECK = Retries(RetriesConfig())
LIMITED = failed("Error code: 429", error_type="RateLimitError", error_class=ErrorClass.RATE_LIMIT)


def tries(failures: int, *, succeeds: bool, **facts: object) -> Trace:
    story = Story()
    root = story.root()
    for _ in range(failures):
        story.llm(root.span_id, error=LIMITED, input=present("weather?"), **facts)
    if succeeds:
        story.llm(root.span_id, input=present("weather?"))
    return story.trace()


def test_two_failures_and_a_success_are_three_tries() -> None:
    trace = tries(2, succeeds=True)
    (finding,) = CHECK.inspect(trace).findings
    assert finding.kind is FindingKind.PATTERN
    assert finding.severity is Severity.LOW
    assert finding.span_ids == tuple(span.span_id for span in trace.spans[1:])
    assert "then it succeeded" in finding.rationale


def test_three_failures_are_three_tries() -> None:
    (finding,) = CHECK.inspect(tries(3, succeeds=False)).findings
    assert "none of them succeeded" in finding.rationale


def test_fewer_tries_are_none() -> None:
    assert CHECK.inspect(tries(1, succeeds=True)).outcome is Outcome.CLEAR
    assert CHECK.inspect(tries(2, succeeds=False)).outcome is Outcome.CLEAR


def test_calls_with_other_inputs_are_none() -> None:
    story = Story()
    root = story.root()
    for question in ("a", "b", "c"):
        story.llm(root.span_id, error=LIMITED, input=present(question))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_success_with_another_input_is_no_further_try() -> None:
    story = Story()
    root = story.root()
    for question in ("a", "a", "b"):
        story.llm(root.span_id, error=LIMITED if question == "a" else None, input=present(question))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_branches_that_fail_together_are_none() -> None:
    story = Story()
    root = story.root()
    for _ in range(4):
        story.tool("get_weather", root.span_id, error=failed(), start_ns=root.start_ns + 5)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_tries_that_a_span_tells_of_count() -> None:
    story = Story()
    story.llm(details=Details(attempt=1))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.llm(details=Details(attempt=2))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (story.spans[1].span_id,)


def test_steps_under_parents_of_their_own_are_tries_of_one_agent() -> None:
    story = Story()
    root = story.root()
    for n in range(3):
        step = story.add(SpanKind.CHAIN, f"Step {n}", parent=root.span_id)
        outcome = {} if n == 2 else {"error": failed("backend down")}
        story.tool("search", step.span_id, arguments='{"q": "rain"}', **outcome)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert "then it succeeded" in finding.rationale
