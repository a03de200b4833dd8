"""AG2: OTel GenAI, with types of its own for spans that have no operation there.

Beside each model call stands a span that notes its tokens again. An answer without text is left out, where the
conversation was sent. Names: ag2 1.2, middleware/builtin/telemetry.py, _telemetry_consts.py.
"""

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import kinds, name
from core.model.span import SpanKind

KINDS = {
    "agent": SpanKind.AGENT,
    "llm": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    "human_input": SpanKind.CHAIN,
    "usage": SpanKind.CHAIN,
    "envelope": SpanKind.CHAIN,
    "channel": SpanKind.CHAIN,
    "task": SpanKind.CHAIN,
    "agent_lifetime": SpanKind.CHAIN,
    "agent_event": SpanKind.CHAIN,
    # of versions before 1.0
    "conversation": SpanKind.CHAIN,
    "multi_conversation": SpanKind.CHAIN,
    "speaker_selection": SpanKind.CHAIN,
    "code_execution": SpanKind.TOOL,
}


def read(reading: Reading) -> None:
    """Read as OTel GenAI; tokens that a call's own span says count once, and an answer left out is empty."""
    found = reading.found
    if found[Field.RAW] == "model_call":
        found[Field.INPUT_TOKENS] = found[Field.OUTPUT_TOKENS] = None
    otel_genai.read(reading)
    otel_genai.read_left_out(reading)


DIALECT = Dialect(
    name="ag2",
    marks=("ag2.span.type",),
    scopes=("opentelemetry.instrumentation.ag2",),
    rows=((Field.KIND, kinds(KINDS), ("ag2.span.type",)), (Field.RAW, name, ("ag2.usage.kind",))),
    read=read,
)
