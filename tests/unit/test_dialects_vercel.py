"""Vercel AI SDK: versions 3 to 6 (ai.*) and 7 (OTel GenAI under the scope "gen_ai")."""

import json
from typing import Any

import pytest

from core.model.span import ContentState, ErrorClass, FinishReason, Span, SpanKind, ToolCall, Usage
from core.model.trace import Trace
from core.model.usage import billable_usage
from tests.unit.dialect_spans import read_span

BASE: dict[str, Any] = {
    "operation.name": "ai.generateText.doGenerate travel-chat",
    "resource.name": "travel-chat",
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.telemetry.functionId": "travel-chat",
    "ai.telemetry.metadata.sessionId": "s-1",
    "ai.telemetry.metadata.userId": "u-1",
    "ai.telemetry.metadata.tenant": "acme",
    "ai.model.provider": "openai.chat",
    "ai.model.id": "gpt-4o-mini",
    "ai.settings.maxRetries": 2,
    "ai.settings.maxOutputTokens": 300,
    "ai.settings.temperature": 0.2,
    "gen_ai.system": "openai.chat",
    "gen_ai.request.model": "gpt-4o-mini",
}
PROMPT = json.dumps([{"role": "user", "content": [{"type": "text", "text": "weather in Lisbon?"}]}])
TOOL = json.dumps({"type": "function", "name": "get_weather", "inputSchema": {"type": "object"}})
CALLS = [{"toolCallId": "call_1", "toolName": "get_weather", "input": '{"city": "Lisbon"}'}]


def read(attributes: dict[str, Any], name: str = "ai.generateText.doGenerate", **more: Any) -> Span:
    return read_span(BASE | {"ai.operationId": name} | attributes, name=name, scope="ai", **more)


def test_a_request_to_the_model_says_all_that_version_6_writes() -> None:
    span = read(
        {
            "ai.prompt.messages": PROMPT,
            "ai.prompt.tools": [TOOL],
            "ai.prompt.toolChoice": '{"type":"auto"}',
            "ai.response.finishReason": "tool-calls",
            "ai.response.toolCalls": json.dumps(CALLS),
            "ai.response.id": "chatcmpl-1",
            "ai.response.model": "gpt-4o-mini-2024-07-18",
            "ai.usage.inputTokens": 30,
            "ai.usage.outputTokens": 40,
            "ai.usage.cachedInputTokens": 10,
            "ai.usage.reasoningTokens": 5,
            "ai.usage.inputTokenDetails.cacheWriteTokens": 3,
            "ai.usage.totalTokens": 70,
        }
    )
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "vercel_ai", "llm:gpt-4o-mini")
    assert (span.provider, span.agent) == ("openai", "travel-chat")
    assert (span.session_id, span.user_id) == ("s-1", "u-1")
    assert span.input.text == PROMPT
    assert span.output.tool_calls == (ToolCall("get_weather", "call_1", '{"city": "Lisbon"}'),)
    assert span.finish_reason is FinishReason.TOOL_CALLS
    assert span.usage == Usage(30, 40, 10, 5, 3)
    assert (span.details.max_tokens, span.details.temperature) == (300, 0.2)
    assert "get_weather" in span.details.tool_definitions


def test_text_and_calls_of_an_answer_stand_together() -> None:
    span = read({"ai.response.text": "let me look", "ai.response.toolCalls": json.dumps(CALLS)})
    assert (span.output.text, [call.name for call in span.output.tool_calls]) == ("let me look", ["get_weather"])


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("ai.generateText", SpanKind.AGENT),
        ("ai.generateText.doGenerate", SpanKind.LLM),
        ("ai.streamText", SpanKind.AGENT),
        ("ai.streamText.doStream", SpanKind.LLM),
        ("ai.generateObject", SpanKind.AGENT),
        ("ai.generateObject.doGenerate", SpanKind.LLM),
        ("ai.streamObject", SpanKind.AGENT),
        ("ai.streamObject.doStream", SpanKind.LLM),
        ("ai.toolCall", SpanKind.TOOL),
        ("ai.embed", SpanKind.EMBEDDING),
        ("ai.embed.doEmbed", SpanKind.EMBEDDING),
        ("ai.embedMany", SpanKind.EMBEDDING),
        ("ai.embedMany.doEmbed", SpanKind.EMBEDDING),
        ("ai.rerank", SpanKind.RERANKER),
        ("ai.rerank.doRerank", SpanKind.RERANKER),
    ],
)
def test_every_operation_has_its_kind(operation: str, kind: SpanKind) -> None:
    assert read({}, operation).kind is kind


def test_a_stream_tells_its_first_chunk_in_milliseconds() -> None:
    attributes = {"ai.response.msToFirstChunk": 57.25, "ai.response.text": "hello", "ai.response.finishReason": "stop"}
    event = ("ai.stream.firstChunk", {"ai.response.msToFirstChunk": 57.25})
    span = read(attributes, "ai.streamText.doStream", events=[event])
    assert span.time_to_first_token_s == pytest.approx(0.05725)
    assert span.details.is_stream is True
    assert read({"ai.stream.msToFirstChunk": 100}, "ai.streamObject.doStream").time_to_first_token_s == 0.1


def test_a_tool_call_has_name_arguments_result_and_id() -> None:
    span = read(
        {
            "ai.toolCall.name": "get_weather",
            "ai.toolCall.id": "call_1",
            "ai.toolCall.args": '{"city":"Lisbon"}',
            "ai.toolCall.result": '{"temp":18}',
        },
        "ai.toolCall",
    )
    assert span.tool == ToolCall("get_weather", "call_1", '{"city":"Lisbon"}')
    assert span.output.text == '{"temp":18}'


def test_an_object_is_the_answer_and_its_schema_is_known() -> None:
    outer = read(
        {"ai.schema": '{"type":"object"}', "ai.settings.output": "object", "ai.response.object": '{"city":"Lisbon"}'},
        "ai.generateObject",
    )
    assert (outer.details.output_type, outer.details.output_schema) == ("json_schema", '{"type":"object"}')
    assert outer.output.text == '{"city":"Lisbon"}'
    assert read({"ai.response.object": "{}"}, "ai.generateObject.doGenerate").details.output_type == "json"


@pytest.mark.parametrize(
    "attributes",
    [
        {"ai.usage.promptTokens": 11, "ai.usage.completionTokens": 8},
        {"gen_ai.usage.prompt_tokens": 11, "gen_ai.usage.completion_tokens": 8},
        {"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 8},
    ],
)
def test_older_names_of_token_counts_are_read(attributes: dict[str, Any]) -> None:
    assert read(attributes).usage == Usage(11, 8)


def test_version_3_names_are_read() -> None:
    calls = json.dumps([{"toolCallId": "c", "toolName": "t", "args": {"a": 1}}])
    span = read({"ai.finishReason": "length", "ai.result.text": "one, two", "ai.result.toolCalls": calls})
    assert (span.finish_reason, span.output.text) == (FinishReason.LENGTH, "one, two")
    assert span.output.tool_calls == (ToolCall("t", "c", '{"a": 1}'),)


def test_embeddings_have_tokens_and_values_but_no_answer() -> None:
    span = read({"ai.values": ['"a"', '"b"'], "ai.usage.tokens": 14}, "ai.embedMany.doEmbed")
    assert (span.usage, span.output.state) == (Usage(14), ContentState.ABSENT)
    assert span.input.state is ContentState.PRESENT


def test_wrapper_and_request_are_billed_once() -> None:
    def numbered(number: int, parent: int, name: str) -> Span:
        usage = {"ai.usage.inputTokens": 10, "ai.usage.outputTokens": 5}
        found = read(usage, name)
        return Span(
            trace_id=found.trace_id, span_id=f"{number:016x}", parent_span_id=f"{parent:016x}" if parent else "",
            name=name, kind=found.kind, usage=found.usage,
        )  # fmt: skip

    spans = [numbered(1, 0, "ai.generateText"), *(numbered(n, 1, "ai.generateText.doGenerate") for n in (2, 3))]
    assert billable_usage(Trace(trace_id=spans[0].trace_id, spans=spans)) == Usage(20, 10)


def test_without_recorded_text_content_is_absent() -> None:
    span = read({"ai.response.finishReason": "stop", "ai.usage.outputTokens": 1})
    assert (span.input.state, span.output.state) == (ContentState.ABSENT, ContentState.ABSENT)
    told = read({"ai.prompt.messages": PROMPT, "ai.response.finishReason": "stop", "ai.usage.outputTokens": 9})
    assert told.output.state is ContentState.ABSENT


def test_an_answer_of_no_more_than_its_last_token_is_empty() -> None:
    attributes = {"ai.prompt.messages": PROMPT, "ai.response.finishReason": "stop", "ai.usage.outputTokens": 1}
    span = read(attributes)
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "")


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("AI_APICallError", "Rate limit reached for gpt-4o-mini in organization org-x", ErrorClass.RATE_LIMIT),
        ("AI_RetryError", "Failed after 3 attempts. Last error: Rate limit reached for x", ErrorClass.RATE_LIMIT),
        ("AI_APICallError", "You exceeded your current quota, please check your plan", ErrorClass.QUOTA),
        ("AI_APICallError", "Incorrect API key provided: sk-xxxx.", ErrorClass.AUTH),
        ("AI_APICallError", "The server had an error while processing your request.", ErrorClass.SERVER),
        ("AI_APICallError", "Service Unavailable", ErrorClass.SERVER),
        ("AI_APICallError", "Invalid JSON response", ErrorClass.PARSE),
        ("AI_APICallError", "Cannot connect to API: connect ECONNREFUSED 127.0.0.1:9", ErrorClass.CONNECTION),
        ("AI_NoObjectGeneratedError", "No object generated: response did not match schema.", ErrorClass.PARSE),
        ("AI_LoadAPIKeyError", "OpenAI API key is missing.", ErrorClass.AUTH),
        ("TimeoutError", "The operation was aborted due to timeout", ErrorClass.TIMEOUT),
        ("AbortError", "This operation was aborted", ErrorClass.CANCELLED),
    ],
)
def test_errors_without_a_code_are_told_by_their_words(kind: str, message: str, expected: ErrorClass) -> None:
    event = ("exception", {"exception.type": kind, "exception.message": message})
    error = read({}, status=2, message=message, events=[event]).error
    assert error is not None
    assert (error.error_type, error.error_class) == (kind, expected)


@pytest.mark.parametrize("key", ["session_id", "sessionId", "conversationId", "chatId", "threadId"])
def test_names_that_apps_give_their_session_are_known(key: str) -> None:
    attributes = {"ai.operationId": "ai.generateText", f"ai.telemetry.metadata.{key}": "s-9"}
    assert read_span(attributes).session_id == "s-9"
    assert read_span({"gen_ai.operation.name": "chat", f"ai.settings.context.{key}": "s-9"}).session_id == "s-9"


V7: dict[str, Any] = {
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 4,
}


def test_version_7_has_a_wrapper_steps_and_chats() -> None:
    wrapper = read_span(
        V7 | {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "travel-chat"},
        name="invoke_agent gpt-4o-mini", scope="gen_ai",
    )  # fmt: skip
    step = read_span({"gen_ai.operation.name": "agent_step"}, name="step 1", scope="gen_ai")
    message = [{"role": "assistant", "parts": [{"type": "text", "content": "18 °C"}], "finish_reason": "stop"}]
    chat = read_span(
        V7
        | {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": json.dumps(message),
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.client.operation.time_to_first_chunk": 0.25,
        },
        name="chat gpt-4o-mini",
        scope="gen_ai",
    )
    assert [s.kind for s in (wrapper, step, chat)] == [SpanKind.AGENT, SpanKind.CHAIN, SpanKind.LLM]
    assert {s.dialect for s in (wrapper, step, chat)} == {"vercel_ai"}
    assert (wrapper.agent, chat.output.text, chat.time_to_first_token_s) == ("travel-chat", "18 °C", 0.25)
    assert wrapper.usage == chat.usage == Usage(10, 4)


def test_version_7_stream_that_broke_has_no_finish_reason() -> None:
    message = [{"role": "assistant", "parts": [{"type": "text", "content": "It is 18"}], "finish_reason": "stop"}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.finish_reasons": ["other"],
        "gen_ai.output.messages": json.dumps(message),
    }
    assert read_span(attributes, scope="gen_ai").finish_reason is FinishReason.UNKNOWN


def test_version_7_failure_carries_its_code() -> None:
    attributes = V7 | {"gen_ai.operation.name": "chat", "http.response.status_code": 429, "error.type": "APICallError"}
    error = read_span(attributes, scope="gen_ai", status=2, message="Rate limit reached").error
    assert error is not None
    assert (error.status_code, error.error_class) == (429, ErrorClass.RATE_LIMIT)


@pytest.mark.parametrize(
    ("name", "scope"), [("ai.streamText", "ai"), ("chat gpt-4o-mini", "gen_ai")], ids=["6, the wrapper alone", "7"]
)
def test_a_call_that_never_said_how_it_ended_did_not_end(name: str, scope: str) -> None:
    asked = {"ai.operationId": name} if scope == "ai" else {"gen_ai.operation.name": "chat"}
    assert read_span(asked, name=name, scope=scope).finish_reason is FinishReason.ERROR
    said = {"gen_ai.usage.output_tokens": 4}
    assert read_span(asked | said, name=name, scope=scope).finish_reason is FinishReason.UNKNOWN


def test_speech_and_embeddings_end_without_a_reason() -> None:
    asked = {"gen_ai.operation.name": "ai.generatespeech", "gen_ai.request.model": "tts-1"}
    assert read_span(asked, name="ai.generatespeech tts-1", scope="gen_ai").finish_reason is FinishReason.UNKNOWN


def test_calls_that_version_4_drops_for_their_arguments_were_malformed() -> None:
    stopped = {"ai.response.finishReason": "tool-calls", "ai.response.text": ""}
    assert read(stopped, "ai.streamText.doStream").finish_reason is FinishReason.MALFORMED_CALL
    called = stopped | {"ai.response.toolCalls": json.dumps(CALLS)}
    assert read(called, "ai.streamText.doStream").finish_reason is FinishReason.TOOL_CALLS
    # outputs that are not recorded say nothing
    del stopped["ai.response.text"]
    assert read(stopped, "ai.streamText.doStream").finish_reason is FinishReason.TOOL_CALLS
