"""Reads one span's wire bytes into `Span`, by the compiled table of all dialects.

Only keys in the table are read. Small encoded attributes repeat from span to span, so what they say is remembered by
their bytes; the memos are bounded and emptied when full, and never change a result.
"""

import operator
from collections.abc import Callable, Sequence
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
    key_of,
    text_at,
    text_of,
    value_of,
)
from core.otlp.wire import SpanSlice

# number of what the key says, value
_Hit: TypeAlias = tuple[int, Any]

_parse: Final = SlimSpan.FromString

_UNMARKED: Final = 1_000
# longer attributes are texts, which do not repeat (measured: 1.2 times as fast as without a memo)
_MEMO_MAX_BYTES: Final = 72
# 20,000 entries of at most 72 bytes and a small value: about 5 MB
_MEMO_MAX_ENTRIES: Final = 20_000
_CONTEXT_MAX_ENTRIES: Final = 2_000
# a plan is about 1 kB
_PLAN_MAX_ENTRIES: Final = 2_000
_PLAN_MAX_KEYS: Final = 64
_STATUS_OK, _STATUS_ERROR = 1, 2
# Status{code: STATUS_CODE_OK}
_PLAIN_OK: Final = b"\x18\x01"
# members of an enum cost 100 ns to look up in Python 3.11: the ones of the hot path are looked up once
_TOOL, _UNKNOWN_KIND = SpanKind.TOOL, SpanKind.UNKNOWN
_PRESENT, _MISSING = ContentState.PRESENT, ContentState.ABSENT
_KIND: Final = int(Field.KIND)


class _Meaning(msgspec.Struct, frozen=True):
    """What a key of the table says, and how to read it."""

    number: int
    """Of the meaning; where the value turns out to say nothing, the number of `mark` alone."""
    bare: int
    convert: Convert


class _Sense(msgspec.Struct, frozen=True):
    """What a number stands for."""

    field: int = -1
    rank: int = 0
    mark: int = _UNMARKED
    """Place of the dialect that the key is a mark of."""


def _compile() -> tuple[dict[bytes, _Meaning], list[_Sense], tuple[bytes, ...]]:
    table: dict[bytes, _Meaning] = {}
    # the first two: a key that nobody knows, and a flattened one
    senses = [_Sense(), _Sense()]
    prefixes: list[bytes] = []
    for place, dialect in enumerate(DIALECTS):
        for field, convert, keys in dialect.rows:
            for key in keys:
                # a key says one thing: the first dialect that lists it says which
                if key.encode() in table:
                    continue
                mark = place if key in dialect.marks else _UNMARKED
                table[key.encode()] = _Meaning(len(senses), 0 if mark == _UNMARKED else len(senses) + 1, convert)
                senses += (_Sense(int(field), len(senses), mark), _Sense(mark=mark))
        prefixes += (prefix.encode() for prefix in dialect.prefixes)
        for key in dialect.marks:
            if key.encode() not in table:
                table[key.encode()] = _Meaning(len(senses), len(senses), text)
                senses.append(_Sense(mark=place))
    return table, senses, tuple(prefixes)


_TABLE, _SENSES, _PREFIXES = _compile()
_SKIP: Final[_Hit] = (0, None)
_FLAT: Final = 1


class _Plan(msgspec.Struct, frozen=True):
    """How to read a span whose attributes have these meanings in this order; most spans share a few of them."""

    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    """Values with None at their end -> by field, the value that wins."""
    place: int
    """Of the dialect that is marked, else `_UNMARKED`."""
    is_flat: bool


def _plan(numbers: tuple[int, ...]) -> _Plan:
    """Return the plan for these meanings, and remember it."""
    winners = [-1] * FIELDS
    place = _UNMARKED
    for at, number in enumerate(numbers):
        sense = _SENSES[number]
        place = min(place, sense.mark)
        if sense.field >= 0:
            held = winners[sense.field]
            if held < 0 or sense.rank < _SENSES[numbers[held]].rank:
                winners[sense.field] = at
    plan = _Plan(operator.itemgetter(*winners), place, _FLAT in numbers)
    # hundreds of flattened keys make plans that are long and never come again
    if len(numbers) <= _PLAN_MAX_KEYS:
        if len(_plans) >= _PLAN_MAX_ENTRIES:
            _plans.clear()
        _plans[numbers] = plan
    return plan


class _Resource(msgspec.Struct, frozen=True):
    service: str = ""
    release: str = ""
    environment: str = ""
    experiment: str = ""


_plans: dict[tuple[int, ...], _Plan] = {}
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
    numbers: list[int] = []
    values: list[Any] = []
    memo, skip = _memo, _SKIP
    # a slice: iterating over a repeated field costs more
    for pair in slim.attributes[:]:
        # hashing a long text costs more than reading its key
        hit = memo[pair] if len(pair) < _MEMO_MAX_BYTES else _read_pair(pair)
        if hit is not skip:
            number, value = hit
            numbers.append(number)
            values.append(value)
    key = tuple(numbers)
    plan = _plans.get(key) or _plan(key)
    flat = [pair for number, pair in zip(numbers, values, strict=True) if number == _FLAT] if plan.is_flat else None
    values.append(None)
    found = list(plan.pick(values))
    scope, place = _scopes.get(piece.scope) or _read_scope(piece.scope)
    if plan.place != _UNMARKED:
        place = plan.place
    dialect = DIALECTS[place]
    reading = Reading(
        found,
        flat,
        _events(slim.events) if slim.events else (),
        str(slim.name, "utf-8", "replace"),
        slim.start_time_unix_nano,
        slim.dropped_attributes_count,
        found[_KIND] or _UNKNOWN_KIND,
    )
    if dialect.read is not None:
        dialect.read(reading)
    if reading.kind is _UNKNOWN_KIND:
        fallback.read(reading)
    return _span(piece, slim, reading, dialect.name, scope)


def _span(piece: SpanSlice, slim: Any, reading: Reading, dialect: str, scope: str) -> Span:
    (
        kind, agent, model, provider, tool_name, call_id, arguments, result, given, output, tokens_in, tokens_out,
        cached, reasoning, usage, cost, stopped, first_token_s, session, user, metadata, error_type, error_message,
        code,
    ) = reading.found  # fmt: skip
    kind, dropped = reading.kind, reading.dropped
    tool = None
    if kind is _TOOL:
        if arguments is None and isinstance(given, str) and state_of(given) is _PRESENT:
            arguments = given
        tool = ToolCall(name=tool_name or "", call_id=call_id or "", arguments=arguments or "")
        given = given if given is not None else arguments
        output = result if result is not None else output
    content_out = reading.output
    if content_out is None:
        content_out = output.content if isinstance(output, Answer) else _content(output, dropped)
    elif dropped and content_out.state is _MISSING:
        content_out = _TRUNCATED
    content_in = _content(given, dropped) if given is not None else reading.content_input
    if content_in is None or (dropped and reading.flat):
        content_in = _content(None if content_in is None else content_in.text, dropped, cut=True)
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
    resource = _resources.get(piece.resource) or _read_resource(piece.resource)
    # by position: 27 keywords cost 1.2 µs more
    return Span(
        piece.trace_id.hex(),
        piece.span_id.hex(),
        piece.parent_span_id.hex(),
        reading.name,
        kind,
        dialect,
        scope,
        reading.start_ns,
        slim.end_time_unix_nano,
        error,
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
        stopped or reading.finish,
        usage,
        cost,
        first_token_s if first_token_s is not None else reading.first_token_s,
        session or "",
        user or "",
        dropped,
    )


_ABSENT: Final = Content()
_REDACTED: Final = Content(state=ContentState.REDACTED)
_TRUNCATED: Final = Content(state=ContentState.TRUNCATED)
_TRUNCATED_STATE: Final = ContentState.TRUNCATED


def _content(said: str | None, dropped: int, *, cut: bool = False) -> Content:
    if said is None:
        return _TRUNCATED if dropped else _ABSENT
    state = state_of(said)
    if state is _PRESENT:
        return Content(state=_TRUNCATED_STATE if cut and dropped else state, text=said)
    if state is ContentState.REDACTED:
        return _REDACTED
    return Content(state=state, text=said)


def _read_pair(pair: bytes) -> _Hit:
    """Return what an encoded attribute says."""
    # the usual encoding: field 1 first, a key shorter than 128 bytes (as all in the table are), then a text
    if len(pair) >= 2 and pair[0] == 0x0A:
        at = 2 + pair[1]
        usual = _TABLE.get(pair[2:at])
        if usual is not None and (said := text_at(pair, at)) is not None:
            value = usual.convert(said)
            if value is not None:
                return usual.number, value
            return (usual.bare, None) if usual.bare else _SKIP
    try:
        key = key_of(pair)
        meaning = _TABLE.get(key)
        if meaning is None:
            return (_FLAT, pair) if key.startswith(_PREFIXES) else _SKIP
        value = meaning.convert(value_of(pair))
    except ParseError:
        return _SKIP
    if value is not None:
        return meaning.number, value
    return (meaning.bare, None) if meaning.bare else _SKIP


class _Memo(dict[bytes, _Hit]):
    """What small attributes say, by their bytes."""

    def __missing__(self, pair: bytes) -> _Hit:
        if len(self) >= _MEMO_MAX_ENTRIES:
            self.clear()
        hit = self[pair] = _read_pair(pair)
        return hit


_memo: Final = _Memo()


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
