"""OpenInference of many libraries: each writes the same keys in ways of its own."""

import json
from typing import Any

import pytest

from core.model.span import Content, ContentState, FinishReason, SpanKind, ToolCall
from tests.unit.dialect_spans import read_span

BLANK = Content(ContentState.PRESENT)
ASKED: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4o-mini",
    "input.value": '{"messages": [{"role": "user", "content": "Tell me about the flight"}]}',
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "Tell me about the flight",
}
GEMINI = {"candidates": [{"content": {"role": "model"}, "finish_reason": "STOP"}], "model_version": "gemini-2.5-flash"}


def _of_haystack(content: str, reason: str = "stop") -> str:
    said = f"ChatMessage(_role=<ChatRole.ASSISTANT: 'assistant'>, _content=[{content}], _name=None, "
    return json.dumps(
        {"replies": [said + f"_meta={{'model': 'gpt-4o-mini', 'index': 0, 'finish_reason': '{reason}'}})"]}
    )


@pytest.mark.parametrize(
    "raw",
    ['[{"role": "assistant"}]', "assistant: None", "assistant: ", json.dumps(GEMINI), _of_haystack("")],
    ids=["agno", "llama_index", "llama_index blank", "google_genai", "haystack"],
)
def test_a_message_with_a_role_alone_is_an_empty_answer_where_the_question_was_sent(raw: str) -> None:
    answered = {"llm.output_messages.0.message.role": "assistant", "output.value": raw}
    assert read_span(ASKED | answered).output == BLANK
    withheld = {"input.value": "__REDACTED__", "output.value": "__REDACTED__"}
    assert read_span(ASKED | answered | withheld).output.state is not ContentState.PRESENT


def test_an_answer_that_stands_in_the_raw_output_alone_is_no_empty_one() -> None:
    answered = {"llm.output_messages.0.message.role": "assistant", "output.value": "It leaves at 10:05."}
    assert read_span(ASKED | answered).output.text == "It leaves at 10:05."


@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "additional_kwargs": {"refusal": "I cannot assist with that."}},
        {"content": None, "role": "assistant", "provider_specific_fields": {"refusal": "I cannot assist with that."}},
    ],
    ids=["langchain", "litellm"],
)
def test_a_refusal_is_read_out_of_the_raw_response(message: dict[str, Any]) -> None:
    response = {"choices": [{"finish_reason": "stop", "message": message}]}
    answered = {
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "",
        "output.value": json.dumps(response),
    }
    assert read_span(ASKED | answered).output.refusal == "I cannot assist with that."


def test_haystack_keeps_the_finish_reason_in_the_text_of_its_message() -> None:
    answered = {
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "It leaves at",
        "output.value": _of_haystack("TextContent(text='It leaves at')", "length"),
    }
    span = read_span(ASKED | answered)
    assert (span.output.text, span.finish_reason) == ("It leaves at", FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("given", "output_type", "has_schema"),
    [
        ({"response_mime_type": "application/json"}, "application/json", False),
        (
            {"response_mime_type": "application/json", "response_schema": {"type": "OBJECT", "properties": {}}},
            "json_schema",
            True,
        ),
        ({"temperature": 0.2}, "", False),
    ],
)
def test_what_gemini_was_asked_for_is_read(given: dict[str, Any], output_type: str, *, has_schema: bool) -> None:
    details = read_span(ASKED | {"llm.invocation_parameters": json.dumps(given)}).details
    assert (details.output_type, bool(details.output_schema)) == (output_type, has_schema)


@pytest.mark.parametrize("name", ["GenerateContentStream", "OpenAI.stream_chat", "messages.stream"])
def test_the_name_of_the_call_says_that_it_streams(name: str) -> None:
    assert read_span(ASKED, name=name).details.is_stream is True
    assert read_span(ASKED, name="GenerateContent").details.is_stream is None


def test_private_methods_of_a_client_are_no_calls() -> None:
    prepared = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "input.value": '{"tools": ["<FunctionTool object>"], "chat_history": []}',
        "output.value": '{"messages": []}',
    }
    assert read_span(prepared, name="OpenAI._prepare_chat_with_tools").kind is SpanKind.CHAIN
    assert read_span(ASKED, name="OpenAI._chat").kind is SpanKind.LLM


def test_tools_of_llama_index_are_opened() -> None:
    result = {"blocks": [{"text": "18 °C"}], "tool_name": "get_weather", "raw_input": {}, "is_error": False}
    tool = {
        "openinference.span.kind": "TOOL",
        "tool.name": "get_weather",
        "input.value": '{"kwargs": {"city": "Lisbon"}}',
        "output.value": json.dumps(result, ensure_ascii=False),
    }
    span = read_span(tool, name="FunctionTool.acall")
    assert (span.tool, span.output.text) == (ToolCall("get_weather", arguments='{"city": "Lisbon"}'), "18 °C")
    failed = read_span(tool | {"output.value": json.dumps(result | {"is_error": True})})
    assert json.loads(failed.output.text)["status"] == "error"
    asked = '{"kwargs": {"city": "Lisbon"}, "other": 1}'
    assert read_span(tool | {"input.value": asked}).tool == ToolCall("get_weather", arguments=asked)


def test_private_retrieval_is_no_second_one() -> None:
    found = {"openinference.span.kind": "RETRIEVER", "input.value": "refunds?", "output.value": "[]"}
    assert read_span(found, name="VectorIndexRetriever.retrieve").kind is SpanKind.RETRIEVER
    assert read_span(found, name="VectorIndexRetriever._retrieve").kind is SpanKind.CHAIN


def test_provider_of_agno_is_written_as_others_write_it() -> None:
    assert read_span(ASKED | {"llm.provider": "OpenAI"}).provider == "openai"
