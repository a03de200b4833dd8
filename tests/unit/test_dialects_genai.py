"""OTel GenAI, attribute shapes as instrumentation-genai-openai, openai-v2, Traceloop 0.40 and Strands write them."""

import json
from typing import Any

import pytest

from core.dialects.messages import messages_of
from core.model.span import ContentState, FinishReason, Message, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.usage.input_tokens": 41,
    "gen_ai.usage.output_tokens": 40,
    "gen_ai.response.finish_reasons": ["stop"],
}


def output(*parts: dict[str, Any], finish_reason: str = "stop") -> str:
    return json.dumps([{"role": "assistant", "parts": list(parts), "finish_reason": finish_reason, "name": None}])


def test_current_chat_span_gives_every_fact() -> None:
    span = read_span(
        CHAT
        | {
            "gen_ai.output.messages": output({"type": "text", "content": "18 °C"}),
            "gen_ai.input.messages": '[{"role":"user","parts":[{"content":"hi","type":"text"}]}]',
            "gen_ai.usage.cache_read.input_tokens": 8,
            "gen_ai.usage.reasoning.output_tokens": 16,
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.conversation.id": "c-1",
            "user.id": "u-1",
            "gen_ai.agent.name": "travel",
        },
        resource={"service.name": "shop", "service.version": "1.2", "deployment.environment": "prod"},
    )
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "otel_genai", "llm:gpt-4o-mini")
    assert span.usage == Usage(input_tokens=41, output_tokens=40, cached_tokens=8, reasoning_tokens=16)
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "18 °C")
    assert span.finish_reason is FinishReason.STOP
    assert span.time_to_first_token_s == 0.25
    assert (span.session_id, span.user_id, span.agent) == ("c-1", "u-1", "travel")
    assert (span.service, span.release, span.environment) == ("shop", "1.2", "prod")
    assert span.error is None


def test_tool_calls_are_read_with_raw_arguments() -> None:
    call = {"type": "tool_call", "name": "weather", "id": "call_1", "arguments": {"city": "Lisbon"}}
    span = read_span(CHAT | {"gen_ai.output.messages": output(call, finish_reason="tool_call")})
    assert span.output.tool_calls == (ToolCall(name="weather", call_id="call_1", arguments='{"city": "Lisbon"}'),)
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "")


def test_broken_arguments_are_kept_as_the_model_wrote_them() -> None:
    call = {"type": "tool_call", "name": "weather", "id": "call_1", "arguments": '{"city": "Lis'}
    span = read_span(CHAT | {"gen_ai.output.messages": output(call)})
    assert span.output.tool_calls[0].arguments == '{"city": "Lis'


def test_structured_messages_read_like_json_ones() -> None:
    messages = [{"role": "assistant", "parts": [{"type": "text", "content": "yes"}], "finish_reason": "length"}]
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.output.messages": messages})
    assert span.output.text == "yes"
    assert span.finish_reason is FinishReason.LENGTH


def test_answer_that_is_json_is_not_parsed() -> None:
    span = read_span(CHAT | {"gen_ai.output.messages": output({"type": "text", "content": '{"content": ""}'})})
    assert span.output.text == '{"content": ""}'


def test_no_content_is_absent_and_empty_content_is_present() -> None:
    assert read_span(CHAT).output.state is ContentState.ABSENT
    empty = read_span(CHAT | {"gen_ai.output.messages": output({"type": "text", "content": ""})})
    assert (empty.output.state, empty.output.text) == (ContentState.PRESENT, "")
    withheld = read_span(CHAT | {"gen_ai.output.messages": output({"type": "text"})})
    assert withheld.output.state is ContentState.ABSENT


def test_dropped_attributes_make_missing_content_truncated() -> None:
    span = read_span(CHAT, dropped=93)
    assert span.output.state is ContentState.TRUNCATED
    assert span.dropped_attributes == 93


@pytest.mark.parametrize("marker", ["__REDACTED__", "<REDACTED>", "[Scrubbed due to 'password']"])
def test_redaction_markers_are_not_content(marker: str) -> None:
    span = read_span(CHAT | {"gen_ai.output.messages": marker, "gen_ai.input.messages": marker})
    assert (span.output.state, span.output.text) == (ContentState.REDACTED, "")
    assert (span.input.state, span.input.text) == (ContentState.REDACTED, "")


def test_scrubbed_session_is_no_session() -> None:
    assert read_span(CHAT | {"session.id": "[Scrubbed due to 'session']"}).session_id == ""


def test_session_id_is_believed_before_the_conversation_id() -> None:
    assert read_span(CHAT | {"gen_ai.conversation.id": "c", "session.id": "s"}).session_id == "s"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (["stop"], FinishReason.STOP),
        ('["tool_calls"]', FinishReason.TOOL_CALLS),
        ("tool-calls", FinishReason.TOOL_CALLS),
        ("max_tokens", FinishReason.LENGTH),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("end_turn", FinishReason.STOP),
        ("content-filter", FinishReason.CONTENT_FILTER),
        ("safety", FinishReason.CONTENT_FILTER),
        (["error"], FinishReason.ERROR),
        ([], FinishReason.UNKNOWN),
        ("something new", FinishReason.UNKNOWN),
    ],
)
def test_finish_reasons_are_mapped_however_they_are_sent(sent: Any, read: FinishReason) -> None:
    assert read_span(CHAT | {"gen_ai.response.finish_reasons": sent}).finish_reason is read


def test_old_names_and_text_tokens_are_read() -> None:
    span = read_span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.prompt_tokens": "40",
            "gen_ai.usage.completion_tokens": "17",
        }
    )
    assert span.usage == Usage(input_tokens=40, output_tokens=17)
    assert span.provider == "openai"


def test_flattened_messages_are_read() -> None:
    span = read_span(
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "You are a travel assistant.",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "Weather in Lisbon?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "One moment.",
            "gen_ai.completion.0.finish_reason": "tool_calls",
            "gen_ai.completion.0.tool_calls.0.id": "call_1",
            "gen_ai.completion.0.tool_calls.0.name": "get_weather",
            "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Lisbon"}',
        }
    )
    assert span.kind is SpanKind.LLM
    assert span.output.text == "One moment."
    assert span.output.tool_calls == (ToolCall(name="get_weather", call_id="call_1", arguments='{"city": "Lisbon"}'),)
    assert span.finish_reason is FinishReason.TOOL_CALLS
    assert span.input.text == "Weather in Lisbon?"


def test_span_events_carry_messages() -> None:
    events = [
        ("gen_ai.user.message", {"content": '[{"text": "Weather?"}]'}),
        ("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "It is 18 °C."}]'}),
    ]
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.server.time_to_first_token": 2910}, events=events)
    assert span.output.text == "It is 18 °C."
    assert span.finish_reason is FinishReason.STOP
    assert messages_of(span.input) == (Message("user", "Weather?"),)
    assert span.time_to_first_token_s == 2.91


def test_tool_span_has_name_arguments_and_result() -> None:
    span = read_span(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.call.arguments": '{"city": "Lisbon"}',
            "gen_ai.tool.call.result": '{"temp": 18}',
        }
    )
    assert span.tool == ToolCall(name="get_weather", call_id="call_1", arguments='{"city": "Lisbon"}')
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, '{"temp": 18}')
    assert span.target == "get_weather"


def test_refusal_is_kept_apart_from_text() -> None:
    span = read_span(CHAT | {"gen_ai.output.messages": output({"type": "refusal", "content": "I cannot."})})
    assert (span.output.refusal, span.output.text) == ("I cannot.", "")


def test_free_operation_names_leave_the_kind_unknown() -> None:
    span = read_span({"gen_ai.operation.name": "balance_the_books"}, name="scheduler")
    assert (span.kind, span.target) == (SpanKind.UNKNOWN, "scheduler")


def test_tool_events_carry_arguments_and_result() -> None:
    events = [
        ("gen_ai.tool.message", {"role": "tool", "content": '{"city": "Lisbon"}', "id": "call_1"}),
        ("gen_ai.choice", {"message": '[{"text": "18C"}]', "id": "call_1"}),
    ]
    span = read_span({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}, events=events)
    assert span.tool == ToolCall(name="get_weather", arguments='{"city": "Lisbon"}')
    assert span.output.text == "18C"


def test_answer_without_any_part_is_empty_not_absent() -> None:
    span = read_span(CHAT | {"gen_ai.output.messages": output(finish_reason="content_filter")})
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "")


def test_span_that_names_a_tool_and_no_operation_is_a_tool() -> None:
    assert read_span({"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}).kind is SpanKind.TOOL


def test_message_in_the_place_of_its_text_is_opened() -> None:
    """The first `opentelemetry-instrumentation-openai-agents-v2` writes the Python repr of OpenAI's message."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]
    message = {"content": None, "refusal": None, "role": "assistant", "tool_calls": calls}
    said = [{"role": "assistant", "parts": [{"type": "text", "content": str(message)}]}]
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(said)})
    assert (span.output.text, span.output.tool_calls) == ("", (ToolCall("get_weather", "c1", "{}"),))
    quoted = [{"role": "assistant", "parts": [{"type": "text", "content": "{'role': 'user'}"}]}]
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(quoted)})
    assert span.output.text == "{'role': 'user'}"


def test_calls_that_openlit_writes_beside_an_answer_are_the_answers() -> None:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.completion": "",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.args": '{"city": "Lisbon"}',
    }
    events: list[tuple[str, dict[str, Any]]] = [("gen_ai.content.completion", {"gen_ai.completion": ""})]
    span = read_span(said, events=events)
    assert span.output.tool_calls == (ToolCall("get_weather", "call_1", '{"city": "Lisbon"}'),)
    both = {"gen_ai.tool.name": "get_weather, search_flights", "gen_ai.tool.call.id": "call_1, call_2"}
    calls = read_span(said | both, events=events).output.tool_calls
    assert calls == (ToolCall("get_weather", "call_1"), ToolCall("search_flights", "call_2"))


def test_call_that_failed_before_its_attributes_were_written_is_known_by_its_name() -> None:
    span = read_span({}, name="chat gpt-4o-mini", status=2, message="AuthenticationError: Error code: 401")
    assert (span.kind, span.model) == (SpanKind.LLM, "gpt-4o-mini")
    assert read_span({}, name="embeddings text-embedding-3-small").kind is SpanKind.EMBEDDING
    assert read_span({}, name="chat window").kind is SpanKind.UNKNOWN
