"""A call told twice: by an instrumentation with its content, and by its client without (Anthropic's SDK)."""

from typing import Any

import pytest

from core.model.finding import Finding
from core.model.span import Details, ErrorClass, FinishReason, SpanKind, Usage
from core.model.trace import Trace
from core.model.usage import billable_usage
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, failed, present

TOKENS = Usage(40, 17)
ASKED = present('[{"role": "user", "content": "Tell me about the flight"}]')


def told_twice(*, beside: bool = False, echo: dict[str, Any] | None = None, **facts: Any) -> Trace:
    """The call as OpenInference tells it, and as the client does: below it, or beside it where it streams."""
    story = Story()
    root = story.root(duration_ms=1_000)
    given: dict[str, Any] = {"input": ASKED, "usage": TOKENS, "finish_reason": FinishReason.STOP, **facts}
    call = story.llm(root.span_id, scope="openinference.instrumentation.anthropic", **given)
    own = {"usage": given["usage"], "finish_reason": given["finish_reason"], "duration_ms": 90, **(echo or {})}
    start_ns, parent = call.start_ns + 1_000, root.span_id if beside else call.span_id
    story.llm(parent, scope="com.anthropic.sdk.python", start_ns=start_ns, **own)
    return story.trace()


def findings(trace: Trace) -> list[Finding]:
    return list(Checks(ChecksConfig(), Telemetry()).inspect(trace).findings)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("facts", "check"),
    [
        ({"output": present("")}, "empty_output"),
        ({"output": present("I'm sorry, but I can't help with that.")}, "refusal"),
        ({"output": present("The flight leaves at"), "finish_reason": FinishReason.LENGTH}, "output_cut"),
        ({"output": present("Jane has card 4539 1488 0343 6467")}, "pii_in_output"),
    ],
)
def test_faults_of_the_content_are_found_at_the_span_that_has_it(
    facts: dict[str, Any], check: str, *, beside: bool
) -> None:
    trace = told_twice(beside=beside, **facts)
    (fault,) = findings(trace)
    assert (fault.check, fault.span_ids) == (check, (trace.llm_spans[0].span_id,))


@pytest.mark.parametrize("beside", [False, True])
def test_a_call_told_twice_counts_once(*, beside: bool) -> None:
    trace = told_twice(beside=beside, output=present("At 10:05."))
    assert [span.scope for span in trace.llm_spans] == ["openinference.instrumentation.anthropic"]
    assert billable_usage(trace) == TOKENS
    assert findings(trace) == []


@pytest.mark.parametrize("beside", [False, True])
def test_a_failure_told_twice_is_one_with_the_words_of_the_fuller_span(*, beside: bool) -> None:
    error = failed("prompt is too long", error_class=ErrorClass.CONTEXT_OVERFLOW)
    own = failed("", error_type="invalid_request_error", error_class=ErrorClass.BAD_REQUEST)
    (fault,) = findings(
        told_twice(beside=beside, error=error, finish_reason=FinishReason.UNKNOWN, usage=None, echo={"error": own})
    )
    assert fault.title == "LLM call to gpt-4o-mini exceeds the context window"


def test_the_time_to_the_first_token_is_taken_from_the_span_that_has_it() -> None:
    trace = told_twice(
        output=present("At 10:05."),
        duration_ms=4_000,
        echo={"time_to_first_token_s": 3.0, "duration_ms": 3_900},
    )
    assert [fault.check for fault in findings(trace)] == ["slow_first_token"]


def test_a_try_that_failed_below_a_call_that_ended_well_is_no_echo() -> None:
    error = failed("Error code: 429", error_class=ErrorClass.RATE_LIMIT)
    trace = told_twice(output=present("At 10:05."), echo={"error": error, "usage": None})
    assert trace.echoes == {}
    assert [fault.check for fault in findings(trace)] == ["failed_span"]


def test_calls_without_content_of_one_instrumentation_are_calls() -> None:
    story = Story()
    root = story.root()
    outer = story.llm(root.span_id, scope="a", output=present("Done."), duration_ms=500)
    story.llm(outer.span_id, scope="a", start_ns=outer.start_ns + 1, usage=TOKENS)
    trace = story.trace()
    assert trace.echoes == {}
    assert len(trace.llm_spans) == 2
    assert trace.llm_spans[0].kind is SpanKind.LLM


def test_another_model_beside_it_is_another_call() -> None:
    trace = told_twice(beside=True, output=present("At 10:05."), echo={"model": "text-moderation"})
    assert trace.echoes == {}


def test_the_finish_reason_is_taken_from_the_span_that_has_it() -> None:
    # Traceloop's LangChain spans of Anthropic have none
    trace = told_twice(
        output=present(""),
        finish_reason=FinishReason.UNKNOWN,
        usage=Usage(40, 0),
        echo={"finish_reason": FinishReason.CONTENT_FILTER},
    )
    assert [fault.check for fault in findings(trace)] == ["content_filter"]


def tools(*, outer: dict[str, Any], inner: dict[str, Any]) -> Trace:
    """A call of a tool as OpenInference tells it, and within it as AutoGen does."""
    story = Story()
    root = story.root()
    for _ in range(3):
        given = {"arguments": '{"city": "Lisbon"}', "scope": "openinference", **outer}
        tool = story.tool("get_weather", root.span_id, **given)
        story.tool("get_weather", tool.span_id, **{"scope": "autogen-core", "start_ns": tool.start_ns + 1, **inner})
    return story.trace()


def test_a_tool_told_twice_is_one_call_of_which_the_fuller_span_tells() -> None:
    trace = tools(outer={"output": present("18")}, inner={})
    assert [span.scope for span in trace.tool_spans] == ["openinference"] * 3
    assert [fault.check for fault in findings(trace)] == ["repeated_tool_call"]
    trace = tools(outer={}, inner={"output": present("18"), "arguments": '{"city": "Lisbon"}'})
    assert [span.scope for span in trace.tool_spans] == ["autogen-core"] * 3


def test_a_tools_failure_told_twice_is_one() -> None:
    error = failed("weather service unreachable")
    trace = tools(outer={"error": error}, inner={"error": error})
    assert [span.scope for span in trace.leaf_faults] == ["openinference"] * 3


@pytest.mark.parametrize("inner", [{"scope": "openinference"}, {"error": failed("boom")}])
def test_a_tool_within_a_tool_is_a_call_of_its_own(inner: dict[str, Any]) -> None:
    trace = tools(outer={"output": present("18")}, inner=inner)
    assert len(trace.tool_spans) == 6


@pytest.mark.parametrize("beside", [False, True])
def test_a_stream_that_broke_is_told_once_by_the_span_that_says_why(*, beside: bool) -> None:
    trace = told_twice(
        beside=beside,
        output=present("Hello! Your flight TP532"),
        usage=None,
        finish_reason=FinishReason.UNKNOWN,
        details=Details(is_stream=True),
        echo={"error": failed("", error_type="api_error", error_class=ErrorClass.SERVER)},
    )
    assert [fault.check for fault in findings(trace)] == ["failed_span"]
