"""OpenInference (Arize): openinference.span.kind, flattened messages, input.value and output.value.

Names: openinference-semantic-conventions 0.1.x.
"""

from core.dialects import answers
from core.dialects.flat import last_input, output_messages
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import count, decimal, finish, kinds, name, structure, text
from core.model.span import ContentState, SpanKind
from core.otlp.slim import Value

KINDS = {
    "llm": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    "chain": SpanKind.CHAIN,
    "agent": SpanKind.AGENT,
    "retriever": SpanKind.RETRIEVER,
    "embedding": SpanKind.EMBEDDING,
    "reranker": SpanKind.RERANKER,
    "guardrail": SpanKind.GUARDRAIL,
    "evaluator": SpanKind.EVALUATOR,
    "prompt": SpanKind.PROMPT,
    "decision": SpanKind.CHAIN,
}


def requested_model(value: Value) -> str | None:
    """Return the model that was asked for, out of the invocation parameters."""
    found = structure(value)
    return name(found.get("model")) if isinstance(found, dict) else None


def read(reading: Reading) -> None:
    """Fill the answer of LLM spans, the first token's time and the agent's name."""
    found = reading.found
    if reading.kind is SpanKind.LLM:
        answer = output_messages(reading.flat, b"llm.output_messages.", b"message.") if reading.flat else None
        raw = found[Field.OUTPUT]
        if raw is not None and (answer is None or answer.content.state is ContentState.ABSENT):
            answer = answers.from_response(raw)
        if answer is not None:
            reading.output, reading.finish = answer.content, answer.finish
        if found[Field.INPUT] is None and reading.flat:
            reading.content_input = last_input(reading.flat, b"llm.input_messages.", b"message.")
    elif reading.kind is SpanKind.AGENT and found[Field.AGENT] is None and reading.name.endswith(".run"):
        # smolagents: the span is named "<class>.run", and nothing else names the agent
        found[Field.AGENT] = reading.name.removesuffix(".run")
    for event in reading.events:
        if event.name == "First Token Stream Event" and event.time_ns >= reading.start_ns:
            reading.first_token_s = (event.time_ns - reading.start_ns) / 1e9
            break


DIALECT = Dialect(
    name="openinference",
    marks=("openinference.span.kind",),
    scopes=("openinference.",),
    prefixes=("llm.output_messages.", "llm.input_messages."),
    rows=(
        (Field.KIND, kinds(KINDS), ("openinference.span.kind",)),
        (Field.AGENT, name, ("agent.name",)),
        (Field.MODEL, name, ("llm.request.model_name",)),
        (Field.MODEL, requested_model, ("llm.invocation_parameters", "embedding.invocation_parameters")),
        (Field.MODEL, name, ("llm.model_name", "embedding.model_name", "reranker.model_name")),
        (Field.PROVIDER, name, ("llm.provider", "llm.system")),
        (Field.TOOL_NAME, name, ("tool.name",)),
        (Field.TOOL_CALL_ID, name, ("tool.id",)),
        (Field.INPUT, text, ("input.value",)),
        (Field.OUTPUT, text, ("output.value",)),
        (Field.INPUT_TOKENS, count, ("llm.token_count.prompt",)),
        (Field.OUTPUT_TOKENS, count, ("llm.token_count.completion",)),
        (Field.CACHED_TOKENS, count, ("llm.token_count.prompt_details.cache_read",)),
        (Field.REASONING_TOKENS, count, ("llm.token_count.completion_details.reasoning",)),
        (Field.COST, decimal, ("llm.cost.total",)),
        (Field.FINISH, finish, ("llm.finish_reason",)),
    ),
    read=read,
)
