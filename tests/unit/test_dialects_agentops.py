"""AgentOps' SDK: kinds of its own, decorated functions, flattened model calls."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import FinishReason, Message, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "agentops"
CALL: dict[str, Any] = {
    "gen_ai.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.streaming": False,
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "weather?",
    "gen_ai.request.functions.0.name": "find",
    "gen_ai.request.functions.0.parameters": '{"type": "object"}',
    "gen_ai.usage.prompt_tokens": 57,
    "gen_ai.usage.completion_tokens": 17,
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "18 °C",
}


def read(kind: str, attributes: dict[str, Any] | None = None, **more: Any) -> Span:
    return read_span({"agentops.span.kind": kind} | (attributes or {}), scope=SCOPE, **more)


def test_a_model_call_is_read_whole() -> None:
    span = read_span(CALL, name="openai.chat.completion", scope="openai")
    assert (span.kind, span.model, span.usage) == (SpanKind.LLM, "gpt-4o-mini", Usage(57, 17))
    assert (span.output.text, span.finish_reason) == ("18 °C", FinishReason.STOP)
    assert messages_of(span.input) == (Message("user", "weather?"),)
    assert set(definitions(span.details)) == {"find"}
    assert span.details.is_stream is False


def test_a_decorated_tool_was_called_with_its_keywords() -> None:
    given = json.dumps({"args": [], "kwargs": {"city": "Lisbon"}})
    facts = {"operation.name": "find", "agentops.tool.input": given, "agentops.tool.output": "18"}
    span = read("tool", facts, name="find.tool")
    assert (span.kind, span.dialect) == (SpanKind.TOOL, "agentops")
    assert span.tool == ToolCall("find", "", '{"city": "Lisbon"}')
    assert span.output.text == "18"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("task", SpanKind.CHAIN),
        ("session", SpanKind.CHAIN),
        ("agent", SpanKind.AGENT),
        # what was asked for stands once more on the span of the function that did it
        ("AgentOpsSpanKindValues.TOOL", SpanKind.CHAIN),
    ],
)
def test_every_kind_is_known(word: str, kind: SpanKind) -> None:
    span = read(word, {"operation.name": "travel", "tool.name": "find"})
    assert span.kind is kind
    assert span.agent == ("travel" if kind is SpanKind.AGENT else "")
