"""What must hold for any spans and any damage."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.dialects import decode
from core.errors import SpanDecodeError
from core.otlp.build import build_traces_data
from core.otlp.repair import check_traces
from core.otlp.slim import ParseError
from core.otlp.wire import read_spans

_KEYS = st.sampled_from(
    ["session.id", "user.id", "gen_ai.conversation.id", "gen_ai.operation.name", "gen_ai.output.messages",
     "openinference.span.kind", "llm.output_messages.0.message.content", "llm.output_messages.x", "mlflow.spanOutputs",
     "gen_ai.completion.0.tool_calls.0.name", "metadata", "error.type", "http.response.status_code", ""]
)  # fmt: skip
_TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(['"{\\"a\\": 1}"', "[]", "{}", "chat", "LLM", "[[[[", '"']))


@st.composite
def values(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["string_value", "int_value", "double_value", "bool_value", "bytes_value"]))
    by_kind: dict[str, st.SearchStrategy[Any]] = {
        "string_value": _TEXTS,
        "int_value": st.integers(-(2**63), 2**63 - 1),
        "double_value": st.floats(),
        "bool_value": st.booleans(),
        "bytes_value": st.binary(max_size=8),
    }
    return {kind: draw(by_kind[kind])}


@st.composite
def requests(draw: st.DrawFn) -> TracesData:
    data = TracesData()
    for _ in range(draw(st.integers(0, 3))):
        outer = data.resource_spans.add(schema_url=draw(st.sampled_from(["", "https://schema"])))
        outer.resource.attributes.add(key="service.name").value.string_value = draw(st.sampled_from(["a", "b"]))
        for _ in range(draw(st.integers(0, 2))):
            inner = outer.scope_spans.add()
            inner.scope.name = draw(st.sampled_from(["", "openinference.instrumentation.x", "mlflow.tracing"]))
            for _ in range(draw(st.integers(0, 3))):
                span = inner.spans.add(
                    trace_id=draw(st.binary(min_size=16, max_size=16).filter(any)),
                    span_id=draw(st.binary(min_size=8, max_size=8).filter(any)),
                    parent_span_id=draw(st.sampled_from([b"", b"12345678"])),
                    name=draw(st.text(max_size=8)),
                    dropped_attributes_count=draw(st.integers(0, 2)),
                    trace_state=draw(st.sampled_from(["", "a=b"])),
                )
                span.status.code = draw(st.sampled_from([0, 1, 2]))  # type: ignore[assignment]
                for _ in range(draw(st.integers(0, 4))):
                    attribute = span.attributes.add(key=draw(_KEYS))
                    for field, value in draw(values()).items():
                        setattr(attribute.value, field, value)
                if draw(st.booleans()):
                    event = span.events.add(name=draw(st.sampled_from(["exception", "gen_ai.choice"])))
                    event.attributes.add(key="exception.message").value.string_value = draw(_TEXTS)
    return data


def flat(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [
        (outer.resource.SerializeToString() + outer.schema_url.encode(), scope.scope.SerializeToString(),
         span.SerializeToString())
        for outer in TracesData.FromString(data).resource_spans
        for scope in outer.scope_spans
        for span in scope.spans
    ]  # fmt: skip


@given(requests(), st.integers(1, 2000))
@settings(deadline=None, max_examples=30)
def test_splitting_and_building_keep_every_span_with_its_resource_and_scope(data: TracesData, limit: int) -> None:
    for span in (s for r in data.resource_spans for c in r.scope_spans for s in c.spans):
        kept = [a for a in span.attributes if a.key not in ("session.id", "gen_ai.conversation.id")]
        del span.attributes[:]
        span.attributes.extend(kept)
    raw = data.SerializeToString()
    slices, failures = read_spans(raw)
    assert not failures
    chunks = build_traces_data(slices, session_id="", user_id="", max_bytes=limit)
    assert flat(b"".join(chunks)) == flat(raw)
    assert [item for chunk in chunks for item in flat(chunk)] == flat(raw)


@given(requests())
@settings(deadline=None, max_examples=40)
def test_every_valid_span_decodes_twice_to_the_same(data: TracesData) -> None:
    slices, failures = read_spans(data.SerializeToString())
    assert not failures
    assert [decode(piece) for piece in slices] == [decode(piece) for piece in slices]


@given(requests(), st.data())
@settings(deadline=None, max_examples=50)
def test_damage_raises_nothing_but_a_decode_error(data: TracesData, draw: st.DataObject) -> None:
    raw = bytearray(data.SerializeToString())
    if not raw:
        return
    for _ in range(draw.draw(st.integers(1, 4))):
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
    try:
        slices, _ = read_spans(bytes(raw))
    except SpanDecodeError:
        return
    for piece in slices:
        decode(piece)
    for chunk in build_traces_data(slices, session_id="s", user_id="u", max_bytes=500):
        TracesData.FromString(chunk)


@given(requests(), st.data())
@settings(deadline=None, max_examples=100)
def test_the_check_of_a_request_accepts_what_the_schema_accepts(data: TracesData, draw: st.DataObject) -> None:
    raw = bytearray(data.SerializeToString())
    for _ in range(draw.draw(st.integers(0, 3)) if raw else 0):
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
    assert _accepts(check_traces, bytes(raw)) == _accepts(TracesData.FromString, bytes(raw))


def _accepts(parse: Callable[[bytes], object], raw: bytes) -> bool:
    try:
        parse(raw)
    except ParseError:
        return False
    return True


_SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(["session.id", "gen_ai.conversation.id", "mlflow.trace.session", "metadata"]),
        st.one_of(
            st.text(max_size=10),
            st.sampled_from(
                ["s" * 250, "s" * 251, "é" * 200, "[REDACTED]", "<REDACTED> 1", "[Scrubbed due to x]", "null"]
            ),
            st.just('{"session_id": "[REDACTED]"}'),
        ),
    ),
    max_size=4,
)


@given(st.lists(_SESSIONS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_no_session_id_needs_mending_on_a_span_that_decoding_does_not_call_odd(
    sessions: list[list[tuple[str, str]]],
) -> None:
    data = TracesData()
    scope = data.resource_spans.add().scope_spans.add()
    for number, pairs in enumerate(sessions, 1):
        span = scope.spans.add(trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"))
        for key, text in pairs:
            span.attributes.add(key=key).value.string_value = text
    slices, _ = read_spans(data.SerializeToString())
    mend = any(decode(piece).odd_session for piece in slices)
    known = build_traces_data(slices, session_id="", user_id="", max_bytes=10**6, mend_sessions=mend)
    assert known == build_traces_data(slices, session_id="", user_id="", max_bytes=10**6)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_noise_raises_nothing_but_a_decode_error(raw: bytes) -> None:
    try:
        read_spans(raw)
    except SpanDecodeError:
        return
