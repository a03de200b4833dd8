"""Strands Agents: messages as span events, the default form and the opt-in latest one."""

import json
from typing import Any

import pytest

from core.model.span import ContentState, FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "strands.telemetry.tracer"
USAGE: dict[str, Any] = {
    "gen_ai.usage.prompt_tokens": 37,
    "gen_ai.usage.input_tokens": 37,
    "gen_ai.usage.completion_tokens": 21,
    "gen_ai.usage.output_tokens": 21,
    "gen_ai.usage.total_tokens": 58,
    "gen_ai.usage.cache_read_input_tokens": 5,
    "gen_ai.usage.cache_write_input_tokens": 0,
}
CHAT: dict[str, Any] = USAGE | {
    "gen_ai.event.start_time": "2026-11-20T23:17:23.048666+00:00",
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "strands-agents",
    "gen_ai.request.model": "gpt-4o-mini",
    "session.id": "s-1",
    "user.id": "u-1",
    "gen_ai.server.time_to_first_token": 2910,
}


def test_a_chat_is_read_from_its_events() -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("gen_ai.system.message", {"content": '[{"text": "You are a travel assistant."}]'}),
        ("gen_ai.user.message", {"content": '[{"text": "weather in Lisbon?"}]'}),
        ("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "It is 18 °C."}]'}),
    ]
    span = read_span(CHAT, name="chat", scope=SCOPE, status=1, events=events)
    assert (span.kind, span.dialect, span.model) == (SpanKind.LLM, "strands", "gpt-4o-mini")
    assert span.provider == ""
    assert (span.session_id, span.user_id) == ("s-1", "u-1")
    assert (span.output.text, span.finish_reason) == ("It is 18 °C.", FinishReason.STOP)
    assert "weather in Lisbon?" in span.input.text
    assert span.usage is not None
    assert (span.usage.input_tokens, span.usage.output_tokens, span.usage.cached_tokens) == (37, 21, 5)
    assert span.time_to_first_token_s == 2.91


def test_the_calls_of_a_choice_are_blocks() -> None:
    block = {"toolUse": {"toolUseId": "call_1", "name": "get_weather", "input": {"city": "Lisbon"}}}
    events = [("gen_ai.choice", {"finish_reason": "tool_use", "message": json.dumps([block])})]
    span = read_span(CHAT, scope=SCOPE, events=events)
    assert span.output.tool_calls == (ToolCall("get_weather", "call_1", '{"city": "Lisbon"}'),)
    assert span.finish_reason is FinishReason.TOOL_CALLS


def test_the_latest_form_has_one_event_for_input_and_one_for_output() -> None:
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "18 °C"}], "finish_reason": "end_turn"}]
    asked = [{"role": "user", "parts": [{"type": "text", "content": "weather?"}]}]
    events = [
        ("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": json.dumps(asked)}),
        ("gen_ai.client.inference.operation.details", {"gen_ai.output.messages": json.dumps(said)}),
    ]
    attributes = {k: v for k, v in CHAT.items() if k != "gen_ai.system"} | {"gen_ai.provider.name": "strands-agents"}
    span = read_span(attributes, scope=SCOPE, events=events)
    assert (span.output.text, span.finish_reason, span.provider) == ("18 °C", FinishReason.STOP, "")
    assert "weather?" in span.input.text


TOOL: dict[str, Any] = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.system": "strands-agents",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.tool.status": "success",
    "gen_ai.tool.json_schema": '{"type": "object", "required": ["city"]}',
}


def test_a_tool_reads_arguments_and_result_from_its_events() -> None:
    events = [
        ("gen_ai.tool.message", {"role": "tool", "content": '{"city": "Lisbon"}', "id": "call_1"}),
        ("gen_ai.choice", {"message": '[{"text": "18C"}]', "id": "call_1"}),
    ]
    span = read_span(TOOL, scope=SCOPE, status=1, events=events)
    assert span.tool == ToolCall("get_weather", "call_1", '{"city": "Lisbon"}')
    assert (span.output.text, span.error) == ("18C", None)
    definitions = json.loads(span.details.tool_definitions)
    assert definitions == [{"name": "get_weather", "parameters": {"type": "object", "required": ["city"]}}]


def test_the_latest_form_of_a_tool_keeps_its_call_in_attributes() -> None:
    response = {"type": "tool_call_response", "id": "call_1", "response": [{"text": "18C"}]}
    events = [
        (
            "gen_ai.client.inference.operation.details",
            {"gen_ai.output.messages": json.dumps([{"role": "tool", "parts": [response]}])},
        )
    ]
    attributes = TOOL | {
        "gen_ai.tool.call.arguments": '{"city": "Lisbon"}',
        "gen_ai.tool.call.result": '[{"text": "18C"}]',
    }
    span = read_span(attributes, scope=SCOPE, events=events)
    assert span.tool is not None
    assert span.tool.arguments == '{"city": "Lisbon"}'
    assert (span.output.state, "18C" in span.output.text) == (ContentState.PRESENT, True)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_tool_that_says_error_has_failed_whatever_its_span_says(status: int) -> None:
    span = read_span(TOOL | {"gen_ai.tool.status": "error"}, scope=SCOPE, status=status)
    assert span.error is not None


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("invoke_agent", SpanKind.AGENT), ("execute_event_loop_cycle", SpanKind.CHAIN), ("chat", SpanKind.LLM)],
)
def test_every_operation_has_its_kind(operation: str, kind: SpanKind) -> None:
    assert read_span({"gen_ai.operation.name": operation}, scope=SCOPE).kind is kind


def test_an_agent_names_its_tools_and_carries_the_sum_of_usage() -> None:
    attributes = USAGE | {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "travel-agent",
        "gen_ai.agent.tools": '["get_weather", "search_flights"]',
    }
    choice = ("gen_ai.choice", {"message": "It is 18 °C.\n", "finish_reason": "end_turn"})
    span = read_span(attributes, scope=SCOPE, events=[choice])
    assert (span.agent, span.output.text.strip()) == ("travel-agent", "It is 18 °C.")
    assert json.loads(span.details.tool_definitions) == ["get_weather", "search_flights"]
    assert span.usage is not None
    assert Usage(37, 21, 5) == Usage(span.usage.input_tokens, span.usage.output_tokens, span.usage.cached_tokens)


def test_an_answer_that_never_came_is_absent_not_empty() -> None:
    nothing = {key: 0 for key in USAGE if "cache" not in key}
    choice = ("gen_ai.choice", {"finish_reason": "end_turn", "message": "[]"})
    span = read_span(CHAT | nothing, scope=SCOPE, status=1, events=[choice])
    assert (span.usage, span.output.state) == (None, ContentState.ABSENT)
    assert (span.finish_reason, span.details.is_stream) == (FinishReason.UNKNOWN, True)
    counted = read_span(CHAT, scope=SCOPE, status=1, events=[choice])
    assert (counted.output.state, counted.finish_reason) == (ContentState.PRESENT, FinishReason.STOP)


def test_a_result_that_is_a_block_of_json_is_read() -> None:
    events = [("gen_ai.choice", {"message": '[{"json": {"temp": 18}}]', "id": "call_1"})]
    span = read_span(TOOL, scope=SCOPE, events=events)
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, '{"temp": 18}')
