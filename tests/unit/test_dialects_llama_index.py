"""LlamaIndex's own spans: facts stand in events."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import Document, FinishReason, Message, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "llamaindex.opentelemetry.tracer"
TAGS: dict[str, Any] = {"llamaindex.run_id": "r", "llamaindex.step.input_event": "AgentSetup"}
ASKED = [
    {"role": "user", "additional_kwargs": {}, "blocks": [{"block_type": "text", "text": "weather?"}]},
    {
        "role": "assistant",
        "additional_kwargs": {},
        "blocks": [{"block_type": "tool_call", "tool_call_id": "c0", "tool_name": "seek", "tool_kwargs": {"q": 1}}],
    },
    {
        "role": "tool",
        "additional_kwargs": {"tool_call_id": "c0"},
        "blocks": [{"block_type": "text", "text": "Error: no such tool"}],
    },
]
START: dict[str, Any] = {
    "messages": json.dumps(ASKED),
    "additional_kwargs.tools": json.dumps([{"type": "function", "function": {"name": "find", "parameters": {}}}]),
    "model_dict.model_name": "gpt-4o-mini",
    "model_dict.temperature": 0.2,
    "model_dict.max_tokens": 300,
}
CALLED = [{"block_type": "tool_call", "tool_call_id": "c1", "tool_name": "find", "tool_kwargs": '{"q": 1}'}]
END: dict[str, Any] = {
    "response.message.role": "assistant",
    "response.message.blocks": json.dumps(CALLED),
    "response.raw.model": "gpt-4o-mini-2024-07-18",
    "response.raw.usage.prompt_tokens": 57,
    "response.raw.usage.completion_tokens": 17,
    "response.raw.usage.prompt_tokens_details.cached_tokens": 12,
    "response.raw.usage.completion_tokens_details.reasoning_tokens": 4,
}


def read(name: str, *events: tuple[str, dict[str, Any]], **tags: Any) -> Span:
    return read_span(TAGS | tags, name=name, scope=SCOPE, events=list(events))


def test_a_call_is_the_span_that_bears_its_events() -> None:
    span = read("OpenAI.achat", ("LLMChatStartEvent", START), ("LLMChatEndEvent", END))
    assert (span.kind, span.dialect, span.model) == (SpanKind.LLM, "llama_index", "gpt-4o-mini")
    assert span.output.tool_calls == (ToolCall("find", "c1", '{"q": 1}'),)
    assert span.usage == Usage(57, 17, 12, 4)
    assert (span.details.temperature, span.details.max_tokens) == (0.2, 300)
    assert set(definitions(span.details)) == {"find"}
    assert messages_of(span.input) == (
        Message("user", "weather?"),
        Message("assistant", "", (ToolCall("seek", "c0", '{"q": 1}'),)),
        Message("tool", "Error: no such tool", (), "c0", "seek"),
    )
    assert read("OpenAI.achat").kind is SpanKind.CHAIN


def test_the_raw_response_tells_why_it_stopped() -> None:
    choice = {"finish_reason": "length", "message": {"role": "assistant", "content": "Lis"}}
    raw = END | {"response.raw.choices": json.dumps([choice])}
    span = read("OpenAI.achat", ("LLMChatEndEvent", raw))
    assert (span.output.text, span.finish_reason) == ("Lis", FinishReason.LENGTH)
    stopped = END | {"response.raw.stop_reason": "max_tokens"}
    assert read("Anthropic.achat", ("LLMChatEndEvent", stopped)).finish_reason is FinishReason.LENGTH


def test_a_streamed_call_that_tells_no_answer_has_none() -> None:
    span = read("OpenAI.astream_chat", ("LLMChatStartEvent", START))
    assert span.kind is SpanKind.LLM
    assert (span.output.state, span.details.is_stream) == ("absent", None)


@pytest.mark.parametrize(
    ("summary", "tool"),
    [
        ("ToolCall(tool_name='find', tool_kwargs={'q': 'a'}, tool_id='c1')", ToolCall("find", "c1", '{"q": "a"}')),
        ("ToolCall(tool_name='find', tool_kwargs={'q': 'aaaaaaa...", ToolCall("find")),
        ("AgentSetup(input=[])", ToolCall("")),
    ],
)
def test_a_function_is_named_by_the_step_that_called_it(summary: str, tool: ToolCall) -> None:
    span = read("FunctionTool.acall", **{"llamaindex.step.input_summary": summary})
    assert (span.kind, span.tool) == (SpanKind.TOOL, tool)
    assert read("BaseWorkflowAgent.call_tool", **{"llamaindex.step.input_summary": summary}).kind is SpanKind.CHAIN


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ("[]", ()),
        ('[{"node": {"id_": "n1", "text": "14 days"}, "score": 0.8}]', (Document("n1", 0.8, "14 days"),)),
    ],
)
def test_a_retriever_says_what_it_found(nodes: str, found: tuple[Document, ...]) -> None:
    facts = {"str_or_query_bundle.query_str": "refunds?"}
    span = read("R.aretrieve", ("RetrievalStartEvent", facts), ("RetrievalEndEvent", facts | {"nodes": nodes}))
    assert (span.kind, span.details.query, span.details.documents) == (SpanKind.RETRIEVER, "refunds?", found)


def test_the_run_of_an_agent_is_its() -> None:
    span = read("FunctionAgent.run")
    assert (span.kind, span.agent) == (SpanKind.AGENT, "FunctionAgent")
