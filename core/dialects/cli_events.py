"""Log events of coding agents (Claude Code, Codex CLI, Gemini CLI): errors, prompts, answers and usage.

Where such an event was written within a span, its facts are added to that span in the words of OTel GenAI. Names:
the monitoring pages of the three tools. Several events may belong to one span: usage and cost are summed.
"""

from collections.abc import Mapping, Set
from typing import Final

from core.dialects.values import count, decimal, text
from core.otlp.slim import ParseError, SlimScope, SlimScopeSpans, Value, text_of
from core.otlp.stamp import event, text_pair

_CLAUDE_SCOPE: Final = "com.anthropic.claude_code"
_CLAUDE: Final = "claude_code."

_PROMPTS: Final = frozenset({"claude_code.user_prompt", "codex.user_prompt", "gemini_cli.user_prompt"})
_RESPONSES: Final = frozenset({"claude_code.assistant_response"})
_ANSWERS: Final = frozenset({"claude_code.api_request", "codex.sse_event", "gemini_cli.api_response"})
_ERRORS: Final = frozenset({"claude_code.api_error", "codex.api_request", "gemini_cli.api_error"})
_TOOLS: Final = frozenset({"claude_code.tool_result", "codex.tool_result", "gemini_cli.tool_call"})
NAMES: Final = _PROMPTS | _RESPONSES | _ANSWERS | _ERRORS | _TOOLS
"""The events that say something of their span."""

# attribute of an event -> what it counts; Claude's input does not include what was read from or written to the cache
_TOKENS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "input_tokens": (b"gen_ai.usage.input_tokens",),
    "cache_read_tokens": (b"gen_ai.usage.input_tokens", b"gen_ai.usage.cache_read.input_tokens"),
    "cache_creation_tokens": (b"gen_ai.usage.input_tokens", b"gen_ai.usage.cache_creation.input_tokens"),
    "output_tokens": (b"gen_ai.usage.output_tokens",),
    "input_token_count": (b"gen_ai.usage.input_tokens",),
    "output_token_count": (b"gen_ai.usage.output_tokens",),
    "cached_token_count": (b"gen_ai.usage.cache_read.input_tokens",),
    "cached_content_token_count": (b"gen_ai.usage.cache_read.input_tokens",),
    "reasoning_token_count": (b"gen_ai.usage.reasoning.output_tokens",),
    "thoughts_token_count": (b"gen_ai.usage.reasoning.output_tokens",),
}
# a span that says any of these has counted by itself
_OWN_USAGE: Final = frozenset(
    {b"input_tokens", b"output_tokens", b"gen_ai.usage.input_tokens", b"gen_ai.usage.output_tokens"}
)
_OWN_INPUT: Final = frozenset({b"gen_ai.input.messages", b"input.value", b"user_prompt", b"new_context"})
_OWN_OUTPUT: Final = frozenset({b"gen_ai.output.messages", b"output.value", b"response.model_output"})
_COST: Final = b"gen_ai.usage.cost"
_FAILED_FROM: Final = 400


def full_name(name: str, body: str, scope: bytes) -> str:
    """Return an event's name with its tool's prefix.

    Claude Code sends the whole name in the body, and in `event.name` only its end.
    """
    if body in NAMES:
        return body
    claude = _CLAUDE + name
    return claude if claude in NAMES and _scope_name(scope).startswith(_CLAUDE_SCOPE) else name


def _scope_name(scope: bytes) -> str:
    try:
        return text_of(SlimScope.FromString(SlimScopeSpans.FromString(scope).scope).name)
    except ParseError:
        return ""


class Gathered:
    """What the events of one span say, taken in order of time."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._cost_usd = 0.0
        self._prompt = self._response = ""
        self._error: bytes = b""
        """Of the last request, where that failed: an error before it was survived."""
        self._tool_error: bytes = b""

    def take(self, name: str, found: Mapping[str, Value], time_ns: int) -> None:
        """Take one event."""
        if name in _PROMPTS:
            self._prompt = text(found.get("prompt")) or self._prompt
        elif name in _RESPONSES:
            # of several in a turn the last one is its answer
            self._response = text(found.get("response")) or self._response
        elif name in _TOOLS:
            has_failed = str(found.get("success", "")).lower() == "false"
            self._tool_error = _failure(found, time_ns) if has_failed else b""
        elif name in _ERRORS:
            has_failed = name != "codex.api_request" or _has_failed(found)
            self._error = _failure(found, time_ns) if has_failed else b""
        elif name in _ANSWERS:
            self._error = b""
            for key, counted in _TOKENS.items():
                for to in counted if (number := count(found.get(key))) is not None else ():
                    self._counts[to] = self._counts.get(to, 0) + (number or 0)
            self._cost_usd += decimal(found.get("cost_usd")) or 0.0

    def pairs(self, keys: Set[bytes]) -> dict[bytes, bytes]:
        """Return the attributes that a span of these keys lacks."""
        pairs: dict[bytes, bytes] = {}
        if not _OWN_USAGE & keys:
            pairs |= {key: text_pair(key, str(number)) for key, number in self._counts.items()}
        if self._cost_usd and b"cost_usd" not in keys:
            pairs[_COST] = text_pair(_COST, repr(self._cost_usd))
        if self._prompt and not _OWN_INPUT & keys:
            key = b"gen_ai.input.messages"
            pairs[key] = text_pair(key, self._prompt)
        if self._response and not _OWN_OUTPUT & keys:
            key = b"gen_ai.output.messages"
            pairs[key] = text_pair(key, self._response)
        return pairs

    def events(self, span_name: str) -> list[bytes]:
        """Return the span events; a tool's failure is that of its own span, not of the one that asked for it."""
        found = [self._error] if self._error else []
        if self._tool_error and "tool" in span_name.lower():
            found.append(self._tool_error)
        return found


def _has_failed(found: Mapping[str, Value]) -> bool:
    code = count(found.get("http.response.status_code"))
    return bool(found.get("error.message")) or (code is not None and code >= _FAILED_FROM)


def _failure(found: Mapping[str, Value], time_ns: int) -> bytes:
    """Return an exception event."""

    def first(*keys: str) -> str:
        return next((said for key in keys if (said := text(found.get(key)))), "")

    code = first("status_code", "http.response.status_code", "http.status_code")
    message = first("error", "error.message", "error_message", "output")
    if code and code not in message:
        message = f"{message} (status code: {code})".strip()
    pairs = [text_pair(b"exception.message", message)]
    if kind := first("error_type", "error.type"):
        pairs.append(text_pair(b"exception.type", kind))
    return event(b"exception", time_ns, pairs)
