"""Laminar's SDK: lmnr.* keys on every span, OTel GenAI names on those of its instrumentations.

An answer is a list of OpenAI's choices under the key of today's messages. What decorated functions were given and
returned is JSON. Names: lmnr 0.8, opentelemetry_lib/tracing/attributes.py.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import kinds, name, unquoted
from core.model.span import SpanKind

KINDS: Final = {
    "llm": SpanKind.LLM,
    "cached": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    "default": SpanKind.CHAIN,
    "pipeline": SpanKind.CHAIN,
    "executor": SpanKind.CHAIN,
    "evaluation": SpanKind.CHAIN,
    "evaluator": SpanKind.EVALUATOR,
    "human_evaluator": SpanKind.EVALUATOR,
}
_PROPERTIES: Final = "lmnr.association.properties."


def read(reading: Reading) -> None:
    """Read as OTel GenAI; a tool is named by its span."""
    found = reading.found
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
    otel_genai.read(reading)


DIALECT = Dialect(
    name="laminar",
    marks=("lmnr.span.type", "lmnr.span.path"),
    scopes=("lmnr.",),
    rows=(
        (Field.KIND, kinds(KINDS), ("lmnr.span.type",)),
        (Field.INPUT, unquoted, ("lmnr.span.input",)),
        (Field.OUTPUT, unquoted, ("lmnr.span.output",)),
        (Field.SESSION, name, (_PROPERTIES + "session_id",)),
        (Field.USER, name, (_PROPERTIES + "user_id",)),
    ),
    read=read,
)
