"""Vercel AI SDK 3 to 6: ai.* attributes. (7 and later write the OTel GenAI conventions under the scope "gen_ai".)

A call is a span with one child for each request to the model, and a child for each tool: `ai.generateText` is the loop,
`ai.generateText.doGenerate` the LLM call. Usage stands on both. Names: packages `ai` 3.4 to 6.0 (`ai.result.*` and
`ai.finishReason` until 3.3, `ai.usage.promptTokens` until 4, `ai.usage.inputTokens` since 5).
"""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects import otel_genai
from core.dialects.answers import of_messages
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import (
    as_json,
    count,
    decimal,
    finish,
    kinds,
    milliseconds,
    name,
    provider,
    state_of,
    structure,
    text,
)
from core.model.span import Content, ContentState, FinishReason, SpanKind, ToolCall
from core.otlp.slim import Value

KINDS: Final[Mapping[str, SpanKind]] = {
    "ai.generatetext": SpanKind.AGENT,
    "ai.generatetext.dogenerate": SpanKind.LLM,
    "ai.streamtext": SpanKind.AGENT,
    "ai.streamtext.dostream": SpanKind.LLM,
    "ai.generateobject": SpanKind.AGENT,
    "ai.generateobject.dogenerate": SpanKind.LLM,
    "ai.streamobject": SpanKind.AGENT,
    "ai.streamobject.dostream": SpanKind.LLM,
    "ai.toolcall": SpanKind.TOOL,
    "ai.embed": SpanKind.EMBEDDING,
    "ai.embed.doembed": SpanKind.EMBEDDING,
    "ai.embedmany": SpanKind.EMBEDDING,
    "ai.embedmany.doembed": SpanKind.EMBEDDING,
    "ai.rerank": SpanKind.RERANKER,
    "ai.rerank.dorerank": SpanKind.RERANKER,
}
_OUTPUT_TYPES: Final[Mapping[str, str]] = {"object": "json", "array": "json", "enum": "json", "no-schema": "json"}
# text of version 7, streams of those before
_END_WITH_REASON: Final = ("chat ", "ai.stream")
# an answer of no text still costs the token that ends it
_MAX_EMPTY_TOKENS: Final = 1


def tool_calls(value: Value) -> tuple[ToolCall, ...] | None:
    """Return the calls in `ai.response.toolCalls`: {toolCallId, toolName, args | input}."""
    found = structure(value)
    if not isinstance(found, list):
        return None
    calls: list[ToolCall] = []
    for call in found:
        if not isinstance(call, dict):
            continue
        arguments = call.get("input", call.get("args"))
        calls.append(
            ToolCall(
                name=str(call.get("toolName") or ""),
                call_id=str(call.get("toolCallId") or ""),
                arguments=arguments if isinstance(arguments, str) else _json(arguments),
            )
        )
    return tuple(calls)


def output_type(value: Value) -> str | None:
    """Return what `ai.settings.output` asks for, in the convention's words."""
    return _OUTPUT_TYPES.get(value) if isinstance(value, str) else None


def _json(value: Any) -> str:
    return "" if value is None else as_json(value)


def read(reading: Reading) -> None:
    """Put an answer together, whose text and tool calls stand apart, and tell streams and calls for an object."""
    found = reading.found
    otel_genai.read(reading)
    if reading.kind is SpanKind.TOOL:
        return
    if reading.name.startswith("ai.stream"):
        found[Field.IS_STREAM] = True
    if ("Object." in reading.name) and found[Field.OUTPUT_TYPE] is None:
        found[Field.OUTPUT_TYPE] = "json"
    if reading.kind is not SpanKind.LLM and reading.kind is not SpanKind.AGENT:
        return
    _end(reading)
    said, calls = found[Field.OUTPUT], found[Field.TOOL_CALLS] or ()
    if isinstance(said, str):
        state = state_of(said)
        kept = "" if state is ContentState.REDACTED else said
        reading.output = Content(state=state, text=kept, tool_calls=calls)
    elif calls:
        reading.output = Content(state=ContentState.PRESENT, tool_calls=calls)
    elif said is None and ended_empty(reading):
        reading.output = of_messages(()).content


def _end(reading: Reading) -> None:
    """Say how a call ended that does not say it: each call that ends well writes its reason.

    One without was left by its reader or broke (of a stream that is left, version 6 and before send but the wrapper);
    failed calls say no reason either. One that called tools and names none wrote what is no call: version 4 drops calls
    whose arguments are no JSON.
    """
    found = reading.found
    stopped = found[Field.FINISH]
    if stopped is None:
        if found[Field.OUTPUT_TOKENS] is None and reading.name.startswith(_END_WITH_REASON):
            found[Field.FINISH] = FinishReason.ERROR
    elif (
        stopped is FinishReason.TOOL_CALLS
        and reading.kind is SpanKind.LLM
        and not found[Field.TOOL_CALLS]
        and found[Field.OUTPUT] == ""
    ):
        found[Field.FINISH] = FinishReason.MALFORMED_CALL


def ended_empty(reading: Reading) -> bool:
    """Return whether an answer that is not there was empty, not withheld.

    The SDK leaves out the text of an answer without text, as it does where outputs are not recorded. It was empty where
    the model stopped by itself after its last token alone, and the inputs were recorded.
    """
    found = reading.found
    tokens = found[Field.OUTPUT_TOKENS]
    return (
        reading.kind is SpanKind.LLM
        and state_of(found[Field.INPUT]) is ContentState.PRESENT
        and found[Field.FINISH] is FinishReason.STOP
        and tokens is not None
        and tokens <= _MAX_EMPTY_TOKENS
    )


_METADATA: Final = "ai.telemetry.metadata."
# version 7 keeps what the app says of a call here
_CONTEXT: Final = "ai.settings.context."
# the app chooses these names; the ones that its users' examples and integrations agree on
_SESSIONS: Final = (
    "sessionId", "session_id", "session.id", "conversationId", "conversation_id", "chatId", "chat_id", "threadId",
    "thread_id",
)  # fmt: skip
_USERS: Final = ("userId", "user_id", "user.id")

DIALECT = Dialect(
    name="vercel_ai",
    marks=("ai.operationId",),
    scopes=("gen_ai",),
    rows=(
        (Field.KIND, kinds(KINDS), ("ai.operationId",)),
        (Field.AGENT, name, ("ai.telemetry.functionId",)),
        (Field.MODEL, name, ("ai.model.id", "ai.response.model")),
        (Field.PROVIDER, provider, ("ai.model.provider",)),
        (Field.TOOL_NAME, name, ("ai.toolCall.name",)),
        (Field.TOOL_CALL_ID, name, ("ai.toolCall.id",)),
        (Field.TOOL_ARGUMENTS, text, ("ai.toolCall.args", "ai.toolCall.input")),
        (Field.TOOL_RESULT, text, ("ai.toolCall.result", "ai.toolCall.output")),
        (Field.INPUT, text, ("ai.prompt.messages", "ai.prompt", "ai.value", "ai.values", "ai.documents")),
        (
            Field.OUTPUT,
            text,
            ("ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object", "ai.ranking"),
        ),
        (Field.TOOL_CALLS, tool_calls, ("ai.response.toolCalls", "ai.result.toolCalls")),
        (Field.INPUT_TOKENS, count, ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens")),
        (Field.OUTPUT_TOKENS, count, ("ai.usage.outputTokens", "ai.usage.completionTokens")),
        (Field.CACHED_TOKENS, count, ("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens")),
        (Field.CACHE_WRITE_TOKENS, count, ("ai.usage.inputTokenDetails.cacheWriteTokens",)),
        (
            Field.REASONING_TOKENS,
            count,
            ("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
        ),
        (Field.FINISH, finish, ("ai.response.finishReason", "ai.finishReason")),
        (Field.FIRST_TOKEN_S, milliseconds, ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk")),
        (Field.SESSION, name, tuple(start + key for start in (_METADATA, _CONTEXT) for key in _SESSIONS)),
        (Field.USER, name, tuple(start + key for start in (_METADATA, _CONTEXT) for key in _USERS)),
        (Field.TOOL_DEFINITIONS, text, ("ai.prompt.tools",)),
        (Field.OUTPUT_TYPE, output_type, ("ai.settings.output",)),
        (Field.OUTPUT_SCHEMA, text, ("ai.schema",)),
        (Field.MAX_TOKENS, count, ("ai.settings.maxOutputTokens", "ai.settings.maxTokens")),
        (Field.TEMPERATURE, decimal, ("ai.settings.temperature",)),
    ),
    read=read,
)
