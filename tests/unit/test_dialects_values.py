"""What attributes hold is read as JSON could say it: nothing in it keeps a span from being decoded or written."""

import json
from typing import Any

import msgspec
import pytest

from core.dialects.messages import messages_of
from core.dialects.values import decimal, python_repr, structure
from core.model.span import FinishReason, Message, Usage
from tests.unit.dialect_spans import read_span


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("{b'a': b'b'}", {"a": "b"}),
        ("{(1, 2): 3, None: 4}", {"[1, 2]": 3, "None": 4}),
        ("{'a': {'y', 'x'}}", {"a": ["x", "y"]}),
        ("{'a': 1j, 'b': ...}", {"a": "1j", "b": "Ellipsis"}),
        ("['\\ud83d', '\\ud83d\\ude00']", ["\ufffd", "\U0001f600"]),
    ],
)
def test_a_python_repr_is_read_as_json_could_say_it(raw: str, read: Any) -> None:
    assert structure(raw) == read
    assert json.loads(json.dumps(read)) == read


def test_what_is_no_literal_or_too_long_is_no_repr() -> None:
    assert python_repr("__import__('os')") is None
    assert python_repr("[" + "1," * 10_000 + "1]") is None


def test_half_of_an_emoji_costs_one_character_and_not_the_conversation() -> None:
    messages = '[{"role": "user", "content": "cut \\ud83d"}, {"role": "user", "content": "\\\\ud83d \\ud83d\\ude00"}]'
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages})
    assert messages_of(span.input) == (Message("user", "cut \ufffd"), Message("user", "\\ud83d \U0001f600"))


def test_an_answer_with_half_of_an_emoji_can_be_written() -> None:
    said = "[{'role': 'assistant', 'parts': [{'type': 'text', 'content': 'cut \\ud83d'}]}]"
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.output.messages": said})
    assert span.output.text == "cut \ufffd"
    assert msgspec.json.encode(span)


def test_a_number_beyond_all_floats_is_no_number() -> None:
    assert decimal(10**400) is None
    usage = json.dumps({"prompt_tokens": 10**400, "completion_tokens": 7})
    span = read_span({"langfuse.observation.type": "generation", "langfuse.observation.usage_details": usage})
    assert span.usage == Usage(0, 7)


@pytest.mark.parametrize("said", ["[" * 900 + "]" * 900, '["[[[[[\\"stop\\"]]]]]"]'])
def test_a_finish_reason_within_endless_lists_is_none(said: str) -> None:
    span = read_span({"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": said})
    assert span.finish_reason is FinishReason.UNKNOWN


@pytest.mark.parametrize(
    "sent",
    [
        {"gen_ai.operation.name": "chat", "gen_ai.usage.cost": -1.0},
        {"openinference.span.kind": "LLM", "llm.cost.total": "-2"},
        {"mlflow.spanType": '"LLM"', "mlflow.llm.cost": '{"total_cost": -0.5}'},
        {"langfuse.observation.type": "generation", "langfuse.observation.cost_details": '{"total": -1}'},
    ],
)
def test_no_call_cost_less_than_nothing(sent: dict[str, Any]) -> None:
    assert not read_span(sent).cost_usd


def test_what_another_dialect_calls_raw_is_no_count_of_claude_code() -> None:
    span = read_span({"span.type": "llm_request", "llm.openai.messages": "[]", "output_tokens": 4})
    assert span.usage == Usage(0, 4)
