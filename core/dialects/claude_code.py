"""Claude Code and the Claude Agent SDK: span.type and attributes with plain names.

`claude_code.interaction` is one prompt's turn, below it `llm_request` and `tool`, below a tool the wait for permission
and the execution. Content is `<REDACTED>` unless the user opts in; an answer's text stands nowhere but in the newest
beta. Input tokens are Anthropic's: without those read from, and written to, the cache. Durations include retries. Most
of its telemetry is logs and metrics; traces are a beta, so names may change.

Names: MLflow 3.17's translator, the documentation of "Traces (beta)" and exports seen in public repositories.
"""

import re
from typing import Any, Final

from core.dialects.table import Dialect, Field, Reading
from core.dialects.values import as_json, code, count, finish, milliseconds, name, state_of, text
from core.model.span import Content, ContentState, SpanKind, Usage
from core.otlp.slim import Value, attributes_of

_PREFIX: Final = "claude_code."
KINDS: Final = {
    "interaction": SpanKind.AGENT,
    "llm_request": SpanKind.LLM,
    "tool": SpanKind.TOOL,
    # parts of a tool's span, which is the call
    "tool.blocked_on_user": SpanKind.CHAIN,
    "tool.execution": SpanKind.CHAIN,
    "hook": SpanKind.CHAIN,
    "subagent.spawn": SpanKind.AGENT,
}
_LLM, _TOOL, _UNKNOWN = SpanKind.LLM, SpanKind.TOOL, SpanKind.UNKNOWN
_RESULT: Final = "[TOOL RESULT: "
_HEADED: Final = re.compile(r"\A\[TOOL (?:INPUT|RESULT): [^\]\n]*\]\n")
_EVENT_OUTPUTS: Final = ("output", "content", "diff")


def kind(value: Value) -> SpanKind | None:
    """Return the kind for `span.type`, with and without its prefix; None for what other clients call so."""
    return KINDS.get(value.strip('"').removeprefix(_PREFIX)) if isinstance(value, str) else None


def failed(value: Value) -> bool | None:
    """Return True for `success` = false."""
    return True if value is False or value in ("false", "False") else None


def detail(key: str) -> Any:
    """Return a converter that makes one argument of a tool's call out of an attribute."""

    def convert(value: Value) -> str | None:
        found = text(value)
        known = found if found and state_of(found) is ContentState.PRESENT else None
        return None if known is None else as_json({key: known})

    return convert


def attempt(value: Value) -> int | None:
    """Return how many times this had been tried before: `attempt` is 1 for a call that went through at once."""
    number = count(value)
    return None if number is None else max(0, number - 1)


def given(value: Value) -> str | None:
    """Return text that was recorded; markers of redaction stay, so that the state says so."""
    return text(value) or None


def tool_input(value: Value) -> str | None:
    """Return a tool's arguments; in detailed traces a line stands before them: `[TOOL INPUT: Read]`."""
    found = text(value)
    return _HEADED.sub("", found) if found else None


def read(reading: Reading) -> None:
    """Add cached tokens to the input, and read a tool's result out of its event."""
    found = reading.found
    if reading.kind is _UNKNOWN and reading.name.startswith(_PREFIX):
        reading.kind = KINDS.get(reading.name.removeprefix(_PREFIX), _UNKNOWN)
    if reading.kind is _LLM:
        _usage(reading)
    elif reading.kind is _TOOL:
        result = _result(reading)
        context = found[Field.INPUT]
        if isinstance(context, str) and context.startswith(_RESULT):
            # in detailed traces, what the tool's result adds to the conversation
            result = _HEADED.sub("", context) if result is None else result
            found[Field.INPUT] = None
        if result is not None:
            found[Field.TOOL_RESULT] = result
        given_args = found[Field.TOOL_ARGUMENTS]
        if isinstance(given_args, str) and state_of(given_args) is ContentState.REDACTED:
            found[Field.TOOL_ARGUMENTS] = None
            reading.content_input = Content(state=ContentState.REDACTED)


def _usage(reading: Reading) -> None:
    found = reading.found
    # another dialect's key may have filled the same field with its text
    into, out = (said if isinstance(said := found[field], int) else None for field in (Field.RAW, Field.RAW_RESPONSE))
    if into is None and out is None:
        return
    reads, writes = found[Field.CACHED_TOKENS] or 0, found[Field.CACHE_WRITE_TOKENS] or 0
    found[Field.USAGE] = Usage(
        input_tokens=(into or 0) + reads + writes,
        output_tokens=out or 0,
        cached_tokens=reads,
        cache_write_tokens=writes,
    )


def _result(reading: Reading) -> str | None:
    for event in reading.events:
        if event.name == "tool.output":
            said = attributes_of(event.attributes)
            for key in _EVENT_OUTPUTS:
                if said.get(key):
                    return text(said[key])
    return None


DIALECT = Dialect(
    name="claude_code",
    meant_marks=("span.type",),
    scopes=("com.anthropic.claude_code",),
    rows=((Field.KIND, kind, ("span.type",)),),
    own_rows=(
        (Field.MODEL, name, ("model",)),
        (Field.TOOL_NAME, name, ("tool_name",)),
        (Field.TOOL_CALL_ID, name, ("tool_use_id",)),
        (Field.TOOL_ARGUMENTS, tool_input, ("tool_input",)),
        (Field.TOOL_ARGUMENTS, detail("command"), ("full_command",)),
        (Field.TOOL_ARGUMENTS, detail("file_path"), ("file_path",)),
        (Field.TOOL_ARGUMENTS, detail("skill"), ("skill_name",)),
        (Field.TOOL_ARGUMENTS, detail("subagent_type"), ("subagent_type",)),
        (Field.TOOL_RESULT, given, ("tool_output",)),
        (Field.INPUT, given, ("user_prompt", "new_context")),
        (Field.OUTPUT, given, ("response.model_output",)),
        # without what was read from, and written to, the cache
        (Field.RAW, count, ("input_tokens",)),
        (Field.RAW_RESPONSE, count, ("output_tokens",)),
        (Field.CACHED_TOKENS, count, ("cache_read_tokens",)),
        (Field.CACHE_WRITE_TOKENS, count, ("cache_creation_tokens",)),
        (Field.TOOL_DEFINITIONS, text, ("tools",)),
        (Field.FINISH, finish, ("stop_reason",)),
        (Field.FIRST_TOKEN_S, milliseconds, ("ttft_ms",)),
        (Field.ERROR_MESSAGE, text, ("error",)),
        (Field.ERROR_CODE, code, ("status_code",)),
        (Field.FAILED, failed, ("success",)),
        (Field.ATTEMPT, attempt, ("attempt",)),
    ),
    read=read,
)
