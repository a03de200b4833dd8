"""Laminar's SDK: lmnr.* keys, and choices where messages belong."""

import json
from typing import Any

import pytest

from core.model.span import FinishReason, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "lmnr.tracer"
BASE: dict[str, Any] = {
    "lmnr.span.path": ["travel"],
    "lmnr.association.properties.session_id": "s-1",
    "lmnr.association.properties.user_id": "u-1",
}
CHOICE = {"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": "Lis"}}
CALL: dict[str, Any] = {
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.input.messages": '[{"role": "user", "content": "weather?"}]',
    "gen_ai.output.messages": json.dumps([CHOICE]),
    "gen_ai.tool.definitions": '[{"type": "function", "function": {"name": "find"}}]',
    "gen_ai.usage.input_tokens": 57,
    "gen_ai.usage.output_tokens": 17,
    "gen_ai.usage.cache_read_input_tokens": 12,
    "gen_ai.usage.reasoning_tokens": 4,
    "gen_ai.request.structured_output_schema": '{"type": "object", "properties": {"city": {"type": "string"}}}',
    "llm.is_streaming": True,
}


def read(kind: str, attributes: dict[str, Any], name: str = "work", **more: Any) -> Span:
    return read_span(BASE | {"lmnr.span.type": kind} | attributes, name=name, scope=SCOPE, **more)


def test_a_call_is_read_whole() -> None:
    span = read("LLM", CALL, "openai.chat")
    assert (span.kind, span.dialect, span.model, span.provider) == (SpanKind.LLM, "laminar", "gpt-4o-mini", "openai")
    assert (span.output.text, span.finish_reason, span.usage) == ("Lis", FinishReason.LENGTH, Usage(57, 17, 12, 4))
    assert (span.session_id, span.user_id) == ("s-1", "u-1")
    assert (span.details.output_type, span.details.is_stream) == ("json_schema", True)


def test_a_decorated_function_says_what_it_was_given_and_returned() -> None:
    span = read("TOOL", {"lmnr.span.input": '{"city": "Lisbon"}', "lmnr.span.output": '"18 °C"'}, "find")
    assert span.tool == ToolCall("find", "", '{"city": "Lisbon"}')
    assert span.output.text == "18 °C"


@pytest.mark.parametrize(
    ("word", "kind"), [("DEFAULT", SpanKind.CHAIN), ("EVALUATOR", SpanKind.EVALUATOR), ("CACHED", SpanKind.LLM)]
)
def test_every_type_has_its_kind(word: str, kind: SpanKind) -> None:
    assert read(word, {}).kind is kind
