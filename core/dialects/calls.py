"""Reads a tool call, in whichever client's words: within an answer, a message, or beside either."""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects.values import as_json, loads, structure, text
from core.model.span import ToolCall
from core.otlp.slim import Value

CALL_KEYS: Final = ("toolUse", "functionCall", "function_call", "tool_call")
"""Keys under which a part holds a call: Bedrock, Gemini as its SDK and its API write it, Haystack."""

_DECORATED: Final = frozenset({"args", "kwargs"})
_ARGUMENTS: Final = ("arguments", "args", "input", "tool_kwargs")
# the items of OpenAI's Responses API have an id of their own beside the call's
_IDS: Final = ("call_id", "id", "toolCallId", "toolUseId", "tool_call_id")


def tool_call(item: Mapping[str, Any]) -> ToolCall:
    """Return a call as any client writes it: {name, arguments|args|input, id}, or with a `function` inside."""
    inner = item.get("function")
    if not isinstance(inner, dict):
        inner = item.get("tool_call")
    named = inner if isinstance(inner, dict) else item
    arguments = next((named[key] for key in _ARGUMENTS if named.get(key) is not None), "")
    if isinstance(arguments, str) and arguments[:2] == '"{':
        # encoded twice (OpenInference of Vercel AI)
        opened = loads(arguments)
        arguments = opened if isinstance(opened, str) else arguments
    return ToolCall(
        name=str(named.get("name") or item.get("toolName") or item.get("tool_name") or item.get("name") or ""),
        call_id=str(next((item[key] for key in _IDS if item.get(key)), "")),
        arguments=arguments if isinstance(arguments, str) else as_json(arguments),
    )


def decorated(value: Any) -> tuple[Any, Any] | None:
    """Return what a function was given by position and by name, where decorators (Langfuse, AgentOps) noted it so."""
    return (value["args"], value["kwargs"]) if isinstance(value, dict) and value.keys() == _DECORATED else None


def keyword_arguments(raw: Value) -> str | None:
    """Return as JSON what a decorated function was given, where all of it has names."""
    called = decorated(structure(raw))
    return text(called[1]) if called is not None and not called[0] else None
