"""Session ids that are forwarded: sane whatever the bytes look like, and nothing else touched."""

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.otlp.slim import varint
from core.otlp.stamp import names_sane_sessions, stamped, with_sane_session

_SESSION_KEYS = ("session.id", "gen_ai.conversation.id")
_TEXTS = st.sampled_from(
    ["", "s-1", "s-2", "x" * 120, "é" * 130, "y" * 251, "é" * 400, "[Scrubbed due to 'session']", "[REDACTED]", "[1]",
     "session.id", "the session.id is gen_ai.conversation.id", "\x16" * 40]
)  # fmt: skip
_KEYS = st.sampled_from([*_SESSION_KEYS, "langfuse.session.id", "user.id", "session.idle", "a"])


@st.composite
def pairs(draw: st.DrawFn) -> bytes:
    """Return one encoded attribute; some clients write the value before the key, or a map that holds the key."""
    pair = KeyValue(key=draw(_KEYS))
    shape = draw(st.sampled_from(["text", "text", "text", "number", "map", "value first"]))
    if shape == "number":
        pair.value.int_value = draw(st.integers(0, 2**60))
    elif shape == "map":
        inner = pair.value.kvlist_value.values.add(key=draw(_KEYS))
        inner.value.string_value = draw(_TEXTS)
    else:
        pair.value.string_value = draw(_TEXTS)
    if shape == "value first":
        return KeyValue(value=pair.value).SerializeToString() + KeyValue(key=pair.key).SerializeToString()
    return pair.SerializeToString()


@st.composite
def spans(draw: st.DrawFn) -> bytes:
    head = Span(trace_id=draw(st.binary(min_size=16, max_size=16)), name=draw(_TEXTS)).SerializeToString()
    return head + b"".join(b"\x4a" + varint(len(pair)) + pair for pair in draw(st.lists(pairs(), max_size=4)))


def expected(span: bytes) -> list[KeyValue]:
    kept = []
    for pair in Span.FromString(span).attributes:
        text = pair.value.string_value
        if pair.key in _SESSION_KEYS:
            if text.startswith(("[Scrubbed due to", "[REDACTED]")):
                continue
            if text:
                pair.value.string_value = text[:250]
        kept.append(pair)
    return kept


@given(st.lists(spans(), max_size=4))
@settings(deadline=None, max_examples=150)
def test_session_ids_are_mended_wherever_they_stand_and_all_else_stays(given_spans: list[bytes]) -> None:
    found = [with_sane_session(span) for span in given_spans]
    assert [list(Span.FromString(span).attributes) for span in found] == [expected(span) for span in given_spans]
    for before, after in zip(given_spans, found, strict=True):
        if list(Span.FromString(before).attributes) == expected(before):
            assert after is before
        else:
            assert not names_sane_sessions(b"".join(given_spans))


@given(spans())
@settings(deadline=None, max_examples=100)
def test_stamps_are_added_once_and_only_where_the_key_is_absent(span: bytes) -> None:
    known = {pair.key for pair in Span.FromString(span).attributes}
    added = [pair.key for pair in Span.FromString(stamped(span, session_id="s", user_id="u")).attributes][
        len(Span.FromString(span).attributes) :
    ]
    assert added == [key for key in ("session.id", "user.id") if key not in known]
