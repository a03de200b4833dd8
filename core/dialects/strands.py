"""Strands Agents: OTel GenAI with messages as span events, and names of its own.

Versions up to today's default write the conventions of 1.36: an event for each message of the input, whose content is a
list of Bedrock's blocks, and `gen_ai.choice`. The opt-in latest form writes `gen_ai.client.inference.operation.details`
events, one with the input and one with the output. Usage stands on the agent's span too. `gen_ai.system` is
"strands-agents", which provides no model. Names: strands-agents 1.62, strands/telemetry/tracer.py.
"""

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, structure, text
from core.model.span import FinishReason, SpanKind
from core.otlp.slim import Value


def failed(value: Value) -> bool | None:
    """Return True for a tool's status that says error; its span is OK in versions before 1.10."""
    return True if value == "error" else None


def read(reading: Reading) -> None:
    """Read as OTel GenAI; a tool's result in an attribute wins over its events, and its schema is its definition."""
    found = reading.found
    otel_genai.read(reading)
    if reading.kind is SpanKind.LLM:
        _unanswered(reading)
    if reading.kind is not SpanKind.TOOL:
        return
    if found[Field.TOOL_RESULT] is not None:
        reading.output = None
    schema = structure(found[Field.TOOL_DEFINITIONS])
    if isinstance(schema, dict):
        tool = {"name": found[Field.TOOL_NAME] or "", "parameters": schema}
        found[Field.TOOL_DEFINITIONS] = as_json([tool])


def _unanswered(reading: Reading) -> None:
    """Take back what is only the default of an answer that never came: no tokens, no text, `end_turn`."""
    found, output = reading.found, reading.output
    said_nothing = output is not None and not output.text and not output.tool_calls
    if said_nothing and found[Field.INPUT_TOKENS] == 0 and found[Field.OUTPUT_TOKENS] == 0:
        found[Field.INPUT_TOKENS] = found[Field.OUTPUT_TOKENS] = None
        reading.output, reading.finish = None, FinishReason.UNKNOWN
        # every model is read as a stream
        found[Field.IS_STREAM] = True


DIALECT = Dialect(
    name="strands",
    marks=("event_loop.cycle_id", "strands.cancellation.type"),
    scopes=("strands.",),
    rows=(
        (Field.TOOL_DEFINITIONS, text, ("gen_ai.tool.json_schema",)),
        (Field.FAILED, failed, ("gen_ai.tool.status",)),
    ),
    read=read,
)
