"""MLflow's own spans over OTLP: every value is JSON-encoded, `metadata` and a client's own attributes at times bare.

Names: mlflow.tracing.constant.SpanAttributeKey of MLflow 3.17.
"""

from core.dialects import answers
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import count, kinds, loads, name, structure, text
from core.model.span import SpanKind, Usage
from core.otlp.slim import Value

KINDS = {
    "llm": SpanKind.LLM,
    "chat_model": SpanKind.LLM,
    "chain": SpanKind.CHAIN,
    "workflow": SpanKind.CHAIN,
    "task": SpanKind.CHAIN,
    "agent": SpanKind.AGENT,
    "tool": SpanKind.TOOL,
    "retriever": SpanKind.RETRIEVER,
    "embedding": SpanKind.EMBEDDING,
    "reranker": SpanKind.RERANKER,
    "guardrail": SpanKind.GUARDRAIL,
    "evaluator": SpanKind.EVALUATOR,
    "parser": SpanKind.CHAIN,
}


def unquoted(value: Value) -> str | None:
    """Return text, out of its JSON quotes where it has them."""
    if isinstance(value, str) and value[:1] == '"':
        inner = loads(value)
        return inner if isinstance(inner, str) else value
    return text(value)


def unquoted_name(value: Value) -> str | None:
    """Return a name, out of its JSON quotes where it has them."""
    return name(unquoted(value))


def usage(value: Value) -> Usage | None:
    """Return the tokens in `mlflow.chat.tokenUsage`."""
    found = structure(value)
    if not isinstance(found, dict):
        return None
    return Usage(
        input_tokens=count(found.get("input_tokens")) or 0,
        output_tokens=count(found.get("output_tokens")) or 0,
        cached_tokens=count(found.get("cache_read_input_tokens")) or 0,
        reasoning_tokens=count(found.get("reasoning_tokens")) or 0,
    )


def read(reading: Reading) -> None:
    """Fill the answer of LLM spans; a tool is named by its span, its arguments and result are input and output."""
    found = reading.found
    if reading.kind is SpanKind.LLM and found[Field.OUTPUT] is not None:
        answer = answers.from_response(found[Field.OUTPUT])
        reading.output, reading.finish = answer.content, answer.finish
    elif reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
        result = structure(found[Field.OUTPUT])
        # LangChain's ToolMessage: the result is its content
        if isinstance(result, dict) and "tool_call_id" in result and isinstance(result.get("content"), str):
            found[Field.OUTPUT] = result["content"]


DIALECT = Dialect(
    name="mlflow",
    marks=("mlflow.spanType", "mlflow.traceRequestId"),
    scopes=("mlflow.",),
    rows=(
        (Field.KIND, kinds(KINDS), ("mlflow.spanType",)),
        (Field.MODEL, unquoted_name, ("mlflow.llm.model",)),
        (Field.PROVIDER, unquoted_name, ("mlflow.llm.provider",)),
        (Field.TOOL_CALL_ID, unquoted_name, ("tool_call_id",)),
        (Field.INPUT, unquoted, ("mlflow.spanInputs",)),
        (Field.OUTPUT, unquoted, ("mlflow.spanOutputs",)),
        (Field.USAGE, usage, ("mlflow.chat.tokenUsage",)),
        (Field.SESSION, unquoted_name, ("mlflow.trace.session",)),
        (Field.USER, unquoted_name, ("mlflow.trace.user",)),
    ),
    read=read,
)
