"""Tool definitions read out of `Details`, in whichever shape a client wrote them; nothing here raises.

Read are: OpenAI's (with and without `function` around them), OTel GenAI's, Anthropic's `input_schema`, Bedrock's
`toolSpec`, Gemini's `function_declarations`, Vercel AI's (JSON in a list, or by name), OpenInference's, bare names.
"""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects.values import structure
from core.model.span import Details

# parsing costs about 2 ns a character
_MAX_CHARS: Final = 1_000_000
_MAX_DEPTH: Final = 6
_MAX_TOOLS: Final = 2_000


def definitions(details: Details) -> Mapping[str, Mapping[str, Any] | None]:
    """Return the tools that a call was offered: name -> JSON Schema of its parameters, None where it was not sent.

    Empty where nothing was said, and where what was said has no known shape, more than a million characters or 2,000
    tools: ask nothing of an empty answer.
    """
    raw = details.tool_definitions
    if not raw or len(raw) > _MAX_CHARS:
        return {}
    found: dict[str, Mapping[str, Any] | None] = {}
    _define(structure(raw), found, 0)
    return found if len(found) <= _MAX_TOOLS else {}


def _define(value: Any, found: dict[str, Mapping[str, Any] | None], depth: int) -> None:
    if depth > _MAX_DEPTH or len(found) > _MAX_TOOLS:
        return
    if isinstance(value, str):
        # a tool within a list may be JSON again (Vercel AI), or a bare name (Strands)
        inner = structure(value)
        if inner is not None:
            _define(inner, found, depth + 1)
        elif value:
            found.setdefault(value, None)
    elif isinstance(value, list):
        for item in value:
            _define(item, found, depth + 1)
    elif isinstance(value, dict):
        _define_one(value, found, depth)


def _define_one(tool: dict[str, Any], found: dict[str, Mapping[str, Any] | None], depth: int) -> None:
    for key in (
        "function_declarations",
        "functionDeclarations",
        "function_tools",
        "tools",
        "tool.json_schema",
        "json_schema",
    ):
        if isinstance(tool.get(key), list | str | dict) and "name" not in tool and tool[key]:
            _define(tool[key], found, depth + 1)
            return
    # `data`: Haystack
    for key in ("function", "toolSpec", "tool_spec", "data"):
        if isinstance(tool.get(key), dict):
            tool = tool[key]
            break
    name = tool.get("name") or tool.get("tool.name") or tool.get("type")
    if isinstance(name, str) and name:
        found[name] = _schema(tool)
    elif tool and all(isinstance(item, dict) for item in tool.values()):
        # Vercel AI 4: tools by their names
        for key, item in tool.items():
            found[key] = _schema(item)


def _schema(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for key in ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema", "args"):
        value = tool.get(key)
        if isinstance(value, str):
            value = structure(value)
        if isinstance(value, dict):
            # Bedrock: {"json": schema}; Vercel AI: {"jsonSchema": schema}
            inner = value.get("json", value.get("jsonSchema"))
            return inner if isinstance(inner, dict) else value
    return None
