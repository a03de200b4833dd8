"""Results of tools as the next LLM call was told them: messages of role `tool` in its input.

Clients without tool spans (a bare model client in a loop) leave no other trace of a tool's result. Read where the input
was sent as a JSON list of messages, or as a request with one under `messages`: chat completions,
OTel GenAI parts, LangChain's dumps.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.tool_text import decoded, message_in

# each call repeats the whole conversation: reading stops at this size, which may miss a result and never invents one
_READ_CHARACTERS: Final = 200_000


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One result: the LLM span that was told it first, the call it answers, the tool's name where known."""

    span: Span
    call_id: str
    name: str
    text: str


def tool_messages(trace: Trace) -> list[ToolMessage]:
    """Return each tool result of the trace once, in the order in which LLM calls were told them."""
    telling = [s for s in trace.llm_spans if s.input.state is ContentState.PRESENT and _may_tell(s.input.text)]
    if not telling:
        return []
    names = {
        call.call_id: call.name for span in trace.spans for call in span.output.tool_calls if call.call_id and call.name
    }
    told: list[ToolMessage] = []
    seen: set[tuple[str, str]] = set()
    for span in telling:
        for call_id, name, text in _results(span.input.text, names):
            key = (call_id, "" if call_id else text)
            if key not in seen:
                seen.add(key)
                told.append(ToolMessage(span=span, call_id=call_id, name=name, text=text))
    return told


def _may_tell(raw: str) -> bool:
    """Return whether an input may hold a tool's result, without parsing it."""
    marked = '"tool' in raw or "tool_call_response" in raw
    return marked and len(raw) <= _READ_CHARACTERS and raw.lstrip()[:1] in ("[", "{")


def _results(raw: str, names: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    found = decoded(raw)
    messages = found.get("messages") if isinstance(found, dict) else found
    # LangChain's batches: a list of conversations
    if isinstance(messages, list) and messages and isinstance(messages[0], list):
        messages = messages[0]
    called = dict(names)
    for item in messages if isinstance(messages, list) else ():
        message = message_in(item) or item
        if not isinstance(message, dict):
            continue
        _learn_names(message, called)
        parts = message.get("parts")
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict) and part.get("type") == "tool_call_response":
                    call_id = str(part.get("id") or "")
                    yield call_id, called.get(call_id, ""), _text(part.get("response", part.get("result")))
        elif "tool" in (message.get("role"), message.get("type")):
            call_id = str(message.get("tool_call_id") or "")
            yield call_id, called.get(call_id, "") or str(message.get("name") or ""), _text(message.get("content"))


def _learn_names(message: dict[str, object], called: dict[str, str]) -> None:
    """Note which call id belongs to which tool, from the calls that stand in the conversation itself."""
    for calls in (message.get("tool_calls"), message.get("parts")):
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                continue
            function = call.get("function")
            name = function.get("name") if isinstance(function, dict) else call.get("name")
            if isinstance(name, str) and name and call.get("id"):
                called[str(call["id"])] = name


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if (
        isinstance(content, list)
        and content
        and isinstance(content[0], dict)
        and isinstance(content[0].get("text"), str)
    ):
        return str(content[0]["text"])
    return "" if content is None else msgspec.json.encode(content).decode()
