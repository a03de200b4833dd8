"""The parameters of a model call where one attribute holds them all: OpenInference, LangChain, whole requests."""

from typing import Any, Final

import msgspec

from core.dialects.values import boolean, count, decimal, name, output_type, structure, text
from core.otlp.slim import Value

_UNSET: Final = msgspec.Raw(b"null")
_GEMINI: Final = ("response_schema", "response_json_schema", "response_mime_type")


class Parameters(msgspec.Struct, frozen=True, gc=False):
    """What was asked of a model, as far as it was said."""

    model: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    is_stream: bool | None = None
    response_format: str = ""
    """Raw: a word, OpenAI's `response_format`, or a JSON Schema."""
    tools: str = ""
    """Raw definitions."""


class _Call(msgspec.Struct, gc=False):
    """The usual types of what is read: all else is skipped without being built."""

    model: str | None = None
    model_name: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    stream: bool | None = None
    response_format: msgspec.Raw = _UNSET
    tools: msgspec.Raw = _UNSET
    text: msgspec.Raw = _UNSET
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = _UNSET
    response_json_schema: msgspec.Raw = _UNSET


_DECODE: Final = msgspec.json.Decoder(_Call).decode


def parameters(value: Value) -> Parameters | None:
    """Return the parameters in a request, JSON or structured; None where it is none."""
    if isinstance(value, str):
        try:
            call = _DECODE(value)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass
        else:
            limit = next(
                (n for n in (call.max_completion_tokens, call.max_tokens, call.max_output_tokens) if n is not None),
                None,
            )
            return Parameters(
                call.model or call.model_name or "",
                limit if limit is None or limit >= 0 else None,
                call.temperature,
                call.stream,
                _raw(call.response_format)
                or _raw_format(call.text)
                # Gemini
                or _raw(call.response_schema)
                or _raw(call.response_json_schema)
                or call.response_mime_type
                or "",
                _raw(call.tools),
            )
    found = structure(value)
    return _loosely(found) if isinstance(found, dict) else None


def asked_format(response_format: str) -> tuple[str, str]:
    """Return (output type, raw JSON Schema) of what a response was asked to be; empty where it does not say."""
    found = structure(response_format)
    if not isinstance(found, dict):
        return output_type(response_format) or "", ""
    kind = found.get("type")
    # OpenAI's SDK dumps it under the name of its own field
    schema = found.get("schema", found.get("schema_"))
    wrapped = found.get("json_schema")
    if isinstance(wrapped, dict):
        schema = wrapped.get("schema", wrapped)
    if isinstance(schema, dict):
        return "json_schema", text(schema) or ""
    if kind in ("json_schema", "json_object", "json", "text"):
        return output_type(kind) or "", ""
    # a schema by itself
    is_schema = any(key in found for key in ("properties", "items", "$ref", "$defs", "anyOf")) or "type" in found
    return ("json_schema", response_format) if is_schema else ("", "")


def _raw(part: msgspec.Raw) -> str:
    said = bytes(part)
    return "" if said == b"null" else said.decode("utf-8", "replace")


def _raw_format(part: msgspec.Raw) -> str:
    """Return the format within `text`, where OpenAI's Responses API keeps what Chat Completions calls its format."""
    found = structure(_raw(part))
    return text(found.get("format")) or "" if isinstance(found, dict) else ""


def _loosely(found: dict[str, Any]) -> Parameters:
    limits = (count(found.get(key)) for key in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    said = found.get("text")
    asked = found.get("response_format") or (said.get("format") if isinstance(said, dict) else None)
    asked = asked or next((found[key] for key in _GEMINI if found.get(key)), None)
    return Parameters(
        name(found.get("model")) or name(found.get("model_name")) or "",
        next((limit for limit in limits if limit is not None), None),
        decimal(found.get("temperature")),
        boolean(found.get("stream")),
        text(asked) or "",
        text(found.get("tools")) or "",
    )
