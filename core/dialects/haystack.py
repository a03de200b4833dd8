"""Haystack's own tracing: pipelines, components, and the steps of its agents, with what went in and out as JSON.

What a component does is told by its class. Messages, replies and documents are Haystack's own dataclasses: a message's
content is a list of {"text"}, {"tool_call"} and {"tool_call_result"}, a reply's `meta` holds model, tokens and finish
reason. A call whose arguments are no JSON is dropped from a reply, whose reason still says `tool_calls`. Content needs
HAYSTACK_CONTENT_TRACING_ENABLED. Names: haystack-ai 2.10 to 3.4, opentelemetry-haystack 2.0.
"""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects import answers
from core.dialects.common import waited_s
from core.dialects.documents import read_retrieval
from core.dialects.table import Dialect, Field, Reading
from core.dialects.tokens import usage
from core.dialects.values import as_json, count, decimal, finish, instant, name, structure, text
from core.model.span import Content, ContentState, FinishReason, SpanKind

_LLM, _TOOL, _CHAIN = SpanKind.LLM, SpanKind.TOOL, SpanKind.CHAIN
STEPS: Final = {
    "haystack.agent.run": SpanKind.AGENT,
    "haystack.agent.step.llm": _LLM,
    "haystack.agent.step.tool": _TOOL,
    "haystack.agent.step": _CHAIN,
    "haystack.pipeline.run": _CHAIN,
    "haystack.component.run": _CHAIN,
}
# ends of the names of components' classes
_CLASSES: Final = (
    ("Generator", _LLM),
    ("Retriever", SpanKind.RETRIEVER),
    ("WebSearch", SpanKind.RETRIEVER),
    ("Embedder", SpanKind.EMBEDDING),
    ("Ranker", SpanKind.RERANKER),
    ("PromptBuilder", SpanKind.PROMPT),
    ("Evaluator", SpanKind.EVALUATOR),
    ("Agent", SpanKind.AGENT),
    ("ToolInvoker", _TOOL),
)


def read(reading: Reading) -> None:
    """Tell kinds by steps and by classes of components; open the dataclasses of what went in and out."""
    found = reading.found
    of_class, found[Field.RAW] = found[Field.RAW], None
    kind = STEPS.get(reading.name, _CHAIN)
    if isinstance(of_class, str):
        kind = next((kind for end, kind in _CLASSES if of_class.endswith(end)), _CHAIN)
    reading.kind = kind
    if kind is _LLM:
        _call(reading)
    elif kind is _TOOL and of_class is not None:
        _invoker(reading)
    elif kind is SpanKind.RETRIEVER:
        read_retrieval(reading)
    if kind is not SpanKind.AGENT:
        found[Field.AGENT] = None


def _call(reading: Reading) -> None:
    found = reading.found
    asked, said = structure(found[Field.INPUT]), structure(found[Field.OUTPUT])
    if isinstance(asked, dict):
        if isinstance(asked.get("tools"), list) and asked["tools"]:
            found[Field.TOOL_DEFINITIONS] = as_json(asked["tools"])
        settings = asked.get("generation_kwargs")
        if isinstance(settings, dict):
            found[Field.OUTPUT_SCHEMA] = text(settings.get("response_format"))
            found[Field.MAX_TOKENS] = count(settings.get("max_tokens", settings.get("max_completion_tokens")))
            found[Field.TEMPERATURE] = decimal(settings.get("temperature"))
    replies = said.get("replies") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(replies, list):
        return
    # plain generators keep it beside the texts, chat generators within each message
    metas = said.get("meta") if isinstance(said.get("meta"), list) else [_meta(reply) for reply in replies]
    meta: Mapping[str, Any] = next((each for each in metas or () if isinstance(each, dict)), {})
    answer = answers.of_messages(replies)
    stopped = finish(meta.get("finish_reason")) or FinishReason.UNKNOWN
    if stopped is FinishReason.TOOL_CALLS and not answer.content.tool_calls and not answer.content.text:
        stopped = FinishReason.MALFORMED_CALL
    reading.output, reading.finish = answer.content, stopped
    found[Field.MODEL] = name(meta.get("model"))
    found[Field.USAGE] = usage(meta.get("usage"))
    began_s = instant(meta.get("completion_start_time"))
    if began_s is not None:
        found[Field.FIRST_TOKEN_S] = waited_s(reading, began_s)


def _meta(reply: Any) -> Any:
    return reply.get("meta", reply.get("_meta")) if isinstance(reply, dict) else None


def _invoker(reading: Reading) -> None:
    """Read the component that runs tools, as the one call that it made; a chain where there are several."""
    found = reading.found
    said = structure(found[Field.OUTPUT])
    messages = said.get("tool_messages") if isinstance(said, dict) else None
    contents = [
        message.get("content", message.get("_content"))
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
    ]
    results = [
        part["tool_call_result"]
        for content in contents
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and isinstance(part.get("tool_call_result"), dict)
    ]
    if len(results) != 1:
        reading.kind = _CHAIN
        return
    (result,) = results
    origin = result.get("origin")
    if isinstance(origin, dict):
        found[Field.TOOL_NAME] = name(origin.get("tool_name"))
        found[Field.TOOL_CALL_ID] = name(origin.get("id"))
        found[Field.TOOL_ARGUMENTS] = text(origin.get("arguments"))
    found[Field.TOOL_RESULT] = text(result.get("result"))
    if result.get("error") is True:
        found[Field.FAILED] = True
        found[Field.ERROR_MESSAGE] = found[Field.TOOL_RESULT]
        reading.output = Content(ContentState.PRESENT, found[Field.TOOL_RESULT] or "")


# the app names the tracer: only keys tell the dialect
_INPUTS: Final = (
    "haystack.agent.step.llm.input",
    "haystack.agent.step.tool.input",
    "haystack.component.input",
    "haystack.agent.input",
    "haystack.pipeline.input_data",
)
_OUTPUTS: Final = (
    "haystack.agent.step.llm.output",
    "haystack.agent.step.tool.output",
    "haystack.component.output",
    "haystack.agent.output",
    "haystack.pipeline.output_data",
)

DIALECT = Dialect(
    name="haystack",
    marks=(
        "haystack.component.type",
        "haystack.component.name",
        "haystack.agent.max_steps",
        "haystack.agent.step",
        "haystack.pipeline.execution_mode",
        "haystack.tool.name",
        *_INPUTS,
        *_OUTPUTS,
    ),
    scopes=("haystack",),
    rows=(
        (Field.RAW, text, ("haystack.component.type",)),
        (Field.AGENT, name, ("haystack.component.name",)),
        (Field.TOOL_NAME, name, ("haystack.tool.name",)),
        (Field.INPUT, text, _INPUTS),
        (Field.OUTPUT, text, _OUTPUTS),
        (Field.TOOL_DEFINITIONS, text, ("haystack.agent.tools",)),
    ),
    read=read,
)
