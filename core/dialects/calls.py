"""Reads a tool call, in whichever client's words: within an answer, a message, or beside either."""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects.values import as_json, loads
from core.model.span import ToolCall

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
