"""Conversations read out of `Content`, in whichever shape a client wrote them.

Read are: lists of messages with `content` (OpenAI, Anthropic, Vercel AI, LangChain's dumps and batches of them), with
`parts` (OTel GenAI, Gemini), with blocks (Bedrock, Strands), the items of OpenAI's Responses API, requests that hold
such a list under a known key, flattened messages (`Content.flat`), and plain text as one message.

Nothing here raises. What does not have the shape of a message is left out; reasoning is not text of a message.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from core.dialects import flat
from core.dialects.calls import CALL_KEYS, decorated, tool_call
from core.dialects.definitions import definitions
from core.dialects.values import as_json, structure
from core.model.span import Content, ContentState, Message, Span, ToolCall
from core.model.trace import Trace
from core.otlp.stamp import is_scrubbed

__all__ = [
    "MAX_CHARS",
    "definitions",
    "input_messages",
    "is_readable",
    "is_whole",
    "messages_of",
    "tool_call",
    "unread_conversations",
]

# parsing costs about 2 ns a character: 2 ms at this size, which is beyond any context window of today but a handful
MAX_CHARS: Final = 1_000_000
_MAX_DEPTH: Final = 6

_PRESENT, _TRUNCATED = ContentState.PRESENT, ContentState.TRUNCATED

# where requests hold their messages, in the order in which they are looked for
_LISTS: Final = ("messages", "contents", "input", "inputs", "prompt", "prompts", "kwargs", "request", "body")
_SYSTEM: Final = ("system", "instructions", "system_instruction", "systemInstruction", "system_instructions")
_PREFIXES: Final = (
    (b"llm.input_messages.", b"message."),
    (b"llm.output_messages.", b"message."),
    (b"gen_ai.prompt.", b""),
    (b"gen_ai.completion.", b""),
)
# other words for the same role: LangChain, Gemini, smolagents, OpenAI's first function calls
_ROLES: Final[Mapping[str, str]] = {
    "human": "user",
    "ai": "assistant",
    "aimessagechunk": "assistant",
    "model": "assistant",
    "function": "tool",
    "tool-call": "assistant",
    "tool-response": "tool",
    "humanmessage": "user",
    "humanmessagechunk": "user",
    "aimessage": "assistant",
    "systemmessage": "system",
    "toolmessage": "tool",
    "functionmessage": "tool",
}
_MESSAGE_TYPES: Final = frozenset({"human", "ai", "system", "tool", "function", "AIMessageChunk"})
_CALLS: Final = frozenset({"tool_call", "tool_use", "function_call", "server_tool_call", "server_tool_use"})
_RESULTS: Final = frozenset(
    {
        "tool_call_response",
        "tool_result",
        "function_call_output",
        "server_tool_call_response",
        "custom_tool_call_output",
    }
)
# parts that hold a result under a key of its own, as `CALL_KEYS` a call
_RESULT_KEYS: Final = ("toolResult", "function_response", "functionResponse", "tool_call_result")
# how messages begin, and no sentence: what begins so and is no JSON was cut by a client's limit
_CUT_STARTS: Final = ('[{"role"', '[{"parts"', '[{"type"', '{"messages"')
_TEXTS: Final = frozenset({"", "text", "output_text", "input_text", "json", "refusal"})


def is_readable(content: Content) -> bool:
    """Return whether there is text, and no more of it than is read."""
    if content.state is not _PRESENT and content.state is not _TRUNCATED:
        return False
    return not _is_too_long(content)


def is_whole(content: Content) -> bool:
    """Return whether all of a content was sent, and is read."""
    return content.state is _PRESENT and not _is_too_long(content)


def unread_conversations(trace: Trace) -> int:
    """Return how many inputs of LLM calls are longer than is read: of those there are no messages."""
    return sum([_is_too_long(span.input) for span in trace.llm_spans])


def _is_too_long(content: Content) -> bool:
    return len(content.text) > MAX_CHARS or (bool(content.flat) and sum(map(len, content.flat)) > MAX_CHARS)


def messages_of(content: Content, *, role: str = "user") -> tuple[Message, ...]:
    """Return the conversation in a content, oldest message first; () where there is no text.

    Plain text is one message of `role`, or of the assistant where the content holds tool calls. A result that stands
    within a message (Anthropic, Bedrock, OTel parts) is a message of role `tool` of its own; a tool's message bears the
    tool's name where it, or the call that it answers, has one. Of truncated content what is whole is read; of more than
    `MAX_CHARS` characters nothing: ask `is_readable` before an empty answer is taken for an empty conversation.
    """
    if not is_readable(content):
        return ()
    if content.flat:
        own = flat.families(content.flat)
        found = [item for prefix, infix in _PREFIXES for item in flat.messages(own.get(prefix, ()), prefix, infix)]
        if found:
            return _named(_of_list(found, role, 0))
    text = content.text
    if content.tool_calls or content.refusal:
        return (Message("assistant", text or content.refusal, content.tool_calls),)
    if text[:1] in ("[", "{", '"') or text[:16].lstrip()[:1] in ("[", "{"):
        parsed = structure(text)
        if parsed is not None and (read := _named(_read(parsed, role, 0))):
            return read
        if parsed is None and text.startswith(_CUT_STARTS):
            return ()
    return (Message(role, text),) if text and content.state is _PRESENT else ()


def input_messages(trace: Trace, span: Span) -> tuple[Message, ...]:
    """Return the conversation that a span was given, instructions sent apart from it first; read once a trace."""
    read: dict[str, tuple[Message, ...]] = trace.derived.setdefault("input_messages", {})
    found = read.get(span.span_id)
    if found is None:
        found = messages_of(span.input)
        told = span.details.system_instructions
        if told and not any(message.role == "system" for message in found[:1]):
            found = (*messages_of(Content(_PRESENT, told), role="system"), *found)
        read[span.span_id] = found
    return found


def _read(value: Any, role: str, depth: int) -> list[Message]:
    """Return the messages in a list, a request or a message; none where the shape is unknown."""
    if depth > _MAX_DEPTH:
        return []
    if isinstance(value, str):
        inner = structure(value) if value[:1] in ("[", "{") else None
        found = _read(inner, role, depth + 1) if inner is not None else []
        return found or ([Message(role, value)] if value else [])
    if isinstance(value, list):
        return _of_list(value, role, depth)
    if not isinstance(value, dict):
        return []
    if _is_message(value):
        return list(_message(value, role))
    called = decorated(value)
    if called is not None:
        # a conversation among the arguments, else the first text
        args = called[0] if isinstance(called[0], list) else []
        said = [item for item in args if isinstance(item, list | dict)]
        texts = [item for item in args if isinstance(item, str)]
        found = _read(called[1], role, depth + 1) or _of_list(said, role, depth + 1)
        return found or _of_list(texts[:1], role, depth + 1)
    found = []
    for key in _LISTS:
        inner = value.get(key)
        # a tool's arguments may be called so too: only what holds messages is a request's
        if inner and (isinstance(inner, list | dict) or key in ("input", "prompt")):
            found = _read(inner, role, depth + 1)
            if found:
                break
    if found:
        system = [m for key in _SYSTEM if value.get(key) for m in _system(value[key])]
        config = value.get("config")
        if isinstance(config, dict):
            # Google ADK
            system += [m for key in _SYSTEM if config.get(key) for m in _system(config[key])]
        found = system + found
    return found


def _of_list(items: list[Any], role: str, depth: int) -> list[Message]:
    if items and all(isinstance(item, dict) and _is_part(item) for item in items):
        return list(_message({"role": role, "content": items}, role))
    found: list[Message] = []
    for item in items:
        if isinstance(item, list):
            # LangChain: a list of conversations
            found += _read(item, role, depth + 1)
        elif isinstance(item, str):
            found += [Message(role, item)] if item else []
        elif isinstance(item, dict):
            found += _message(item, role) if _is_message(item) else _read(item, role, depth + 1)
    return found


def _system(value: Any) -> list[Message]:
    if isinstance(value, list) or (isinstance(value, dict) and not _is_message(value)):
        value = {"content": value if isinstance(value, list) else [value]}
    return list(_message(value if isinstance(value, dict) else {"content": str(value)}, "system", forced="system"))


def _is_message(value: dict[str, Any]) -> bool:
    if isinstance(value.get("role"), str):
        return True
    kind = _type(value)
    if "lc" in value and isinstance(value.get("kwargs"), dict):
        return "content" in value["kwargs"]
    if kind in _MESSAGE_TYPES:
        return "content" in value or isinstance(value.get("data"), dict)
    if kind == "message" or kind in _CALLS or kind in _RESULTS:
        return True
    return isinstance(value.get("parts"), list) or isinstance(value.get("tool_calls"), list)


def _is_part(value: dict[str, Any]) -> bool:
    """Return whether something is a part of a message, and no message by itself."""
    if "role" in value or ("content" in value and "type" not in value):
        return False
    kind = _kind(value)
    if kind in ("text", "image_url", "image", "input_text", "input_image"):
        return True
    return not kind and any(key in value for key in ("text", "toolUse", "toolResult")) and "type" not in value


def _type(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _kind(part: Mapping[str, Any]) -> str:
    # LlamaIndex
    kind = _type(part) or part.get("block_type") or ""
    return kind.replace("-", "_") if isinstance(kind, str) else ""


def _message(item: dict[str, Any], default: str, *, forced: str = "") -> Iterator[Message]:
    """Yield what one message says, then the results of tools that stand within it."""
    role = forced or _role(item, default)
    inner = item.get("kwargs") if "lc" in item else item.get("data") if _type(item) in _MESSAGE_TYPES else None
    if isinstance(inner, dict) and "content" in inner:
        item = inner
    kind = _kind(item)
    if kind in _CALLS and "content" not in item:
        yield Message("assistant", "", _calls((item,)))
        return
    if kind in _RESULTS:
        yield _result(item)
        return
    content = item.get("parts")
    if isinstance(content, list) and any(isinstance(part, dict) and "part_kind" in part for part in content):
        yield from _of_part_kinds(content)
        return
    if content is None:
        content = item.get("content", item.get("blocks"))
    if isinstance(content, str) and content[:2] == "[{" and role != "tool":
        # Traceloop: a flattened message's parts in JSON
        parts = structure(content)
        if isinstance(parts, list) and all(isinstance(part, dict) and _is_part(part) for part in parts):
            content = parts
    if content is None and kind in ("", "text", "message"):
        content = item.get("text")
    name = item.get("name") if isinstance(item.get("name"), str) else ""
    more = item.get("additional_kwargs")
    call_id = item.get("tool_call_id") or item.get("toolCallId") or ""
    if not call_id and isinstance(more, dict):
        # LlamaIndex
        call_id = more.get("tool_call_id") or ""
    calls = _calls(_asked(item))
    if role == "tool" and not isinstance(content, list):
        yield Message(role, _plain(content), calls, str(call_id), name or "", item.get("status") == "error")
        return
    texts: list[str] = []
    results: list[Message] = []
    for part in content if isinstance(content, list) else (content,):
        asked: list[Any] = []
        _part(part, texts, results, asked)
        calls += _calls(asked)
    refusal = item.get("refusal")
    if not texts and isinstance(refusal, str) and refusal:
        texts.append(refusal)
    text = "\n".join(texts)
    if role == "tool" and not results and not texts and content:
        # a tool may answer with a list of anything
        text = _plain(content)
    if text or calls or not results:
        yield Message(role, text, calls, str(call_id), name or "", item.get("status") == "error")
    yield from results


def _of_part_kinds(parts: list[Any]) -> Iterator[Message]:
    """Yield what one of Pydantic AI's own messages says: its parts have roles, not itself."""
    texts: list[str] = []
    asked: list[Any] = []
    for part in parts:
        kind = part.get("part_kind") if isinstance(part, dict) else None
        if kind in ("system-prompt", "user-prompt"):
            said = part.get("content")
            held = [each for each in said if isinstance(each, str)] if isinstance(said, list) else [_plain(said)]
            yield Message(kind.removesuffix("-prompt"), "\n".join(held))
        elif kind in ("tool-return", "retry-prompt"):
            result = _result(part)
            has_failed = result.is_error or kind == "retry-prompt" or part.get("outcome") in ("failed", "retried")
            yield msgspec.structs.replace(result, is_error=has_failed)
        elif kind == "text":
            texts.append(_plain(part.get("content")))
        elif kind == "tool-call":
            asked.append(part)
    if texts or asked:
        yield Message("assistant", "\n".join(texts), _calls(asked))


def _part(part: Any, texts: list[str], results: list[Message], asked: list[Any]) -> None:
    if isinstance(part, str):
        if part and not is_scrubbed(part):
            texts.append(part)
        return
    if not isinstance(part, dict):
        return
    kind = _kind(part)
    if kind in _CALLS or not part.keys().isdisjoint(CALL_KEYS):
        asked.append(_inner(part, *CALL_KEYS))
    elif kind in _RESULTS or not part.keys().isdisjoint(_RESULT_KEYS):
        results.append(_result(_inner(part, *_RESULT_KEYS)))
    # Gemini marks reasoning so
    elif kind in _TEXTS and part.get("thought") is not True:
        said = next((part[key] for key in ("content", "text", "refusal") if part.get(key) is not None), None)
        if isinstance(said, str) and said and not is_scrubbed(said):
            texts.append(said)


def _inner(part: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    return next((part[key] for key in keys if isinstance(part.get(key), dict)), part)


def _role(item: Mapping[str, Any], default: str) -> str:
    role = item.get("role")
    if not isinstance(role, str) or not role:
        kind = _type(item)
        kwargs = item.get("kwargs")
        names = item.get("id")
        if "lc" in item and isinstance(names, list) and names:
            # LangChain: id = ["langchain", "schema", "messages", "HumanMessage"]
            role = names[-1] if isinstance(names[-1], str) else ""
            role = str(kwargs.get("role") or role) if isinstance(kwargs, dict) else role
        else:
            role = kind if kind in _MESSAGE_TYPES else default
    # Python's enum: "MessageRole.USER"
    role = str(role).rpartition(".")[2].lower()
    return _ROLES.get(role, role)


def _asked(item: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the tool calls of a message, as it holds them beside its content."""
    found = 0
    for key in ("tool_calls", "toolCalls", "invalid_tool_calls"):
        calls = item.get(key)
        for call in calls if isinstance(calls, list) else ():
            found += 1
            yield call
    more = item.get("additional_kwargs")
    if found:
        return
    if isinstance(more, dict) and isinstance(more.get("tool_calls"), list):
        yield from more["tool_calls"]
    elif isinstance(item.get("function_call"), dict):
        yield item["function_call"]


def _calls(items: Iterable[Any]) -> tuple[ToolCall, ...]:
    return tuple(tool_call(item) for item in items if isinstance(item, dict))


def _result(part: Mapping[str, Any]) -> Message:
    """Return a tool's result that stands within a message."""
    said: Any = None
    for key in ("response", "result", "output", "content"):
        if part.get(key) is not None:
            said = part[key]
            break
    failed = any(part.get(key) is True for key in ("is_error", "isError", "error")) or part.get("status") == "error"
    if isinstance(part.get("origin"), dict):
        # Haystack: the call that it answers
        part = {"name": part["origin"].get("tool_name"), "id": part["origin"].get("id")}
    if isinstance(said, dict) and isinstance(said.get("type"), str) and "value" in said:
        # Vercel AI: {type: text | json | error-text | error-json | content, value}
        failed = failed or said["type"].startswith("error")
        said = said["value"]
    call_id = next(
        (
            part[key]
            for key in ("call_id", "tool_call_id", "tool_use_id", "toolCallId", "toolUseId", "id")
            if part.get(key)
        ),
        "",
    )
    name = part.get("name") or part.get("toolName") or part.get("tool_name") or ""
    return Message("tool", _plain(said), (), str(call_id), str(name), failed)


def _plain(value: Any) -> str:
    """Return a result's text: what it is, the texts of its parts, else its JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and value and all(isinstance(item, dict | str) for item in value):
        texts = [item if isinstance(item, str) else item.get("text") for item in value]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(texts)
    return as_json(value)


def _named(messages: list[Message]) -> tuple[Message, ...]:
    """Give tools' messages the name of the call that they answer, where they have none: by its id, else in order."""
    names: dict[str, str] = {}
    unnumbered: list[str] = []
    found: list[Message] = []
    for message in messages:
        if message.tool_calls:
            unnumbered = [call.name for call in message.tool_calls if not call.call_id]
        for call in message.tool_calls:
            if call.call_id and call.name:
                names[call.call_id] = call.name
        named = None
        if message.role == "tool" and message.tool_call_id:
            named = names.get(message.tool_call_id)
        elif message.role == "tool" and unnumbered:
            # Gemini's calls have no id: results stand in the order of the calls
            named = message.name or unnumbered.pop(0)
        found.append(msgspec.structs.replace(message, name=named) if named and named != message.name else message)
    return tuple(found)
