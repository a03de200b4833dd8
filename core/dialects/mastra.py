"""Mastra's OTel exporters: OTel GenAI for agents, models and tools, `mastra.<type>.input` and `.output` for the rest.

`mastra.span.type` tells kinds, also where the operation is none of the conventions' (`model_step`, `model_chunk`). One
`model_generation` covers the whole loop of an agent, tools included, and has its usage; its steps are chains. Session
and user are what the app put into the metadata of its tracing; a thread of Mastra's memory is the conversation. Names:
@mastra/otel-exporter 1.3, @mastra/core 1.71.
"""

from typing import Final

from core.dialects import otel_genai
from core.dialects.common import waited_s
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import instant, kinds, name, structure, text
from core.model.span import SpanKind

KINDS: Final = {
    "agent_run": SpanKind.AGENT,
    "model_generation": SpanKind.LLM,
    "model_step": SpanKind.CHAIN,
    "model_inference": SpanKind.CHAIN,
    "model_chunk": SpanKind.CHAIN,
    "tool_call": SpanKind.TOOL,
    "mcp_tool_call": SpanKind.TOOL,
    # handed to the caller to run, and not run here
    "client_tool_call": SpanKind.CHAIN,
    "processor_run": SpanKind.CHAIN,
    "workflow_run": SpanKind.CHAIN,
    "workflow_step": SpanKind.CHAIN,
    "workflow_conditional": SpanKind.CHAIN,
    "workflow_conditional_eval": SpanKind.CHAIN,
    "workflow_parallel": SpanKind.CHAIN,
    "workflow_loop": SpanKind.CHAIN,
    "workflow_sleep": SpanKind.CHAIN,
    "workflow_wait_event": SpanKind.CHAIN,
    "memory_operation": SpanKind.CHAIN,
    "scorer_run": SpanKind.EVALUATOR,
    "rag_embedding": SpanKind.EMBEDDING,
}
_TYPES: Final = ("agent_run", "workflow_run", "workflow_step", "model_step", "generic")
_METADATA: Final = "mastra.metadata."


def read(reading: Reading) -> None:
    """Read as OTel GenAI; an agent's output is its text, and the first token came at an instant."""
    found = reading.found
    if found[Field.FIRST_TOKEN_S] is not None:
        found[Field.FIRST_TOKEN_S] = waited_s(reading, found[Field.FIRST_TOKEN_S])
    if reading.kind is SpanKind.AGENT:
        said = structure(found[Field.OUTPUT])
        if isinstance(said, dict) and isinstance(said.get("text"), str):
            found[Field.OUTPUT] = said["text"]
    otel_genai.read(reading)


DIALECT = Dialect(
    name="mastra",
    marks=("mastra.span.type",),
    scopes=("@mastra/",),
    rows=(
        (Field.KIND, kinds(KINDS), ("mastra.span.type",)),
        (Field.INPUT, text, tuple(f"mastra.{each}.input" for each in _TYPES)),
        (Field.OUTPUT, text, tuple(f"mastra.{each}.output" for each in _TYPES)),
        (Field.SESSION, name, (_METADATA + "sessionId", _METADATA + "session_id", _METADATA + "threadId")),
        (Field.USER, name, (_METADATA + "userId", _METADATA + "user_id", _METADATA + "resourceId")),
    ),
    own_rows=((Field.FIRST_TOKEN_S, instant, ("mastra.completion_start_time",)),),
    read=read,
)
