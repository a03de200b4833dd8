"""A framework's span is read whatever stands under its keys and in its events, and what is read has the right types."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.dialects import decode
from core.dialects.messages import definitions, messages_of
from core.dialects.registry import DIALECTS
from core.dialects.table import Dialect
from core.model.span import ErrorClass, FinishReason, Span, SpanKind
from core.otlp.wire import read_spans
from tests.unit.dialect_spans import encoded

_SHARED = [
    "gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.request.model", "gen_ai.input.messages", "error.type",
    "gen_ai.output.messages", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.prompt",
    "gen_ai.response.finish_reasons", "input.value", "output.value", "session.id", "http.response.status_code",
]  # fmt: skip


def _keys_of(dialect: Dialect) -> list[str]:
    listed = {key for _, _, keys in (*dialect.rows, *dialect.own_rows) for key in keys}
    flat = {f"{prefix}{rest}" for prefix in dialect.prefixes for rest in ("0.role", "0.message.content", "x", "-1.")}
    return sorted(listed | flat | {*dialect.marks, *dialect.meant_marks, *_SHARED})


_NAMES = [
    "call_llm", "agent_run [x]", "agent run", "running 2 tools", "streaming response from x", "ai.streamText.doStream",
    "ai.generateObject.doGenerate", "session_task.turn", "handle_tool_call", "claude_code.tool", "step 1", "tool_call",
    "executor.process x", "raw_gen_ai_request", "Embedding Creation with x", "",
]  # fmt: skip
_WORDS = [
    "llm", "tool", "chat", "execute_tool", "invoke_agent", "generation", "retriever", "TOOL", "RETRIEVER", "LLM",
    "ERROR", "error", "llm_request", "claude_code.tool", "ai.toolCall", "ai.generateText.doGenerate", "true", "nan",
    "inf", "-1", "1e400", "2025-10-09T08:53:20Z", '"9999-12-31T23:59:59Z"', "[Scrubbed due to 'x']", "<REDACTED>",
    "{}", "[]", "null", '"', "{'a': ", "{'a': {1: (2,)}}", "[[[[[[", "\x00",
    "RateLimitError('x')Traceback (most recent call last):",
]  # fmt: skip
# the words that readers look for within JSON, with values of every shape under them
_PARTS = [
    "content", "parts", "role", "type", "text", "tool_calls", "function", "name", "arguments", "args", "input",
    "output", "messages", "choices", "message", "generations", "kwargs", "candidates", "function_call",
    "functionCall", "toolUse", "finish_reason", "response_metadata", "usage", "prompt_tokens", "input_tokens",
    "input_tokens_details", "tools", "config", "documents", "page_content", "metadata", "score", "id", "json_schema",
    "output_object", "output_mode", "event.name", "combined_chunk_content", "total", "cache_read", "session_id",
    "query", "refusal", "contents",
]  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text(max_size=8), st.sampled_from(_WORDS)
)
_SHAPES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_PARTS), inner, max_size=4)),
    max_leaves=8,
)
_VALUES = st.one_of(
    st.sampled_from(_WORDS),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=12),
    _SHAPES.map(json.dumps),
    _SHAPES.map(repr),
    _SHAPES.map(lambda shape: json.dumps(json.dumps(shape))),
    st.lists(_SHAPES.map(json.dumps), max_size=3),
    st.dictionaries(st.sampled_from(_PARTS), st.sampled_from(_WORDS), max_size=3),
)
_EVENT_NAMES = [
    "exception", "gen_ai.choice", "gen_ai.user.message", "gen_ai.tool.message", "tool.output", "mlflow.chunk.item.0",
    "gen_ai.client.inference.operation.details", "gen_ai.evaluation.result",
]  # fmt: skip
_EVENT_KEYS = [
    "exception.type", "exception.message", "message", "content", "finish_reason", "output", "tool_calls",
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.event.content", "mlflow.chunk.value",
]  # fmt: skip
_EVENTS = st.lists(
    st.tuples(st.sampled_from(_EVENT_NAMES), st.dictionaries(st.sampled_from(_EVENT_KEYS), _VALUES, max_size=3)),
    max_size=2,
)
_SPANS = st.sampled_from(DIALECTS).flatmap(
    lambda dialect: st.tuples(
        st.sampled_from([*dialect.scopes, "my.app"]),
        st.dictionaries(st.sampled_from(_keys_of(dialect)), _VALUES, max_size=8),
    )
)


@settings(max_examples=400, deadline=None)
@given(
    scoped=_SPANS,
    name=st.sampled_from(_NAMES),
    status=st.integers(0, 2),
    message=st.text(max_size=20),
    events=_EVENTS,
)
def test_any_values_under_known_keys_are_read(
    scoped: tuple[str, dict[str, Any]],
    name: str,
    status: int,
    message: str,
    events: list[tuple[str, dict[str, Any]]],
) -> None:
    scope, attributes = scoped
    sent = encoded(attributes, name=name, scope=scope, status=status, message=message, events=events)
    (piece,), failures = read_spans(sent)
    assert not failures
    span = decode(piece)
    _is_sound(span)
    assert decode(piece) == span
    messages_of(span.input)
    messages_of(span.output)
    definitions(span.details)


def _is_sound(span: Span) -> None:
    assert isinstance(span.kind, SpanKind)
    assert isinstance(span.finish_reason, FinishReason)
    for text in (
        span.agent, span.model, span.provider, span.session_id, span.user_id, span.data_source, span.input.text,
        span.output.text, span.output.refusal, span.details.tool_definitions, span.details.output_type,
        span.details.output_schema, span.details.query, span.details.prompt_name, span.details.prompt_version,
    ):  # fmt: skip
        assert isinstance(text, str)
    for call in (*span.output.tool_calls, *([span.tool] if span.tool is not None else [])):
        assert isinstance(call.name, str)
        assert isinstance(call.call_id, str)
        assert isinstance(call.arguments, str)
    if span.usage is not None:
        counts = (
            span.usage.input_tokens, span.usage.output_tokens, span.usage.cached_tokens, span.usage.reasoning_tokens,
            span.usage.cache_write_tokens,
        )  # fmt: skip
        assert all(isinstance(count, int) and count >= 0 for count in counts)
    assert span.cost_usd is None or isinstance(span.cost_usd, float | int)
    assert span.time_to_first_token_s is None or span.time_to_first_token_s >= 0
    assert isinstance(span.details.attempt, int)
    assert span.details.max_tokens is None or isinstance(span.details.max_tokens, int)
    assert span.details.is_stream in (True, False, None)
    if span.error is not None:
        assert isinstance(span.error.error_class, ErrorClass)
        assert isinstance(span.error.message, str)
        assert isinstance(span.error.error_type, str)
        assert isinstance(span.error.status_code, int)
