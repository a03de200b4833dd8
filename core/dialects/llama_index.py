"""LlamaIndex's own OpenTelemetry spans: one a method, whose facts stand in events that are named after its own events.

The span that bears `LLMChatStartEvent` is the call, not the span of the same method around it. Of a streamed answer the
span ends when the stream opens: no event tells what was said. A function's span bears neither its name nor its
arguments, but the summary of the step that called it, which is cut at 200 characters. Names: llama-index-core 0.14,
llama-index-observability-otel 0.7 (observability/otel/base.py), llama-index-instrumentation.
"""

import re
from collections.abc import Mapping
from typing import Final

from core.dialects import answers
from core.dialects.documents import documents
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, count, decimal, finish, name, structure, text
from core.model.span import Content, ContentState, SpanKind, Usage
from core.otlp.slim import Value, attributes_of

_LLM, _CHAIN = SpanKind.LLM, SpanKind.CHAIN
# what an event says of its span; those that are not here say nothing of its kind
_KINDS: Final = {
    "LLMChatStartEvent": _LLM,
    "LLMChatEndEvent": _LLM,
    "LLMCompletionStartEvent": _LLM,
    "LLMCompletionEndEvent": _LLM,
    "EmbeddingStartEvent": SpanKind.EMBEDDING,
    "EmbeddingEndEvent": SpanKind.EMBEDDING,
    "SparseEmbeddingStartEvent": SpanKind.EMBEDDING,
    "SparseEmbeddingEndEvent": SpanKind.EMBEDDING,
    "RetrievalStartEvent": SpanKind.RETRIEVER,
    "RetrievalEndEvent": SpanKind.RETRIEVER,
    "ReRankStartEvent": SpanKind.RERANKER,
    "ReRankEndEvent": SpanKind.RERANKER,
}
_CALL: Final = re.compile(r"ToolCall\(tool_name='([^']+)', tool_kwargs=(\{.*\}), tool_id='([^']*)'\)\Z", re.DOTALL)
_NAMED: Final = re.compile(r"ToolCall\(tool_name='([^']+)'")
_TOOL_METHOD: Final = re.compile(r"\w*Tool\.a?call\Z")
_AGENT_METHOD: Final = re.compile(r"(\w*Agent\w*)\.(?:run|a?chat|a?query|a?stream_chat)\Z")


def read(reading: Reading) -> None:
    """Tell kinds by events, else by methods; take what was asked and said out of the events."""
    found = reading.found
    summary, found[Field.RAW] = found[Field.RAW], None
    told = {event.name: attributes_of(event.attributes) for event in reading.events if event.name in _KINDS}
    kind = next((_KINDS[event] for event in told), None)
    if kind is None:
        kind = _of_method(reading, summary)
    reading.kind = kind
    for event, facts in told.items():
        if kind is _LLM:
            _asked(reading, facts)
            if event.endswith("EndEvent"):
                _said(reading, facts)
        elif kind in (SpanKind.RETRIEVER, SpanKind.RERANKER):
            found[Field.QUERY] = found[Field.QUERY] or name(facts.get("str_or_query_bundle.query_str"))
            if event.endswith("EndEvent"):
                found[Field.DOCUMENTS] = documents(facts.get("nodes"))
        else:
            found[Field.MODEL] = found[Field.MODEL] or _model(facts)


def _of_method(reading: Reading, summary: Value) -> SpanKind:
    found = reading.found
    if _TOOL_METHOD.match(reading.name):
        said = text(summary) or ""
        if called := _CALL.match(said):
            given = structure(called[2])
            found[Field.TOOL_NAME], found[Field.TOOL_CALL_ID] = called[1], called[3]
            found[Field.TOOL_ARGUMENTS] = as_json(given) if given is not None else None
        elif called := _NAMED.match(said):
            found[Field.TOOL_NAME] = called[1]
        return SpanKind.TOOL
    if agent := _AGENT_METHOD.match(reading.name):
        found[Field.AGENT] = agent[1]
        return SpanKind.AGENT
    return _CHAIN


def _model(facts: Mapping[str, Value]) -> str | None:
    return name(facts.get("model_dict.model_name")) or name(facts.get("model_dict.model"))


def _asked(reading: Reading, facts: Mapping[str, Value]) -> None:
    found = reading.found
    found[Field.MODEL] = found[Field.MODEL] or _model(facts)
    given = text(facts.get("messages")) or text(facts.get("prompt"))
    if given and reading.content_input is None:
        reading.content_input = Content(ContentState.PRESENT, given)
    for field, key in (
        (Field.TOOL_DEFINITIONS, "additional_kwargs.tools"),
        (Field.OUTPUT_SCHEMA, "additional_kwargs.response_format"),
    ):
        if found[field] is None:
            found[field] = text(facts.get(key))
    if found[Field.TEMPERATURE] is None:
        found[Field.TEMPERATURE] = decimal(facts.get("model_dict.temperature"))
    if found[Field.MAX_TOKENS] is None:
        found[Field.MAX_TOKENS] = count(facts.get("model_dict.max_tokens"))


def _said(reading: Reading, facts: Mapping[str, Value]) -> None:
    found = reading.found
    found[Field.MODEL] = found[Field.MODEL] or name(facts.get("response.raw.model"))
    raw = structure(facts.get("response.raw.choices"))
    blocks = structure(facts.get("response.message.blocks"))
    if isinstance(raw, list):
        answer = answers.from_response({"choices": raw})
    elif isinstance(blocks, list):
        answer = answers.of_messages([{"content": blocks}])
    else:
        answer = answers.from_response(facts.get("response.text"))
    reading.output = answer.content
    reading.finish = answer.finish or finish(facts.get("response.raw.stop_reason")) or answer.finish
    found[Field.USAGE] = found[Field.USAGE] or _usage(facts)


def _usage(facts: Mapping[str, Value]) -> Usage | None:
    used = "response.raw.usage."

    def first(*keys: str) -> int | None:
        return next((n for key in keys if (n := count(facts.get(key))) is not None), None)

    into = first(used + "prompt_tokens", used + "input_tokens", "response.additional_kwargs.prompt_tokens")
    out = first(used + "completion_tokens", used + "output_tokens", "response.additional_kwargs.completion_tokens")
    if into is None and out is None:
        return None
    return Usage(
        input_tokens=into or 0,
        output_tokens=out or 0,
        cached_tokens=first(used + "prompt_tokens_details.cached_tokens") or 0,
        reasoning_tokens=first(used + "completion_tokens_details.reasoning_tokens") or 0,
    )


DIALECT = Dialect(
    name="llama_index",
    marks=("llamaindex.run_id", "llamaindex.step.input_event"),
    scopes=("llamaindex.",),
    rows=((Field.RAW, text, ("llamaindex.step.input_summary",)),),
    read=read,
)
