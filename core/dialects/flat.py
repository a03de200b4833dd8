"""Flattened messages: `PREFIX.N.INFIX.role`, `.content`, `.tool_calls.M.…`, one attribute a leaf."""

from collections.abc import Iterable
from typing import Any, Final

from core.dialects import answers
from core.dialects.values import state_of, text
from core.model.span import Content, ContentState
from core.otlp.slim import ParseError, key_of, text_of, value_of

# a client cannot keep more attributes than this on one span by any default known to us
_MAX_INDEX: Final = 10_000


def messages(pairs: Iterable[bytes], prefix: bytes, infix: bytes) -> list[dict[str, Any]]:
    """Return the messages under a prefix, in index order.

    `infix` stands between the index and the leaf (OpenInference: `message.`). Leaves that are neither a message's own
    nor a tool call's nor a content part's are left out.
    """
    found: dict[int, dict[str, Any]] = {}
    for pair in pairs:
        try:
            key = key_of(pair)
            if not key.startswith(prefix):
                continue
            number, _, leaf = key[len(prefix) :].partition(b".")
            index = int(number)
            value = value_of(pair)
        except (ParseError, ValueError):
            continue
        if not 0 <= index <= _MAX_INDEX or not leaf.startswith(infix):
            continue
        _put(found.setdefault(index, {}), text_of(leaf[len(infix) :]), value)
    return [_finished(found[index]) for index in sorted(found)]


def output_messages(pairs: Iterable[bytes], prefix: bytes, infix: bytes) -> answers.Answer | None:
    """Return the answer in flattened messages; None where there are none."""
    found = messages(pairs, prefix, infix)
    return answers.of_messages(found) if found else None


def last_input(pairs: Iterable[bytes], prefix: bytes, infix: bytes) -> Content | None:
    """Return the text of the last flattened message that has one; None where there are none."""
    found = messages(pairs, prefix, infix)
    if not found:
        return None
    said = next((m["content"] for m in reversed(found) if isinstance(m.get("content"), str)), None)
    return Content(state=state_of(said), text=said) if said is not None else Content(state=ContentState.ABSENT)


def _put(message: dict[str, Any], leaf: str, value: Any) -> None:
    if leaf in ("role", "finish_reason", "refusal", "tool_call_id"):
        message[leaf] = value
    elif leaf == "content":
        message[leaf] = value if isinstance(value, list) else text(value)
    elif leaf.startswith("tool_calls."):
        number, _, rest = leaf[len("tool_calls.") :].partition(".")
        # OpenInference: tool_call.function.name; Traceloop: name
        name = rest.removeprefix("tool_call.").removeprefix("function.")
        message.setdefault("calls", {}).setdefault(number, {})[name] = value
    elif leaf.startswith("contents."):
        number, _, rest = leaf[len("contents.") :].partition(".")
        name = rest.removeprefix("message_content.")
        message.setdefault("contents", {}).setdefault(number, {})[name] = value


def _finished(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.pop("calls", {})
    if calls:
        message["tool_calls"] = [calls[number] for number in sorted(calls, key=_number)]
    contents = message.pop("contents", {})
    if contents and "content" not in message:
        message["content"] = [contents[number] for number in sorted(contents, key=_number)]
    return message


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else _MAX_INDEX
