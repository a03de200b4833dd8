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
