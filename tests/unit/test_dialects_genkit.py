"""Firebase Genkit: genkit:* attributes."""

import json
from typing import Any

import pytest

from core.dialects.definitions import definitions
from core.dialects.messages import messages_of
from core.model.span import Document, ErrorClass, FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "genkit-tracer"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ASKED = {
    "messages": [
        {"role": "system", "content": [{"text": "Be brief."}]},
        {"role": "user", "content": [{"text": "weather in Lisbon?"}]},
        {"role": "model", "content": [{"toolRequest": {"name": "get_weather", "ref": "c1", "input": {"city": "x"}}}]},
        {"role": "tool", "content": [{"toolResponse": {"name": "get_weather", "ref": "c1", "output": {"temp": 18}}}]},
    ],
    "config": {"temperature": 0.2, "maxOutputTokens": 300},
    "tools": [{"name": "get_weather", "description": "weather", "inputSchema": SCHEMA}],
    "output": {"format": "json", "schema": SCHEMA},
}
USED = {"inputTokens": 61, "outputTokens": 20, "thoughtsTokens": 3, "cachedContentTokens": 8}


def action(subtype: str, given: Any, said: Any, name: str) -> dict[str, Any]:
    return {
        "genkit:type": "action",
        "genkit:metadata:subtype": subtype,
        "genkit:name": name,
        "genkit:path": f"/{{travelFlow,t:flow}}/{{{name},t:action,s:{subtype}}}",
        "genkit:input": json.dumps(given),
        "genkit:output": json.dumps(said),
        "genkit:state": "success",
        "genkit:sessionId": "s-1",
    }


def model(content: list[Any], **more: Any) -> dict[str, Any]:
    said = {"finishReason": "stop", "message": {"role": "model", "content": content}, "usage": USED} | more
    return action("model", ASKED, said, "googleai/gemini-2.5-flash")


MODEL = model([{"text": "It is "}, {"text": "18 degrees."}])
TOOL = action("tool", {"city": "Lisbon"}, "18 degrees", "get_weather")
RETRIEVER = action(
    "retriever",
    {"query": {"content": [{"text": "refunds?"}]}, "options": {}},
    {"documents": [{"content": [{"text": "Within 14 days."}], "metadata": {"score": 0.8}}]},
    "kb",
)
FLOW = action("flow", "weather in Lisbon?", "It is 18 degrees.", "travelFlow")


def test_a_model_says_what_it_was_asked_and_what_it_answered() -> None:
    span = read_span(MODEL, name="googleai/gemini-2.5-flash", scope=SCOPE)
    assert (span.kind, span.dialect, span.session_id) == (SpanKind.LLM, "genkit", "s-1")
    assert (span.model, span.provider) == ("gemini-2.5-flash", "gcp.gemini")
    assert (span.output.text, span.finish_reason) == ("It is 18 degrees.", FinishReason.STOP)
    assert span.usage == Usage(61, 23, 8, 3)
    assert (span.details.max_tokens, span.details.temperature) == (300, 0.2)
    assert definitions(span.details) == {"get_weather": SCHEMA}
    assert (span.details.output_type, json.loads(span.details.output_schema)) == ("json_schema", SCHEMA)
    messages = messages_of(span.input)
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2].tool_calls == (ToolCall("get_weather", "c1", '{"city": "x"}'),)
    assert (messages[3].tool_call_id, messages[3].text) == ("c1", '{"temp": 18}')


def test_a_model_asks_for_tools_is_stopped_and_refuses() -> None:
    called = read_span(model([{"toolRequest": {"name": "find", "ref": "c1", "input": {"q": 1}}}]), scope=SCOPE)
    assert called.output.tool_calls == (ToolCall("find", "c1", '{"q": 1}'),)
    assert called.finish_reason is FinishReason.TOOL_CALLS
    assert read_span(model([], finishReason="blocked"), scope=SCOPE).finish_reason is FinishReason.CONTENT_FILTER
    raw = {"choices": [{"message": {"content": None, "refusal": "I can't help with that."}}]}
    assert read_span(model([{"text": ""}], raw=raw), scope=SCOPE).output.refusal == "I can't help with that."


def test_a_tool_and_a_retriever_are_named_by_their_action() -> None:
    tool = read_span(TOOL, name="get_weather", scope=SCOPE)
    assert (tool.kind, tool.tool) == (SpanKind.TOOL, ToolCall("get_weather", "", '{"city": "Lisbon"}'))
    assert tool.output.text == "18 degrees"
    found = read_span(RETRIEVER, name="kb", scope=SCOPE)
    assert (found.kind, found.data_source, found.details.query) == (SpanKind.RETRIEVER, "kb", "refunds?")
    assert found.details.documents == (Document("", 0.8, "Within 14 days."),)
    none = RETRIEVER | {"genkit:output": '{"documents": []}'}
    assert read_span(none, scope=SCOPE).details.documents == ()


@pytest.mark.parametrize("said", [FLOW, {"genkit:type": "util", "genkit:name": "generate"}])
def test_flows_and_the_loop_around_a_model_are_chains(said: dict[str, Any]) -> None:
    assert read_span(said, scope=SCOPE).kind is SpanKind.CHAIN


def test_errors_have_their_code_as_type() -> None:
    thrown = {"exception.type": "400", "exception.message": "INVALID_ARGUMENT: Schema validation failed. Parse Errors:"}
    error = read_span(FLOW, scope=SCOPE, status=2, events=[("exception", thrown)]).error
    assert error is not None
    assert (error.error_class, error.status_code) == (ErrorClass.PARSE, 400)


def test_what_is_no_json_of_its_shape_says_nothing() -> None:
    for said in ("no json", "[]", '{"message": {"content": [1, null]}, "usage": 3}'):
        broken = MODEL | {"genkit:input": said, "genkit:output": said}
        assert read_span(broken, scope=SCOPE).usage is None
