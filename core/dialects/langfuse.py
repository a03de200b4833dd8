"""Langfuse SDK 3 and later: langfuse.observation.* attributes.

Its processor stamps `langfuse.environment`, `langfuse.trace.*` and the like on the spans of other libraries too, so
only `langfuse.observation.*` marks the dialect. Tokens are keys of the app's choice: by Langfuse's convention what
begins with `input` adds up to the input, OpenAI's `prompt_tokens` holds the cached ones. Names: langfuse 3 to 5,
_client/attributes.py.
"""

from typing import Any, Final

from core.dialects import answers
from core.dialects.calls import keyword_arguments, tool_call
from core.dialects.common import waited_s
from core.dialects.documents import read_retrieval
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.tokens import usage
from core.dialects.values import (
    amount,
    finish,
    instant,
    kinds,
    name,
    structure,
    text,
    tool_result,
    unquoted_name,
    unquoted_provider,
)
from core.model.span import SpanKind
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


def failed(value: Value) -> bool | None:
    """Return True for the level ERROR; not every SDK sets the span's status with it."""
    return True if value == "ERROR" else None


def cost(value: Value) -> float | None:
    """Return the cost in `langfuse.observation.cost_details`: its total, else the sum of its parts; USD."""
    found = structure(value)
    if not isinstance(found, dict) or not found:
        return None
    total = amount(found.get("total"))
    return total if total is not None else sum(amount(part) or 0.0 for part in found.values())


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
        found[Field.FIRST_TOKEN_S] = waited_s(reading, found[Field.FIRST_TOKEN_S])
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
        reading.finish = answers.only_finish(output)
    elif reading.kind is SpanKind.AGENT and found[Field.AGENT] is None:
        found[Field.AGENT] = name(reading.name)


def _tool(reading: Reading) -> None:
    """Name a tool by its span; open what the decorator made of its arguments, and LangChain's envelope of a result."""
    found = reading.found
    found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
    given, output = found[Field.INPUT], found[Field.OUTPUT]
    if isinstance(given, str) and given.startswith('{"args":'):
        found[Field.TOOL_ARGUMENTS] = keyword_arguments(given) or found[Field.TOOL_ARGUMENTS]
    if isinstance(output, str) and '"tool_call_id"' in output:
        message = structure(output)
        if isinstance(message, dict):
            found[Field.TOOL_CALL_ID] = found[Field.TOOL_CALL_ID] or name(message.get("tool_call_id"))
        found[Field.OUTPUT] = tool_result(output)


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


_O: Final = "langfuse.observation."

DIALECT = Dialect(
    name="langfuse",
    marks=(_O + "input", _O + "output", _O + "model.name", _O + "level", _O + "usage_details"),
    meant_marks=(_O + "type",),
    scopes=("langfuse-sdk",),
    rows=(
        (Field.KIND, kinds(KINDS), (_O + "type",)),
        (Field.MODEL, name, (_O + "model.name",)),
        (Field.PROVIDER, unquoted_provider, (_O + "metadata.ls_provider",)),
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
