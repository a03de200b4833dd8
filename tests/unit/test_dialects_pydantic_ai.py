"""Pydantic AI, versions 1, 2 and 5 of its instrumentation, and Logfire's own instrumentation of clients."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import ContentState, FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "pydantic-ai"
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.agent.name": "travel-agent",
    "gen_ai.agent.call.id": "01a1",
    "gen_ai.conversation.id": "s-1",
    "gen_ai.provider.name": "openai",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "server.address": "127.0.0.1",
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 21,
    "gen_ai.usage.details.reasoning_tokens": 4,
    "gen_ai.usage.details.cached_tokens": 5,
    "operation.cost": 1.71e-05,
    "gen_ai.response.finish_reasons": ["length"],
    "gen_ai.client.operation.time_to_first_chunk": 0.0629,
}


def test_a_chat_says_all_that_the_instrumentation_writes() -> None:
    message = {"role": "assistant", "parts": [{"type": "text", "content": "18 °C"}], "finish_reason": "length"}
    span = read_span(CHAT | {"gen_ai.output.messages": json.dumps([message])}, scope=SCOPE)
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "pydantic_ai", "llm:gpt-4o-mini")
    assert (span.session_id, span.agent, span.cost_usd) == ("s-1", "travel-agent", 1.71e-05)
    assert span.usage == Usage(30, 21, 5, 4)
    assert (span.output.text, span.finish_reason) == ("18 °C", FinishReason.LENGTH)
    assert span.time_to_first_token_s == 0.0629


def test_an_agents_run_has_messages_a_result_and_the_sum_of_usage() -> None:
    attributes = {
        "model_name": "gpt-4o-mini",
        "agent_name": "travel-agent",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.aggregated_usage.input_tokens": 60,
        "gen_ai.aggregated_usage.output_tokens": 42,
        "pydantic_ai.all_messages": '[{"role": "user", "parts": [{"type": "text", "content": "weather?"}]}]',
        "final_result": "18 °C",
        "logfire.msg": "travel-agent run",
    }
    span = read_span(attributes, name="invoke_agent travel-agent", scope=SCOPE)
    assert (span.kind, span.agent, span.model) == (SpanKind.AGENT, "travel-agent", "gpt-4o-mini")
    assert (span.usage, span.output.text) == (Usage(60, 42), "18 °C")
    assert [m.text for m in messages_of(span.input)] == ["weather?"]


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("joke_agent run", {"agent_name": "joke_agent"}, SpanKind.AGENT),
        ("agent run", {"agent_name": "joke_agent"}, SpanKind.AGENT),
        ("running tool", {"gen_ai.tool.name": "t"}, SpanKind.TOOL),
        ("running tool: t", {"gen_ai.tool.name": "t"}, SpanKind.TOOL),
        ("running 3 tools", {}, SpanKind.CHAIN),
        ("running tools", {}, SpanKind.CHAIN),
        ("nightly run", {}, SpanKind.UNKNOWN),
    ],
)
def test_older_spans_are_told_by_their_names(name: str, attributes: dict[str, Any], kind: SpanKind) -> None:
    assert read_span(attributes, name=name, scope=SCOPE).kind is kind


@pytest.mark.parametrize(
    ("arguments", "result"),
    [("tool_arguments", "tool_response"), ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")],
)
def test_a_tools_call_is_read_in_both_forms(arguments: str, result: str) -> None:
    attributes = {"gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "call_1"}
    span = read_span(attributes | {arguments: '{"city":"Lisbon"}', result: "18"}, name="running tool", scope=SCOPE)
    assert span.tool == ToolCall("get_weather", "call_1", '{"city":"Lisbon"}')
    assert span.output.text == "18"


@pytest.mark.parametrize(
    ("attributes", "attempt"),
    [
        ({"pydantic_ai.tool.retry.attempt": 1, "pydantic_ai.tool.retry.max_retries": 1}, 0),
        ({"pydantic_ai.tool.retry.attempt": 2}, 1),
        ({"pydantic_ai.model_request.attempt": 1}, 1),
    ],
)
def test_tries_before_this_one_are_counted(attributes: dict[str, Any], attempt: int) -> None:
    base = {"gen_ai.operation.name": "execute_tool", "pydantic_ai.tool.failure_stage": "validation"}
    assert read_span(base | attributes, scope=SCOPE, status=2).details.attempt == attempt


def test_tools_are_defined_in_a_requests_settings_where_nowhere_else() -> None:
    settings = {"function_tools": [{"name": "t", "parameters_json_schema": {"type": "object"}}], "output_mode": "text"}
    span = read_span(CHAT | {"model_request_parameters": json.dumps(settings)}, scope=SCOPE)
    assert definitions(span.details) == {"t": {"type": "object"}}


@pytest.mark.parametrize(("mode", "asked"), [("native", "json_schema"), ("prompted", "json_schema"), ("tool", "")])
def test_a_schema_that_the_text_was_to_follow_is_asked_for(mode: str, asked: str) -> None:
    settings = {"function_tools": [], "output_mode": mode, "output_object": {"json_schema": {"type": "object"}}}
    span = read_span(CHAT | {"model_request_parameters": json.dumps(settings)}, scope=SCOPE)
    assert span.details.output_type == asked


def test_the_first_version_keeps_messages_as_events() -> None:
    events = [
        {"event.name": "gen_ai.system.message", "content": "You are a travel assistant.", "role": "system"},
        {"event.name": "gen_ai.user.message", "content": "weather?", "role": "user"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "18 °C"}},
    ]
    span = read_span(CHAT | {"events": json.dumps(events)}, scope=SCOPE)
    assert span.output.text == "18 °C"
    assert "weather?" in span.input.text
    assert "18 °C" not in span.input.text


@pytest.mark.parametrize(
    ("asked", "state"), [({"content": "weather?"}, ContentState.PRESENT), ({}, ContentState.ABSENT)]
)
def test_an_answer_left_out_is_empty_only_where_the_question_was_sent(
    asked: dict[str, str], state: ContentState
) -> None:
    events = [
        {"event.name": "gen_ai.user.message", "role": "user", **asked},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant"}},
    ]
    span = read_span(CHAT | {"events": json.dumps(events)}, scope=SCOPE)
    assert (span.output.state, span.output.text) == (state, "")


REQUEST = {"messages": [{"role": "user", "content": "weather?"}], "model": "gpt-4o-mini", "temperature": 0.2}
LOGFIRE: dict[str, Any] = {
    "request_data": json.dumps(REQUEST),
    "gen_ai.request.model": "gpt-4o-mini",
    "logfire.msg_template": "Chat Completion with {request_data[model]!r}",
    "logfire.span_type": "span",
}
USED = {
    "prompt_tokens": 12,
    "completion_tokens": 6,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def test_roles_without_content_are_no_content() -> None:
    messages = [{"role": "user", "parts": [{"type": "text"}]}]
    assert read_span(CHAT | {"gen_ai.input.messages": json.dumps(messages)}, scope=SCOPE).input.text == ""
    assert read_span({"pydantic_ai.all_messages": json.dumps(messages)}).input.state is ContentState.ABSENT


def test_logfire_keeps_the_details_of_tokens_in_what_the_provider_said() -> None:
    attributes = LOGFIRE | {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.usage.raw": json.dumps(USED),
    }
    assert read_span(attributes, scope="logfire.openai").usage == Usage(12, 6, 2, 1)


def test_a_call_that_logfire_instruments_is_an_llm_call() -> None:
    attributes = LOGFIRE | {
        "gen_ai.system": "openai",
        "response_data": json.dumps({"message": {"role": "assistant", "content": "18 °C"}, "usage": USED}),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 6,
        "gen_ai.response.finish_reasons": '["stop"]',
        "session.id": "[Scrubbed due to 'session']",
    }
    span = read_span(attributes, name="Chat Completion with 'gpt-4o-mini'", scope="logfire.openai")
    assert (span.kind, span.dialect, span.session_id) == (SpanKind.LLM, "pydantic_ai", "")
    assert (span.output.text, span.finish_reason, span.usage) == ("18 °C", FinishReason.STOP, Usage(12, 6, 2, 1))
    assert (span.details.temperature, [m.text for m in messages_of(span.input)]) == (0.2, ["weather?"])


STREAMED = "streaming response from {request_data[model]!r} took {duration:.2f}s"


@pytest.mark.parametrize("request_data", [REQUEST | {"stream": True}, {"model": "gpt-4o-mini"}])
def test_a_stream_is_one_llm_call_whose_answer_comes_with_its_second_span(request_data: dict[str, Any]) -> None:
    attributes = LOGFIRE | {"request_data": json.dumps(request_data), "gen_ai.operation.name": "chat"}
    opening = read_span(attributes, name="Chat Completion with {request_data[model]!r}", scope="logfire.openai")
    data = {"message": {"role": "assistant", "content": "18 °C"}, "usage": USED}
    said = read_span(attributes | {"response_data": json.dumps(data)}, name=STREAMED, scope="logfire.openai")
    assert (opening.kind, opening.usage) == (SpanKind.HTTP, None)
    assert (said.kind, said.output.text, said.usage) == (SpanKind.LLM, "18 °C", Usage(12, 6, 2, 1))
    assert said.details.is_stream is True
    chunks = attributes | {"response_data": '{"combined_chunk_content": "18 °C", "chunk_count": 3}'}
    assert read_span(chunks, name=STREAMED).output.text == "18 °C"


def test_a_stream_that_failed_to_open_is_an_llm_call() -> None:
    event = ("exception", {"exception.type": "openai.RateLimitError", "exception.message": "Error code: 429"})
    streaming = LOGFIRE | {"request_data": json.dumps(REQUEST | {"stream": True}), "gen_ai.operation.name": "chat"}
    span = read_span(streaming, scope="logfire.openai", status=2, events=[event])
    assert (span.kind, span.output.state) == (SpanKind.LLM, ContentState.ABSENT)


def test_plain_words_mean_nothing_on_other_spans() -> None:
    attributes = {
        "model_name": "Model T",
        "agent_name": "Bond",
        "final_result": "win",
        "events": "[]",
        "tool_arguments": "x",
    }
    span = read_span(attributes, name="race", scope="my.app")
    assert (span.model, span.agent, span.output.state) == ("", "", ContentState.ABSENT)
