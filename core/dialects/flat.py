"""Flattened messages: `PREFIX.N.INFIX.role`, `.content`, `.tool_calls.M.…`, one attribute a leaf."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from core.dialects import answers
from core.dialects.values import decimal, state_of, text
from core.model.span import Content, ContentState, Evaluation
from core.otlp.slim import ParseError, key_of, text_of, value_of

# a client cannot keep more attributes than this on one span by any default known to us
_MAX_INDEX: Final = 10_000
_NOTHING: Final = ('""', "[]")


Families: TypeAlias = Mapping[bytes, Sequence[bytes]]
"""Encoded pairs by how their keys begin: up to the first index, two segments at most, with the dot behind."""


def families(pairs: Iterable[bytes]) -> Families:
    """Return pairs by how their keys begin, so that each reader looks at its own alone."""
    found: dict[bytes, list[bytes]] = {}
    family, own = b".", [b""]
    for pair in pairs:
        try:
            key = key_of(pair)
        except ParseError:
            continue
        # the leaves of one list follow one another as a rule
        if not key.startswith(family):
            first, _, rest = key.partition(b".")
            family = first + b"."
            if not rest[:1].isdigit():
                family += rest.partition(b".")[0] + b"."
            own = found.setdefault(family, [])
        own.append(pair)
    return found


def groups(pairs: Iterable[bytes], prefix: bytes, infix: bytes) -> list[dict[str, Any]]:
    """Return what stands under `PREFIX N. INFIX leaf`: for each index, in order, its leaves with their values."""
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
        if 0 <= index <= _MAX_INDEX and leaf.startswith(infix):
            found.setdefault(index, {})[text_of(leaf[len(infix) :])] = value
    return [found[index] for index in sorted(found)]


def messages(pairs: Iterable[bytes], prefix: bytes, infix: bytes) -> list[dict[str, Any]]:
    """Return the messages under a prefix, in index order.

    `infix` stands between the index and the leaf (OpenInference: `message.`). Leaves that are neither a message's own
    nor a tool call's nor a content part's are left out.
    """
    found: list[dict[str, Any]] = []
    for leaves in groups(pairs, prefix, infix):
        message: dict[str, Any] = {}
        for leaf, value in leaves.items():
            _put(message, leaf, value)
        found.append(_finished(message))
    return found


def output_messages(pairs: Families, prefix: bytes, infix: bytes) -> answers.Answer | None:
    """Return the answer in flattened messages; None where there are none."""
    found = messages(pairs.get(prefix, ()), prefix, infix)
    return answers.of_messages(found) if found else None


def conversation(pairs: Families, prefix: bytes, infix: bytes) -> Content | None:
    """Return flattened messages: all of them as they are, and the text of the last that has one; None without any."""
    own = tuple(pairs.get(prefix, ()))
    if not own:
        return None
    found = messages(own, prefix, infix)
    texts = [said for m in reversed(found) if (said := _text(m.get("content"))) is not None]
    if not texts:
        return Content(
            ContentState.PRESENT if any(m.get("tool_calls") for m in found) else ContentState.ABSENT, flat=own
        )
    shown = next((said for said in texts if state_of(said) is not ContentState.REDACTED), None)
    return Content(ContentState.REDACTED) if shown is None else Content(state_of(shown), shown, flat=own)


def definitions(pairs: Families) -> str | None:
    """Return the tools in flattened keys, as JSON: OpenInference's and Traceloop's; None where there are none."""
    schemas = [group.get("json_schema") for group in groups(pairs.get(b"llm.tools.", ()), b"llm.tools.", b"tool.")]
    found: list[Any] = [schema for schema in schemas if schema]
    # in JavaScript the parameters are called arguments
    found += [
        {"parameters" if key == "arguments" else key: value for key, value in function.items()}
        for function in groups(pairs.get(b"llm.request.", ()), b"llm.request.functions.", b"")
    ]
    # AgentOps
    found += groups(pairs.get(b"gen_ai.request.", ()), b"gen_ai.request.functions.", b"")
    return text(found) if found else None


def evaluations(pairs: Families) -> tuple[Evaluation, ...]:
    """Return OpenInference's evaluations and annotations, of span, trace and session."""
    found: list[Evaluation] = []
    for key in (b"evaluation", b"annotation"):
        for scope in (b"", b"trace.", b"session."):
            prefix = b"%b%bs." % (scope, key)
            if prefix in pairs:
                found += [evaluation(group, "") for group in groups(pairs[prefix], prefix, b"%b." % key)]
    return tuple(found)


def evaluation(said: Mapping[str, Any], prefix: str) -> Evaluation:
    """Return one evaluation, whose facts stand under keys that begin with a prefix."""
    score = said.get(f"{prefix}score.value", said.get(f"{prefix}score"))
    return Evaluation(
        name=text(said.get(f"{prefix}name")) or "",
        score=float(score) if isinstance(score, bool) else decimal(score),
        label=text(said.get(f"{prefix}score.label", said.get(f"{prefix}label"))) or "",
        explanation=text(said.get(f"{prefix}explanation")) or "",
    )


def _text(content: Any) -> str | None:
    """Return the text of a flattened message: plain, or its parts' one under another."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts) if texts else None


def _put(message: dict[str, Any], leaf: str, value: Any) -> None:
    if leaf in ("role", "finish_reason", "refusal", "tool_call_id", "name"):
        message[leaf] = value
    elif leaf == "content":
        # Traceloop writes what is no text as JSON: nothing becomes '""'
        message[leaf] = value if isinstance(value, list) else "" if value in _NOTHING else text(value)
    elif leaf.startswith("function_call"):
        # OpenAI's first function calls: function_call_name, function_call_arguments_json; Traceloop: function_call.name
        message.setdefault("calls", {}).setdefault("0", {})["name" if leaf.endswith("name") else "arguments"] = value
    elif leaf.startswith("tool_calls."):
        number, _, rest = leaf[len("tool_calls.") :].partition(".")
        # OpenInference: tool_call.function.name; Traceloop: name
        name = rest.removeprefix("tool_call.").removeprefix("function.")
        message.setdefault("calls", {}).setdefault(number, {})[name] = value
    elif leaf.startswith("contents."):
        number, _, rest = leaf[len("contents.") :].partition(".")
        # OpenInference, of Anthropic's blocks: a call stands here and among the calls
        name = rest.removeprefix("message_content.").removeprefix("tool_call.").removeprefix("function.")
        message.setdefault("contents", {}).setdefault(number, {})[name] = value


def _finished(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.pop("calls", {})
    if calls:
        message["tool_calls"] = [calls[number] for number in sorted(calls, key=_number)]
    contents = message.pop("contents", {})
    if contents and "content" not in message:
        parts = (contents[number] for number in sorted(contents, key=_number))
        message["content"] = [part for part in parts if not (calls and part.get("type") == "tool_use")]
    return message


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else _MAX_INDEX
