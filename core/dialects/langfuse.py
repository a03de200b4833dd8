"""Langfuse SDK 3 and later: langfuse.observation.* attributes.

Its processor stamps `langfuse.environment`, `langfuse.trace.*` and the like on the spans of other libraries too, so
only `langfuse.observation.*` marks the dialect. Tokens are keys of the app's choice: by Langfuse's convention what
begins with `input` adds up to the input, OpenAI's `prompt_tokens` holds the cached ones. Names: langfuse 3 to 5,
_client/attributes.py.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final

from core.dialects import answers
from core.dialects.calls import tool_call
from core.dialects.documents import read_retrieval
from core.dialects.mlflow import only_finish, unquoted, unquoted_name
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import amount, count, finish, kinds, name, provider, structure, text, tool_result
from core.model.span import SpanKind, Usage
from core.otlp.slim import Value

KINDS: Final = {
    "generation": SpanKind.LLM,
    "embedding": SpanKind.EMBEDDING,
    "tool": SpanKind.TOOL,
    "retriever": SpanKind.RETRIEVER,
    "agent": SpanKind.AGENT,
    "chain": SpanKind.CHAIN,
    "evaluator": SpanKind.EVALUATOR,
    "guardrail": SpanKind.GUARDRAIL,
    "reranker": SpanKind.RERANKER,
    "prompt": SpanKind.PROMPT,
}
# in the names of models that embed: text-embedding-3-small, nomic-embed-text
_EMBEDS: Final = "embed"
_CACHE_WRITES: Final = ("cache_creation_input_tokens", "input_cache_creation", "input_cached_creation_tokens")
_CACHE_READS: Final = ("cache_read_input_tokens", "input_cache_read", "input_cached_tokens", "cached_tokens")


def failed(value: Value) -> bool | None:
    """Return True for the level ERROR; not every SDK sets the span's status with it."""
    return True if value == "ERROR" else None


def usage(value: Value) -> Usage | None:
    """Return the tokens in `langfuse.observation.usage_details`; None where it names none."""
    found = structure(value)
    if not isinstance(found, dict):
        return None
    given, said = (
        _mapping(found, "prompt_tokens", "input_tokens"),
        _mapping(found, "completion_tokens", "output_tokens"),
    )
    reads = _first(found, _CACHE_READS)
    writes = _first(found, _CACHE_WRITES)
    reasoning = _first(found, ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens"))
    inside = count(given.get("cached_tokens"))
    if found.get("prompt_tokens") is not None:
        into, out = count(found["prompt_tokens"]), count(found.get("completion_tokens"))
    elif found.get("input") is not None or found.get("output") is not None:
        into = _sum(found, "input") + sum(
            count(found.get(key)) or 0 for key in _CACHE_READS + _CACHE_WRITES if key[0] == "c"
        )
        out = _sum(found, "output")
    elif found.get("input_tokens") is not None or found.get("output_tokens") is not None:
        # Anthropic's: cached tokens stand beside, unless details say that they stand within
        beside = (reads or 0) + (writes or 0) if inside is None else 0
        into, out = (count(found.get("input_tokens")) or 0) + beside, count(found.get("output_tokens"))
    else:
        return None
    return Usage(
        input_tokens=into or 0,
        output_tokens=out or 0,
        cached_tokens=inside if inside is not None else reads or 0,
        reasoning_tokens=reasoning if reasoning is not None else count(said.get("reasoning_tokens")) or 0,
        cache_write_tokens=writes or 0,
    )


def cost(value: Value) -> float | None:
    """Return the cost in `langfuse.observation.cost_details`: its total, else the sum of its parts; USD."""
    found = structure(value)
    if not isinstance(found, dict) or not found:
        return None
    total = amount(found.get("total"))
    return total if total is not None else sum(amount(part) or 0.0 for part in found.values())


def instant(value: Value) -> float | None:
    """Return a moment, sent as ISO 8601 (in JSON quotes or bare), in seconds since the epoch."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(value.strip('"'))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def offered(value: Value) -> str | None:
    """Return tools that were offered; None for an empty list of them."""
    found = structure(value)
    return text(value) if isinstance(found, list) and found and isinstance(found[0], dict) else None


def read(reading: Reading) -> None:
    """Fill what hangs on the kind: answers, tool calls, documents; and the time to the first token."""
    found = reading.found
    if reading.kind is SpanKind.LLM and _EMBEDS in (found[Field.MODEL] or "").lower():
        # the wrapper of OpenAI's client in JavaScript calls everything a generation
        reading.kind = SpanKind.EMBEDDING
    if found[Field.FIRST_TOKEN_S] is not None:
        waited = found[Field.FIRST_TOKEN_S] - reading.start_ns / 1e9
        found[Field.FIRST_TOKEN_S] = waited if waited >= 0 else None
    output = found[Field.OUTPUT]
    if reading.kind is SpanKind.LLM and output is not None:
        answer = answers.from_response(output)
        reading.output, reading.finish = answer.content, answer.finish
    if reading.kind is SpanKind.LLM:
        _offered(reading)
    elif reading.kind is SpanKind.TOOL:
        _tool(reading)
    elif reading.kind is SpanKind.RETRIEVER:
        read_retrieval(reading)
    elif reading.kind is SpanKind.CHAIN and isinstance(output, str):
        # LangChain: its chain's output is the message that the call's span tells without its reason
        reading.finish = only_finish(output)
    elif reading.kind is SpanKind.AGENT and found[Field.AGENT] is None:
        found[Field.AGENT] = name(reading.name)


def _tool(reading: Reading) -> None:
    """Name a tool by its span; open what the decorator made of its arguments, and LangChain's envelope of a result."""
    found = reading.found
    found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
    given, output = found[Field.INPUT], found[Field.OUTPUT]
    if isinstance(given, str) and given.startswith('{"args":'):
        called = structure(given)
        if isinstance(called, dict) and called.keys() == {"args", "kwargs"} and not called["args"]:
            found[Field.TOOL_ARGUMENTS] = text(called["kwargs"])
    if isinstance(output, str) and '"tool_call_id"' in output:
        message = structure(output)
        if isinstance(message, dict):
            found[Field.TOOL_CALL_ID] = found[Field.TOOL_CALL_ID] or name(message.get("tool_call_id"))
        found[Field.OUTPUT] = tool_result(output)


def ls_provider(value: Value) -> str | None:
    """Return the provider that LangChain names in its metadata, in JSON quotes."""
    return provider(unquoted(value))


def _offered(reading: Reading) -> None:
    """Take the tools that were offered out of the input, and give the results of tools their role.

    The wrapper of OpenAI's client keeps them beside the messages; the handler for LangChain writes each as a message of
    role `tool`, which none has said.
    """
    found = reading.found
    given = found[Field.INPUT]
    if not isinstance(given, str) or ('"tools"' not in given and '"function"' not in given):
        return
    asked = structure(given)
    messages = asked.get("messages") if isinstance(asked, dict) else asked
    if isinstance(messages, list) and _name_results(messages):
        found[Field.INPUT] = text(asked)
    if found[Field.TOOL_DEFINITIONS] is not None:
        return
    if isinstance(asked, dict):
        tools = asked.get("tools")
        found[Field.TOOL_DEFINITIONS] = text(tools) if isinstance(tools, list) else None
    elif isinstance(asked, list):
        tools = [message["content"] for message in asked if _defines(message)]
        if tools:
            found[Field.TOOL_DEFINITIONS] = text(tools)
            found[Field.INPUT] = text([message for message in asked if not _defines(message)])


def _name_results(messages: list[Any]) -> bool:
    """Turn messages whose role is the name of a tool that was asked for (LangChain, JavaScript) into that tool's."""
    asked: dict[str, str] = {}
    has_turned = False
    for message in messages:
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        if isinstance(role, str) and role in asked:
            message |= {"role": "tool", "name": role, "tool_call_id": message.get("tool_call_id") or asked[role]}
            has_turned = True
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                said = tool_call(call)
                asked[said.name] = said.call_id
    return has_turned


def _defines(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") != "tool":
        return False
    content = message.get("content")
    return isinstance(content, dict) and isinstance(content.get("function"), dict)


def _mapping(found: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((part for key in names if isinstance(part := found.get(f"{key}_details"), dict)), {})


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((number for key in keys if (number := count(found.get(key))) is not None), None)


def _sum(found: Mapping[str, Any], side: str) -> int:
    """Return the sum of a side's parts: `input`, `input_cached_tokens`, …"""
    return sum(count(number) or 0 for key, number in found.items() if key == side or key.startswith(f"{side}_"))


_O: Final = "langfuse.observation."

DIALECT = Dialect(
    name="langfuse",
    marks=(_O + "input", _O + "output", _O + "model.name", _O + "level", _O + "usage_details"),
    meant_marks=(_O + "type",),
    scopes=("langfuse-sdk",),
    rows=(
        (Field.KIND, kinds(KINDS), (_O + "type",)),
        (Field.MODEL, name, (_O + "model.name",)),
        (Field.PROVIDER, ls_provider, (_O + "metadata.ls_provider",)),
        (Field.INPUT, text, (_O + "input", "langfuse.trace.input")),
        (Field.OUTPUT, text, (_O + "output", "langfuse.trace.output")),
        (Field.PARAMETERS, parameters, (_O + "model.parameters",)),
        (Field.OUTPUT_SCHEMA, text, (_O + "metadata.response_format",)),
        # of OpenAI's Responses API, by the wrapper in JavaScript
        (Field.TOOL_DEFINITIONS, offered, (_O + "metadata.tools",)),
        (Field.FINISH, finish, (_O + "metadata.incomplete_details",)),
        (Field.USAGE, usage, (_O + "usage_details",)),
        (Field.COST, cost, (_O + "cost_details",)),
        (Field.SESSION, name, ("langfuse.session.id", "langfuse.trace.session_id")),
        # a model that LangChain calls by itself keeps them in its metadata, in JSON quotes
        (Field.SESSION, unquoted_name, (_O + "metadata.langfuse_session_id",)),
        (Field.USER, unquoted_name, (_O + "metadata.langfuse_user_id",)),
        (Field.USER, name, ("langfuse.user.id", "langfuse.trace.user_id")),
        (Field.FAILED, failed, (_O + "level",)),
        (Field.ERROR_MESSAGE, text, (_O + "status_message",)),
        (Field.PROMPT_NAME, name, (_O + "prompt.name",)),
        (Field.PROMPT_VERSION, text, (_O + "prompt.version",)),
    ),
    own_rows=((Field.FIRST_TOKEN_S, instant, (_O + "completion_start_time",)),),
    read=read,
)
