"""VoltAgent: spans of its own, told by their names, with plain keys (`input`, `output`, `usage.*`).

An agent's span is named as the agent and has its answer and the tokens of all its steps; `llm:…` covers the whole loop
of the model, with the tokens of its last step and no answer, so tokens are the agent's. Memory's spans are steps.
Names: @voltagent/core 2.10.
"""

from typing import Final

from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import count, name, text
from core.model.span import SpanKind

_LLM: Final = "llm:"
_TOOL: Final = "tool.execution:"


def read(reading: Reading) -> None:
    """Tell the kind by the name, and by the agent that a span is named after."""
    found = reading.found
    owner, found[Field.AGENT] = found[Field.AGENT], None
    if reading.name.startswith(_LLM):
        reading.kind = SpanKind.LLM
    elif reading.name.startswith(_TOOL):
        reading.kind = SpanKind.TOOL
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name.removeprefix(_TOOL)
    elif owner is not None and reading.name == owner:
        reading.kind = SpanKind.AGENT
        found[Field.AGENT] = owner
    else:
        reading.kind = SpanKind.CHAIN
    if reading.kind is not SpanKind.AGENT and found[Field.RAW] is not None:
        found[Field.INPUT] = found[Field.RAW]


DIALECT = Dialect(
    name="voltagent",
    marks=("voltagent.operation_id", "voltagent.conversation_id"),
    scopes=("@voltagent/core",),
    own_rows=(
        (Field.AGENT, name, ("entity.name",)),
        (Field.MODEL, name, ("ai.model.name", "llm.model")),
        (Field.INPUT, text, ("input",)),
        (Field.RAW, text, ("llm.messages",)),
        (Field.OUTPUT, text, ("output",)),
        (Field.TOOL_CALL_ID, name, ("tool.call.id",)),
        (Field.INPUT_TOKENS, count, ("usage.prompt_tokens",)),
        (Field.OUTPUT_TOKENS, count, ("usage.completion_tokens",)),
        (Field.CACHED_TOKENS, count, ("usage.cached_tokens",)),
        (Field.REASONING_TOKENS, count, ("usage.reasoning_tokens",)),
        (Field.SESSION, name, ("conversation.id",)),
    ),
    read=read,
)
