"""OpenTelemetry GenAI semantic conventions, all versions: attributes, messages with parts, span events, flattened keys.

Names: gen_ai registry of semantic-conventions 1.26 to 1.41 (gen_ai.system became gen_ai.provider.name in 1.37,
usage.prompt_tokens became usage.input_tokens in 1.27).
"""

from core.dialects import answers
from core.dialects.flat import last_input, output_messages
from core.dialects.table import Dialect, Event, Field, Reading
from core.dialects.values import (
    count,
    decimal,
    finish,
    kinds,
    name,
    seconds,
    seconds_or_ms,
    structure,
    text,
)
from core.model.span import Content, ContentState, FinishReason, SpanKind
from core.otlp.slim import Value, attributes_of

OPERATIONS = {
    "chat": SpanKind.LLM,
    "generate_content": SpanKind.LLM,
    "text_completion": SpanKind.LLM,
    "completion": SpanKind.LLM,
    "response": SpanKind.LLM,
    "responses": SpanKind.LLM,
    "embeddings": SpanKind.EMBEDDING,
    "embedding": SpanKind.EMBEDDING,
    "rerank": SpanKind.RERANKER,
    "retrieval": SpanKind.RETRIEVER,
    "create_agent": SpanKind.AGENT,
    "invoke_agent": SpanKind.AGENT,
    "agent_call": SpanKind.AGENT,
    "execute_tool": SpanKind.TOOL,
    "tool_call": SpanKind.TOOL,
    "execute_task": SpanKind.CHAIN,
    "execute_event_loop_cycle": SpanKind.CHAIN,
    "invoke_workflow": SpanKind.CHAIN,
    "chain": SpanKind.CHAIN,
}

# a member of an enum costs 100 ns to look up in Python 3.11
_OUTPUT = int(Field.OUTPUT)
_MESSAGE_EVENTS = ("gen_ai.user.message", "gen_ai.system.message", "gen_ai.assistant.message", "gen_ai.tool.message")


def read(reading: Reading) -> None:
    """Fill input and output from flattened keys and span events, where the keys said nothing."""
    output = reading.found[_OUTPUT]
    answer = output if isinstance(output, answers.Answer) else None
    if answer is None and reading.flat:
        answer = output_messages(reading.flat, b"gen_ai.completion.", b"")
        reading.content_input = reading.content_input or last_input(reading.flat, b"gen_ai.prompt.", b"")
    if reading.events:
        answer = answer or _from_events(reading)
    if answer is not None:
        reading.output = answer.content
        reading.finish = answer.finish


def _from_events(reading: Reading) -> answers.Answer | None:
    answer: answers.Answer | None = None
    said: str | None = None
    for event in reading.events:
        if event.name == "gen_ai.choice":
            answer = _choice(event)
        elif event.name in _MESSAGE_EVENTS:
            found = attributes_of(event.attributes)
            said = text(found.get("content") or found.get("gen_ai.event.content")) or said
        elif event.name == "gen_ai.client.inference.operation.details":
            found = attributes_of(event.attributes)
            said = text(found.get("gen_ai.input.messages")) or said
            answer = answers.from_messages(found.get("gen_ai.output.messages")) or answer
    if reading.kind is SpanKind.TOOL and reading.found[Field.TOOL_ARGUMENTS] is None:
        # Strands: the message to a tool is its arguments
        reading.found[Field.TOOL_ARGUMENTS] = said
    elif said is not None and reading.content_input is None:
        reading.content_input = Content(state=ContentState.PRESENT, text=said)
    return answer


def _choice(event: Event) -> answers.Answer | None:
    """Read a `gen_ai.choice` event: {message | content | tool_calls, finish_reason}."""
    found = attributes_of(event.attributes)
    stopped = finish(found.get("finish_reason")) or FinishReason.UNKNOWN
    for key in ("message", "content", "gen_ai.event.content"):
        value = found.get(key)
        if value is not None:
            # Strands: a list of {"text": ...} blocks, or the plain text
            answer = answers.from_response(value if isinstance(value, list | dict) else _blocks(value))
            return answers.Answer(answer.content, stopped if stopped else answer.finish)
    return answers.Answer(Content(), stopped)


def _blocks(value: Value) -> Value:
    """Return blocks as one message; plain text as the text of one."""
    parsed = structure(value)
    if isinstance(parsed, list) and all(isinstance(item, dict) for item in parsed):
        return {"content": parsed}
    return parsed if isinstance(parsed, dict) else {"content": value}


DIALECT = Dialect(
    name="otel_genai",
    marks=("gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model"),
    scopes=("opentelemetry.instrumentation.genai", "opentelemetry.instrumentation.openai_v2"),
    prefixes=("gen_ai.completion.", "gen_ai.prompt."),
    rows=(
        (Field.KIND, kinds(OPERATIONS), ("gen_ai.operation.name",)),
        (Field.AGENT, name, ("gen_ai.agent.name",)),
        (Field.MODEL, name, ("gen_ai.request.model", "gen_ai.response.model")),
        (Field.PROVIDER, name, ("gen_ai.provider.name", "gen_ai.system")),
        (Field.TOOL_NAME, name, ("gen_ai.tool.name",)),
        (Field.TOOL_CALL_ID, name, ("gen_ai.tool.call.id", "gen_ai.tool.call_id")),
        (Field.TOOL_ARGUMENTS, text, ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments")),
        (Field.TOOL_RESULT, text, ("gen_ai.tool.call.result", "gen_ai.tool.result")),
        (Field.INPUT, text, ("gen_ai.input.messages",)),
        (Field.OUTPUT, answers.from_messages, ("gen_ai.output.messages",)),
        (Field.INPUT_TOKENS, count, ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        (Field.OUTPUT_TOKENS, count, ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
        (
            Field.CACHED_TOKENS,
            count,
            ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        ),
        (
            Field.REASONING_TOKENS,
            count,
            ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        ),
        (Field.COST, decimal, ("operation.cost", "gen_ai.cost.total", "gen_ai.usage.cost")),
        (Field.FINISH, finish, ("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason")),
        (
            Field.FIRST_TOKEN_S,
            seconds,
            ("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk"),
        ),
        (Field.FIRST_TOKEN_S, seconds_or_ms, ("gen_ai.server.time_to_first_token",)),
        (Field.SESSION, name, ("gen_ai.conversation.id",)),
        (Field.DATA_SOURCE, name, ("gen_ai.data_source.id",)),
    ),
    read=read,
    reads_extras_only=True,
)
