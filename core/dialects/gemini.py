"""Gemini's shape of contents, as Google ADK and Gemini CLI write it: {role, parts: [{text | function_call | …}]}."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.dialects.answers import Answer, of_messages
from core.dialects.values import as_json, finish
from core.model.span import FinishReason

_CALLS: Final = ("function_call", "functionCall")
_MAX_DEPTH: Final = 20
_FINISH: Final = ("finish_reason", "finishReason")


def answer(response: Mapping[str, Any]) -> Answer | None:
    """Return the answer in a response with `candidates`, or in one candidate ({content, finish_reason, …}).

    None where it holds neither: a response that only tells of an error, say.
    """
    candidates = response.get("candidates")
    if isinstance(candidates, list):
        answers = [found for item in candidates[:1] if isinstance(item, dict) and (found := answer(item)) is not None]
        return answers[0] if answers else of_messages(())
    stopped = next((finish(response[key]) for key in _FINISH if response.get(key) is not None), None)
    if not isinstance(response.get("content"), dict):
        # stopped before it said anything: safety, malformed_function_call
        return Answer(of_messages(()).content, stopped) if stopped else None
    return Answer(of_messages([message(response["content"])]).content, stopped or FinishReason.UNKNOWN)


def of_contents(contents: Iterable[Any]) -> Answer:
    """Return the answer in a list of contents: chunks of a stream, one after another, as one text."""
    merged = [part for item in contents if isinstance(item, dict) for part in _parts(item)]
    return of_messages([message({"parts": merged})])


def json_schema(schema: Any, depth: int = 0) -> Any:
    """Return Gemini's schema as JSON Schema, whose names of types are in lower case; below 20 levels as it is."""
    if depth > _MAX_DEPTH:
        return schema
    if isinstance(schema, list):
        return [json_schema(item, depth + 1) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else json_schema(value, depth + 1)
        for key, value in schema.items()
    }


def message(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a content as a message: {content: text, tool_calls}; thoughts are left out, texts are chunks of one."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in _parts(content):
        if part.get("thought") is True:
            continue
        call = next((part[key] for key in _CALLS if isinstance(part.get(key), dict)), None)
        if call is not None:
            arguments = call.get("args", {})
            raw = arguments if isinstance(arguments, str) else as_json(arguments)
            calls.append({"name": call.get("name"), "id": call.get("id"), "arguments": raw})
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return {"content": "".join(texts), "tool_calls": calls}


def _parts(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = content.get("parts")
    if isinstance(parts, str):
        return [{"text": parts}]
    if not isinstance(parts, list):
        return []
    return [{"text": part} if isinstance(part, str) else part for part in parts if isinstance(part, str | dict)]
