"""Reads one span's wire bytes into `Span`, by the compiled table of all dialects.

Only keys in the table are read. Small encoded attributes repeat from span to span, so what they say is remembered by
their bytes; the memos are bounded and emptied when full, and never change a result.
"""

from typing import Any, Final, TypeAlias

import msgspec

from core.dialects import fallback
from core.dialects.answers import Answer
from core.dialects.errors import classify, code_in, split_type
from core.dialects.registry import DIALECTS
from core.dialects.table import FIELDS, Convert, Event, Field, Reading
from core.dialects.values import state_of, text
from core.errors import SpanDecodeError
from core.model.span import (
    Content,
    ContentState,
    Span,
    SpanError,
    SpanKind,
    ToolCall,
    Usage,
)
from core.otlp.slim import (
    ParseError,
    SlimEvent,
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
from core.otlp.slim import key_of as slow_key_of
from core.otlp.slim import value_of as slow_value_of
from core.otlp.wire import SpanSlice

# field, rank, value, place of the dialect that the key is a mark of
_Hit: TypeAlias = tuple[int, int, Any, int]

_UNMARKED: Final = 1_000
# longer attributes are texts, which do not repeat (measured: 1.2 times as fast as without a memo)
_MEMO_MAX_BYTES: Final = 72
# 20,000 entries of at most 72 bytes and a small value: about 5 MB
_MEMO_MAX_ENTRIES: Final = 20_000
_CONTEXT_MAX_ENTRIES: Final = 2_000
_STATUS_OK, _STATUS_ERROR = 1, 2
# Status{code: STATUS_CODE_OK}
_PLAIN_OK: Final = b"\x18\x01"


def _compile() -> tuple[dict[bytes, tuple[int, int, Convert, int]], tuple[bytes, ...]]:
    table: dict[bytes, tuple[int, int, Convert, int]] = {}
    prefixes: list[bytes] = []
    rank = 0
    for place, dialect in enumerate(DIALECTS):
        for field, convert, keys in dialect.rows:
            for key in keys:
                mark = place if key in dialect.marks else _UNMARKED
                # a key says one thing: the first dialect that lists it says which
                table.setdefault(key.encode(), (int(field), rank, convert, mark))
                rank += 1
        prefixes += (prefix.encode() for prefix in dialect.prefixes)
        for key in dialect.marks:
            table.setdefault(key.encode(), (-1, 0, text, place))
    return table, tuple(prefixes)


_TABLE, _PREFIXES = _compile()
_SKIP: Final[_Hit] = (-1, 0, None, _UNMARKED)
_FLAT: Final[_Hit] = (-2, 0, None, _UNMARKED)


class _Resource(msgspec.Struct, frozen=True):
    service: str = ""
    release: str = ""
    environment: str = ""
    experiment: str = ""


_memo: dict[bytes, _Hit] = {}
_resources: dict[bytes, _Resource] = {}
_scopes: dict[bytes, tuple[str, int]] = {}


def decode(piece: SpanSlice) -> Span:
    """Return the span in the one model. Raises SpanDecodeError where its bytes are not a span.

    Attributes that are damaged, or that no dialect knows, are left out; text that is not UTF-8 is replaced.
    """
    try:
        slim = SlimSpan.FromString(piece.span)
    except ParseError as exc:
        raise SpanDecodeError(str(exc)) from exc
    found: list[Any] = [None] * FIELDS
    ranks = [_UNMARKED] * FIELDS
    flat: list[bytes] | None = None
    place = _UNMARKED
    recall = _memo.get
    for pair in slim.attributes:
        # hashing a long text costs more than reading its key
        hit = recall(pair) if len(pair) < _MEMO_MAX_BYTES else None
        if hit is None:
            hit = _read_pair(pair)
        if hit is _SKIP:
            continue
        field, rank, value, mark = hit
        if mark < place:
            place = mark
        if field >= 0:
            if rank < ranks[field]:
                ranks[field] = rank
                found[field] = value
        elif field == -2:
            if flat is None:
                flat = []
            flat.append(pair)
    resource = _resources.get(piece.resource) or _read_resource(piece.resource)
    scope, by_scope = _scopes.get(piece.scope) or _read_scope(piece.scope)
    if place == _UNMARKED:
        place = by_scope
    dialect = DIALECTS[place]
    events = _events(slim.events) if slim.events else ()
    reading = Reading(found, flat, events, text_of(slim.name))
    reading.start_ns = slim.start_time_unix_nano
    reading.dropped = slim.dropped_attributes_count
    reading.kind = found[Field.KIND] or SpanKind.UNKNOWN
    if dialect.read is not None:
        dialect.read(reading)
    if reading.kind is SpanKind.UNKNOWN:
        fallback.read(reading)
    return _span(piece, slim, reading, dialect.name, scope, resource)


def _span(piece: SpanSlice, slim: Any, reading: Reading, dialect: str, scope: str, resource: _Resource) -> Span:
    found = reading.found
    (
        kind, agent, model, provider, tool_name, call_id, arguments, result, given, output, tokens_in, tokens_out,
        cached, reasoning, usage, cost, stopped, first_token_s, session, user, metadata, error_type, error_message,
        code,
    ) = found  # fmt: skip
    kind = reading.kind
    tool = None
    if kind is SpanKind.TOOL:
        if arguments is None and isinstance(given, str) and state_of(given) is ContentState.PRESENT:
            arguments = given
        tool = ToolCall(name=tool_name or "", call_id=call_id or "", arguments=arguments or "")
        given = given if given is not None else arguments
        output = result if result is not None else output
    content_out = reading.output
    if content_out is None:
        content_out = output.content if isinstance(output, Answer) else _content(output, reading.dropped)
    elif content_out.state is ContentState.ABSENT and reading.dropped:
        content_out = _TRUNCATED
    content_in = _content(given, reading.dropped) if given is not None else reading.content_input
    if content_in is None or (reading.flat and reading.dropped):
        content_in = _content(None if content_in is None else content_in.text, reading.dropped, cut=True)
    if usage is None and (tokens_in is not None or tokens_out is not None):
        usage = Usage(
            input_tokens=tokens_in or 0,
            output_tokens=tokens_out or 0,
            cached_tokens=cached or 0,
            reasoning_tokens=reasoning or 0,
        )
    if metadata is not None:
        session = session or metadata["session"]
        user = user or metadata["user"]
    error = None
    status = slim.status
    if reading.events or (status and status != _PLAIN_OK):
        error = _error(status, reading.events, error_type, error_message, code)
    return Span(
        trace_id=piece.trace_id.hex(),
        span_id=piece.span_id.hex(),
        parent_span_id=piece.parent_span_id.hex(),
        name=reading.name,
        kind=kind,
        dialect=dialect,
        scope=scope,
        start_ns=reading.start_ns,
        end_ns=slim.end_time_unix_nano,
        error=error,
        service=resource.service,
        release=resource.release,
        environment=resource.environment,
        experiment=resource.experiment,
        agent=agent or "",
        model=model or "",
        provider=provider or "",
        tool=tool,
        input=content_in,
        output=content_out,
        finish_reason=stopped or reading.finish,
        usage=usage,
        cost_usd=cost,
        time_to_first_token_s=first_token_s if first_token_s is not None else reading.first_token_s,
        session_id=session or "",
        user_id=user or "",
        dropped_attributes=reading.dropped,
    )


_ABSENT: Final = Content()
_REDACTED: Final = Content(state=ContentState.REDACTED)
_TRUNCATED: Final = Content(state=ContentState.TRUNCATED)


def _content(said: str | None, dropped: int, *, cut: bool = False) -> Content:
    if said is None:
        return _TRUNCATED if dropped else _ABSENT
    state = state_of(said)
    if state is ContentState.REDACTED:
        return _REDACTED
    if cut and dropped:
        state = ContentState.TRUNCATED
    return Content(state=state, text=said)


def _read_pair(pair: bytes) -> _Hit:
    """Return what an encoded attribute says, and remember it where it is small."""
    try:
        key = slow_key_of(pair)
        entry = _TABLE.get(key)
        if entry is None:
            hit = _FLAT if key.startswith(_PREFIXES) else _SKIP
        else:
            field, rank, convert, mark = entry
            value = convert(slow_value_of(pair)) if field >= 0 else None
            hit = (-1 if value is None else field, rank, value, mark)
    except ParseError:
        hit = _SKIP
    if len(pair) < _MEMO_MAX_BYTES:
        if len(_memo) >= _MEMO_MAX_ENTRIES:
            _memo.clear()
        _memo[pair] = hit
    return hit


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
    if len(_resources) >= _CONTEXT_MAX_ENTRIES:
        _resources.clear()
    _resources[raw] = resource
    return resource


def _text(found: dict[str, Value], key: str) -> str:
    return text(found.get(key)) or ""


def _read_scope(raw: bytes) -> tuple[str, int]:
    """Return the scope's name and the place of the dialect that writes under it (else the fallback's)."""
    try:
        scope = text_of(SlimScope.FromString(SlimScopeSpans.FromString(raw).scope).name)
    except ParseError:
        scope = ""
    fallback = len(DIALECTS) - 1
    place = next((n for n, d in enumerate(DIALECTS) if d.scopes and scope.startswith(d.scopes)), fallback)
    if len(_scopes) >= _CONTEXT_MAX_ENTRIES:
        _scopes.clear()
    _scopes[raw] = (scope, place)
    return scope, place


def _events(raw: Any) -> tuple[Event, ...]:
    events: list[Event] = []
    for item in raw:
        try:
            slim = SlimEvent.FromString(item)
        except ParseError:
            continue
        events.append(Event(text_of(slim.name), slim.time_unix_nano, slim.attributes))
    return tuple(events)


def _error(
    raw_status: bytes, events: tuple[Event, ...], error_type: str | None, message: str | None, code: int | None
) -> SpanError | None:
    """Return why a span failed; None where it did not: status not ERROR, and no exception event unless it ended OK."""
    try:
        status = SlimStatus.FromString(raw_status)
    except ParseError:
        status = SlimStatus()
    exception = None
    # the last one is what ended the span; earlier ones were survived
    for event in events:
        if event.name == "exception":
            exception = attributes_of(event.attributes)
    if status.code != _STATUS_ERROR and (exception is None or status.code == _STATUS_OK):
        return None
    said = text_of(status.message)
    prefixed, rest = split_type(said)
    thrown = exception or {}
    kind = text(thrown.get("exception.type")) or error_type or prefixed
    words = text(thrown.get("exception.message")) or message or (rest if prefixed else said)
    number = code or (int(kind) if kind.isdecimal() and len(kind) == 3 else 0) or code_in(words) or code_in(said)
    return SpanError(
        error_class=classify(error_type=kind, status_code=number, message=words or said),
        error_type=kind,
        message=words,
        status_code=number,
    )
