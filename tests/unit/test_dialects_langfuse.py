"""Langfuse's SDK: langfuse.observation.* attributes."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import ContentState, Document, FinishReason, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import START_NS, read_span

OBSERVED = "langfuse.observation."
BASE: dict[str, Any] = {
    "user.id": "u-1",
    "session.id": "s-1",
    "langfuse.trace.metadata.tenant": '"acme"',
    "langfuse.trace.tags": ["beta"],
    "langfuse.environment": "staging",
    "langfuse.release": "1.4.2",
    "langfuse.version": "v3",
}


def observed(kind: str, attributes: dict[str, Any], **more: Any) -> Span:
    return read_span(BASE | {OBSERVED + "type": kind} | attributes, scope="langfuse-sdk", **more)


def test_a_generation_says_all_that_the_sdk_writes() -> None:
    span = observed(
        "generation",
        {
            OBSERVED + "model.name": "gpt-4o-mini",
            OBSERVED + "model.parameters": '{"temperature": 0.2, "max_tokens": 300, "top_p": 1}',
            OBSERVED + "input": '[{"role": "user", "content": "refunds?"}]',
            OBSERVED + "output": '{"role": "assistant", "content": "Within 24 hours."}',
            OBSERVED + "usage_details": json.dumps(
                {
                    "prompt_tokens": 40,
                    "completion_tokens": 17,
                    "total_tokens": 57,
                    "prompt_tokens_details": {"cached_tokens": 8},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                }
            ),
            OBSERVED + "cost_details": '{"input": 0.001, "output": 0.002, "total": 0.003}',
            OBSERVED + "completion_start_time": '"2025-10-09T08:53:20.250000Z"',
            OBSERVED + "prompt.name": "refunds",
            OBSERVED + "prompt.version": 3,
        },
    )
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "langfuse", "llm:gpt-4o-mini")
    assert (span.session_id, span.user_id) == ("s-1", "u-1")
    assert (span.output.text, span.usage) == ("Within 24 hours.", Usage(40, 17, 8, 3))
    assert span.cost_usd == 0.003
    assert START_NS == 1_760_000_000 * 10**9
    assert span.time_to_first_token_s == pytest.approx(0.25)
    assert (span.details.temperature, span.details.max_tokens) == (0.2, 300)
    assert (span.details.prompt_name, span.details.prompt_version) == ("refunds", "3")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("generation", SpanKind.LLM),
        ("embedding", SpanKind.EMBEDDING),
        ("tool", SpanKind.TOOL),
        ("retriever", SpanKind.RETRIEVER),
        ("agent", SpanKind.AGENT),
        ("chain", SpanKind.CHAIN),
        ("evaluator", SpanKind.EVALUATOR),
        ("guardrail", SpanKind.GUARDRAIL),
        ("span", SpanKind.UNKNOWN),
    ],
)
def test_every_observation_type_has_its_kind(word: str, kind: SpanKind) -> None:
    assert observed(word, {}).kind is kind


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        ({"input": 10, "output": 5, "total": 15}, Usage(10, 5)),
        ({"input": 10, "input_cached_tokens": 30, "output": 5}, Usage(40, 5, 30)),
        ({"input": 10, "input_cache_read": 30, "output": 5, "output_reasoning": 7}, Usage(40, 12, 30, 7)),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 30}, Usage(40, 5, 30)),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30},
            Usage(60, 5, 30, 0, 20),
        ),
        ({"input_tokens": 40, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 30}}, Usage(40, 5, 30)),
        ({"prompt_tokens": 40, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(40, 5)),
        ({"requests": 1}, None),
    ],
)
def test_tokens_are_read_in_each_providers_names(details: dict[str, Any], usage: Usage | None) -> None:
    assert observed("generation", {OBSERVED + "usage_details": json.dumps(details)}).usage == usage


def test_tools_that_stand_beside_the_messages_are_offered() -> None:
    given = {"tools": [{"type": "function", "function": {"name": "t"}}], "messages": [{"role": "user", "content": "q"}]}
    span = observed("generation", {OBSERVED + "input": json.dumps(given)})
    assert list(definitions(span.details)) == ["t"]


def test_tools_that_stand_as_messages_are_offered_and_said_by_none() -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    given = [{"role": "user", "content": "q"}, {"role": "tool", "content": tool}]
    span = observed("generation", {OBSERVED + "input": json.dumps(given)})
    assert list(definitions(span.details)) == ["t"]
    assert [(m.role, m.text) for m in messages_of(span.input)] == [("user", "q")]
    told = [{"role": "user", "content": "q"}, {"role": "tool", "content": "18", "tool_call_id": "c"}]
    span = observed("generation", {OBSERVED + "input": json.dumps(told)})
    assert [m.role for m in messages_of(span.input)] == ["user", "tool"]


def test_a_tool_is_named_by_its_span() -> None:
    attributes = {OBSERVED + "input": '{"args": ["Lisbon"], "kwargs": {}}', OBSERVED + "output": '{"temp": 18}'}
    span = observed("tool", attributes, name="weather")
    assert span.tool == ToolCall("weather", "", '{"args": ["Lisbon"], "kwargs": {}}')
    assert span.output.text == '{"temp": 18}'


def test_a_retrievers_output_is_its_documents() -> None:
    span = observed("retriever", {OBSERVED + "output": '[{"id": "kb/1", "text": "Refunds within 24 h", "score": 0.8}]'})
    assert span.details.documents == (Document("kb/1", 0.8, "Refunds within 24 h"),)
    assert observed("retriever", {OBSERVED + "output": "[]"}).details.documents == ()


@pytest.mark.parametrize("status", [0, 2])
def test_the_level_error_is_a_failure_whatever_the_status(status: int) -> None:
    attributes = {OBSERVED + "level": "ERROR", OBSERVED + "status_message": "Error code: 429 - Rate limit reached"}
    error = observed("generation", attributes, status=status).error
    assert error is not None
    assert (error.status_code, error.message) == (429, "Error code: 429 - Rate limit reached")
    assert observed("generation", {OBSERVED + "level": "WARNING"}).error is None


def test_old_names_of_session_and_user_are_read() -> None:
    attributes = {"langfuse.session.id": "s-2", "langfuse.user.id": "u-2", OBSERVED + "type": "span"}
    assert (read_span(attributes).session_id, read_span(attributes).user_id) == ("s-2", "u-2")


def test_keys_stamped_on_other_libraries_spans_change_nothing() -> None:
    attributes = BASE | {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "output.value": "hello"}
    span = read_span(attributes, scope="openinference.instrumentation.openai")
    assert (span.dialect, span.kind, span.output.text) == ("openinference", SpanKind.LLM, "hello")


def test_finish_reasons_stand_only_in_whole_responses() -> None:
    whole = {"choices": [{"finish_reason": "length", "message": {"content": "one, two"}}]}
    assert observed("generation", {OBSERVED + "output": json.dumps(whole)}).finish_reason is FinishReason.LENGTH
    assert observed("generation", {}).output.state is ContentState.ABSENT


def test_the_chain_that_called_a_model_tells_why_it_stopped() -> None:
    message = {"content": "one, two", "response_metadata": {"finish_reason": "length"}, "type": "ai"}
    assert observed("chain", {OBSERVED + "output": json.dumps(message)}).finish_reason is FinishReason.LENGTH


def test_what_langchains_handler_keeps_of_a_model_is_read() -> None:
    call = {"type": "invalid_tool_call", "id": "c1", "name": "get_weather", "args": '{"city": "Lis', "error": "…"}
    span = observed(
        "generation",
        {
            OBSERVED + "metadata.ls_provider": '"openai"',
            OBSERVED + "output": json.dumps({"role": "assistant", "content": "", "invalid_tool_calls": [call]}),
        },
    )
    assert span.provider == "openai"
    assert span.output.tool_calls == (ToolCall("get_weather", "c1", '{"city": "Lis'),)
    refused = {"role": "assistant", "content": "", "additional_kwargs": {"refusal": "I can't help with that."}}
    assert (
        observed("generation", {OBSERVED + "output": json.dumps(refused)}).output.refusal == "I can't help with that."
    )


def test_the_form_that_was_asked_for_stands_in_the_metadata() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}
    span = observed("generation", {OBSERVED + "metadata.response_format": json.dumps(asked)})
    assert span.details.output_type == "json_schema"
    assert json.loads(span.details.output_schema) == schema


def test_a_tool_under_langchain_answers_without_its_envelope() -> None:
    message = {"content": "18 °C", "type": "tool", "name": "get_weather", "tool_call_id": "c1", "status": "success"}
    span = observed("tool", {OBSERVED + "input": '{"city": "Lisbon"}', OBSERVED + "output": json.dumps(message)})
    assert span.output.text == "18 °C"
    assert span.tool is not None
    assert span.tool.call_id == "c1"


def test_a_decorated_tool_was_called_with_its_keywords() -> None:
    span = observed("tool", {OBSERVED + "input": '{"args": [], "kwargs": {"city": "Lisbon"}}'}, name="get_weather")
    assert span.tool == ToolCall("get_weather", "", '{"city": "Lisbon"}')
    by_position = observed("tool", {OBSERVED + "input": '{"args": ["Lisbon"], "kwargs": {}}'})
    assert by_position.tool is not None
    assert by_position.tool.arguments == '{"args": ["Lisbon"], "kwargs": {}}'


def test_the_wrapper_of_openais_client_in_javascript_keeps_the_responses_api_in_metadata() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c_1", "name": "find", "arguments": '{"q": "x"}'}
    tools = json.dumps([{"type": "function", "name": "find", "parameters": {"type": "object"}}])
    span = observed("generation", {OBSERVED + "output": json.dumps(call), OBSERVED + "metadata.tools": tools})
    assert span.output.tool_calls == (ToolCall("find", "c_1", '{"q": "x"}'),)
    assert span.finish_reason is FinishReason.TOOL_CALLS
    assert list(definitions(span.details)) == ["find"]
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    span = observed("generation", {OBSERVED + "output": json.dumps([thought, call])})
    assert [each.name for each in span.output.tool_calls] == ["find"]
    cut = {
        OBSERVED + "output": "It is 18",
        OBSERVED + "metadata.incomplete_details": '{"reason":"max_output_tokens"}',
        OBSERVED + "metadata.tools": "[]",
    }
    span = observed("generation", cut)
    assert (span.finish_reason, span.details.tool_definitions) == (FinishReason.LENGTH, "")


def test_a_generation_of_a_model_that_embeds_is_an_embedding() -> None:
    said = {OBSERVED + "model.name": "text-embedding-3-small", OBSERVED + "input": "hello", OBSERVED + "output": ""}
    assert observed("generation", said).kind is SpanKind.EMBEDDING


def test_a_model_called_by_itself_keeps_its_session_in_its_metadata() -> None:
    metadata = {OBSERVED + "metadata.langfuse_session_id": '"s-2"', OBSERVED + "metadata.langfuse_user_id": '"u-2"'}
    span = read_span({OBSERVED + "type": "generation"} | metadata, scope="langfuse-sdk")
    assert (span.session_id, span.user_id) == ("s-2", "u-2")


def test_a_tools_result_whose_role_is_its_name_is_the_tools() -> None:
    """The handler for LangChain in JavaScript."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    said = [
        {"role": "user", "content": "refunds?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "find", "content": "Error: find is not a valid tool"},
    ]
    for given in (said, {"messages": said, "tools": [{"type": "function", "function": {"name": "search"}}]}):
        messages = messages_of(observed("generation", {OBSERVED + "input": json.dumps(given)}).input)
        told = messages[-1]
        assert [message.role for message in messages] == ["user", "assistant", "tool"]
        assert (told.name, told.tool_call_id, told.text) == ("find", "c1", "Error: find is not a valid tool")
