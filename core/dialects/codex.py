"""Codex CLI: spans of its Rust code, told by their names under scopes that begin with "codex".

Its traces hold timing, the model and a turn's tokens; prompts, answers, tool results and costs go out as log events.
Two traps: `thread.id` is the session on a turn's span but a worker thread's number on others, and
`gen_ai.conversation.id` on the turn's span is the turn's own. Names: codex-rs as seen in public repositories up to
0.147; they are not stable.
"""

import re
from typing import Final

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import count, milliseconds, name
from core.model.span import SpanKind
from core.otlp.slim import Value

KINDS: Final = {
    "codex_session": SpanKind.CHAIN,
    "session_task.turn": SpanKind.AGENT,
    "run_turn": SpanKind.CHAIN,
    "handle_responses": SpanKind.CHAIN,
    "handle_tool_call": SpanKind.CHAIN,
    "exec_command": SpanKind.CHAIN,
    "model_client.stream_responses": SpanKind.LLM,
    "model_client.stream_responses_websocket": SpanKind.LLM,
    "model_client.stream_responses_api": SpanKind.LLM,
    "responses.stream_request": SpanKind.HTTP,
    "responses_websocket.stream_request": SpanKind.HTTP,
    "responses_websocket.connect": SpanKind.HTTP,
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def session(value: Value) -> str | None:
    """Return a session's UUID; None for a thread's number."""
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def read(reading: Reading) -> None:
    """Tell kinds by span names; a tool that is named is a tool."""
    found = reading.found
    reading.kind = KINDS.get(reading.name, reading.kind)
    if reading.name == "handle_tool_call" and found[Field.TOOL_NAME] is not None:
        reading.kind = SpanKind.TOOL
    otel_genai.read(reading)


_TURN: Final = "codex.turn.token_usage."

DIALECT = Dialect(
    name="codex",
    marks=(_TURN + "input_tokens", _TURN + "output_tokens", _TURN + "total_tokens"),
    scopes=("codex",),
    rows=(
        (Field.INPUT_TOKENS, count, (_TURN + "input_tokens",)),
        (Field.OUTPUT_TOKENS, count, (_TURN + "output_tokens",)),
        (Field.CACHED_TOKENS, count, (_TURN + "cached_input_tokens",)),
        (Field.REASONING_TOKENS, count, (_TURN + "reasoning_output_tokens",)),
        (Field.CACHE_WRITE_TOKENS, count, (_TURN + "cache_write_input_tokens",)),
    ),
    own_rows=(
        (Field.MODEL, name, ("model",)),
        (Field.SESSION, session, ("thread.id",)),
        (Field.SESSION, name, ("conversation.id",)),
        (Field.TOOL_NAME, name, ("tool_name",)),
        (Field.FIRST_TOKEN_S, milliseconds, ("ttft_ms",)),
    ),
    read=read,
)
