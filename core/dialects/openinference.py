"""OpenInference (Arize): openinference.span.kind, flattened messages, input.value and output.value.

Names: openinference-semantic-conventions 0.1.x.
"""

import re
from typing import Final

from core.dialects import answers
from core.dialects.documents import documents, flat_documents, read_retrieval
from core.dialects.flat import Families, conversation, definitions, evaluations, families, output_messages
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import (
    STOPPED,
    amount,
    as_json,
    count,
    finish,
    kinds,
    name,
    provider,
    state_of,
    structure,
    text,
    tool_result,
)
from core.dialects.vercel import ended_empty
from core.model.span import Content, ContentState, FinishReason, SpanKind
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


_MESSAGES: Final = (b"llm.input_messages.", b"llm.output_messages.")
_CALL_ID: Final = re.compile(r'"tool_call_id"\s*:\s*"([^"]+)"')
_OF_METHODS: Final = frozenset({SpanKind.LLM, SpanKind.RETRIEVER, SpanKind.EMBEDDING})
_BLANK: Final = Content(ContentState.PRESENT)
_PRESENT: Final = ContentState.PRESENT
# Agno, LlamaIndex, Haystack
_NOTHING: Final = re.compile(
    r'\s*\[?\s*\{\s*"role"\s*:\s*"(?:assistant|model)"\s*\}\s*\]?\s*\Z'
    r'|(?:assistant|model):\s*(?:None)?\s*\Z|\{"replies": \["ChatMessage\(_role=[^,]*, _content=\[\]'
)
# Haystack writes the reason into the Python text of its message
_KEPT: Final = re.compile(r"_meta=\{.*?'finish_reason': '(\w+)'", re.DOTALL)
_REFUSED: Final = re.compile(r'"refusal": ?"[^"]')
# words without which JSON is no conversation
_ROLES: Final = ('"role"', '"lc"', '"type": "human"', '"type":"human"')


def read(reading: Reading) -> None:
    """Fill the answer and conversation of LLM spans, what retrievers found, tools, evaluations, the agent's name."""
    found, flat = reading.found, families(reading.flat or ())
    if reading.kind is SpanKind.UNKNOWN and not flat.keys().isdisjoint(_MESSAGES):
        # the kind was set first, and a client's limit on attributes drops the oldest
        reading.kind = SpanKind.LLM
    if "._" in reading.name and reading.kind in _OF_METHODS and flat.keys().isdisjoint(_MESSAGES):
        # LlamaIndex traces private methods: "OpenAI._prepare_chat_with_tools" calls no model, and
        # "VectorIndexRetriever._retrieve" is what its ".retrieve" does
        reading.kind = SpanKind.CHAIN
    if reading.kind is SpanKind.LLM:
        _read_llm(reading, flat)
    elif reading.kind is SpanKind.AGENT and found[Field.AGENT] is None and reading.name.endswith(".run"):
        # smolagents: the span is named "<class>.run", and nothing else names the agent
        found[Field.AGENT] = reading.name.removesuffix(".run")
    if flat:
        for prefix in (b"retrieval.documents.", b"reranker.output_documents."):
            if prefix in flat:
                found[Field.DOCUMENTS] = flat_documents(flat[prefix], prefix) or found[Field.DOCUMENTS]
        # where attributes were dropped the rest of the tools is no list of them
        if found[Field.TOOL_DEFINITIONS] is None and not reading.dropped:
            found[Field.TOOL_DEFINITIONS] = definitions(flat)
        found[Field.EVALUATIONS] = evaluations(flat) or found[Field.EVALUATIONS]
    if reading.kind is SpanKind.RETRIEVER:
        read_retrieval(reading)
    elif reading.kind is SpanKind.TOOL:
        _read_tool(reading)


def _read_tool(reading: Reading) -> None:
    """Take a result, and the id of its call, out of LangChain's envelope: {"output": message} in JavaScript."""
    found = reading.found
    output = found[Field.OUTPUT]
    if isinstance(output, str) and '"tool_call_id"' in output:
        found[Field.OUTPUT] = tool_result(output)
        if found[Field.TOOL_CALL_ID] is None and (call := _CALL_ID.search(output)) is not None:
            found[Field.TOOL_CALL_ID] = call[1]
    elif isinstance(output, str) and output.startswith('{"blocks":'):
        found[Field.OUTPUT] = _of_blocks(output)
    given = found[Field.INPUT]
    if isinstance(given, str) and given.startswith('{"kwargs":'):
        # LlamaIndex: the arguments of a function
        inner = structure(given)
        if isinstance(inner, dict) and isinstance(inner["kwargs"], dict) and len(inner) == 1:
            found[Field.INPUT] = text(inner["kwargs"])


def _of_blocks(output: str) -> str:
    """Return the result in LlamaIndex's `ToolOutput`: {"blocks": [{"text": …}], "tool_name", "raw_input", …}."""
    told = structure(output)
    if not isinstance(told, dict) or "tool_name" not in told or not isinstance(told["blocks"], list):
        return output
    texts = [block.get("text") for block in told["blocks"] if isinstance(block, dict)]
    said = "\n".join(part for part in texts if isinstance(part, str))
    return as_json({"status": "error", "content": said}) if told.get("is_error") is True else said


def _read_llm(reading: Reading, flat: Families) -> None:
    found = reading.found
    answer = output_messages(flat, b"llm.output_messages.", b"message.") if flat else None
    raw = found[Field.OUTPUT]
    if raw is not None and (answer is None or answer.content.state is ContentState.ABSENT):
        told, answer = answer, answers.from_response(raw)
        if told is not None and _is_blank(answer.content, raw) and state_of(found[Field.INPUT]) is _PRESENT:
            # a message with a role and nothing else, where the question was sent: the model said nothing
            answer = answers.Answer(_BLANK, answer.finish)
    elif raw is None and answer is None and ended_empty(reading):
        answer = answers.Answer(_BLANK)
    if answer is not None:
        reading.output, reading.finish = answer.content, answer.finish
        # a refusal has no flattened key: it stands in the raw response alone
        if answer.content == _BLANK and isinstance(raw, str) and _REFUSED.search(raw) is not None:
            reading.output = answers.from_response(raw).content
    if not reading.finish and found[Field.FINISH] is None and isinstance(raw, str) and raw[:1] in ("{", "["):
        said = STOPPED.search(raw)
        if said is not None:
            reading.finish = finish(said[1]) or FinishReason.UNKNOWN
        elif (kept := _KEPT.search(raw)) is not None:
            reading.finish = finish(kept[1]) or FinishReason.UNKNOWN
        elif '"incomplete_details"' in raw:
            # OpenAI's Responses API
            reading.finish = answers.from_response(raw).finish
    if found[Field.IS_STREAM] is None and "tream" in reading.name:
        # GenerateContentStream, OpenAI.stream_chat, messages.stream
        found[Field.IS_STREAM] = True
    given = found[Field.INPUT]
    # the messages stand in the raw input as a rule, where they cost less to read
    if flat and not (isinstance(given, str) and given[:1] in ("{", "[") and any(word in given for word in _ROLES)):
        messages = conversation(flat, b"llm.input_messages.", b"message.")
        if messages is not None and messages.flat and given is not None and state_of(given) is ContentState.PRESENT:
            messages = Content(messages.state, given, flat=messages.flat)
        reading.content_input = messages


def _is_blank(content: Content, raw: Value) -> bool:
    """Return whether a response says nothing, in whichever way its client writes that."""
    if content.state is ContentState.ABSENT:
        return True
    return isinstance(raw, str) and content.text == raw and _NOTHING.match(raw) is not None


DIALECT = Dialect(
    name="openinference",
    marks=("openinference.span.kind",),
    scopes=("openinference.", "@arizeai/openinference-"),
    prefixes=(
        "llm.output_messages.",
        "llm.input_messages.",
        "llm.tools.",
        "retrieval.documents.",
        "reranker.output_documents.",
        "evaluations.",
        "annotations.",
        "trace.evaluations.",
        "trace.annotations.",
        "session.evaluations.",
        "session.annotations.",
    ),
    rows=(
        (Field.KIND, kinds(KINDS), ("openinference.span.kind",)),
        (Field.AGENT, name, ("agent.name",)),
        (Field.MODEL, name, ("llm.request.model_name",)),
        (Field.MODEL, name, ("llm.model_name", "embedding.model_name", "reranker.model_name")),
        (Field.PROVIDER, provider, ("llm.provider", "llm.system")),
        (Field.TOOL_NAME, name, ("tool.name",)),
        (Field.TOOL_CALL_ID, name, ("tool.id",)),
        (Field.INPUT, text, ("input.value",)),
        (Field.OUTPUT, text, ("output.value",)),
        (Field.INPUT_TOKENS, count, ("llm.token_count.prompt",)),
        (Field.OUTPUT_TOKENS, count, ("llm.token_count.completion",)),
        (Field.CACHED_TOKENS, count, ("llm.token_count.prompt_details.cache_read",)),
        (Field.REASONING_TOKENS, count, ("llm.token_count.completion_details.reasoning",)),
        (Field.COST, amount, ("llm.cost.total",)),
        (Field.FINISH, finish, ("llm.finish_reason",)),
        (Field.PARAMETERS, parameters, ("llm.invocation_parameters", "embedding.invocation_parameters")),
        (Field.TOOL_DEFINITIONS, text, ("llm.tools",)),
        (Field.DOCUMENTS, documents, ("retrieval.documents", "reranker.output_documents")),
        (Field.QUERY, name, ("reranker.query",)),
        (Field.PROMPT_NAME, name, ("prompt.name", "prompt.id")),
        (Field.PROMPT_VERSION, name, ("llm.prompt_template.version",)),
        (Field.CACHE_WRITE_TOKENS, count, ("llm.token_count.prompt_details.cache_write",)),
    ),
    read=read,
)
