"""Results of tools as the next LLM call was told them: messages of role `tool` in its input.

Clients without tool spans (a bare model client in a loop) leave no other trace of a tool's result. Read in every shape
that `core.dialects.messages` knows.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from core.dialects.messages import MAX_CHARS, input_messages, is_readable
from core.model.span import Content, ContentState, Message, Span
from core.model.trace import Trace
from detector.checks.asked_calls import asked_calls, unsent_calls

_PRESENT: Final = ContentState.PRESENT
# words without which no input holds a tool's result: OpenAI, OTel, LangChain, Vercel AI; Bedrock; Gemini; Responses
_MARKS: Final = (
    '"tool',
    "toolResult",
    "tool_call_response",
    "function_response",
    "functionResponse",
    "function_call_output",
)
# a flattened key, or a role, that speaks of tools stands within the first bytes of its attribute
_KEY_WITHIN: Final = 100


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One result: the LLM span that was told it first, the call it answers, the tool's name where known."""

    span: Span
    call_id: str
    name: str
    text: str
    arguments: str = ""
    is_past: bool = False
    """Whether it is of an earlier turn: the model had answered, and the user said something new."""


def tool_messages(trace: Trace) -> list[ToolMessage]:
    """Return each tool result of the trace once, in the order in which LLM calls were told them; read only."""
    found: list[ToolMessage] | None = trace.derived.get("tool_messages")
    if found is None:
        found = trace.derived["tool_messages"] = _tool_messages(trace)
    return found


def told_of_calls(trace: Trace) -> Mapping[str, ToolMessage]:
    """Return the results by the id of the call that they answer."""
    found: Mapping[str, ToolMessage] | None = trace.derived.get("told_of_calls")
    if found is None:
        found = trace.derived["told_of_calls"] = {told.call_id: told for told in tool_messages(trace) if told.call_id}
    return found


def are_untold(trace: Trace) -> bool:
    """Return whether models asked for tools, and of what one was told later nothing was sent, or more than is read."""
    later = trace.llm_spans[1:]
    if not later or not (asked_calls(trace) or unsent_calls(trace)):
        return False
    return any(span.error is None and not is_readable(span.input) for span in later)


def _tool_messages(trace: Trace) -> list[ToolMessage]:
    telling = [s for s in trace.llm_spans if s.input.state is _PRESENT and _may_tell(s.input)]
    if not telling:
        return []
    calls = {
        call.call_id: call for span in trace.spans for call in span.output.tool_calls if call.call_id and call.name
    }
    told: list[ToolMessage] = []
    seen: set[tuple[str, str]] = set()
    for span in telling:
        messages = input_messages(trace, span)
        present_from = _present_turn(messages)
        for at, message in enumerate(messages):
            for call in message.tool_calls:
                calls.setdefault(call.call_id, call)
            if message.role != "tool":
                continue
            call_id = message.tool_call_id
            key = (call_id, "" if call_id else message.text)
            if key not in seen:
                seen.add(key)
                asked = calls.get(call_id) if call_id else None
                told.append(
                    ToolMessage(
                        span=span,
                        call_id=call_id,
                        name=message.name or (asked.name if asked is not None else ""),
                        text=message.text,
                        arguments=asked.arguments if asked is not None else "",
                        is_past=at < present_from,
                    )
                )
    return told


def _present_turn(messages: Sequence[Message]) -> int:
    """Return where the present turn begins: at the user's message after the last answer that asked for no tool."""
    begins = 0
    is_answered = False
    for at, message in enumerate(messages):
        if message.role == "user" and is_answered:
            begins = at
        if message.role in ("assistant", "user"):
            is_answered = message.role == "assistant" and bool(message.text) and not message.tool_calls
    return begins


def _may_tell(given: Content) -> bool:
    """Return whether an input may hold a tool's result, without parsing it."""
    if given.flat:
        return any(b"tool" in pair[:_KEY_WITHIN] for pair in given.flat)
    raw = given.text
    marked = any(mark in raw for mark in _MARKS)
    return marked and len(raw) <= MAX_CHARS and raw.lstrip()[:1] in ("[", "{")
