"""LangSmith's OTel export of LangChain runs: OTel GenAI names, each run's inputs and outputs as one JSON blob.

Traps: `langsmith.trace.session_name` and `…session_id` are the project, not the conversation; a retriever's operation
is "embeddings" and a prompt's "chat", so the run type says the kind; tokens stand on parents too; a failed run's
status has no message, or is even OK, and the exception event's type is always "Exception" (its message is the real
one's repr, with its traceback). Names: langsmith 0.14, _internal/otel/_otel_exporter.py.
"""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects import answers
from core.dialects.documents import documents
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, boolean, count, decimal, kinds, name, provider, structure, text
from core.model.span import SpanKind, Usage
from core.otlp.slim import Value

KINDS: Final = {
    "llm": SpanKind.LLM,
    "chain": SpanKind.CHAIN,
    "tool": SpanKind.TOOL,
    "retriever": SpanKind.RETRIEVER,
    "embedding": SpanKind.EMBEDDING,
    "prompt": SpanKind.PROMPT,
    "parser": SpanKind.CHAIN,
    "agent": SpanKind.AGENT,
}
_RESULTS: Final = ("output", "outputs", "result")


class Blob(answers.Answer, frozen=True, gc=False):
    """A run's outputs: what they answer, and the whole of them."""

    raw: str = ""


def blob(value: Value) -> Blob | None:
    """Return a run's outputs; None for nothing."""
    raw = text(value)
    if raw is None:
        return None
    found = answers.from_response(raw)
    return Blob(found.content, found.finish, raw)


def part(key: str) -> Any:
    """Return a converter that takes one count out of token details, sent as a Python repr."""

    def convert(value: Value) -> int | None:
        found = structure(value)
        return count(found.get(key)) if isinstance(found, dict) else None

    return convert


def usage(value: Value) -> Usage | None:
    """Return the tokens in `langsmith.usage_metadata` (JavaScript): all that was read stands in `input_tokens`."""
    found = structure(value)
    if not isinstance(found, dict) or found.get("input_tokens") is None:
        return None
    into, out = _part(found, "input_token_details"), _part(found, "output_token_details")
    return Usage(
        input_tokens=count(found.get("input_tokens")) or 0,
        output_tokens=count(found.get("output_tokens")) or 0,
        cached_tokens=count(into.get("cache_read")) or 0,
        reasoning_tokens=count(out.get("reasoning")) or 0,
        cache_write_tokens=count(into.get("cache_creation")) or 0,
    )


def _part(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = found.get(key)
    return part if isinstance(part, dict) else {}


def read(reading: Reading) -> None:
    """Take answers, results, arguments and documents out of the blobs."""
    found = reading.found
    if any(event.name == "exception" for event in reading.events):
        # the exporter may set a failed run's status to OK when it updates it
        found[Field.FAILED] = True
    output = found[Field.OUTPUT]
    raw = output.raw if isinstance(output, Blob) else None
    if reading.kind is SpanKind.LLM:
        if isinstance(output, answers.Answer):
            reading.output, reading.finish = output.content, output.finish
        given = found[Field.INPUT]
        if found[Field.PARAMETERS] is None and isinstance(given, str) and given[:1] == "{" and '"model"' in given:
            # the wrappers of OpenAI's client record the whole request
            found[Field.PARAMETERS] = parameters(given)
        return
    if raw is not None:
        found[Field.OUTPUT] = raw
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
        found[Field.TOOL_ARGUMENTS] = _arguments(found[Field.INPUT])
        found[Field.TOOL_RESULT] = _result(raw)
    elif reading.kind is SpanKind.RETRIEVER:
        found[Field.DOCUMENTS] = documents(raw)
        query = structure(found[Field.INPUT])
        if isinstance(query, dict) and isinstance(query.get("query"), str):
            found[Field.QUERY] = query["query"]


def _unwrapped(value: Any) -> Any:
    """Return what stands under `output`, where a blob holds nothing else that is known."""
    if isinstance(value, dict) and len(value) == 1:
        for key in _RESULTS:
            if isinstance(value.get(key), dict | list):
                return value[key]
    return value


def _arguments(value: Value) -> str | None:
    """Return a tool's arguments: {"input": "<JSON, a Python repr or text>"}, or the arguments themselves."""
    found = structure(value)
    if isinstance(found, dict) and len(found) == 1 and isinstance(found.get("input"), str):
        inner = structure(found["input"])
        return found["input"] if inner is None else as_json(inner)
    return text(value)


def _result(value: Value) -> str | None:
    """Return a tool's result: LangChain dumps its message, the decorator wraps what was returned."""
    found = _unwrapped(structure(value))
    if isinstance(found, dict):
        for key in _RESULTS:
            if isinstance(found.get(key), str):
                return str(found[key])
        kwargs = found.get("kwargs")
        message = kwargs if isinstance(kwargs, dict) else found
        if "tool_call_id" in message and "content" in message:
            return text(message["content"])
    return text(value)


_METADATA: Final = "langsmith.metadata."

DIALECT = Dialect(
    name="langsmith",
    marks=("langsmith.span.kind", "langsmith.trace.name", "langsmith.trace.session_name"),
    scopes=("langsmith",),
    rows=(
        (Field.KIND, kinds(KINDS), ("langsmith.span.kind",)),
        (Field.AGENT, name, (_METADATA + "lc_agent_name", _METADATA + "agent_name")),
        (Field.MODEL, name, (_METADATA + "ls_model_name",)),
        (Field.PROVIDER, provider, (_METADATA + "ls_provider",)),
        (Field.OUTPUT, blob, ("gen_ai.completion",)),
        (Field.USAGE, usage, ("langsmith.usage_metadata", _METADATA + "usage_metadata")),
        (
            Field.SESSION,
            name,
            tuple(_METADATA + key for key in ("session_id", "conversation_id", "thread_id")),
        ),
        (Field.USER, name, (_METADATA + "user_id",)),
        (Field.CACHED_TOKENS, part("cache_read"), ("gen_ai.usage.input_token_details",)),
        (Field.REASONING_TOKENS, part("reasoning"), ("gen_ai.usage.output_token_details",)),
        (Field.PROMPT_NAME, name, (_METADATA + "lc_hub_repo",)),
        (Field.PROMPT_VERSION, name, (_METADATA + "lc_hub_commit_hash",)),
        (Field.IS_STREAM, boolean, ("langsmith.request.streaming", _METADATA + "stream")),
        (Field.MAX_TOKENS, count, (_METADATA + "ls_max_tokens",)),
        (Field.TEMPERATURE, decimal, (_METADATA + "ls_temperature",)),
    ),
    read=read,
)
