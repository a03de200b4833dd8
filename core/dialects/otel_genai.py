"""OpenTelemetry GenAI semantic conventions, all versions: attributes, messages with parts, span events, flattened keys.

Names: gen_ai registry of semantic-conventions 1.26 to 1.41 (gen_ai.system became gen_ai.provider.name in 1.37,
usage.prompt_tokens became usage.input_tokens in 1.27).
"""

from typing import Any

import msgspec

from core.dialects import answers
from core.dialects.documents import documents
from core.dialects.flat import conversation, definitions, evaluation, families, output_messages
from core.dialects.table import Dialect, Event, Field, Reading
from core.dialects.values import (
    amount,
    boolean,
    count,
    decimal,
    finish,
    kinds,
    name,
    output_type,
    provider,
    seconds,
    seconds_or_ms,
    structure,
    text,
)
from core.model.span import Content, ContentState, FinishReason, SpanKind, ToolCall
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
    "retrieve": SpanKind.RETRIEVER,
    "vector_db_retrieve": SpanKind.RETRIEVER,
    "create_agent": SpanKind.AGENT,
    "invoke_agent": SpanKind.AGENT,
    "agent_call": SpanKind.AGENT,
    "execute_tool": SpanKind.TOOL,
    "tool_call": SpanKind.TOOL,
    "execute_task": SpanKind.CHAIN,
    "execute_event_loop_cycle": SpanKind.CHAIN,
    "invoke_workflow": SpanKind.CHAIN,
    "chain": SpanKind.CHAIN,
    # off the standard: Vercel AI 7, Gemini CLI, memories of several frameworks
    "agent_step": SpanKind.CHAIN,
    "decide": SpanKind.LLM,
    "ai.generatespeech": SpanKind.LLM,
    "ai.transcribe": SpanKind.LLM,
    "ai.streamtranscribe": SpanKind.LLM,
    "llm_call": SpanKind.LLM,
    "user_prompt": SpanKind.CHAIN,
    "system_prompt": SpanKind.CHAIN,
    "schedule_tool_calls": SpanKind.CHAIN,
    "plan": SpanKind.CHAIN,
    "search_memory": SpanKind.RETRIEVER,
    "update_memory": SpanKind.CHAIN,
    "create_memory": SpanKind.CHAIN,
    "delete_memory": SpanKind.CHAIN,
    "image_generation": SpanKind.LLM,
    "messages": SpanKind.LLM,
}

# a member of an enum costs 100 ns to look up in Python 3.11
_MESSAGES, _EVALUATION = (b"gen_ai.prompt.", b"gen_ai.completion."), b"gen_ai.evaluation."
_EMPTY = Content(ContentState.PRESENT)
_OUTPUT, _INPUT, _TOOL, _LLM = int(Field.OUTPUT), int(Field.INPUT), SpanKind.TOOL, SpanKind.LLM
_MESSAGE_EVENTS = {
    f"gen_ai.{role}.message": role for role in ("system", "developer", "user", "assistant", "tool", "function")
}
# 1.26 and 1.27; OpenLIT and Semantic Kernel still write them
_PROMPT_EVENT, _COMPLETION_EVENT = "gen_ai.content.prompt", "gen_ai.content.completion"


def read(reading: Reading) -> None:
    """Fill what stands in flattened keys and span events, where the keys said nothing."""
    found = reading.found
    output = found[_OUTPUT]
    answer = output if isinstance(output, answers.Answer) else None
    if reading.flat:
        flat = families(reading.flat)
        if reading.kind is SpanKind.UNKNOWN and not flat.keys().isdisjoint(_MESSAGES):
            # a client's limit on attributes drops the oldest, which say the kind
            reading.kind = SpanKind.LLM
        if answer is None or (answer.finish is FinishReason.TOOL_CALLS and not answer.content.tool_calls):
            # LiteLLM leaves the calls out of its messages, and writes them flattened
            answer = output_messages(flat, b"gen_ai.completion.", b"") or answer
        if found[_INPUT] is None and reading.content_input is None:
            reading.content_input = conversation(flat, b"gen_ai.prompt.", b"")
        if answer is not None and _is_left_out(reading, answer):
            # Traceloop leaves empty text out: where the question was sent and nothing of the answer, that is empty
            answer = answers.Answer(_EMPTY, answer.finish)
        # where attributes were dropped the rest of the tools is no list of them
        if found[Field.TOOL_DEFINITIONS] is None and not reading.dropped:
            found[Field.TOOL_DEFINITIONS] = definitions(flat)
        if _EVALUATION in flat:
            said = evaluation(attributes_of(flat[_EVALUATION]), "gen_ai.evaluation.")
            found[Field.EVALUATIONS] = (*(found[Field.EVALUATIONS] or ()), said)
    if reading.events:
        answer = _from_events(reading, answer)
    if answer is not None:
        reading.output = answer.content
        if reading.kind is _LLM and found[Field.TOOL_NAME] is not None and not answer.content.tool_calls:
            reading.output = _with_calls(answer.content, found)
        reading.finish = answer.finish


def _with_calls(content: Content, found: list[Any]) -> Content:
    """Return an answer with the calls that OpenLIT writes beside it: names, ids, and the arguments of a single one."""
    names = str(found[Field.TOOL_NAME]).split(", ")
    ids = str(found[Field.TOOL_CALL_ID] or "").split(", ")
    given = found[Field.TOOL_ARGUMENTS] if len(names) == 1 else None
    calls = tuple(
        ToolCall(called, ids[at] if len(ids) == len(names) else "", given or "") for at, called in enumerate(names)
    )
    return msgspec.structs.replace(content, state=ContentState.PRESENT, tool_calls=calls)


def read_left_out(reading: Reading) -> None:
    """Take an answer that was left out for an empty one: where the conversation was sent, and the model stopped."""
    found = reading.found
    if (
        reading.kind is _LLM
        and found[_OUTPUT] is None
        and reading.output is None
        and (found[_INPUT] is not None or reading.content_input is not None)
        and found[Field.FINISH] is FinishReason.STOP
    ):
        reading.output = _EMPTY


def _is_left_out(reading: Reading, answer: answers.Answer) -> bool:
    asked = reading.content_input
    return (
        answer.content.state is ContentState.ABSENT
        and answer.finish is not FinishReason.TOOL_CALLS
        and asked is not None
        and asked.state is ContentState.PRESENT
    )


def _from_events(reading: Reading, answer: answers.Answer | None) -> answers.Answer | None:
    """Return the answer, from events where no key had it; take the conversation from events likewise."""
    found = reading.found
    said: list[dict[str, Any]] = []
    raw: str | None = None
    told: answers.Answer | None = None
    for event in reading.events:
        if event.name == "gen_ai.choice":
            told = _choice(event)
        elif (role := _MESSAGE_EVENTS.get(event.name)) is not None:
            said.append(_message(event, role))
        elif event.name == _PROMPT_EVENT:
            raw = text(attributes_of(event.attributes).get("gen_ai.prompt")) or raw
        elif event.name == _COMPLETION_EVENT:
            value = attributes_of(event.attributes).get("gen_ai.completion")
            told = told if value is None else answers.from_response(value)
        elif event.name == "gen_ai.client.inference.operation.details":
            facts = attributes_of(event.attributes)
            raw = text(facts.get("gen_ai.input.messages")) or raw
            told = answers.from_messages(facts.get("gen_ai.output.messages")) or told
            for field, key in ((Field.TOOL_DEFINITIONS, "tool.definitions"), (Field.SYSTEM, "system_instructions")):
                if found[field] is None:
                    found[field] = text(facts.get(f"gen_ai.{key}"))
    if reading.kind is _TOOL:
        # Strands: the message to a tool is its arguments
        if found[Field.TOOL_ARGUMENTS] is None and said:
            found[Field.TOOL_ARGUMENTS] = text(said[-1].get("content"))
    elif reading.content_input is None and found[_INPUT] is None and (said or raw):
        reading.content_input = Content(ContentState.PRESENT, raw or text(said) or "")
    return answer or told


def _message(event: Event, role: str) -> dict[str, Any]:
    """Return the message that an event tells of; its content is opened where it is blocks in JSON."""
    found = attributes_of(event.attributes)
    body = structure(found.get("gen_ai.event.content"))
    message: dict[str, Any] = {"role": role} | (body if isinstance(body, dict) else {})
    for key, held in (("content", "content"), ("tool_calls", "tool_calls"), ("id", "tool_call_id"), ("name", "name")):
        if found.get(key) is not None:
            message[held] = found[key]
    if "content" not in message and body is None and found.get("gen_ai.event.content") is not None:
        message["content"] = found["gen_ai.event.content"]
    for key in ("content", "tool_calls"):
        blocks = structure(message.get(key))
        if isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks):
            message[key] = blocks
    return message


def _choice(event: Event) -> answers.Answer:
    """Read a `gen_ai.choice` event: {message | content | tool_calls, finish_reason}, or that under one key."""
    found: dict[str, Any] = dict(attributes_of(event.attributes))
    body = found.pop("gen_ai.event.content", None)
    opened = structure(body)
    found |= opened if isinstance(opened, dict) else {} if body is None else {"content": body}
    stopped = finish(found.get("finish_reason")) or FinishReason.UNKNOWN
    calls = structure(found.get("tool_calls"))
    said = next((found[key] for key in ("message", "content") if found.get(key) is not None), None)
    if said is None and not isinstance(calls, list):
        return answers.Answer(Content(), stopped)
    # Strands: a list of {"text": ...} blocks, or the plain text
    message = _blocks(said)
    if isinstance(message, dict) and isinstance(calls, list):
        message = {"tool_calls": calls} | message
    answer = answers.from_response(message)
    return answers.Answer(answer.content, stopped if stopped else answer.finish)


def _blocks(value: Value) -> Value:
    """Return blocks as one message; plain text as the text of one."""
    parsed = structure(value)
    if isinstance(parsed, list) and all(isinstance(item, dict) for item in parsed):
        return {"content": parsed}
    return parsed if isinstance(parsed, dict) else {"content": value}


DIALECT = Dialect(
    name="otel_genai",
    marks=("gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model"),
    scopes=(
        "opentelemetry.instrumentation.genai",
        "opentelemetry.instrumentation.openai_v2",
        "@opentelemetry/instrumentation-openai",
    ),
    prefixes=("gen_ai.completion.", "gen_ai.prompt.", "gen_ai.evaluation.", "gen_ai.request.functions."),
    rows=(
        (Field.KIND, kinds(OPERATIONS), ("gen_ai.operation.name",)),
        (Field.AGENT, name, ("gen_ai.agent.name",)),
        (Field.MODEL, name, ("gen_ai.request.model", "gen_ai.response.model")),
        (Field.PROVIDER, provider, ("gen_ai.provider.name", "gen_ai.system")),
        (Field.TOOL_NAME, name, ("gen_ai.tool.name",)),
        (Field.TOOL_CALL_ID, name, ("gen_ai.tool.call.id", "gen_ai.tool.call_id")),
        (Field.TOOL_ARGUMENTS, text, ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments", "gen_ai.tool.args")),
        (Field.TOOL_RESULT, text, ("gen_ai.tool.call.result", "gen_ai.tool.result")),
        (Field.INPUT, text, ("gen_ai.input.messages", "gen_ai.prompt")),
        (Field.OUTPUT, answers.from_messages, ("gen_ai.output.messages",)),
        (Field.OUTPUT, answers.from_response, ("gen_ai.completion",)),
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
            ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "gen_ai.usage.thinking_tokens"),
        ),
        (Field.COST, amount, ("operation.cost", "gen_ai.cost.total", "gen_ai.usage.cost")),
        (
            Field.FINISH,
            finish,
            ("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "anthropic.message.stop_reason"),
        ),
        (
            Field.FIRST_TOKEN_S,
            seconds,
            ("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk"),
        ),
        (Field.FIRST_TOKEN_S, seconds_or_ms, ("gen_ai.server.time_to_first_token",)),
        (Field.SESSION, name, ("gen_ai.conversation.id",)),
        (Field.DATA_SOURCE, name, ("gen_ai.data_source.id",)),
        (Field.TOOL_DEFINITIONS, text, ("gen_ai.tool.definitions", "gen_ai.request.tools")),
        (Field.OUTPUT_TYPE, output_type, ("gen_ai.output.type",)),
        # OpenAI before 1.31; Traceloop
        (
            Field.OUTPUT_SCHEMA,
            text,
            (
                "gen_ai.openai.request.response_format",
                "gen_ai.request.response_format",
                "gen_ai.request.structured_output_schema",
            ),
        ),
        (Field.MAX_TOKENS, count, ("gen_ai.request.max_tokens",)),
        (Field.TEMPERATURE, decimal, ("gen_ai.request.temperature",)),
        (
            Field.IS_STREAM,
            boolean,
            (
                "gen_ai.request.stream",
                "gen_ai.request.streaming",
                "gen_ai.is_streaming",
                "gen_ai.request.is_stream",
                "llm.is_streaming",
            ),
        ),
        (Field.DOCUMENTS, documents, ("gen_ai.retrieval.documents",)),
        (Field.QUERY, name, ("gen_ai.retrieval.query.text", "gen_ai.retrieval.query")),
        (Field.PROMPT_NAME, name, ("gen_ai.prompt.name",)),
        (Field.PROMPT_VERSION, name, ("gen_ai.prompt.version",)),
        (
            Field.CACHE_WRITE_TOKENS,
            count,
            (
                "gen_ai.usage.cache_write.input_tokens",
                "gen_ai.usage.cache_creation.input_tokens",
                "gen_ai.usage.cache_creation_input_tokens",
                "gen_ai.usage.cache_write_input_tokens",
            ),
        ),
        (Field.SYSTEM, text, ("gen_ai.system_instructions",)),
    ),
    read=read,
    reads_extras_only=True,
)
