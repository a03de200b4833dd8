"""AgentOps' SDK: agentops.span.kind, and what decorated functions were given and returned under a key of their kind.

Model calls are flattened OTel GenAI. The calls that an answer asks for are spans of no length below it, which the
functions that make them repeat: those are chains, and a tool's use is counted once. Names: agentops 0.4, semconv/.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.calls import keyword_arguments
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import kinds, name, text
from core.model.span import SpanKind

KINDS: Final = {
    "llm": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    "agent": SpanKind.AGENT,
    "guardrail": SpanKind.GUARDRAIL,
    "session": SpanKind.CHAIN,
    "workflow": SpanKind.CHAIN,
    "operation": SpanKind.CHAIN,
    "task": SpanKind.CHAIN,
    "chain": SpanKind.CHAIN,
    # a call as it was asked for
    "agentopsspankindvalues.tool": SpanKind.CHAIN,
}
_OF_FUNCTIONS: Final = ("task", "operation", "tool", "agent", "workflow", "session", "guardrail")


def read(reading: Reading) -> None:
    """Read as OTel GenAI; tools and agents are functions that the app decorated, a tool's keywords its arguments."""
    found = reading.found
    named, found[Field.RAW] = found[Field.RAW], None
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or named or reading.name
        found[Field.TOOL_ARGUMENTS] = keyword_arguments(found[Field.INPUT]) or found[Field.TOOL_ARGUMENTS]
    elif reading.kind is SpanKind.AGENT:
        found[Field.AGENT] = found[Field.AGENT] or named
    otel_genai.read(reading)


DIALECT = Dialect(
    name="agentops",
    marks=("agentops.span.kind",),
    scopes=("agentops",),
    rows=(
        (Field.KIND, kinds(KINDS), ("agentops.span.kind",)),
        (Field.INPUT, text, tuple(f"agentops.{kind}.input" for kind in _OF_FUNCTIONS)),
        (Field.OUTPUT, text, tuple(f"agentops.{kind}.output" for kind in _OF_FUNCTIONS)),
    ),
    own_rows=((Field.RAW, name, ("operation.name",)),),
    read=read,
)
