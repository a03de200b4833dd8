"""Reads one span's wire bytes into `Span`, by the compiled table of all dialects. Only keys in the table are read."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from core.dialects import common, fallback
from core.dialects.answers import Answer
from core.dialects.compiled import BY_NAME, FLAT, Plan, new_plan, plans
from core.dialects.details import details_of
from core.dialects.errors import classify, code_in, is_control_flow, split_type, unwrap
from core.dialects.pairs import MEMO_MAX_BYTES, SKIP, memo, read_new, read_pair
from core.dialects.parameters import Parameters
from core.dialects.registry import DIALECTS
from core.dialects.table import COMMON_FIELDS, FIELDS, Event, Field, Reading
from core.dialects.values import state_of, text
from core.errors import SpanDecodeError
from core.model.span import (
    Content,
    ContentState,
    FinishReason,
    Span,
    SpanError,
    SpanKind,
    ToolCall,
    Usage,
)
from core.otlp.slim import (
    NO_EVENT,
    ParseError,
    SlimEvent,
    SlimEvents,
    SlimResource,
    SlimResourceSpans,
    SlimScope,
    SlimScopeSpans,
    SlimSpan,
    SlimStatus,
    Value,
    attributes_of,
    text_of,
)
from core.otlp.stamp import MAX_SESSION_CHARS
from core.otlp.wire import SpanSlice

_parse: Final = SlimSpan.FromString

_CONTEXT_MAX_ENTRIES: Final = 2_000
# resources and scopes as clients send them have a few kB; larger ones are read each time
_CONTEXT_MAX_BYTES: Final = 16_384
_STATUS_OK, _STATUS_ERROR = 1, 2
# Status{code: STATUS_CODE_OK}
_PLAIN_OK: Final = b"\x18\x01"
# of spans; of log records since semantic-conventions 1.41
_EXCEPTIONS: Final = ("exception", "gen_ai.client.operation.exception")
# members of an enum cost 100 ns to look up in Python 3.11: the ones of the hot path are looked up once
_TOOL, _UNKNOWN_KIND = SpanKind.TOOL, SpanKind.UNKNOWN
_LLM = SpanKind.LLM
_PRESENT, _MISSING = ContentState.PRESENT, ContentState.ABSENT
_NO_REASON: Final = FinishReason.UNKNOWN
_KIND: Final = int(Field.KIND)
_NOTHING: Final[list[Any]] = [None] * FIELDS
_PARAMETERS, _FAILED = int(Field.PARAMETERS), int(Field.FAILED)

# scopes that send content as log records, as far as they send any (OpenTelemetry's contrib instrumentations)
_SENDS_LOGS: Final = frozenset(
    {
        "opentelemetry.instrumentation.openai_v2",
        "@opentelemetry/instrumentation-openai",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
    }
)


class _Resource(msgspec.Struct, frozen=True):
    service: str = ""
    release: str = ""
    environment: str = ""
    experiment: str = ""


_resources: dict[bytes, _Resource] = {}
_scopes: dict[bytes, tuple[str, int]] = {}


def decode(piece: SpanSlice) -> Span:
    """Return the span in the one model. Raises SpanDecodeError where its bytes are not a span.

    Attributes that are damaged, or that no dialect knows, are left out; text that is not UTF-8 is replaced.
    """
    try:
        slim = _parse(piece.span)
    except ParseError as exc:
        raise SpanDecodeError(str(exc)) from exc
    scope, said_by_scope = _scopes.get(piece.scope) or _read_scope(piece.scope)
    # a slice: iterating over a repeated field costs more
    pairs = slim.attributes[:]
    numbers = [said_by_scope]
    values: list[Any] = [None]
    remembered, skip = memo.get, SKIP
    for pair in pairs:
        # hashing a long text costs more than reading its key
        hit = (remembered(pair) or read_new(pair)) if len(pair) < MEMO_MAX_BYTES else read_pair(pair)
        if hit is not skip:
            number, value = hit
            numbers.append(number)
            values.append(value)
    key = tuple(numbers)
    plan = plans.get(key) or new_plan(key)
    found = _NOTHING.copy()
    for field, at in plan.winners:
        found[field] = values[at]
    kind = found[_KIND]
    has_events = slim.last_event != NO_EVENT
    name = text_of(slim.name)
    if plan.is_plain and kind is not None and not has_events:
        return _span(piece, slim, name, kind, plan, found, None, scope)
    reading = Reading(
        found,
        [pair for number, pair in zip(numbers, values, strict=True) if number == FLAT] if plan.is_flat else None,
        _events(piece.span) if has_events else (),
        name,
        slim.start_time_unix_nano,
        slim.dropped_attributes_count,
        kind or _UNKNOWN_KIND,
    )
    if plan.dialect.read is not None:
        plan.dialect.read(reading)
    if reading.events:
        common.read_events(reading)
    if reading.kind is _UNKNOWN_KIND:
        fallback.read(reading)
    return _span(piece, slim, reading.name, reading.kind, plan, reading.found, reading, scope)


def _span(
    piece: SpanSlice,
    slim: Any,
    name: str,
    kind: SpanKind,
    plan: Plan,
    found: Sequence[Any],
    reading: Reading | None,
    scope: str,
) -> Span:
    """Put together what the keys said and what the dialect's reader, where it was needed, made of it."""
    (
        _, agent, model, provider, tool_name, call_id, arguments, result, given, output, tokens_in, tokens_out,
        cached, reasoning, usage, cost, stopped, first_token_s, session, user, metadata, error_type, error_message,
        code, data_source, cache_write,
    ) = found[:COMMON_FIELDS]  # fmt: skip
    details, is_failed = plan.details, False
    if details is None or (reading is not None and found[COMMON_FIELDS:] != _NOTHING[COMMON_FIELDS:]):
        asked: Parameters | None = found[_PARAMETERS]
        if asked is not None:
            model = asked.model or model
        details = details_of(found)
        is_failed = found[_FAILED] is True
    dropped = slim.dropped_attributes_count
    content_in: Content | None = None
    content_out: Content | None = None
    events: tuple[Event, ...] = ()
    finish = _NO_REASON
    if reading is not None:
        content_in, content_out, finish, events = reading.content_input, reading.output, reading.finish, reading.events
        if first_token_s is None:
            first_token_s = reading.first_token_s
    elif isinstance(output, Answer):
        content_out, finish = output.content, output.finish
    tool = None
    if kind is _TOOL:
        if arguments is None and isinstance(given, str) and state_of(given) is _PRESENT:
            arguments = given
        tool = ToolCall(tool_name or "", call_id or "", arguments or "")
        given = given if given is not None else arguments
        output = result if result is not None else output
    if content_out is None:
        content_out = output.content if isinstance(output, Answer) else _content(output, dropped)
    elif dropped and content_out.state is _MISSING:
        content_out = _TRUNCATED
    if content_in is None:
        content_in = _content(given, dropped)
    elif dropped and (content_in.flat or content_in.state is _MISSING):
        content_in = Content(_TRUNCATED_STATE, content_in.text, flat=content_in.flat)
    if (content_in is _ABSENT or content_out is _ABSENT) and kind is _LLM and scope in _SENDS_LOGS:
        content_in = _IN_LOGS if content_in is _ABSENT else content_in
        content_out = _IN_LOGS if content_out is _ABSENT else content_out
    if usage is None and (tokens_in is not None or tokens_out is not None):
        usage = Usage(tokens_in or 0, tokens_out or 0, cached or 0, reasoning or 0, cache_write or 0)
    if metadata is not None:
        session = session or metadata["session"]
        user = user or metadata["user"]
    status = slim.status
    is_fine = not events and not is_failed and (not status or status == _PLAIN_OK)
    resource = _resources.get(piece.resource) or _read_resource(piece.resource)
    # by position: 27 keywords cost 1.2 µs more
    return Span(
        piece.trace_id.hex(),
        piece.span_id.hex(),
        piece.parent_span_id.hex(),
        name,
        kind,
        plan.dialect_name,
        scope,
        slim.start_time_unix_nano,
        slim.end_time_unix_nano,
        None if is_fine else _error(status, events, error_type, error_message, code, is_failed=is_failed),
        resource.service,
        resource.release,
        resource.environment,
        resource.experiment,
        agent or "",
        model or "",
        provider or "",
        tool,
        content_in,
        content_out,
        finish if stopped is None else stopped,
        usage,
        cost,
        first_token_s,
        session or "",
        user or "",
        dropped,
        plan.odd_session or (session is not None and len(session) > MAX_SESSION_CHARS),
        data_source or "",
        details,
    )


_ABSENT: Final = Content()
_IN_LOGS: Final = Content(state=ContentState.IN_LOGS)
_REDACTED: Final = Content(state=ContentState.REDACTED)
_TRUNCATED: Final = Content(state=ContentState.TRUNCATED)
_TRUNCATED_STATE: Final = ContentState.TRUNCATED


def _content(said: str | None, dropped: int) -> Content:
    if said is None:
        return _TRUNCATED if dropped else _ABSENT
    state = state_of(said)
    if state is _PRESENT:
        return Content(state, said)
    if state is ContentState.REDACTED:
        return _REDACTED
    return Content(state, said)


def _read_resource(raw: bytes) -> _Resource:
    try:
        found = attributes_of(SlimResource.FromString(SlimResourceSpans.FromString(raw).resource).attributes)
    except ParseError:
        found = {}
    resource = _Resource(
        service=_text(found, "service.name"),
        release=_text(found, "service.version"),
        environment=_text(found, "deployment.environment.name") or _text(found, "deployment.environment"),
        experiment=_text(found, "mlflow.experiment.id"),
    )
    if len(raw) <= _CONTEXT_MAX_BYTES:
        if len(_resources) >= _CONTEXT_MAX_ENTRIES:
            _resources.clear()
        _resources[raw] = resource
    return resource


def _text(found: dict[str, Value], key: str) -> str:
    return text(found.get(key)) or ""


def _read_scope(raw: bytes) -> tuple[str, int]:
    """Return the scope's name and the number of the dialect that writes under it (0 where none does)."""
    try:
        scope = text_of(SlimScope.FromString(SlimScopeSpans.FromString(raw).scope).name)
    except ParseError:
        scope = ""
    number = next((BY_NAME[d.name] for d in DIALECTS if d.scopes and scope.startswith(d.scopes)), 0)
    if len(raw) <= _CONTEXT_MAX_BYTES:
        if len(_scopes) >= _CONTEXT_MAX_ENTRIES:
            _scopes.clear()
        _scopes[raw] = (scope, number)
    return scope, number


def _events(span: bytes) -> tuple[Event, ...]:
    events: list[Event] = []
    for item in SlimEvents.FromString(span).events:
        try:
            slim = SlimEvent.FromString(item)
        except ParseError:
            continue
        events.append(Event(text_of(slim.name), slim.time_unix_nano, slim.attributes))
    return tuple(events)


def _error(
    raw_status: bytes,
    events: tuple[Event, ...],
    error_type: str | None,
    message: str | None,
    code: int | None,
    *,
    is_failed: bool = False,
) -> SpanError | None:
    """Return why a span failed; None where it did not.

    It did where its status is ERROR, where its dialect says so, and where it has an exception event and did not end OK.
    """
    try:
        status = SlimStatus.FromString(raw_status)
    except ParseError:
        status = SlimStatus()
    exception = None
    # the last one is what ended the span; earlier ones were survived
    for event in events:
        if event.name in _EXCEPTIONS:
            exception = attributes_of(event.attributes)
    if status.code != _STATUS_ERROR and not is_failed and (exception is None or status.code == _STATUS_OK):
        return None
    said = text_of(status.message)
    prefixed, rest = split_type(said)
    thrown = exception or {}
    kind = text(thrown.get("exception.type")) or error_type or prefixed
    words = text(thrown.get("exception.message")) or message or (rest if prefixed else said)
    kind, words = unwrap(kind, words)
    if is_control_flow(kind):
        return None
    number = code or (int(kind) if kind.isdecimal() and len(kind) == 3 else 0) or code_in(words) or code_in(said)
    return SpanError(
        error_class=classify(error_type=kind, status_code=number, message=words or said),
        error_type=kind,
        message=words,
        status_code=number,
    )
