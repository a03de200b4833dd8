"""output_schema: JSON that was asked for, and what passes for it."""

import json

import pytest

from core.model.finding import Dimension
from core.model.span import Content, ContentState, Details, ErrorClass, FinishReason, ToolCall
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.output_schema import OutputSchema, OutputSchemaConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story, failed, present

CHECK = OutputSchema(OutputSchemaConfig())
AS_JSON = Details(output_type="json")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CUT = '{"town": "Lisbon", "temperature": "warm"'


def outcome(text: str, details: Details = AS_JSON, **facts: object) -> Outcome:
    story = Story()
    story.llm(story.root().span_id, **{"details": details, "output": present(text), **facts})
    return CHECK.inspect(story.trace()).outcome


def test_text_where_json_was_asked_for_is_found() -> None:
    story = Story()
    story.llm(details=AS_JSON, output=present(CUT))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.category is Dimension.CORRECTNESS
    assert finding.title == "LLM call to gpt-4o-mini answers with text that is not JSON"


@pytest.mark.parametrize(
    "sent",
    [SCHEMA, {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}],
    ids=["bare", "within a response format"],
)
def test_json_that_breaks_its_schema_is_found(sent: object) -> None:
    details = Details(output_schema=json.dumps(sent))
    assert outcome('{"town": "Lisbon"}', details) is Outcome.FOUND
    assert outcome('{"city": "Lisbon"}', details) is Outcome.CLEAR
    assert outcome("Lisbon", details) is Outcome.FOUND


def test_a_response_format_without_a_schema_asks_for_json() -> None:
    details = Details(output_schema='{"type": "json_object"}')
    assert outcome(CUT, details) is Outcome.FOUND
    assert outcome('{"any": 1}', details) is Outcome.CLEAR


def test_json_in_a_block_of_code_passes_unless_it_must_be_bare() -> None:
    fenced = 'Here it is:\n```json\n{"city": "Lisbon"}\n```'
    assert outcome(fenced) is Outcome.CLEAR
    story = Story()
    story.llm(details=AS_JSON, output=present(fenced))
    strict = OutputSchema(OutputSchemaConfig(allow_fences=False))
    assert strict.inspect(story.trace()).outcome is Outcome.FOUND


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ('{"a": 1}\n{"a": 2}', {}),
        ('{"a": "x\ny"}', {}),
        (CUT, {"finish_reason": FinishReason.LENGTH}),
        (CUT, {"finish_reason": FinishReason.CONTENT_FILTER}),
        (CUT, {"error": failed()}),
        (CUT, {"details": Details(output_type="text")}),
        (CUT, {"details": Details(max_tokens=5)}),
        ("", {"output": present("let me see", ToolCall(name="get_weather"))}),
        ("", {"output": present("", refusal="I cannot")}),
        ("  ", {}),
        ('<think>a city {</think>\n{"city": "Lisbon"}', {}),
        ('{"elements": [{"city": "Lisbon"}]}', {"details": Details(output_schema=json.dumps(SCHEMA))}),
    ],
    ids=[
        "two choices",
        "a line break in a string",
        "cut",
        "filtered",
        "failed",
        "text was asked for",
        "nothing was asked for",
        "a tool call",
        "a refusal",
        "blank",
        "thoughts before it",
        "a list asked for by the schema of its items",
    ],
)
def test_none(text: str, facts: dict[str, object]) -> None:
    assert outcome(text, **facts) is Outcome.CLEAR  # type: ignore[arg-type]


def test_an_answer_that_was_not_sent_is_unknown() -> None:
    assert outcome("", output=Content(state=ContentState.IN_LOGS)) is Outcome.UNKNOWN
    assert outcome("", output=Content(state=ContentState.TRUNCATED, text="{")) is Outcome.UNKNOWN


def test_the_schema_of_the_agent_around_a_call_judges_its_answer() -> None:
    """Vercel AI writes it on `ai.generateObject`, not on the call."""
    story = Story()
    root = story.root(details=Details(output_type="json_schema", output_schema=json.dumps(SCHEMA)))
    story.llm(root.span_id, details=AS_JSON, output=present('{"town": "Lisbon"}'))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini answers with JSON that breaks its schema"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (("AI_NoObjectGeneratedError", "No object generated: response did not match schema."), "breaks its schema"),
        (("AI_NoObjectGeneratedError", "No object generated: could not parse the response."), "is not JSON"),
        (("", 'Failed to parse. Text: "Here you are". Error: SyntaxError: Unexpected token'), "is not JSON"),
    ],
)
def test_a_failure_for_want_of_a_usable_answer_is_on_the_call_that_wrote_it(error: tuple[str, str], words: str) -> None:
    thrown = failed(error[1], error_type=error[0], error_class=ErrorClass.PARSE)
    within, beside = Story(), Story()
    root = within.root(error=thrown)
    written = within.llm(within.add(parent=root.span_id).span_id, output=present("Here you are"))
    (finding,) = CHECK.inspect(within.trace()).findings
    assert finding.span_ids == (written.span_id, root.span_id)
    assert finding.title.endswith(words)
    # LangChain's parsers stand beside the call
    root = beside.root(error=thrown)
    written = beside.llm(root.span_id, output=present("Here you are"))
    parser = beside.add(parent=root.span_id, name="StructuredOutputParser", error=thrown)
    (finding,) = CHECK.inspect(beside.trace()).findings
    assert finding.span_ids == (written.span_id, parser.span_id)
    assert FailedSpan(FailedSpanConfig()).inspect(beside.trace()).outcome is Outcome.CLEAR


def test_an_answer_that_was_judged_is_not_told_of_again_by_what_it_broke() -> None:
    story = Story()
    thrown = failed("No object generated: response did not match schema.", error_class=ErrorClass.PARSE)
    root = story.root(error=thrown, details=Details(output_schema=json.dumps(SCHEMA)))
    story.llm(root.span_id, details=AS_JSON, output=present('{"town": "Lisbon"}'))
    assert len(CHECK.inspect(story.trace()).findings) == 1


def test_a_providers_body_that_is_no_json_is_a_failure_of_the_call() -> None:
    story = Story()
    error = failed("Invalid JSON response", error_type="AI_APICallError", error_class=ErrorClass.PARSE)
    story.llm(story.root(error=error).span_id, error=error)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    assert FailedSpan(FailedSpanConfig()).inspect(story.trace()).outcome is Outcome.FOUND


def test_a_schema_that_cannot_be_followed_to_its_end_is_unknown() -> None:
    endless = json.dumps({"type": "object", "properties": {"next": {"$ref": "#/properties/next"}}})
    assert outcome('{"next": 1}', details=Details(output_schema=endless)) is Outcome.UNKNOWN
