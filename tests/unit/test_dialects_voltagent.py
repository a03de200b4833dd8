"""VoltAgent's own spans."""

from typing import Any

from core.model.span import FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "@voltagent/core"
BASE: dict[str, Any] = {
    "user.id": "u-1",
    "conversation.id": "s-1",
    "operation.id": "548e36de",
    "entity.id": "Traveller",
    "entity.type": "agent",
    "entity.name": "Traveller",
}
AGENT: dict[str, Any] = BASE | {
    "voltagent.operation_id": "548e36de",
    "input": "weather in Lisbon?",
    "output": "It is 18 degrees.",
    "ai.model.name": "gpt-4o-mini",
    "usage.prompt_tokens": 122,
    "usage.completion_tokens": 41,
    "usage.cached_tokens": 32,
    "usage.reasoning_tokens": 3,
}
CALL: dict[str, Any] = BASE | {
    "span.type": "llm",
    "llm.model": "gpt-4o-mini",
    "llm.messages": '[{"role":"user","content":"weather in Lisbon?"}]',
    "llm.usage.prompt_tokens": 61,
    "llm.usage.completion_tokens": 23,
    "llm.finish_reason": "stop",
}
TOOL: dict[str, Any] = BASE | {
    "span.type": "tool",
    "tool.name": "get_weather",
    "tool.call.id": "call_1",
    "input": '{"city":"Lisbon"}',
    "output": '{"temp":18}',
}


def test_the_span_that_is_named_as_its_agent_is_the_agent_with_all_tokens() -> None:
    span = read_span(AGENT, name="Traveller", scope=SCOPE)
    assert (span.kind, span.dialect, span.agent) == (SpanKind.AGENT, "voltagent", "Traveller")
    assert (span.input.text, span.output.text) == ("weather in Lisbon?", "It is 18 degrees.")
    assert (span.model, span.usage) == ("gpt-4o-mini", Usage(122, 41, 32, 3))
    assert (span.session_id, span.user_id) == ("s-1", "u-1")


def test_a_models_loop_has_its_reason_and_no_tokens_of_its_own() -> None:
    span = read_span(CALL, name="llm:generateText", scope=SCOPE)
    assert (span.kind, span.model, span.usage) == (SpanKind.LLM, "gpt-4o-mini", None)
    assert (span.finish_reason, span.input.text) == (FinishReason.STOP, CALL["llm.messages"])


def test_a_tool_is_one_by_its_name() -> None:
    span = read_span(TOOL, name="tool.execution:get_weather", scope=SCOPE)
    assert (span.kind, span.dialect) == (SpanKind.TOOL, "voltagent")
    assert span.tool == ToolCall("get_weather", "call_1", '{"city":"Lisbon"}')
    assert span.output.text == '{"temp":18}'


def test_memory_is_a_step() -> None:
    assert read_span(BASE | {"span.type": "memory"}, name="memory.read", scope=SCOPE).kind is SpanKind.CHAIN
