"""Firebase Genkit: genkit:* attributes, each action's input and output as one JSON.

`genkit:metadata:subtype` tells what an action does; `generate` (of type util) is the loop around the calls of a model.
A model is named with its plugin (`googleai/gemini-2.5-flash`), a message's content is a list of {text}, {toolRequest}
and {toolResponse}. Errors have the HTTP code as their type. Names: genkit 1.42.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from core.dialects import answers
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, count, decimal, finish, kinds, loads, name, structure, text
from core.model.span import Document, FinishReason, SpanKind, Usage

KINDS: Final = {
    "model": SpanKind.LLM,
    "background-model": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    "tool.v2": SpanKind.TOOL,
    "retriever": SpanKind.RETRIEVER,
    "embedder": SpanKind.EMBEDDING,
    "reranker": SpanKind.RERANKER,
    "evaluator": SpanKind.EVALUATOR,
    "prompt": SpanKind.PROMPT,
    "executable-prompt": SpanKind.CHAIN,
    "executableprompt": SpanKind.CHAIN,
    "flow": SpanKind.CHAIN,
    "indexer": SpanKind.CHAIN,
    "util": SpanKind.CHAIN,
}
TYPES: Final = {
    "util": SpanKind.CHAIN,
    "flow": SpanKind.CHAIN,
    "flowstep": SpanKind.CHAIN,
    "prompttemplate": SpanKind.PROMPT,
    "dotprompt": SpanKind.PROMPT,
}
_PROVIDERS: Final = {"googleai": "gcp.gemini", "vertexai": "gcp.vertex_ai", "google-genai": "gcp.gemini"}
_ROLES: Final = {"model": "assistant"}
_BLOCKED: Final = "blocked"


def read(reading: Reading) -> None:
    """Open an action's input and output, by what it does."""
    found = reading.found
    named = name(found[Field.RAW])
    given, said = found[Field.INPUT], found[Field.OUTPUT]
    if reading.kind in (SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER) and named:
        plugin, _, model = named.rpartition("/")
        found[Field.MODEL] = found[Field.MODEL] or model
        found[Field.PROVIDER] = found[Field.PROVIDER] or _PROVIDERS.get(plugin, plugin) or None
    if reading.kind is SpanKind.LLM:
        _asked(reading, structure(given))
        _answered(reading, structure(said))
        return
    if reading.kind is SpanKind.TOOL:
        found[Field.TOOL_NAME] = found[Field.TOOL_NAME] or named or name(reading.name)
    elif reading.kind is SpanKind.RETRIEVER:
        found[Field.DATA_SOURCE] = found[Field.DATA_SOURCE] or named
        _retrieved(reading, structure(given), structure(said))
    found[Field.INPUT], found[Field.OUTPUT] = _plain(given), _plain(said)


def _asked(reading: Reading, request: Any) -> None:
    if not isinstance(request, dict):
        return
    found = reading.found
    messages = request.get("messages")
    if isinstance(messages, list):
        found[Field.INPUT] = as_json([each for message in messages for each in _messages(message)])
    config, asked = _mapping(request.get("config")), _mapping(request.get("output"))
    found[Field.MAX_TOKENS] = count(config.get("maxOutputTokens"))
    found[Field.TEMPERATURE] = decimal(config.get("temperature"))
    if request.get("tools"):
        found[Field.TOOL_DEFINITIONS] = text(request["tools"])
    if asked.get("schema"):
        found[Field.OUTPUT_SCHEMA] = text(asked["schema"])
    elif asked.get("format") == "json":
        found[Field.OUTPUT_TYPE] = "json"


def _answered(reading: Reading, response: Any) -> None:
    if not isinstance(response, dict):
        return
    found = reading.found
    said = [each for each in _messages(response.get("message")) if "tool_call_id" not in each]
    refusal = _refusal(response.get("raw"))
    if said or refusal:
        reading.output = answers.of_messages([*said, *([{"refusal": refusal}] if refusal else ())]).content
    stopped = response.get("finishReason")
    reason = FinishReason.CONTENT_FILTER if stopped == _BLOCKED else finish(stopped)
    if reason is FinishReason.STOP and reading.output is not None and reading.output.tool_calls:
        reason = FinishReason.TOOL_CALLS
    found[Field.FINISH] = reason
    used = _mapping(response.get("usage"))
    into, out = count(used.get("inputTokens")), count(used.get("outputTokens"))
    if into is not None or out is not None:
        thoughts = count(used.get("thoughtsTokens")) or 0
        # Gemini counts thoughts apart from the answer
        found[Field.USAGE] = Usage(
            input_tokens=into or 0,
            output_tokens=(out or 0) + thoughts,
            cached_tokens=count(used.get("cachedContentTokens")) or 0,
            reasoning_tokens=thoughts,
        )


def _messages(message: Any) -> Iterator[dict[str, Any]]:
    """Yield a message in OpenAI's form: each result of a tool is one of its own."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return
    texts, calls = [], []
    for part in message["content"]:
        if not isinstance(part, dict):
            continue
        request, response = part.get("toolRequest"), part.get("toolResponse")
        if isinstance(request, dict):
            calls.append(
                {"id": request.get("ref"), "name": request.get("name"), "arguments": text(request.get("input"))}
            )
        elif isinstance(response, dict):
            told = {"role": "tool", "tool_call_id": response.get("ref"), "name": response.get("name")}
            yield told | {"content": text(response.get("output"))}
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    if message.get("role") != "tool":
        spoken: dict[str, Any] = {"role": _ROLES.get(str(message.get("role")), message.get("role"))}
        spoken["content"] = "".join(texts)
        yield spoken | ({"tool_calls": calls} if calls else {})


def _refusal(raw: Any) -> str:
    """Return the refusal that a response of OpenAI's holds, which Genkit keeps whole beside its own words."""
    choices = raw.get("choices") if isinstance(raw, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    said = _mapping(_mapping(first).get("message")).get("refusal")
    return said if isinstance(said, str) else ""


def _retrieved(reading: Reading, request: Any, response: Any) -> None:
    query = _mapping(_mapping(request).get("query")).get("content")
    reading.found[Field.QUERY] = _text(query) or None
    documents = _mapping(response).get("documents")
    if isinstance(documents, list):
        reading.found[Field.DOCUMENTS] = tuple(
            Document(text=_text(each.get("content")), score=decimal(_mapping(each.get("metadata")).get("score")))
            for each in documents
            if isinstance(each, dict)
        )


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Any:
    """Return a text without the quotes of JSON."""
    if not isinstance(value, str) or value[:1] != '"':
        return value
    inner = loads(value)
    return inner if isinstance(inner, str) else value


DIALECT = Dialect(
    name="genkit",
    marks=("genkit:type", "genkit:name"),
    scopes=("genkit-tracer",),
    rows=(
        (Field.KIND, kinds(KINDS), ("genkit:metadata:subtype",)),
        (Field.KIND, kinds(TYPES), ("genkit:type",)),
        (Field.RAW, text, ("genkit:name",)),
        (Field.INPUT, text, ("genkit:input",)),
        (Field.OUTPUT, text, ("genkit:output",)),
        (Field.SESSION, name, ("genkit:sessionId", "genkit:metadata:sessionId")),
    ),
    read=read,
)
