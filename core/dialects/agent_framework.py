"""Microsoft Agent Framework: OTel GenAI, with workflows whose spans are told by their names.

Usage stands on the agent's span and on the chat's. Errors of every provider are wrapped in `ChatClientException`; which
they were stands in its text. Names: agent-framework-core 1.23, agent_framework/observability.py.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import name
from core.model.span import SpanKind

_STEPS: Final = ("workflow.", "executor.process", "edge_group.process", "message.send")


def read(reading: Reading) -> None:
    """Read as OTel GenAI; the steps of a workflow are chains."""
    if reading.kind is SpanKind.UNKNOWN and reading.name.startswith(_STEPS):
        reading.kind = SpanKind.CHAIN
    otel_genai.read(reading)


DIALECT = Dialect(
    name="agent_framework",
    marks=("agent_framework.function.name", "agent_framework.function.invocation.duration", "workflow_builder.name"),
    scopes=("agent_framework",),
    own_rows=((Field.AGENT, name, ("executor.id", "workflow.name")),),
    read=read,
)
