"""Google ADK: today's OTel GenAI, and what older versions kept in gcp.vertex.agent.*."""

import json
from typing import Any

import pytest

from core.model.span import ContentState, FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "gcp.vertex.agent"
REQUEST = {
    "model": "gemini-2.0-flash",
    "config": {
        "system_instruction": "Greet.",
        "tools": [{"function_declarations": [{"name": "say_hello", "parameters": {"type": "OBJECT"}}]}],
        "response_schema": {"type": "OBJECT"},
        "response_mime_type": "application/json",
    },
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
}


def response(**more: Any) -> str:
    content = {"role": "model", "parts": [{"text": "Hello"}, {"text": " you"}]}
    return json.dumps({"content": content, "finish_reason": "STOP"} | more)


def test_an_old_call_is_read_from_its_request_and_response() -> None:
    span = read_span(
        {
            "gen_ai.system": "gcp.vertex.agent",
            "gen_ai.request.model": "gemini-2.0-flash",
            "gcp.vertex.agent.invocation_id": "e-1",
            "gcp.vertex.agent.session_id": "s-1",
            "gcp.vertex.agent.event_id": "v-1",
            "gcp.vertex.agent.llm_request": json.dumps(REQUEST),
            "gcp.vertex.agent.llm_response": response(),
            "gen_ai.usage.input_tokens": 39,
            "gen_ai.usage.output_tokens": 6,
        },
        name="call_llm",
        scope=SCOPE,
    )
    assert (span.kind, span.dialect, span.provider, span.session_id) == (SpanKind.LLM, "google_adk", "", "s-1")
    assert (span.output.text, span.finish_reason, span.usage) == ("Hello you", FinishReason.STOP, Usage(39, 6))
    assert "say_hello" in span.details.tool_definitions
    assert (span.details.output_type, json.loads(span.details.output_schema)) == (
        "json_schema",
        {"type": "object"},
    )
    assert span.input.state is ContentState.PRESENT


def test_calls_in_an_old_response_are_tool_calls() -> None:
    call = {"function_call": {"id": "adk-1", "name": "say_hello", "args": {"to": "you"}}}
    raw = json.dumps({"content": {"role": "model", "parts": [call]}})
    span = read_span({"gcp.vertex.agent.llm_response": raw}, name="call_llm", scope=SCOPE)
    assert span.output.tool_calls == (ToolCall("say_hello", "adk-1", '{"to": "you"}'),)


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "content_filter"])
def test_a_response_that_was_stopped_before_it_spoke_is_empty(reason: str) -> None:
    raw = json.dumps({"finish_reason": reason})
    span = read_span({"gcp.vertex.agent.llm_response": raw}, name="call_llm", scope=SCOPE)
    assert (span.output.state, span.finish_reason) == (ContentState.PRESENT, FinishReason.CONTENT_FILTER)


TOOL: dict[str, Any] = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "<not specified>",
    "gcp.vertex.agent.event_id": "v-1",
}


def test_old_tool_calls_are_read_and_an_id_that_is_none_is_absent() -> None:
    attributes = TOOL | {
        "gcp.vertex.agent.tool_call_args": '{"city": "Lisbon"}',
        "gcp.vertex.agent.tool_response": '{"temp": 18}',
        "gcp.vertex.agent.llm_request": "{}",
        "gcp.vertex.agent.llm_response": "{}",
    }
    span = read_span(attributes, scope=SCOPE)
    assert (span.tool, span.output.text) == (ToolCall("get_weather", "", '{"city": "Lisbon"}'), '{"temp": 18}')


@pytest.mark.parametrize("marker", ["{}", "N/A", "<not serializable>"])
def test_what_stands_where_nothing_was_captured_is_absent(marker: str) -> None:
    attributes = TOOL | {"gcp.vertex.agent.tool_call_args": marker, "gcp.vertex.agent.tool_response": marker}
    span = read_span(attributes, scope=SCOPE)
    assert span.tool == ToolCall("get_weather")
    assert (span.input.state, span.output.state) == (ContentState.ABSENT, ContentState.ABSENT)


@pytest.mark.parametrize(
    ("name", "kind", "agent"),
    [
        ("call_llm", SpanKind.LLM, ""),
        ("agent_run [travel_agent]", SpanKind.AGENT, "travel_agent"),
        ("invocation [app]", SpanKind.CHAIN, ""),
        ("invocation", SpanKind.CHAIN, ""),
    ],
)
def test_old_spans_are_told_by_their_names(name: str, kind: SpanKind, agent: str) -> None:
    span = read_span({}, name=name, scope=SCOPE)
    assert (span.kind, span.agent) == (kind, agent)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("generate_content", SpanKind.LLM),
        ("invoke_agent", SpanKind.AGENT),
        ("invoke_workflow", SpanKind.CHAIN),
        ("execute_tool", SpanKind.TOOL),
    ],
)
def test_every_operation_has_its_kind(operation: str, kind: SpanKind) -> None:
    assert read_span({"gen_ai.operation.name": operation}, scope=SCOPE).kind is kind


def test_the_span_over_several_tool_calls_is_no_tool() -> None:
    span = read_span(TOOL | {"gen_ai.tool.name": "(merged tools)"}, name="execute_tool (merged)", scope=SCOPE)
    assert (span.kind, span.tool) == (SpanKind.CHAIN, None)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("safety", FinishReason.CONTENT_FILTER),
        ("malformed_function_call", FinishReason.MALFORMED_CALL),
    ],
)
def test_todays_call_is_otel_genai_with_geminis_finish_reasons(word: str, reason: FinishReason) -> None:
    message = {"role": "assistant", "parts": [{"type": "text", "content": "18 °C"}]}
    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.request.model": "openai/gpt-4o-mini",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "travel_agent",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.finish_reasons": [word],
        "gen_ai.output.messages": json.dumps([message]),
    }
    span = read_span(attributes, scope=SCOPE)
    assert (span.finish_reason, span.output.text, span.session_id) == (reason, "18 °C", "s-1")
    assert (span.model, span.provider, span.agent) == ("openai/gpt-4o-mini", "openai", "travel_agent")


def test_a_tool_that_only_names_its_error_type_has_failed() -> None:
    error = read_span(TOOL | {"error.type": "ValueError"}, scope=SCOPE, status=2, message="ValueError").error
    assert error is not None
    assert error.error_type == "ValueError"


def test_the_pieces_of_a_stream_stand_before_the_whole() -> None:
    pieces = [{"role": "assistant", "parts": [{"type": "text", "content": said}], "finish_reason": ""} for said in "ab"]
    whole = {"role": "assistant", "parts": [{"type": "text", "content": "ab"}], "finish_reason": "stop"}
    attributes = {"gen_ai.operation.name": "generate_content", "gen_ai.output.messages": json.dumps([*pieces, whole])}
    span = read_span(attributes, scope=SCOPE)
    assert (span.output.text, span.finish_reason) == ("ab", FinishReason.STOP)


def test_a_tool_of_java_names_its_call_in_a_key_of_its_own() -> None:
    attributes = TOOL | {"gcp.vertex.agent.tool_call_args": "{}", "gen_ai.tool_call.id": "adk-550"}
    span = read_span({key: value for key, value in attributes.items() if key != "gen_ai.tool.call.id"}, scope=SCOPE)
    assert span.tool == ToolCall("get_weather", "adk-550")


def test_a_call_of_java_is_read_by_its_name() -> None:
    attributes = {
        "gen_ai.operation.name": "call_llm",
        "gen_ai.system": "gcp.vertex.agent",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.response.finish_reasons": "['stop']",
        "gen_ai.usage.input_tokens": "40",
        "gen_ai.usage.output_tokens": "17",
        "gcp.vertex.agent.llm_response": json.dumps(
            {"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}
        ),
        "gcp.vertex.agent.session_id": "s-1",
    }
    span = read_span(attributes, name="call_llm", scope=SCOPE)
    assert (span.kind, span.model, span.provider) == (SpanKind.LLM, "gemini-2.5-flash", "")
    assert (span.output.text, span.finish_reason, span.usage) == ("Hello", FinishReason.STOP, Usage(40, 17))
    assert span.session_id == "s-1"
