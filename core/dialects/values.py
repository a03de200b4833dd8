"""Converters from attribute values to what a field holds. None means: as if the attribute were not there."""

import ast
import datetime
import json
import re
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

# an escaped pair of surrogates, one alone (which is no character), any other escape
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<alone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_SURROGATES: Final = ("\\ud", "\\uD")
# in JSON an answer's own quotes are escaped: this stands outside of it
STOPPED: Final = re.compile(r'"(?:finish_reason|finishReason|stop_reason)"\s*:\s*"(\w+)"')
# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_NO_NAMES: Final = frozenset({"<not specified>", "None", "null", "Unknown", "unknown"})
# Gemini CLI cuts texts after 10,000 characters and ends them with "...[TRUNCATED: original length 12345]"
_CUT_FROM_CHARS: Final = 10_000
_CUT_MARK: Final = "...[TRUNCATED: original length "
# google.rpc.Code
_GRPC_CODES: Final[Mapping[str, int]] = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
_PROVIDERS: Final = frozenset({"openai", "anthropic"})
# frameworks that write their own name where the provider belongs
_FRAMEWORKS: Final = frozenset(
    {
        "strands-agents",
        "gcp.vertex.agent",
        "microsoft.agent_framework",
        "langchain",
        "langgraph",
        "llamaindex",
        "crewai",
        "pydantic_ai",
        "openai_agents",
        "autogen",
        "spring_ai",
    }
)
# Vercel AI names the provider's interface; the names are those of the convention
_PROVIDER_STARTS: Final = (
    ("openai.", "openai"),
    ("anthropic.", "anthropic"),
    ("google.vertex", "gcp.vertex_ai"),
    ("google.generative", "gcp.gemini"),
    ("amazon-bedrock", "aws.bedrock"),
    ("azure-openai", "azure.ai.openai"),
    ("azure.chat", "azure.ai.openai"),
    ("azure.responses", "azure.ai.openai"),
    ("mistral.", "mistral_ai"),
    ("groq.", "groq"),
    ("xai.", "x_ai"),
    ("cohere.", "cohere"),
    ("deepseek.", "deepseek"),
    ("perplexity.", "perplexity"),
)
# the second character of every marker that `is_scrubbed` knows: rare in texts, and in JSON
_MARKER_SECONDS: Final = frozenset("S_R")

# OTel GenAI, OpenAI, Anthropic, Bedrock, Gemini (names and proto numbers), Cohere, Mistral, TGI, vLLM, Vercel AI
_WORDS: Final[Mapping[FinishReason, tuple[str, ...]]] = {
    FinishReason.STOP: (
        "stop", "stopped", "end_turn", "stop_sequence", "eos", "eos_token", "end_of_sequence", "complete", "completed",
        "finish", "finished", "success", "done", "pause_turn", "1",
    ),
    FinishReason.LENGTH: (
        "length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit", "incomplete",
        "model_context_window_exceeded", "error_limit", "2",
    ),
    FinishReason.CONTENT_FILTER: (
        "content_filter", "content_filtered", "guardrail_intervened", "guardrails", "safety", "image_safety", "refusal",
        "recitation", "blocklist", "prohibited_content", "spii", "language", "error_toxic", "moderation", "3", "4",
    ),
    FinishReason.TOOL_CALLS: (
        "tool_call", "tool_calls", "tool_use", "function_call", "function_calls", "tool_execution",
    ),
    FinishReason.ERROR: (
        "error", "failed", "malformed_model_output", "unexpected_tool_call", "insufficient_system_resource", "abort",
        "aborted", "cancelled", "canceled", "user_cancel", "time_limit",
    ),
    # said, and no reason: Vercel AI of a stream that broke, while its messages say "stop"
    FinishReason.UNKNOWN: ("other", "unknown", "finish_reason_unspecified"),
    FinishReason.STEP_LIMIT: ("max_steps", "max_turns", "max_iterations", "error_max_turns", "step_limit"),
    FinishReason.MALFORMED_CALL: ("malformed_function_call", "malformed_tool_use"),
}  # fmt: skip
_FINISH: Final[Mapping[str, FinishReason]] = {word: reason for reason, words in _WORDS.items() for word in words}


def text(value: Value) -> str | None:
    """Return text as it is, numbers and booleans as text, structures as JSON; None for nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return None
    if isinstance(value, list | dict):
        return as_json(value)
    return str(value)


def as_json(value: Any) -> str:
    """Return the JSON of what an attribute or its JSON held; nothing for what is nested too deeply to be written."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def name(value: Value) -> str | None:
    """Return a name; None for empty and scrubbed ones, and for what clients write where they know none."""
    found = value if isinstance(value, str) else text(value)
    if not found or found in _NO_NAMES or (found[1:2] in _MARKER_SECONDS and is_scrubbed(found)):
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
    except (ValueError, OverflowError):
        return None
    # NaN is not equal to itself; no count, cost or time reaches 1e18
    return number if number == number and abs(number) < 1e18 else None


def amount(value: Value) -> float | None:
    """Return a finite number that is not negative: what something cost."""
    number = decimal(value)
    return None if number is None or number < 0 else number


def code(value: Value) -> int | None:
    """Return an HTTP or gRPC code that tells of a failure: none for 0 and for codes below 400 that HTTP calls fine.

    gRPC's may be sent by name (`rpc.response.status_code` since semantic-conventions 1.39).
    """
    number = _GRPC_CODES.get(value) if isinstance(value, str) and value.isupper() else count(value)
    return None if number is None or number == 0 or 100 <= number < 400 else number


def seconds_or_ms(value: Value) -> float | None:
    """Return seconds; whole numbers are milliseconds (Strands), fractions seconds (the convention)."""
    number = decimal(value)
    if number is None or number < 0:
        return None
    return number / 1000 if isinstance(value, int) else number


def seconds(value: Value) -> float | None:
    """Return a time that is not negative."""
    return amount(value)


def milliseconds(value: Value) -> float | None:
    """Return a time sent in milliseconds, in seconds."""
    number = seconds(value)
    return None if number is None else number / 1000


def provider(value: Value) -> str | None:
    """Return who answers for a model; None for frameworks that name themselves. `openai.chat` (Vercel AI) is openai."""
    found = name(value)
    if found is None or found in _PROVIDERS:
        return found
    lower = found.lower()
    if lower in _FRAMEWORKS:
        return None
    if lower in _PROVIDERS:
        return lower
    for start, known in _PROVIDER_STARTS:
        if lower.startswith(start):
            return known
    return found


def finish(value: Value, depth: int = 0) -> FinishReason | None:
    """Return the finish reason said by a word, a list of words, or either in JSON; None where no word is known.

    Of several choices the first that says something counts.
    """
    if isinstance(value, str) and (known := _FINISH.get(value)) is not None:
        return known
    for _ in range(MAX_JSON_DEPTH):
        if isinstance(value, list):
            if depth >= MAX_JSON_DEPTH:
                return None
            said = [finish(item, depth + 1) for item in value]
            return next((known for known in said if known), next((none for none in said if none is not None), None))
        if isinstance(value, dict):
            # Vercel AI 7: {unified, raw}
            value = next((value[key] for key in ("unified", "type", "reason", "raw") if value.get(key)), None)
        elif isinstance(value, str) and value[:1] in ("[", '"', "{"):
            value = loads(value)
        else:
            break
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    word = value.lower().replace("-", "_").replace(" ", "_").rpartition(".")[2]
    return _FINISH.get(word, _FINISH.get(word.removeprefix("finish_reason_")))


def boolean(value: Value) -> bool | None:
    """Return a truth value, sent as such or as text."""
    if isinstance(value, bool):
        return value
    word = value.strip('"').lower() if isinstance(value, str) else ""
    return True if word == "true" else False if word == "false" else None


def output_type(value: Value) -> str | None:
    """Return what was asked for, in lower case: text, json, json_schema, image, speech, …"""
    found = name(value)
    if found is None:
        return None
    word = found.strip('"').lower()
    # a structure is no word: `core.dialects.parameters` reads those
    return None if word[:1] in ("{", "[") else "json" if word == "json_object" else word


def loads(raw: str) -> Any:
    """Return what JSON says; None where it is not JSON. Half of a surrogate pair (a cut emoji) becomes U+FFFD."""
    try:
        return _DECODE(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    if not any(escape in raw for escape in _SURROGATES):
        return None
    mended = _ESCAPE.sub(lambda found: "\\ufffd" if found["alone"] else found[0], raw)
    try:
        return _DECODE(mended)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def python_repr(raw: str) -> Any:
    """Return what a Python repr stands for, as JSON could say it; None where it is none, or too long to be read."""
    if len(raw) > MAX_REPR_CHARS:
        return None
    try:
        return _as_json_says(ast.literal_eval(raw))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _as_json_says(value: Any) -> Any:
    """Return a literal of Python with JSON's types alone, and without halves of surrogate pairs."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {str(_as_json_says(key)): _as_json_says(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json_says(item) for item in value]
    if isinstance(value, set):
        # in an order that does not change from process to process
        return [_as_json_says(item) for item in sorted(value, key=repr)]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def structure(value: Value) -> Any:
    """Return the list or mapping in a value: sent as such, as JSON up to three deep, or as a short Python repr."""
    for _ in range(MAX_JSON_DEPTH):
        if not isinstance(value, str):
            break
        stripped = value.lstrip()
        if stripped[:1] not in ("{", "[", '"'):
            return None
        inner = loads(value)
        value = python_repr(stripped) if inner is None else inner
    return value if isinstance(value, list | dict) else None


def tool_result(value: Any) -> Any:
    """Return a tool's result, out of LangChain's envelope (which holds the id of the call) where it has one.

    What is no text (an answer that another dialect has read) stays as it is. A message that is marked as an error stays
    one: `{"status": "error", "content": …}`.
    """
    if not isinstance(value, str) or value[:1] != "{" or '"content"' not in value:
        return value
    found = structure(value)
    if not isinstance(found, dict):
        return value
    output = found.get("output")
    if isinstance(output, dict):
        # LangChain's callbacks: {"output": message, "kwargs": …}
        found = output
    for key in ("kwargs", "data"):
        inner = found.get(key)
        if isinstance(inner, dict) and "content" in inner:
            found = inner
            break
    content = found.get("content")
    if content is None or not ("tool_call_id" in found or found.get("type") in ("tool", "ToolMessage")):
        return value
    said = text(content)
    return as_json({"status": "error", "content": said}) if found.get("status") == "error" else said


def state_of(found: str | None) -> ContentState:
    """Return whether text is there, absent, or stood in for by a redaction marker."""
    if found is None:
        return ContentState.ABSENT
    if found[1:2] in _MARKER_SECONDS and is_scrubbed(found):
        return ContentState.REDACTED
    # the mark may stand within JSON; nothing shorter is cut
    if len(found) >= _CUT_FROM_CHARS and _CUT_MARK in found:
        return ContentState.TRUNCATED
    return _PRESENT


def unquoted(value: Value) -> str | None:
    """Return text, out of its JSON quotes where it has them."""
    if isinstance(value, str) and value[:1] == '"':
        inner = loads(value)
        return inner if isinstance(inner, str) else value
    return text(value)


def unquoted_name(value: Value) -> str | None:
    """Return a name, out of its JSON quotes where it has them."""
    return name(unquoted(value))


def unquoted_provider(value: Value) -> str | None:
    """Return who answers for a model, out of JSON quotes; None for frameworks that name themselves."""
    return provider(unquoted(value))


def instant(value: Value) -> float | None:
    """Return a moment, sent as ISO 8601 (in JSON quotes or bare), in seconds since the epoch."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(value.strip('"'))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


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
