"""CrewAI's own spans, of two kinds.

Its telemetry (scope "crewai.telemetry") has spans of no length that count crews, tasks and tool uses: they tell of
nothing that an instrumentation does not tell better, so they are chains, and a tool's use is counted once.

Its traces (scope "crewai") are OTel GenAI, with names of their own for what has no operation there. An agent's name is
the hash of its role there, a call's conversation the id of its task, and the schemas of a call's tools hold Python
reprs: the role is the name, a task no session, and the agent's tools are the ones that were offered. Where a tool
failed, a second span notes it again in the same words. Names: crewai 1.15, telemetry/tracing/handlers.py.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.common import error_type
from core.dialects.documents import documents
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import name, text
from core.model.span import SpanKind

_KINDS: Final = {
    "evaluate guardrail": SpanKind.GUARDRAIL,
    "query memory": SpanKind.RETRIEVER,
    "retrieve memory": SpanKind.RETRIEVER,
    "query knowledge": SpanKind.RETRIEVER,
    "search knowledge": SpanKind.RETRIEVER,
    # within the tool's own call
    "execute mcp tool": SpanKind.CHAIN,
}
# what a crew without inputs was given
_NO_INPUTS: Final = '"content": "null"'
# a list of property names in quotes that are part of them: reprs where JSON belongs
_REPR: Final = "\"'"


def read(reading: Reading) -> None:
    """Call the telemetry's spans chains; read a trace's as OTel GenAI."""
    found = reading.found
    task, found[Field.RAW] = found[Field.RAW], None
    event, found[Field.RAW_EVENTS] = found[Field.RAW_EVENTS], None
    if event is None:
        reading.kind = SpanKind.CHAIN
        return
    if reading.kind is SpanKind.UNKNOWN or reading.name in _KINDS:
        reading.kind = _KINDS.get(reading.name, SpanKind.CHAIN)
    if task is not None and found[Field.SESSION] == task:
        found[Field.SESSION] = None
    given = found[Field.INPUT]
    if reading.kind is SpanKind.CHAIN and isinstance(given, str) and _NO_INPUTS in given:
        found[Field.INPUT] = None
    offered = found[Field.TOOL_DEFINITIONS]
    if isinstance(offered, str) and _REPR in offered:
        found[Field.TOOL_DEFINITIONS] = None
    otel_genai.read(reading)
    otel_genai.read_left_out(reading)
    if reading.kind is SpanKind.RETRIEVER and found[Field.DOCUMENTS] is None:
        found[Field.DOCUMENTS] = documents(found[Field.OUTPUT]) if isinstance(found[Field.OUTPUT], str) else None


DIALECT = Dialect(
    name="crewai",
    marks=("crewai.event_name",),
    scopes=("crewai.telemetry", "crewai"),
    rows=(
        (Field.RAW_EVENTS, text, ("crewai.event_name",)),
        (Field.RAW, text, ("crewai.task.id",)),
        (Field.AGENT, name, ("crewai.agent.role",)),
        (Field.ERROR_TYPE, error_type, ("crewai.tool.failure.code",)),
        (Field.QUERY, name, ("crewai.memory.query", "crewai.knowledge.query")),
        (
            Field.OUTPUT,
            text,
            ("crewai.memory.results", "crewai.knowledge.retrieved_knowledge", "crewai.guardrail.result"),
        ),
        (Field.INPUT, text, ("crewai.guardrail.description",)),
    ),
    own_rows=((Field.AGENT, name, ("agent_role",)), (Field.MODEL, name, ("llm",))),
    read=read,
)
