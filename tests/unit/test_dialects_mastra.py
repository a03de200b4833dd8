"""Mastra's OTel exporters."""

from typing import Any

import pytest

from core.model.span import FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import START_NS, read_span

SCOPE = "@mastra/otel-exporter"
AGENT: dict[str, Any] = {
    "gen_ai.operation.name": "invoke_agent",
    "mastra.span.type": "agent_run",
    "mastra.agent_run.input": "weather in Lisbon?",
    "mastra.agent_run.output": '{"text":"It is 18 degrees.","files":[]}',
    "gen_ai.agent.name": "Traveller",
    "gen_ai.tool.definitions": '["get_weather"]',
    "gen_ai.conversation.id": "thread-1",
    "mastra.metadata.sessionId": "s-1",
    "mastra.metadata.userId": "u-1",
}
GENERATION: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "mastra.span.type": "model_generation",
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"weather in Lisbon?"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"It is 18 degrees."}]}]',
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.provider.name": "openai.chat",
    "gen_ai.request.max_tokens": 20,
    "gen_ai.request.temperature": 0.2,
    "gen_ai.usage.input_tokens": 122,
    "gen_ai.usage.output_tokens": 41,
    "gen_ai.usage.reasoning_tokens": 3,
    "gen_ai.usage.cache_read.input_tokens": 32,
    "gen_ai.response.finish_reasons": '["stop"]',
    "mastra.completion_start_time": "2025-10-09T08:53:20.250Z",
}
TOOL: dict[str, Any] = {
    "gen_ai.operation.name": "execute_tool",
    "mastra.span.type": "tool_call",
    "gen_ai.tool.name": "get_weather",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.tool.call.arguments": '{"city":"Lisbon"}',
    "gen_ai.tool.call.result": '{"temp":18}',
}


def test_an_agents_run_is_told_with_its_text_session_and_user() -> None:
    span = read_span(AGENT, name="invoke_agent Traveller", scope=SCOPE)
    assert (span.kind, span.dialect, span.agent) == (SpanKind.AGENT, "mastra", "Traveller")
    assert (span.input.text, span.output.text) == ("weather in Lisbon?", "It is 18 degrees.")
    assert (span.session_id, span.user_id) == ("s-1", "u-1")


def test_without_a_session_of_the_app_the_thread_is_the_session() -> None:
    said = {key: value for key, value in AGENT.items() if key != "mastra.metadata.sessionId"}
    assert read_span(said, scope=SCOPE).session_id == "thread-1"


def test_a_generation_is_a_call_of_the_conventions_with_the_instant_of_its_first_token() -> None:
    span = read_span(GENERATION, name="chat gpt-4o-mini", scope=SCOPE)
    assert (span.kind, span.model, span.provider) == (SpanKind.LLM, "gpt-4o-mini", "openai")
    assert (span.output.text, span.finish_reason) == ("It is 18 degrees.", FinishReason.STOP)
    assert span.usage == Usage(122, 41, 32, 3)
    assert START_NS == 1_760_000_000 * 10**9
    assert span.time_to_first_token_s == pytest.approx(0.25)


def test_a_tool_is_the_conventions() -> None:
    span = read_span(TOOL, name="execute_tool get_weather", scope=SCOPE)
    assert (span.kind, span.tool) == (SpanKind.TOOL, ToolCall("get_weather", "call_1", '{"city":"Lisbon"}'))
    assert span.output.text == '{"temp":18}'


@pytest.mark.parametrize("word", ["model_step", "model_inference", "model_chunk", "workflow_step", "client_tool_call"])
def test_operations_of_its_own_are_steps(word: str) -> None:
    said = {"gen_ai.operation.name": word, "mastra.span.type": word}
    assert read_span(said, name=f"{word} Traveller", scope=SCOPE).kind is SpanKind.CHAIN
