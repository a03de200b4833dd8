"""Haystack's own tracing: components by their classes, its dataclasses opened."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import ContentState, Document, FinishReason, Message, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

META = {
    "model": "gpt-4o-mini-2024-07-18",
    "finish_reason": "stop",
    "completion_start_time": "2025-10-09T08:53:20.250000",
    "usage": {"prompt_tokens": 57, "completion_tokens": 17, "prompt_tokens_details": {"cached_tokens": 12}},
}
CALL = {"tool_name": "find", "arguments": {"q": 1}, "id": "c1", "extra": None}
RESULT = {"result": "no such city", "origin": CALL, "error": True}
TOOLS = [{"type": "haystack.tools.tool.Tool", "data": {"name": "find", "parameters": {"type": "object"}}}]
ASKED = {
    "messages": [
        {"role": "user", "meta": {}, "name": None, "content": [{"text": "weather?"}]},
        {"role": "assistant", "meta": {}, "name": None, "content": [{"tool_call": CALL}]},
        {"role": "tool", "meta": {}, "name": None, "content": [{"tool_call_result": RESULT}]},
    ],
    "tools": TOOLS,
    "generation_kwargs": {"max_tokens": 300, "temperature": 0.2, "response_format": {"type": "json_object"}},
}


def step(kind: str, **attributes: Any) -> Span:
    prefix = f"haystack.agent.step.{kind}."
    return read_span({prefix + key: json.dumps(value) for key, value in attributes.items()}, name=prefix[:-1])


def component(of_class: str, **attributes: Any) -> Span:
    sent = {f"haystack.component.{key}": json.dumps(value) for key, value in attributes.items()}
    facts = {"haystack.component.type": of_class, "haystack.component.name": "it"}
    return read_span(facts | sent, name="haystack.component.run")


def reply(*content: Any, **meta: Any) -> dict[str, Any]:
    return {"replies": [{"role": "assistant", "meta": META | meta, "name": None, "content": list(content)}]}


def test_a_step_of_an_agents_model_is_read_whole() -> None:
    span = step("llm", input=ASKED, output=reply({"text": "18 °C"}))
    assert (span.kind, span.dialect, span.model) == (SpanKind.LLM, "haystack", "gpt-4o-mini-2024-07-18")
    assert (span.output.text, span.finish_reason, span.usage) == ("18 °C", FinishReason.STOP, Usage(57, 17, 12))
    assert span.time_to_first_token_s == pytest.approx(0.25)
    assert set(definitions(span.details)) == {"find"}
    assert (span.details.max_tokens, span.details.output_type) == (300, "json")
    assert messages_of(span.input) == (
        Message("user", "weather?"),
        Message("assistant", "", (ToolCall("find", "c1", '{"q": 1}'),)),
        Message("tool", "no such city", (), "c1", "find", is_error=True),
    )


def test_a_call_that_was_dropped_is_malformed() -> None:
    asked = step("llm", output=reply({"tool_call": CALL}, finish_reason="tool_calls"))
    assert asked.output.tool_calls == (ToolCall("find", "c1", '{"q": 1}'),)
    assert asked.finish_reason is FinishReason.TOOL_CALLS
    dropped = step("llm", output=reply(finish_reason="tool_calls"))
    assert dropped.finish_reason is FinishReason.MALFORMED_CALL


def test_a_plain_generator_keeps_its_facts_beside_the_texts() -> None:
    span = component("OpenAIGenerator", input={"prompt": "weather?"}, output={"replies": ["18 °C"], "meta": [META]})
    assert (span.kind, span.output.text, span.usage) == (SpanKind.LLM, "18 °C", Usage(57, 17, 12))


def test_without_content_nothing_is_empty() -> None:
    for span in (component("OpenAIChatGenerator"), read_span({}, name="haystack.agent.step.llm")):
        assert (span.kind, span.output.state) == (SpanKind.LLM, ContentState.ABSENT)


@pytest.mark.parametrize(
    ("of_class", "kind"),
    [
        ("InMemoryBM25Retriever", SpanKind.RETRIEVER),
        ("OpenAITextEmbedder", SpanKind.EMBEDDING),
        ("TransformersSimilarityRanker", SpanKind.RERANKER),
        ("ChatPromptBuilder", SpanKind.PROMPT),
        ("Agent", SpanKind.AGENT),
        ("ConditionalRouter", SpanKind.CHAIN),
    ],
)
def test_the_class_of_a_component_tells_its_kind(of_class: str, kind: SpanKind) -> None:
    assert component(of_class).kind is kind


@pytest.mark.parametrize(
    ("found", "documents"),
    [([], ()), ([{"id": "d1", "content": "14 days", "score": 0.8}], (Document("d1", 0.8, "14 days"),))],
)
def test_a_retriever_says_what_it_found(found: list[Any], documents: tuple[Document, ...]) -> None:
    span = component("InMemoryBM25Retriever", input={"query": "refunds"}, output={"documents": found})
    assert (span.details.query, span.details.documents) == ("refunds", documents)


def test_a_tool_says_its_call_and_its_result() -> None:
    attributes = {
        "haystack.tool.name": "find",
        "haystack.agent.step.tool.input": '{"q": 1}',
        "haystack.agent.step.tool.output": '{"error": "no such city"}',
    }
    span = read_span(attributes, name="haystack.agent.step.tool")
    assert span.tool == ToolCall("find", "", '{"q": 1}')
    assert span.output.text == '{"error": "no such city"}'


def test_the_component_that_runs_tools_is_the_one_call_that_it_made() -> None:
    message = {"role": "tool", "content": [{"tool_call_result": RESULT}]}
    one = component("ToolInvoker", output={"tool_messages": [message]})
    assert one.tool == ToolCall("find", "c1", '{"q": 1}')
    assert one.error is not None
    assert one.error.message == "no such city"
    assert component("ToolInvoker", output={"tool_messages": [message, message]}).kind is SpanKind.CHAIN


@pytest.mark.parametrize("content", [5, {"a": 1}, [5], [{"tool_call_result": 5}]])
def test_results_of_tools_of_any_shape_are_read(content: Any) -> None:
    said = json.dumps({"tool_messages": [{"content": content}]})
    sent = {"haystack.component.type": "ToolInvoker", "haystack.component.output": said}
    assert read_span(sent, name="haystack.component.run").kind is SpanKind.CHAIN
