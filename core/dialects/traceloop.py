"""OpenLLMetry (Traceloop), old and new: `traceloop.*` entities and associations around OTel GenAI attributes.

Until 0.5x messages were flattened (`gen_ai.prompt.N.…`, `llm.request.functions.N.…`), since then they are the
convention's; `core.dialects.otel_genai` reads either. Names: opentelemetry-semantic-conventions-ai 0.4.
"""

from typing import Any, Final

from core.dialects import otel_genai
from core.dialects.documents import read_retrieval
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import MAX_REPR_CHARS, kinds, name, structure, text, tool_result
from core.model.span import SpanKind

KINDS = {
    "workflow": SpanKind.CHAIN,
    "task": SpanKind.CHAIN,
    "agent": SpanKind.AGENT,
    "tool": SpanKind.TOOL,
    "llm": SpanKind.LLM,
    "unknown": SpanKind.UNKNOWN,
}
REQUESTS = {
    "chat": SpanKind.LLM,
    "completion": SpanKind.LLM,
    "embedding": SpanKind.EMBEDDING,
    "rerank": SpanKind.RERANKER,
}

_ITEM: Final = frozenset({"role", "type"})
# a list of items as the text of the one message, by OpenLLMetry in JavaScript
_DUMPED: Final = '[{"role":"user","parts":[{"type":"text","content":"[{'


def read(reading: Reading) -> None:
    """Read what the convention says, then name tools and agents by their entity and open a tool's arguments."""
    otel_genai.read(reading)
    found = reading.found
    if reading.kind is SpanKind.TOOL:
        # LangChain's newer spans put the same envelopes under the convention's keys
        given, output = found[Field.TOOL_ARGUMENTS], found[Field.TOOL_RESULT]
        found[Field.TOOL_ARGUMENTS] = arguments(given if given is not None else found[Field.INPUT])
        output = output if output is not None else found[Field.OUTPUT]
        if isinstance(output, str):
            found[Field.TOOL_RESULT] = _result(output)
        return
    given = found[Field.INPUT]
    if isinstance(given, str) and given.startswith(_DUMPED):
        found[Field.INPUT] = _undumped(given)
    entity, found[Field.TOOL_NAME] = found[Field.TOOL_NAME], None
    if (
        reading.kind is SpanKind.CHAIN
        and isinstance(entity, str)
        and entity.removesuffix(".task").endswith("Retriever")
    ):
        # LlamaIndex: "VectorIndexRetriever.task"
        reading.kind = SpanKind.RETRIEVER
    if reading.kind is SpanKind.AGENT:
        found[Field.AGENT] = found[Field.AGENT] or entity
    elif reading.kind is SpanKind.RETRIEVER:
        read_retrieval(reading)


def _undumped(given: str) -> str:
    """Return the input of OpenAI's Responses API, which the client in JavaScript writes into a user's text as JSON."""
    messages = structure(given)
    parts = messages[0].get("parts") if isinstance(messages, list) and len(messages) == 1 else None
    inner = parts[0].get("content") if isinstance(parts, list) and len(parts) == 1 else None
    items = structure(inner) if isinstance(inner, str) else None
    told = isinstance(items, list) and all(
        isinstance(item, dict) and ("role" in item or "type" in item) for item in items
    )
    return inner if told and isinstance(inner, str) else given


def arguments(given: str | None) -> str | None:
    """Return the arguments in a tool's `traceloop.entity.input`, as JSON where they can be told apart from the rest.

    A decorated function's are {args, kwargs}; LangChain's {input_str, inputs, tags, …}, where `input_str` is a Python
    repr and `inputs`, in newer versions, the arguments themselves.
    """
    found = structure(given)
    if not isinstance(found, dict):
        return given
    inputs, words = found.get("inputs"), found.get("input_str")
    if isinstance(inputs, dict) and inputs:
        return text(inputs)
    if isinstance(words, str):
        return text(_repr(words)) or words
    if isinstance(found.get("kwargs"), dict) and "args" in found:
        return text(found["kwargs"]) if not found["args"] else given
    return given


def _repr(words: str) -> dict[str, Any] | None:
    """Return the mapping that a Python repr, or JSON, stands for; None where it is neither."""
    found = structure(words) if words[:1] == "{" and len(words) <= MAX_REPR_CHARS else None
    return found if isinstance(found, dict) else None


def _result(output: str) -> str | None:
    """Return a tool's result, out of the envelopes of LangChain's callbacks."""
    opened = tool_result(output)
    if isinstance(opened, str) and opened != output:
        return opened
    found = structure(output) if output[:10] == '{"output":' else None
    return text(found["output"]) if isinstance(found, dict) and set(found) <= {"output", "kwargs"} else output


_ASSOCIATED = "traceloop.association.properties."

DIALECT = Dialect(
    name="traceloop",
    marks=(
        "traceloop.span.kind",
        "traceloop.entity.name",
        "traceloop.entity.path",
        "traceloop.workflow.name",
        "gen_ai.is_streaming",
        "llm.headers",
        "llm.usage.total_tokens",
        "gen_ai.openai.api_base",
        "traceloop.association.properties.session_id",
        "traceloop.association.properties.thread_id",
        "traceloop.association.properties.user_id",
        "traceloop.prompt.key",
    ),
    # the official packages are named openai_v2, google_genai, …
    scopes=(
        "traceloop.",
        "opentelemetry.instrumentation.openai.",
        "opentelemetry.instrumentation.langchain",
        "opentelemetry.instrumentation.llamaindex",
        "opentelemetry.instrumentation.openai_agents.",
        "opentelemetry.instrumentation.anthropic",
        "opentelemetry.instrumentation.bedrock",
        "opentelemetry.instrumentation.cohere",
        "opentelemetry.instrumentation.groq",
        "opentelemetry.instrumentation.mistralai",
        "opentelemetry.instrumentation.ollama",
        "opentelemetry.instrumentation.crewai",
        "opentelemetry.instrumentation.haystack",
        "opentelemetry.instrumentation.watsonx",
        "@traceloop/instrumentation-",
    ),
    prefixes=("llm.request.functions.",),
    rows=(
        (
            Field.SESSION,
            name,
            tuple(
                _ASSOCIATED + key
                for key in (
                    "session_id",
                    "sessionId",
                    "session.id",
                    "conversation_id",
                    "conversationId",
                    "thread_id",
                    "threadId",
                    "chat_id",
                )
            ),
        ),
        (Field.USER, name, tuple(_ASSOCIATED + key for key in ("user_id", "userId", "user.id"))),
        (Field.USER, name, ("gen_ai.user", "llm.user")),
        (Field.PROMPT_NAME, name, ("traceloop.prompt.key", "traceloop.prompt.name")),
        (Field.PROMPT_VERSION, name, ("traceloop.prompt.version",)),
    ),
    read=read,
)
ENTITIES = Dialect(
    name="traceloop_entities",
    rows=(
        (Field.KIND, kinds(KINDS), ("traceloop.span.kind",)),
        (Field.KIND, kinds(REQUESTS), ("llm.request.type",)),
        (Field.TOOL_NAME, name, ("traceloop.entity.name",)),
        (Field.INPUT, text, ("traceloop.entity.input",)),
        (Field.OUTPUT, text, ("traceloop.entity.output",)),
    ),
)
"""What is said of entities: believed behind the convention's words, which say more (a task may be any operation)."""
