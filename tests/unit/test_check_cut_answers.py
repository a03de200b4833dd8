"""Failures of clients on an answer: told as what is wrong with the answer, once, at the call that wrote it."""

import pytest

from core.dialects.errors import classify
from core.model.finding import Finding
from core.model.span import SpanError, SpanKind
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, present


def error_of(error_type: str, message: str) -> SpanError:
    error_class = classify(error_type=error_type, status_code=0, message=message)
    return SpanError(error_class=error_class, error_type=error_type, message=message)


def findings(story: Story) -> list[Finding]:
    return list(Checks(ChecksConfig(), Telemetry()).inspect(story.trace()).findings)


@pytest.mark.parametrize(
    ("error_type", "message", "check"),
    [
        (
            "pydantic_core._pydantic_core.ValidationError",
            "2 validation errors for Weather\ncity\n  Field required [type=missing, input_value={'town': 'Lisbon'}]",
            "output_schema",
        ),
        (
            "openai.LengthFinishReasonError",
            "Could not parse response content as the length limit was reached - CompletionUsage(…)",
            "output_cut",
        ),
        (
            "",
            "{'error': 'ended: incomplete_details=Details(reason=max_output_tokens)'}",
            "output_cut",
        ),
    ],
)
def test_a_model_call_that_fails_on_its_answer(error_type: str, message: str, check: str) -> None:
    story = Story()
    call = story.llm(story.root().span_id, error=error_of(error_type, message))
    (fault,) = findings(story)
    assert (fault.check, fault.span_ids) == (check, (call.span_id,))


@pytest.mark.parametrize(
    ("error_type", "message"),
    [
        ("", "Invalid JSON provided: {}"),
        ("agents.exceptions.ModelBehaviorError", "Invalid JSON when parsing {…} for TypeAdapter(Weather)"),
        ("langchain_core.exceptions.OutputParserException", "Invalid json output: Sure! The city is Lisbon"),
        ("langchain.agents.structured_output.StructuredOutputValidationError", "Failed to parse structured output"),
        ("AI_NoObjectGeneratedError", "No object generated: response did not match schema."),
    ],
)
def test_a_step_that_fails_on_the_answer_of_its_call_blames_the_call(error_type: str, message: str) -> None:
    story = Story()
    root = story.root()
    call = story.llm(root.span_id, output=present('{"town": "Lisbon"}'))
    step = story.add(SpanKind.CHAIN, "turn", parent=root.span_id, error=error_of(error_type, message))
    (fault,) = findings(story)
    assert (fault.check, fault.span_ids) == ("output_schema", (call.span_id, step.span_id))


@pytest.mark.parametrize(
    ("kind", "error_type", "message", "check"),
    [
        # the provider's body was no JSON: there is no answer
        (SpanKind.LLM, "json.decoder.JSONDecodeError", "Expecting value: line 1 column 1 (char 0)", "failed_span"),
        (SpanKind.LLM, "", "Unterminated string starting at: line 1 column 13 (char 12)", "failed_span"),
        # somebody's own class
        (SpanKind.CHAIN, "pydantic.ValidationError", "1 validation error for Booking\nid\n  required", "failed_span"),
        (SpanKind.LLM, "openai.BadRequestError", "Unsupported parameter: 'max_output_tokens'", "failed_span"),
        (SpanKind.TOOL, "pydantic.ValidationError", "1 validation error for get_weather\ncity", "tool_failure"),
    ],
)
def test_other_failures_stay_what_they_are(kind: SpanKind, error_type: str, message: str, check: str) -> None:
    story = Story()
    story.add(kind, "work", parent=story.root().span_id, error=error_of(error_type, message))
    assert [fault.check for fault in findings(story)] == [check]


def test_a_tripwire_is_known_by_its_words() -> None:
    # OpenAI agents by OpenInference: the span that failed has no type
    story = Story()
    error = error_of("", "Guardrail tripwire triggered: {'guardrail': 'offtopic'}")
    story.add(SpanKind.CHAIN, "turn", parent=story.root().span_id, error=error)
    assert [fault.check for fault in findings(story)] == ["guardrail_tripped"]


AGENT_RUN = "Error in agent run: {'error': \"%s\"}"


def of_agents(said: str, *, kind: SpanKind, below: str) -> list[Finding]:
    """OpenAI agents: between the agent that failed and what it failed of stands a turn that ended well."""
    story = Story()
    agent = story.root(error=error_of("", AGENT_RUN % said))
    turn = story.add(SpanKind.CHAIN, "turn", parent=agent.span_id, duration_ms=900)
    start_ns = turn.start_ns + 1
    if kind is SpanKind.TOOL:
        story.tool("get_weather", turn.span_id, error=error_of("", below), start_ns=start_ns)
    else:
        story.llm(turn.span_id, error=error_of("", below) if below else None, start_ns=start_ns)
    return findings(story)


def test_a_run_that_fails_of_its_tool_is_told_once_by_the_tool() -> None:
    below = "Error running tool: {'tool_name': 'get_weather', 'error': 'weather service unreachable'}"
    faults = of_agents("Error running tool get_weather: weather service unreachable", kind=SpanKind.TOOL, below=below)
    assert [fault.check for fault in faults] == ["tool_failure"]


def test_a_run_that_fails_of_its_call_in_the_same_words_is_of_the_calls_issue() -> None:
    below = "Error getting response: {'error': \"something odd\"}"
    faults = of_agents("something odd", kind=SpanKind.LLM, below=below)
    assert len({fault.fingerprint for fault in faults}) == 1


def test_a_run_that_fails_because_the_model_refused_is_a_refusal() -> None:
    (fault,) = of_agents("Model refused to produce output: I'm sorry, I cannot.", kind=SpanKind.LLM, below="")
    assert (fault.check, fault.title) == ("refusal", "LLM call to gpt-4o-mini refuses to answer")


@pytest.mark.parametrize(
    "message",
    ["Tool not found: {'tool_name': 'book_hotel'}", "Tool book_hotel not found in agent travel-agent"],
)
def test_a_step_that_has_no_such_tool_is_told_by_its_name_where_no_calls_were_sent(message: str) -> None:
    story = Story()
    root = story.root()
    call = story.llm(root.span_id)
    step = story.add(SpanKind.CHAIN, "turn", parent=root.span_id, error=error_of("", message))
    (fault,) = findings(story)
    assert fault.title == "A tool is called that does not exist: book_hotel"
    assert fault.span_ids == (call.span_id, step.span_id)
