"""OpenAI's Agents SDK under Logfire: templates for names, plain keys for the rest."""

import json
from typing import Any

import pytest

from core.dialects.messages import messages_of
from core.model.span import ErrorClass, FinishReason, Message, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "logfire.openai_agents"
BASE: dict[str, Any] = {"logfire.span_type": "span", "gen_ai.system": "openai"}


def read(template: str, attributes: dict[str, Any], **more: Any) -> Span:
    return read_span(BASE | {"logfire.msg_template": template} | attributes, name=template, scope=SCOPE, **more)


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("OpenAI Agents trace: {name}", SpanKind.CHAIN),
        ("Task: trip", SpanKind.CHAIN),
        ("Turn {turn} for agent travel", SpanKind.CHAIN),
        ("Handoff: {from_agent} → {to_agent}", SpanKind.CHAIN),
        ("Agent run: {name!r}", SpanKind.AGENT),
        ("Chat completion with {gen_ai.request.model!r}", SpanKind.LLM),
        ("Responses API with {gen_ai.request.model!r}", SpanKind.LLM),
        ("Function: {name}", SpanKind.TOOL),
        ("Guardrail {name!r} {triggered=}", SpanKind.GUARDRAIL),
    ],
)
def test_the_template_tells_the_kind(template: str, kind: SpanKind) -> None:
    span = read(template, {"name": "travel"})
    assert (span.kind, span.dialect) == (kind, "logfire_agents")


def test_the_trace_names_the_session_and_the_agent_its_tools() -> None:
    root = read("OpenAI Agents trace: {name}", {"name": "trip", "group_id": "s-1", "metadata": '{"user_id":"u-7"}'})
    assert (root.session_id, root.user_id, root.agent) == ("s-1", "u-7", "")
    agent = read("Agent run: {name!r}", {"name": "travel", "tools": '["get_weather"]', "handoffs": "[]"})
    assert (agent.agent, agent.details.tool_definitions) == ("travel", '["get_weather"]')


def test_a_chat_completion_is_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Lis'}}
    used = {"input_tokens": 57, "output_tokens": 17, "input_tokens_details": {"cached_tokens": 12}}
    span = read(
        "Chat completion with {gen_ai.request.model!r}",
        {
            "gen_ai.request.model": "gpt-4o-mini",
            "input": json.dumps([{"role": "user", "content": "weather?"}]),
            "output": json.dumps([{"role": "assistant", "content": None, "tool_calls": [call]}]),
            "model_config": '{"temperature": 0.2, "max_tokens": 300}',
            "usage": json.dumps(used),
            "gen_ai.usage.input_tokens": 57,
            "gen_ai.usage.output_tokens": 17,
        },
    )
    assert span.output.tool_calls == (ToolCall("get_weather", "c1", '{"city": "Lis'),)
    assert messages_of(span.input) == (Message("user", "weather?"),)
    assert (span.model, span.usage, span.details.max_tokens) == ("gpt-4o-mini", Usage(57, 17, 12), 300)


def test_of_a_streamed_completion_the_sdk_keeps_a_response() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "18 °C"}]}
    response = {"object": "response", "output": [said], "incomplete_details": None}
    none = {"input_tokens": 0, "output_tokens": 0}
    attributes = {"output": json.dumps([response]), "usage": json.dumps(none), "gen_ai.usage.input_tokens": 0}
    span = read("Chat completion with {gen_ai.request.model!r}", attributes)
    assert (span.output.text, span.usage) == ("18 °C", None)


def test_a_response_is_read_whole() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    response = {
        "object": "response",
        "status": "completed",
        "output": [
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        ],
        "tools": [{"type": "function", "name": "get_weather", "parameters": schema}],
        "text": {"format": {"type": "json_schema", "name": "final_output", "schema_": schema}},
    }
    span = read("Responses API with {gen_ai.request.model!r}", {"response": json.dumps(response), "raw_input": "[]"})
    assert span.output.tool_calls == (ToolCall("get_weather", "c1", "{}"),)
    assert span.finish_reason is FinishReason.TOOL_CALLS
    assert json.loads(span.details.output_schema) == schema
    assert json.loads(span.details.tool_definitions) == response["tools"]


def test_a_function_says_its_call_and_its_result() -> None:
    span = read("Function: {name}", {"name": "get_weather", "input": '{"city": "Lisbon"}', "output": "18 °C"})
    assert span.tool == ToolCall("get_weather", "", '{"city": "Lisbon"}')
    assert (span.output.text, span.usage) == ("18 °C", None)


@pytest.mark.parametrize(
    ("noted", "message", "of_class"),
    [
        (
            {"message": "Error in agent run", "data": {"error": "Error code: 500 - oh"}},
            "Error code: 500 - oh",
            "SERVER",
        ),
        ({"message": "Tool not found", "data": {"tool_name": "book"}}, "Tool not found: book", "OTHER"),
        ({"message": "Max turns exceeded", "data": {"max_turns": 6}}, "Max turns exceeded", "STEP_LIMIT"),
    ],
)
def test_the_error_that_the_sdk_noted_is_why_a_span_failed(noted: dict[str, Any], message: str, of_class: str) -> None:
    span = read("Agent run: {name!r}", {"name": "travel", "error": json.dumps(noted)}, status=2)
    assert span.error is not None
    assert (span.error.message, span.error.error_class) == (message, ErrorClass[of_class])
