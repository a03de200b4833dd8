"""Converters from attribute values to what a field holds. None means: as if the attribute were not there."""

import ast
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from core.model.span import ContentState, FinishReason, SpanKind
from core.otlp.slim import Value
from core.otlp.stamp import is_scrubbed

_DECODE: Final = msgspec.json.Decoder().decode
# JSON inside strings inside JSON has been seen up to three deep
MAX_JSON_DEPTH: Final = 3
# a Python repr longer than this is not worth parsing: ast costs about 1 µs a character
MAX_REPR_CHARS: Final = 20_000

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_NO_NAMES: Final = frozenset({"<not specified>", "None", "null", "Unknown", "unknown"})
# the first two characters of every marker that `is_scrubbed` knows
_MARKER_STARTS: Final = frozenset({"[S", "__", "<R", "[R"})

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "complete": FinishReason.STOP,
    "completed": FinishReason.STOP,
    "finish": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "max_output_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "incomplete": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
    "recitation": FinishReason.CONTENT_FILTER,
    "blocklist": FinishReason.CONTENT_FILTER,
    "prohibited_content": FinishReason.CONTENT_FILTER,
    "spii": FinishReason.CONTENT_FILTER,
    "tool_call": FinishReason.TOOL_CALLS,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "error": FinishReason.ERROR,
    "malformed_function_call": FinishReason.ERROR,
}


def text(value: Value) -> str | None:
    """Return text as it is, numbers and booleans as text, structures as JSON; None for nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return None
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def name(value: Value) -> str | None:
    """Return a name; None for empty and scrubbed ones, and for what clients write where they know none."""
    found = value if isinstance(value, str) else text(value)
    if not found or found in _NO_NAMES or (found[:2] in _MARKER_STARTS and is_scrubbed(found)):
        return None
    return found


def count(value: Value) -> int | None:
    """Return a count, sent as a number or as text; None where it is neither or negative."""
    number = decimal(value)
    return None if number is None or number < 0 else int(number)


def decimal(value: Value) -> float | None:
    """Return a finite number, sent as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    # NaN is not equal to itself; no count, cost or time reaches 1e18
    return number if number == number and abs(number) < 1e18 else None


def code(value: Value) -> int | None:
    """Return an HTTP or gRPC code that tells of a failure: none for 0 and for codes below 400 that HTTP calls fine."""
    number = count(value)
    return None if number is None or number == 0 or 100 <= number < 400 else number


def seconds_or_ms(value: Value) -> float | None:
    """Return seconds; whole numbers are milliseconds (Strands), fractions seconds (the convention)."""
    number = decimal(value)
    if number is None or number < 0:
        return None
    return number / 1000 if isinstance(value, int) else number


def seconds(value: Value) -> float | None:
    """Return a time that is not negative."""
    number = decimal(value)
    return None if number is None or number < 0 else number


def finish(value: Value) -> FinishReason | None:
    """Return the finish reason said by a word, a list of words, or either of them in JSON; None where it is unknown."""
    if isinstance(value, str) and value in _FINISH:
        return _FINISH[value]
    for _ in range(MAX_JSON_DEPTH):
        if isinstance(value, list):
            value = value[0] if value else None
        elif isinstance(value, str) and value[:1] in ("[", '"'):
            value = loads(value)
        else:
            break
    if not isinstance(value, str):
        return None
    return _FINISH.get(value.lower().replace("-", "_").rpartition(".")[2])


def loads(raw: str) -> Any:
    """Return what JSON says; None where it is not JSON."""
    try:
        return _DECODE(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def structure(value: Value) -> Any:
    """Return the list or mapping in a value: sent as such, as JSON up to three deep, or as a short Python repr."""
    for _ in range(MAX_JSON_DEPTH):
        if not isinstance(value, str):
            break
        stripped = value.lstrip()
        if stripped[:1] not in ("{", "[", '"'):
            return None
        inner = loads(value)
        if inner is None and len(value) <= MAX_REPR_CHARS:
            try:
                inner = ast.literal_eval(stripped)
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                return None
        value = inner
    return value if isinstance(value, list | dict) else None


def state_of(found: str | None) -> ContentState:
    """Return whether text is there, absent, or stood in for by a redaction marker."""
    if found is None:
        return ContentState.ABSENT
    if found[:2] in _MARKER_STARTS and is_scrubbed(found):
        return ContentState.REDACTED
    # Gemini CLI: "...[TRUNCATED: original length 12345]"
    if found[-1:] == "]" and found[-2:-1].isdigit() and "[TRUNCATED: original length" in found[-60:]:
        return ContentState.TRUNCATED
    return _PRESENT


def kinds(words: Mapping[str, SpanKind]) -> Any:
    """Return a converter from a dialect's words (in any case, JSON quotes allowed) to span kinds."""

    def convert(value: Value) -> SpanKind | None:
        return words.get(value.strip('"').lower()) if isinstance(value, str) else None

    return convert


def always(kind: SpanKind) -> Any:
    """Return a converter for keys whose presence says the kind."""

    def convert(value: Value) -> SpanKind | None:
        return None if value is None or value == "" else kind

    return convert
