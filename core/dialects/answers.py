"""Reads an LLM's answer out of the shapes that clients write it in; the answer's own text is never parsed."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from core.dialects.calls import CALL_KEYS, tool_call
from core.dialects.values import STOPPED, as_json, finish, python_repr, state_of, structure
from core.model.span import Content, ContentState, FinishReason, ToolCall
from core.otlp.slim import Value

_MAX_DEPTH: Final = 6
_ROLE_ALONE: Final = frozenset({"role", "name", "id", "finish_reason"})
# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _NO_REASON = ContentState.PRESENT, FinishReason.UNKNOWN


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What an LLM said, and why it stopped."""

    content: Content
    finish: FinishReason = FinishReason.UNKNOWN


class _Gathered:
    """An answer being put together from parts."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.refusals: list[str] = []
        self.finish = FinishReason.UNKNOWN
        self.has_text = False
        self.joint = "\n"
        """What stands between two texts."""

    def say(self, value: Any) -> None:
        """Add text: a string, or a list of content parts."""
        if isinstance(value, str):
            self.has_text = True
            if value[:2] == "{'" and (message := message_of_repr(value)) is not None:
                self.message(message)
            elif value:
                self.texts.append(value)
        elif isinstance(value, list):
            # no parts at all is an answer without text; parts without text are text withheld
            self.has_text = self.has_text or not value
            for part in value:
                self.part(part)

    def part(self, part: Any) -> None:
        """Add one part of a message, in whichever dialect's words."""
        if isinstance(part, str):
            self.say(part)
        if not isinstance(part, dict):
            return
        # Pydantic AI's own messages and LlamaIndex's call it so
        kind = str(part.get("type") or part.get("part_kind") or part.get("block_type") or "").replace("-", "_")
        bare = None if kind else next((part[key] for key in CALL_KEYS if isinstance(part.get(key), dict)), None)
        if kind in ("tool_call", "tool_use", "function_call", "server_tool_call") or bare is not None:
            self.call(part if bare is None else bare)
        elif not kind and part.get("thought") is True:
            # Gemini: reasoning is not part of the answer
            return
        elif kind == "refusal":
            self.refusals.append(str(part.get("refusal") or part.get("content") or part.get("text") or ""))
        elif kind in ("", "text", "output_text", "json"):
            for key in ("content", "text"):
                if part.get(key) is not None:
                    self.say(part[key])
                    break
            else:
                # Bedrock's blocks
                if part.get("json") is not None:
                    self.say(as_json(part["json"]))

    def call(self, call: Any) -> None:
        """Add a tool call."""
        if not isinstance(call, dict):
            return
        self.calls.append(tool_call(call))

    def message(self, message: Any) -> None:
        """Add a whole message."""
        if isinstance(message, str):
            self.say(message)
        if not isinstance(message, dict):
            return
        inner = message.get("message")
        if isinstance(inner, dict) and "role" not in message and "content" not in message:
            # a choice of OpenAI's among messages (Laminar)
            self.message(inner)
            self.stopped(message)
            return
        for key in ("parts", "content", "blocks"):
            if message.get(key) is not None:
                self.say(message[key])
                break
        else:
            # a message that says its content is null has been seen whole: it is empty, not absent
            self.has_text = self.has_text or "content" in message
        # LangChain keeps the calls that it could not parse beside the others
        for key in ("tool_calls", "invalid_tool_calls"):
            calls = message.get(key)
            for call in calls if isinstance(calls, list) else ():
                self.call(call)
        # LangChain and LiteLLM keep there what their own messages have no field for
        more = message.get("additional_kwargs") or message.get("provider_specific_fields")
        refusal = message.get("refusal") or (more.get("refusal") if isinstance(more, dict) else None)
        if isinstance(refusal, str) and refusal:
            self.refusals.append(refusal)
        self.stopped(message)

    def stopped(self, where: Mapping[str, Any]) -> None:
        """Take the finish reason, where one stands there."""
        for key in ("finish_reason", "finishReason", "stop_reason"):
            if self.finish is FinishReason.UNKNOWN and where.get(key) is not None:
                self.finish = finish(where[key]) or FinishReason.UNKNOWN

    def answer(self) -> Answer:
        """Return what was gathered."""
        text = self.joint.join(self.texts)
        state = ContentState.PRESENT if self.has_text or self.calls or self.refusals else ContentState.ABSENT
        if text and state_of(text) is not ContentState.PRESENT:
            state, text = state_of(text), text if state_of(text) is ContentState.TRUNCATED else ""
        content = Content(state=state, text=text, tool_calls=tuple(self.calls), refusal="\n".join(self.refusals))
        return Answer(content, self.finish)


class _TextPart(msgspec.Struct, gc=False):
    content: str
    type: Literal["text"]


class _TextMessage(msgspec.Struct, gc=False):
    parts: list[_TextPart]
    finish_reason: str = ""
    tool_calls: None = None
    refusal: None = None


_TEXT_MESSAGES: Final = msgspec.json.Decoder(list[_TextMessage]).decode


def from_messages(value: Value) -> Answer | None:
    """Return the answer in a list of messages ([{role, parts|content, ...}], JSON or structured)."""
    if isinstance(value, str):
        # most answers are one message of one text
        try:
            (message,) = _TEXT_MESSAGES(value)
            (part,) = message.parts
        except (msgspec.DecodeError, ValueError, RecursionError):
            pass
        else:
            said = part.content
            if said[:2] != "{'" and state_of(said) is _PRESENT:
                return Answer(Content(_PRESENT, said), finish(message.finish_reason) or _NO_REASON)
        if state_of(value) is ContentState.REDACTED:
            return Answer(Content(state=ContentState.REDACTED))
    messages = structure(value)
    if messages is None:
        # a client's limit on the length of values cuts JSON anywhere
        state = ContentState.TRUNCATED if isinstance(value, str) and value[:2] == "[{" else ContentState.PRESENT
        return None if value is None else Answer(Content(state=state, text=str(value)))
    return of_messages(messages if isinstance(messages, list) else [messages])


def message_of_repr(said: str) -> dict[str, Any] | None:
    """Return the message whose Python repr stands in the place of its text: openai-agents-v2."""
    found = python_repr(said) if "'role': 'assistant'" in said else None
    return found if isinstance(found, dict) and "content" in found else None


def of_messages(messages: Iterable[Any]) -> Answer:
    """Return the answer in parsed messages; an empty list is an empty answer, not an absent one."""
    gathered = _Gathered()
    said = list(messages)
    several = len(said) > 1
    for message in _without_pieces(said) if several else said:
        gathered.message(message)
    if several and all(isinstance(message, dict) and message.get("role") == "model" for message in said):
        # Gemini's word: each is a chunk of what was streamed (Gemini CLI)
        gathered.joint = ""
    gathered.has_text = gathered.has_text or not said
    return gathered.answer()


def _without_pieces(messages: list[Any]) -> list[Any]:
    """Return messages without the pieces of a stream, whose reason is empty, before the whole of it (Google ADK)."""
    whole = [item for item in messages if not (isinstance(item, dict) and item.get("finish_reason") == "")]
    return whole if whole and len(whole) < len(messages) else messages


def only_finish(output: str) -> FinishReason:
    """Return the finish reason in a chain's output, where there is one and no more: that of the call it made.

    The client drops it from the spans of LangChain's models.
    """
    if '"finish_reason"' not in output:
        return FinishReason.UNKNOWN
    said = STOPPED.findall(output)
    return (finish(said[0]) or FinishReason.UNKNOWN) if len(said) == 1 else FinishReason.UNKNOWN


def from_response(value: Value | Answer) -> Answer:
    """Return the answer in a client's whole response: OpenAI's chat or Responses, LangChain's, Anthropic's, Gemini's.

    What has none of these shapes is taken as the text itself; an answer that another dialect has read stays as it is.
    """
    if isinstance(value, Answer):
        return value
    if isinstance(value, str) and state_of(value) is ContentState.REDACTED:
        return Answer(Content(state=ContentState.REDACTED))
    parsed = structure(value)
    gathered = _Gathered()
    if parsed is not None and _response(parsed, gathered, 0):
        return gathered.answer()
    if value is None:
        return Answer(Content())
    raw = value if isinstance(value, str) else as_json(value)
    return Answer(Content(state=state_of(raw), text=raw))


def from_chunks(chunks: Iterable[Any]) -> Answer | None:
    """Return the answer in the parsed chunks of a chat completion's stream; None where none of them is one."""
    gathered = _Gathered()
    texts: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    seen = False
    for chunk in chunks:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(delta, dict):
            continue
        seen = True
        gathered.stopped(choice)
        if isinstance(delta.get("content"), str):
            texts.append(delta["content"])
        begun = delta.get("tool_calls")
        for at, call in enumerate(begun if isinstance(begun, list) else ()):
            if isinstance(call, dict):
                index, inner = call.get("index"), call.get("function")
                held = calls.setdefault(index if isinstance(index, int) else at, {"arguments": ""})
                for key, where in (("id", call), ("name", inner)):
                    if isinstance(where, dict) and isinstance(where.get(key), str):
                        held.setdefault(key, where[key])
                if isinstance(inner, dict) and isinstance(inner.get("arguments"), str):
                    held["arguments"] += inner["arguments"]
    if not seen:
        return None
    gathered.say("".join(texts))
    for index in sorted(calls):
        gathered.call(calls[index])
    return gathered.answer()


def _raw_choices(value: Mapping[str, Any]) -> list[Any]:
    """Return the choices of the response that LlamaIndex keeps beside the message it made of it."""
    raw = value.get("raw")
    choices = raw.get("choices") if isinstance(raw, dict) else None
    return choices if isinstance(choices, list) else []


def _response(value: Any, gathered: _Gathered, depth: int) -> bool:
    """Gather from a response; False where its shape is unknown."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, list):
        return bool(value) and all(_response(item, gathered, depth + 1) for item in value)
    if not isinstance(value, dict):
        return False
    for key, child in (("choices", "message"), ("candidates", "content"), ("generations", "")):
        items = value.get(key)
        if isinstance(items, list):
            for item in items:
                if child and isinstance(item, dict) and isinstance(item.get(child), dict):
                    gathered.message(item[child])
                    gathered.stopped(item)
                else:
                    _response(item, gathered, depth + 1)
            gathered.has_text = gathered.has_text or not items
            return True
    item = value.get("type")
    if item == "function_call" and "arguments" in value:
        # an item of OpenAI's Responses API by itself
        gathered.call(value)
        gathered.finish = FinishReason.TOOL_CALLS
        return True
    if item == "reasoning" and "summary" in value:
        return True
    output = value.get("output")
    if isinstance(output, list) and (value.get("object") == "response" or "incomplete_details" in value):
        for item in output:
            if isinstance(item, dict) and item.get("type") == "function_call":
                gathered.call(item)
            elif isinstance(item, dict) and item.get("type", "message") == "message":
                gathered.message(item)
        details = value.get("incomplete_details")
        stopped = finish(details.get("reason")) if isinstance(details, dict) else finish(value.get("status"))
        if stopped is FinishReason.STOP and gathered.calls:
            stopped = FinishReason.TOOL_CALLS
        gathered.finish = stopped or gathered.finish
        gathered.has_text = gathered.has_text or not output
        return True
    message = value.get("message")
    if isinstance(message, dict):
        kwargs = message.get("kwargs")
        gathered.message(kwargs if isinstance(kwargs, dict) else message)
        # Python's names, JavaScript's
        metadata = (kwargs if isinstance(kwargs, dict) else message).get("response_metadata")
        infos = (value.get("generation_info"), value.get("generationInfo"))
        for where in (metadata, *infos, value, *_raw_choices(value)):
            if isinstance(where, dict):
                gathered.stopped(where)
        return True
    if "role" in value and value.keys() <= _ROLE_ALONE:
        # clients leave out what is empty (Agno)
        gathered.has_text = True
        gathered.stopped(value)
        return True
    if any(key in value for key in ("content", "parts", "tool_calls")) and not isinstance(value.get("messages"), list):
        gathered.message(value)
        metadata = value.get("response_metadata")
        if isinstance(metadata, dict):
            gathered.stopped(metadata)
        return True
    return False
