"""CrewAI's own telemetry: spans of no length that count crews, tasks and tool uses, under the scope "crewai.telemetry".

They tell of nothing that the spans of an instrumentation (OpenInference, OpenLLMetry) do not tell better, so they are
chains here: a tool's use is counted once. What they name is kept.
"""

from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import name
from core.model.span import SpanKind


def read(reading: Reading) -> None:
    """Call every such span a chain."""
    reading.kind = SpanKind.CHAIN


DIALECT = Dialect(
    name="crewai",
    scopes=("crewai.telemetry", "crewai"),
    own_rows=((Field.AGENT, name, ("agent_role",)), (Field.MODEL, name, ("llm",))),
    read=read,
)
