"""Codex CLI: spans of its Rust code, told by their names under scopes that begin with "codex".

Its traces hold timing, the model and a turn's tokens; prompts, answers, tool results and costs go out as log events.
Failures stand in span events that name themselves in `event.name` (`codex.api_request`, `codex.tool_result`), no status
says them. A response's tokens stand on one of its many `handle_responses`, without a model; the turn has them all, and
its model. Two traps: `thread.id` is the session on a turn's span but a worker thread's number on others, and
`gen_ai.conversation.id` on the turn's span is the turn's own. Names: codex-rs as seen in public repositories up to
0.147, and exports of 0.169; they are not stable.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from core.dialects import otel_genai
from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import code, count, milliseconds, name, text
from core.model.span import SpanKind
from core.otlp.slim import Value, attributes_of

KINDS: Final = {
    "codex_session": SpanKind.CHAIN,
    "session_task.turn": SpanKind.AGENT,
    "run_turn": SpanKind.CHAIN,
    "handle_responses": SpanKind.CHAIN,
    "handle_tool_call": SpanKind.CHAIN,
    "dispatch_tool_call_with_state": SpanKind.CHAIN,
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
    """Tell kinds by span names; a tool that is named, and its call, is a tool. Take failures out of events."""
    found = reading.found
    reading.kind = KINDS.get(reading.name, reading.kind)
    if found[Field.TOOL_NAME] is not None and (
        reading.name == "handle_tool_call" or found[Field.TOOL_CALL_ID] is not None
    ):
        reading.kind = SpanKind.TOOL
    if reading.name == "handle_responses":
        found[Field.INPUT_TOKENS] = found[Field.OUTPUT_TOKENS] = None
    for event in reading.events:
        _take(found, attributes_of(event.attributes))
    if found[Field.ERROR_CODE] is not None and found[Field.FAILED]:
        # the request is where the model's call says that it failed
        reading.kind = SpanKind.LLM
    otel_genai.read(reading)


def _take(found: list[Any], said: Mapping[str, Value]) -> None:
    """Take what an event says of a request or a tool; the last one counts, for failures before it were survived."""
    event = said.get("event.name")
    if event == "codex.api_request":
        failure = code(said.get("http.response.status_code"))
        found[Field.ERROR_CODE] = failure
        found[Field.ERROR_MESSAGE] = text(said.get("error.message"))
        found[Field.FAILED] = failure is not None or bool(said.get("error.message")) or None
        found[Field.ATTEMPT] = count(said.get("attempt"))
        found[Field.MODEL] = found[Field.MODEL] or name(said.get("model"))
    elif event == "codex.tool_result":
        found[Field.FAILED] = True if str(said.get("success")).lower() == "false" else None


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
        (Field.TOOL_CALL_ID, name, ("call_id",)),
        (Field.FIRST_TOKEN_S, milliseconds, ("ttft_ms",)),
    ),
    read=read,
)
