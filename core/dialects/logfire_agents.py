"""OpenAI's Agents SDK as Logfire instruments it: a span each for runs, agents, turns, calls, functions, guardrails.

No span names its operation: its name is the template of its message. A function's arguments and result, and a model's
messages, stand under plain keys, and so does the error that the SDK noted, {message, data}. Usage of turns and tasks is
the sum of their calls. Names: logfire 5.2, _internal/integrations/openai_agents.py; openai-agents 0.24.
"""

from typing import Any, Final

from core.dialects import answers
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.tokens import usage
from core.dialects.values import name, structure, text
from core.model.span import SpanKind

# beginnings of the templates
_KINDS: Final = (
    ("Chat completion", SpanKind.LLM),
    ("Responses API", SpanKind.LLM),
    ("Speech", SpanKind.LLM),
    ("Text", SpanKind.LLM),
    ("Function", SpanKind.TOOL),
    ("Agent run", SpanKind.AGENT),
    ("Guardrail", SpanKind.GUARDRAIL),
)


def read(reading: Reading) -> None:
    """Tell kinds by templates; read what stands under plain keys as this kind of span means it."""
    found = reading.found
    if reading.kind is SpanKind.UNKNOWN or reading.name.startswith("Responses API"):
        reading.kind = next((kind for start, kind in _KINDS if reading.name.startswith(start)), SpanKind.CHAIN)
    named, found[Field.TOOL_NAME] = found[Field.TOOL_NAME], None
    offered, found[Field.TOOL_DEFINITIONS] = found[Field.TOOL_DEFINITIONS], None
    _error(reading)
    if reading.kind is SpanKind.LLM:
        _call(reading)
        return
    found[Field.USAGE] = None
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = named
    elif reading.kind is SpanKind.AGENT:
        # names, without their schemas
        found[Field.AGENT], found[Field.TOOL_DEFINITIONS] = named, offered
    elif reading.kind is SpanKind.GUARDRAIL:
        found[Field.AGENT] = named


def _error(reading: Reading) -> None:
    """Take the SDK's error: what was raised stands in its data, in the words of the exception."""
    found = reading.found
    noted = structure(found[Field.ERROR_MESSAGE])
    if isinstance(noted, dict):
        data = noted.get("data")
        data = data if isinstance(data, dict) else {}
        said = text(data.get("error")) or text(noted.get("message")) or ""
        tool = name(data.get("tool_name"))
        found[Field.ERROR_MESSAGE] = f"{said}: {tool}" if tool and not data.get("error") else said
        found[Field.FAILED] = True


def _call(reading: Reading) -> None:
    found = reading.found
    used = found[Field.USAGE]
    if used is not None and not used.input_tokens and not used.output_tokens:
        # a stream that was not asked for its tokens
        found[Field.USAGE] = found[Field.INPUT_TOKENS] = found[Field.OUTPUT_TOKENS] = None
    response: Any = structure(found[Field.RAW_RESPONSE])
    answer = None
    if isinstance(response, dict):
        answer = answers.from_response(response)
        if isinstance(response.get("tools"), list):
            found[Field.TOOL_DEFINITIONS] = text(response["tools"])
        form = response.get("text")
        if isinstance(form, dict) and found[Field.OUTPUT_SCHEMA] is None:
            found[Field.OUTPUT_SCHEMA] = text(form.get("format"))
    elif found[Field.OUTPUT] not in (None, "null"):
        # messages, or of a stream the response that the SDK put together
        answer = answers.from_response(found[Field.OUTPUT])
    if answer is not None:
        reading.output, reading.finish = answer.content, answer.finish


DIALECT = Dialect(
    name="logfire_agents",
    scopes=("logfire.openai_agents",),
    own_rows=(
        (Field.TOOL_NAME, name, ("name",)),
        (Field.TOOL_DEFINITIONS, text, ("tools",)),
        (Field.INPUT, text, ("input", "raw_input")),
        (Field.OUTPUT, text, ("output",)),
        (Field.RAW_RESPONSE, text, ("response",)),
        (Field.USAGE, usage, ("usage",)),
        (Field.PARAMETERS, parameters, ("model_config", "model_settings")),
        (Field.SESSION, name, ("group_id",)),
        (Field.ERROR_MESSAGE, text, ("error",)),
    ),
    read=read,
)
