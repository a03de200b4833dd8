"""MLflow's own spans over OTLP: every value is JSON-encoded, `metadata` and a client's own attributes at times bare.

Names: mlflow.tracing.constant.SpanAttributeKey of MLflow 3.17.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from core.dialects import answers
from core.dialects.documents import read_retrieval
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import (
    amount,
    count,
    kinds,
    name,
    structure,
    text,
    tool_result,
    unquoted,
    unquoted_name,
    unquoted_provider,
)
from core.model.span import Content, ContentState, SpanKind, Usage
from core.otlp.slim import Value, attributes_of

# an answer of tool calls in more chunks is not read, and counts as cut; parsing one costs about 3 µs
_MAX_CHUNKS: Final = 4_096
_CHUNK: Final = "mlflow.chunk.item."

# LlamaIndex: what is sent is put together, nothing is called
_PREPARES: Final = "._prepare_chat_with_tools"

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


def given(value: Value) -> str | None:
    """Return what a span was given; None where it was called in a way that its function does not take."""
    said = unquoted(value)
    return None if said == "null" else said


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
        cache_write_tokens=count(found.get("cache_creation_input_tokens")) or 0,
    )


def cost(value: Value) -> float | None:
    """Return the cost in `mlflow.llm.cost`: {input_cost, output_cost, total_cost}, USD."""
    found = structure(value)
    return amount(found.get("total_cost")) if isinstance(found, dict) else amount(value)


def linked_prompt(value: Value) -> str | None:
    """Return the first prompt of the registry that a span names: name and version, a line each."""
    found = structure(value)
    first = found[0] if isinstance(found, list) and found else None
    named = name(first.get("name")) if isinstance(first, dict) else None
    return f"{named}\n{text(first.get('version')) or ''}" if named and isinstance(first, dict) else None


def read(reading: Reading) -> None:
    """Fill the answer of LLM spans; a tool is named by its span, its arguments and result are input and output."""
    found = reading.found
    for named in (Field.SESSION, Field.USER):
        # attributes that the app sets are JSON, too
        if found[named] is not None and found[named][:1] == '"':
            found[named] = unquoted_name(found[named])
    prompt = found[Field.PROMPT_NAME]
    if prompt and "\n" in prompt:
        found[Field.PROMPT_NAME], _, found[Field.PROMPT_VERSION] = prompt.partition("\n")
    if reading.kind is SpanKind.LLM and reading.name.endswith(_PREPARES):
        reading.kind = SpanKind.CHAIN
    model = found[Field.MODEL]
    if model is not None and model[:1] in ('"', "{"):
        # LiteLLM's parameters bear their own names; Pydantic AI's agents hold a whole model there
        found[Field.MODEL] = unquoted_name(model) if model[0] == '"' else None
    if reading.kind is SpanKind.LLM:
        answer = answers.from_response(found[Field.OUTPUT]) if found[Field.OUTPUT] is not None else None
        if reading.events and (answer is None or not (answer.content.text or answer.content.tool_calls)):
            # the client puts the texts of a stream together, not its tool calls
            if len(reading.events) > _MAX_CHUNKS and reading.events[_MAX_CHUNKS].name.startswith(_CHUNK):
                cut = Content(state=ContentState.TRUNCATED)
                answer = msgspec.structs.replace(answer, content=cut) if answer is not None else answers.Answer(cut)
            else:
                streamed = answers.from_chunks(_chunks(reading))
                answer = streamed if streamed is not None and streamed.content.tool_calls else answer
        if answer is not None:
            reading.output, reading.finish = answer.content, answer.finish
        asked = found[Field.INPUT]
        # a client's own call is recorded whole; LangChain's parameters stand apart
        if found[Field.PARAMETERS] is None and isinstance(asked, str) and asked[:1] == "{":
            found[Field.PARAMETERS] = parameters(asked)
            if found[Field.TOOL_DEFINITIONS] is None and '"function_tools"' in asked:
                found[Field.TOOL_DEFINITIONS] = _function_tools(asked)
    elif reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or reading.name
        found[Field.OUTPUT] = tool_result(found[Field.OUTPUT])
    elif reading.kind is SpanKind.RETRIEVER:
        read_retrieval(reading)
    elif reading.kind is SpanKind.CHAIN and isinstance(found[Field.OUTPUT], str):
        reading.finish = answers.only_finish(found[Field.OUTPUT])


def _function_tools(asked: str) -> str | None:
    """Return the tools in what a model of Pydantic AI's was given."""
    given = structure(asked)
    settings = given.get("model_request_parameters") if isinstance(given, dict) else None
    tools = settings.get("function_tools") if isinstance(settings, dict) else None
    return text(tools) if isinstance(tools, list) and tools else None


def _chunks(reading: Reading) -> Iterator[Any]:
    """Yield the parsed chunks of a stream, one event each."""
    for event in reading.events:
        if event.name.startswith(_CHUNK):
            yield structure(attributes_of(event.attributes).get("mlflow.chunk.value"))


DIALECT = Dialect(
    name="mlflow",
    marks=("mlflow.spanType", "mlflow.traceRequestId"),
    scopes=("mlflow.",),
    rows=(
        (Field.KIND, kinds(KINDS), ("mlflow.spanType",)),
        (Field.MODEL, unquoted_name, ("mlflow.llm.model",)),
        (Field.PROVIDER, unquoted_provider, ("mlflow.llm.provider",)),
        (Field.TOOL_CALL_ID, unquoted_name, ("tool_call_id",)),
        (Field.INPUT, given, ("mlflow.spanInputs",)),
        (Field.OUTPUT, unquoted, ("mlflow.spanOutputs",)),
        (Field.USAGE, usage, ("mlflow.chat.tokenUsage",)),
        (Field.COST, cost, ("mlflow.llm.cost",)),
        (Field.TOOL_DEFINITIONS, unquoted, ("mlflow.chat.tools",)),
        (Field.PROMPT_NAME, linked_prompt, ("mlflow.linkedPrompts",)),
        (Field.SESSION, unquoted_name, ("mlflow.trace.session",)),
        (Field.USER, unquoted_name, ("mlflow.trace.user",)),
    ),
    own_rows=(
        (Field.PARAMETERS, parameters, ("invocation_params",)),
        (Field.MODEL, name, ("model",)),
        (Field.COST, amount, ("response_cost",)),
    ),
    read=read,
)
