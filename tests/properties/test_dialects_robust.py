"""Whatever the attributes say, a span is read: keys of every dialect, with values of any shape."""

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dialects import decode, pairs
from core.dialects.compiled import MEANINGS, PREFIXES
from core.dialects.messages import definitions, input_messages, messages_of
from core.errors import SpanDecodeError
from core.model.trace import Trace
from core.otlp.wire import SpanSlice, read_spans
from tests.unit.dialect_spans import encoded, read_span

_WORDS = (
    "role", "content", "parts", "messages", "contents", "tool_calls", "function", "arguments", "args", "input", "name",
    "id", "type", "text", "kwargs", "lc", "data", "choices", "message", "finish_reason", "output", "documents", "node",
    "metadata", "score", "parameters", "tools", "json_schema", "toolUse", "toolResult", "function_call", "status",
    "delta", "usage", "generations", "candidates", "response", "refusal", "query", "value",
)  # fmt: skip
_SAID = (
    "user",
    "tool",
    "ai",
    "text",
    "tool_call",
    "tool-result",
    "LLM",
    "TOOL",
    '"CHAT_MODEL"',
    "[",
    '{"a"',
    "__REDACTED__",
    "",
)
_KEYS = sorted(key.decode() for key in MEANINGS)
_LEAVES = (
    "0.message.role",
    "0.message.content",
    "1.message.tool_calls.0.tool_call.function.name",
    "x.y",
    "0",
    "",
    "0.name",
)

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.sampled_from(_SAID), st.text(max_size=8)
)
shapes = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4)),
    max_leaves=12,
)


def _sendable(value: Any) -> Any:
    """Return a value as a client can send it: OTLP knows no null within an attribute of the SDKs."""
    return value if isinstance(value, str | bool | int | float) else json.dumps(value)


# Python's literals that are no JSON, numbers beyond all floats, halves of surrogate pairs
_ODD = (
    "{b'a': {1, 'b'}}", "{(1,): 2j, None: ...}", "[{'role': 'user', 'content': '\\ud800'}]", '["\\ud83d"]',
    '{"input_tokens": 1%s}' % ("0" * 400),
    '{"score": 1e400, "prompt_tokens": -1%s}' % ("0" * 400), "[" * 900 + "]" * 900,
)  # fmt: skip
values = st.one_of(
    leaves.filter(lambda v: v is not None), st.sampled_from(_ODD), shapes.map(json.dumps), shapes.map(_sendable)
)
keys = st.one_of(
    st.sampled_from(_KEYS),
    st.builds(lambda prefix, leaf: prefix.decode() + leaf, st.sampled_from(PREFIXES), st.sampled_from(_LEAVES)),
)
# a client's mark, and the keys that its reader opens
_MARKS: tuple[dict[str, Any], ...] = (
    {"openinference.span.kind": "LLM"}, {"openinference.span.kind": "RETRIEVER"}, {"mlflow.spanType": '"CHAT_MODEL"'},
    {"mlflow.spanType": '"TOOL"'}, {"mlflow.spanType": '"CHAIN"'}, {"gen_ai.operation.name": "chat"},
    {"gen_ai.operation.name": "execute_tool", "traceloop.span.kind": "tool"}, {"traceloop.span.kind": "agent"},
    {"gen_ai.operation.name": "retrieval"}, {"ai.operationId": "ai.generateText.doGenerate"}, {},
)  # fmt: skip
_OPENED = (
    "input.value", "output.value", "mlflow.spanInputs", "mlflow.spanOutputs", "gen_ai.input.messages",
    "gen_ai.output.messages", "gen_ai.completion", "traceloop.entity.input", "traceloop.entity.output",
    "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "llm.invocation_parameters", "gen_ai.tool.definitions",
    "gen_ai.system_instructions", "gen_ai.response.finish_reasons", "mlflow.chat.tokenUsage", "metadata",
    "gen_ai.request.structured_output_schema", "retrieval.documents", "ai.prompt.messages", "ai.response.toolCalls",
)  # fmt: skip
keys = st.one_of(keys, st.sampled_from(_OPENED))
events = st.lists(
    st.tuples(
        st.sampled_from(
            ("gen_ai.choice", "gen_ai.user.message", "gen_ai.tool.message", "gen_ai.evaluation.result", "exception",
             "gen_ai.client.inference.operation.details", "gen_ai.content.completion", "mlflow.chunk.item.0")
        ),
        st.dictionaries(
            st.sampled_from(
                ("content", "message", "tool_calls", "gen_ai.event.content", "finish_reason", "mlflow.chunk.value",
                 "gen_ai.evaluation.score.value", "gen_ai.input.messages", "gen_ai.completion")
            ),
            values, max_size=3,
        ),
    ),
    max_size=2,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_MARKS), st.dictionaries(keys, values, max_size=10), events, st.integers(0, 2), st.integers(0, 3)
)
def test_no_attributes_are_too_odd_to_be_read(
    mark: dict[str, str], attributes: dict[str, Any], told: list[tuple[str, dict[str, Any]]], status: int, dropped: int
) -> None:
    span = read_span(attributes | mark, events=told, status=status, dropped=dropped)
    messages_of(span.input)
    messages_of(span.output, role="assistant")
    definitions(span.details)
    input_messages(Trace(trace_id=span.trace_id, spans=[span]), span)
    assert msgspec.json.encode(span)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(keys | st.text(max_size=3), values, max_size=6), max_size=4), st.data())
def test_what_was_read_before_changes_nothing(sent: list[dict[str, Any]], data: st.DataObject) -> None:
    spans = [encoded(attributes) for attributes in sent]
    # damaged ones too: other bytes behind beginnings that are known by now
    for raw in list(spans):
        at = data.draw(st.integers(0, len(raw) - 1))
        spans.append(raw[:at] + bytes((data.draw(st.integers(0, 255)),)) + raw[at + 1 :])
    pieces: list[SpanSlice] = []
    for raw in spans:
        with contextlib.suppress(SpanDecodeError):
            pieces += read_spans(raw)[0]
    fresh = []
    for piece in pieces:
        pairs.forget()
        fresh.append(msgspec.json.encode(decode(piece)))
    for _ in range(2):
        assert [msgspec.json.encode(decode(piece)) for piece in pieces] == fresh
