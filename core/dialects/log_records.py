"""Log records that belong to a span: which they are, and how they become part of it.

A log record that says something of its span is held by the trace as an *item*, as a span is: its id is the span's id
and a hash of its bytes, so that it is longer than any span id and a repeat is the same item. When the trace is read,
items are written into the wire bytes of their spans in the form of today's conventions: attributes
(`gen_ai.input.messages`, `gen_ai.output.messages`, …) and span events (`exception`, `gen_ai.evaluation.result`).
Whoever reads the span, the dialects here as well as MLflow, finds what a client would have sent on the span itself.
What the span says itself wins.

Names: gen_ai events of semantic-conventions 1.26 to 1.36 (one event a message, content in the body), 1.37 and later
(`gen_ai.client.inference.operation.details`, content in attributes), 1.41 (`gen_ai.client.operation.exception`). Events
of coding agents are in `core.dialects.cli_events`. Spring AI prints prompts and answers to the application's log. Other
log records, whatever they hold, are no content.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from core.dialects import cli_events
from core.dialects.values import finish, structure
from core.model.span import Content, ContentState, FinishReason, Span, SpanKind
from core.otlp.slim import ParseError, SlimLogRecord, SlimSpan, attributes_of, key_of, plain, text_of, value_of
from core.otlp.stamp import attribute, event, text_pair
from core.otlp.wire import SPAN_ID_BYTES, TRACE_ID_BYTES, LogSlice, SpanSlice

_HASH_BYTES: Final = 8
_EVENT_NAME: Final = "event.name"

# role of the message that an event is, conventions up to 1.36
_INPUTS: Final[Mapping[str, str]] = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_SPOKEN: Final[Mapping[str, int]] = {name: place for place, name in enumerate(_INPUTS)}
_CHOICE: Final = "gen_ai.choice"
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_EXCEPTION: Final = "gen_ai.client.operation.exception"
_EVALUATION: Final = "gen_ai.evaluation.result"
# 1.26: the whole prompt, or all answers, as one attribute
_WHOLE: Final[Mapping[str, bytes]] = {
    "gen_ai.content.prompt": b"gen_ai.prompt",
    "gen_ai.content.completion": b"gen_ai.completion",
}
# no name of its own: AWS's distribution moves content off spans into one record, named as the scope of the span
_MOVED: Final = "(messages)"
# no name either: what Spring AI (1.0 to 2.0) writes to its application's log, by how it begins
_PRINTED: Final[Mapping[bytes, bytes]] = {
    b"Chat Model Prompt Content:\n": b"gen_ai.prompt",
    b"Chat Model Completion:\n": b"gen_ai.completion",
}
_PRINTED_STARTS: Final = tuple(_PRINTED)
_PRINTER: Final = b"org.springframework.ai.chat.observation."
_PRINT: Final = "(printed)"
_EVENTS: Final = frozenset({*_INPUTS, _CHOICE, _DETAILS, _EXCEPTION, _EVALUATION, *_WHOLE, *cli_events.NAMES})

_INPUT_KEY: Final = b"gen_ai.input.messages"
_OUTPUT_KEY: Final = b"gen_ai.output.messages"
_FINISH_KEY: Final = b"gen_ai.response.finish_reasons"
# what the details of an operation add to its span; its kind and its names the span has said itself
_ADDED: Final = (
    *(_INPUT_KEY, _OUTPUT_KEY, _FINISH_KEY, b"gen_ai.system_instructions", b"gen_ai.tool.definitions"),
    *(b"gen_ai.usage.", b"gen_ai.conversation.id", b"gen_ai.output.type", b"gen_ai.request.max_tokens"),
    *(b"gen_ai.tool.call.arguments", b"gen_ai.tool.call.result", b"gen_ai.retrieval."),
)
_CONTENT_KEYS: Final = frozenset({_INPUT_KEY, _OUTPUT_KEY, *_WHOLE.values()})


class Joined(msgspec.Struct, frozen=True):
    """Spans with what their log records said written into them."""

    spans: list[SpanSlice]
    awaited: frozenset[str]
    """Hex ids of spans without log records, written by an instrumentation that sends content in log records here."""
    answered: frozenset[str]
    """Hex ids of spans whose log records came."""


def items_of(records: Sequence[LogSlice]) -> tuple[list[SpanSlice], Counter[str]]:
    """Return the items of records that say something of their span, and how many say nothing, by reason."""
    items: list[SpanSlice] = []
    skipped: Counter[str] = Counter()
    for record in records:
        if len(record.trace_id) != TRACE_ID_BYTES or len(record.span_id) != SPAN_ID_BYTES or not any(record.span_id):
            skipped["log_record_without_span_id"] += 1
        elif not _name_of(SlimLogRecord.FromString(record.record), record.scope):
            skipped["log_record_not_content"] += 1
        else:
            key = record.span_id + hashlib.blake2b(record.record, digest_size=_HASH_BYTES).digest()
            items.append(SpanSlice(record.trace_id, key, record.span_id, record.resource, record.scope, record.record))
    return items, skipped


def is_log(item_id: bytes) -> bool:
    """Return whether an item of a trace is a log record."""
    return len(item_id) != SPAN_ID_BYTES


def join(spans: Sequence[SpanSlice], logs: Sequence[SpanSlice]) -> Joined:
    """Write log records into their spans; those of spans that are not there are left out. Order does not matter."""
    by_span: dict[bytes, list[SpanSlice]] = {}
    for item in logs:
        by_span.setdefault(item.parent_span_id, []).append(item)
    found: list[SpanSlice] = []
    senders: set[bytes] = set()
    answered: set[str] = set()
    for span in spans:
        mine = by_span.get(span.span_id)
        if mine is None:
            found.append(span)
            continue
        addition = _Addition(span, mine)
        answered.add(span.span_id.hex())
        if addition.has_content:
            senders.add(span.scope)
        found.append(msgspec.structs.replace(span, span=span.span + addition.encoded()))
    awaited = {span.span_id.hex() for span in spans if span.scope in senders and span.span_id not in by_span}
    return Joined(found, frozenset(awaited), frozenset(answered))


def settled(span: Span, joined: Joined) -> Span:
    """Return the span with the state of its content as log records tell it.

    Where they are awaited, absent content is in logs; where they came without content, what was in logs is absent.
    """
    if span.span_id in joined.awaited and span.kind is SpanKind.LLM:
        return _restated(span, ContentState.ABSENT, ContentState.IN_LOGS)
    if span.span_id in joined.answered:
        return _restated(span, ContentState.IN_LOGS, ContentState.ABSENT)
    return span


def _restated(span: Span, wrong: ContentState, right: ContentState) -> Span:
    changes = {side: Content(state=right) for side in ("input", "output") if getattr(span, side).state is wrong}
    return msgspec.structs.replace(span, **changes) if changes else span


def _name_of(record: Any, scope: bytes) -> str:
    """Return the name of the event that a log record is, as this module knows it, or nothing."""
    if record.event_name:
        name = text_of(record.event_name)
    else:
        said = attributes_of(pair for pair in record.attributes if _is_event_name(pair)).get(_EVENT_NAME)
        name = said if isinstance(said, str) else ""
    if name in _EVENTS:
        return name
    body = record.body.string_value
    name = cli_events.full_name(name, text_of(body) if len(body) < 64 else "", scope)
    if name in _EVENTS:
        return name
    if body.startswith(_PRINTED_STARTS) and _PRINTER in scope:
        return _PRINT
    return _MOVED if _holds_messages(record.body) else ""


def _holds_messages(body: Any) -> bool:
    """Return whether a body is {input | output: {messages: …}}."""
    pairs = body.kvlist_value.values
    return 0 < len(pairs) <= 2 and all(
        pair.key in (b"input", b"output") and any(inner.key == b"messages" for inner in pair.value.kvlist_value.values)
        for pair in pairs
    )


def _is_event_name(pair: bytes) -> bool:
    try:
        return key_of(pair) == b"event.name"
    except ParseError:
        return False


class _Addition:
    """What the log records of one span add to it."""

    def __init__(self, span: SpanSlice, logs: Sequence[SpanSlice]) -> None:
        self.has_content = False
        parsed = SlimSpan.FromString(span.span)
        self._keys = {_key(pair) for pair in parsed.attributes}
        self._name = text_of(parsed.name)
        self._inputs: list[dict[str, Any]] = []
        self._choices: list[tuple[int, dict[str, Any]]] = []
        self._finish: list[str] = []
        self._pairs: dict[bytes, bytes] = {}
        self._events: list[bytes] = []
        self._agents = cli_events.Gathered()
        unique = {item.span_id: item for item in logs}.values()
        for _, _, _, name, record in sorted(map(_in_order, unique), key=lambda found: found[:3]):
            self._take(name, record)

    def _take(self, name: str, record: Any) -> None:
        if name in _INPUTS:
            self._inputs.append(self._message(_body(record), _INPUTS[name]))
        elif name == _CHOICE:
            self._choice(_body(record))
        elif name == _DETAILS:
            self._details(record.attributes, _ADDED)
        elif name in _WHOLE:
            self._details(record.attributes, _WHOLE[name])
        elif name == _MOVED:
            self._moved(_body(record))
        elif name == _PRINT:
            head, _, printed = record.body.string_value.partition(b"\n")
            key = _PRINTED[head + b"\n"]
            self._pairs.setdefault(key, text_pair(key, text_of(printed)))
            self.has_content = True
        elif name in (_EXCEPTION, _EVALUATION):
            known = b"exception" if name == _EXCEPTION else _EVALUATION.encode()
            self._events.append(event(known, _time_ns(record), record.attributes))
        else:
            self._agents.take(name, attributes_of(record.attributes), _time_ns(record))

    def _message(self, said: Mapping[str, Any], role: str) -> dict[str, Any]:
        """Return a message of today's form; note whether any text stood in it."""
        parts: list[Any] = []
        content = said.get("content")
        if isinstance(content, dict) and isinstance(content.get("parts"), list):
            # Gemini's content
            said = {"parts": content["parts"], "role": content.get("role"), "tool_calls": said.get("tool_calls")}
            content = None
        role = str(said.get("role") or role)
        if isinstance(said.get("parts"), list):
            self.has_content = True
            parts += said["parts"]
        elif content is not None:
            self.has_content = True
            if role == "tool":
                parts.append({"type": "tool_call_response", "id": said.get("id"), "response": content})
            else:
                parts += content if isinstance(content, list) else [{"type": "text", "content": content}]
        calls = said.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                function = call.get("function")
                named = function if isinstance(function, dict) else call
                # names of calls are sent without content, too
                self.has_content = self.has_content or named.get("arguments") is not None
                part = {"type": "tool_call", "id": call.get("id"), "name": named.get("name")}
                parts.append(part | {"arguments": named.get("arguments")})
        if said.get("refusal"):
            self.has_content = True
            parts.append({"type": "refusal", "content": said["refusal"]})
        return {"role": role, "parts": parts}

    def _choice(self, said: Mapping[str, Any]) -> None:
        inner = said.get("message")
        # Traceloop writes the calls beside the message
        told = {"tool_calls": said.get("tool_calls")} | inner if isinstance(inner, dict) else said
        message = self._message(told, "assistant")
        stopped = said.get("finish_reason")
        if isinstance(stopped, str) and stopped:
            message["finish_reason"] = stopped
            if finish(stopped) not in (None, FinishReason.UNKNOWN):
                self._finish.append(stopped)
        index = said.get("index")
        self._choices.append((index if isinstance(index, int) else 0, message))

    def _moved(self, said: Mapping[str, Any]) -> None:
        """Take messages by the side on which they stand."""
        for side in ("input", "output"):
            held = said.get(side)
            found = held.get("messages") if isinstance(held, dict) else None
            for message in found if isinstance(found, list) else ():
                if not isinstance(message, dict):
                    continue
                if side == "input":
                    self._inputs.append(self._message(message, "user"))
                else:
                    self._choices.append((len(self._choices), self._message(message, "assistant")))

    def _details(self, pairs: Sequence[bytes], added: bytes | tuple[bytes, ...]) -> None:
        for pair in pairs:
            key = _key(pair)
            if key.startswith(added) and key not in self._pairs:
                value = value_of(pair)
                self._pairs[key] = text_pair(key, _json(value)) if isinstance(value, list | dict) else pair
                self.has_content = self.has_content or key in _CONTENT_KEYS

    def encoded(self) -> bytes:
        """Return what is appended to the bytes of the span."""
        pairs = self._pairs
        # without any text in any of them, content is not captured: an answer that is not there was not empty
        if self._inputs and self.has_content:
            pairs.setdefault(_INPUT_KEY, text_pair(_INPUT_KEY, _json(self._inputs)))
        if self._choices and self.has_content:
            answers = [message for _, message in sorted(self._choices, key=lambda choice: choice[0])]
            pairs.setdefault(_OUTPUT_KEY, text_pair(_OUTPUT_KEY, _json(answers)))
        if self._finish:
            pairs.setdefault(_FINISH_KEY, text_pair(_FINISH_KEY, _json(self._finish)))
        for key, pair in self._agents.pairs(self._keys).items():
            pairs.setdefault(key, pair)
        events = self._events + self._agents.events(self._name)
        return b"".join([attribute(pair) for key, pair in pairs.items() if key not in self._keys] + events)


def _in_order(item: SpanSlice) -> tuple[int, int, bytes, str, Any]:
    """Return what orders a record among those of its span, its name, and the record.

    Clocks of JavaScript count milliseconds: messages of one instant stand in the order in which a turn is spoken.
    """
    record = SlimLogRecord.FromString(item.span)
    name = _name_of(record, item.scope)
    return _time_ns(record), _SPOKEN.get(name, len(_SPOKEN)), item.span_id, name, record


def _time_ns(record: Any) -> int:
    at_ns: int = record.time_unix_nano or record.observed_time_unix_nano
    return at_ns


def _key(pair: bytes) -> bytes:
    try:
        return key_of(pair)
    except ParseError:
        return b""


def _body(record: Any) -> Mapping[str, Any]:
    """Return the body of an event: a map, the same as JSON, or what stands for it in the attributes."""
    found = structure(plain(record.body))
    if isinstance(found, dict):
        return found
    attributes = attributes_of(record.attributes)
    found = structure(attributes.get("gen_ai.event.content"))
    return found if isinstance(found, dict) else attributes


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return ""
