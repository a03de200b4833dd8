"""Log records join their spans whatever the order, the repeats, the batches and the kills; alone they are no trace."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import dialects, topics
from core.model.trace import CloseReason, version_of
from core.otlp.wire import read_spans
from detector.assemble.config import AssembleConfig
from tests.properties.assembler_model import START_S, Logged, Sent, World, outcome
from tests.properties.test_assembler_order_and_kills import SMALL

ROOT = Sent(number=1, parent=0)
LLM = Sent(number=2)
SAID = Logged(number=2, text="hello", at_ns=1)
MORE = Logged(number=2, text="there", at_ns=2)

Appended = list[tuple[float, list[Sent | Logged]]]


def _append(world: World, at_s: float, sent: list[Sent | Logged]) -> None:
    """Append spans and log records, each kind as a record of its own."""
    if spans := [item for item in sent if isinstance(item, Sent)]:
        world.append(at_s, spans)
    if logs := [item for item in sent if isinstance(item, Logged)]:
        world.append_logs(at_s, logs)


def _world(appended: Appended, *, config: AssembleConfig = SMALL, batch: int = 1000) -> World:
    world = World(config, batch=batch)
    for at_s, sent in appended:
        _append(world, at_s, sent)
    return world.run(until_s=1_000_000)


def _texts(world: World) -> dict[str, str]:
    """Return what each span says in the chunks that were forwarded last."""
    said: dict[str, str] = {}
    for chunk in world.chunks():
        for item in read_spans(chunk.otlp)[0]:
            span = dialects.decode(item)
            said[span.span_id] = span.output.text
    return said


@pytest.mark.parametrize("gap", [1, 8, 70])
@pytest.mark.parametrize("arrival", list(itertools.permutations([ROOT, LLM, SAID, MORE])))
def test_log_records_may_come_before_after_or_long_after_their_span(
    arrival: tuple[Sent | Logged, ...], gap: int
) -> None:
    expected = outcome(_world([(0, [ROOT, LLM, SAID, MORE])]))
    world = _world([(n * gap, [sent]) for n, sent in enumerate(arrival)])
    assert outcome(world) == expected
    assert _texts(world) == {f"{1:016x}": "", f"{2:016x}": "hello\nthere"}
    assert outcome(_world([(n * gap, [sent, *arrival[:n]]) for n, sent in enumerate(arrival)])) == expected
    assert world.state == {}


def test_the_version_of_a_trace_does_not_depend_on_log_records() -> None:
    world = _world([(0, [ROOT, LLM]), (20, [SAID])])
    versions = world.versions()
    expected = version_of([n.to_bytes(8, "big") for n in (1, 2)])
    assert [(v.version, v.span_count, v.log_count, v.close_reason) for v in versions] == [
        (expected, 2, 0, CloseReason.ROOT),
        (expected, 2, 1, CloseReason.LATE),
    ]
    assert world.telemetry.total("clearwatch.spans.late") == 0


def test_log_records_alone_make_no_trace_and_are_counted() -> None:
    world = _world([(0, [SAID, MORE])])
    assert world.versions() == []
    assert world.dropped("log_record_without_span") == 2
    assert world.state == {}


def test_log_records_that_wait_are_no_open_trace_and_make_room_for_traces() -> None:
    world = World(SMALL.model_copy(update={"max_open": 2}))
    _append(world, 0, [Sent(number=2)])
    for trace in (2, 3, 4):
        _append(world, trace, [Logged(number=2, trace=trace)])
    world.drain()
    assert world.processor.open_count == 1
    assert world.dropped("log_record_without_span") == 2
    assert world.versions() == []
    _append(world, 5, [Sent(number=2, trace=4)])
    world.drain()
    assert world.processor.open_count == 2
    world.kill()
    world.run()
    assert sorted((v.trace_id[-1], v.log_count) for v in world.final().values()) == [("1", 0), ("4", 1)]


def test_log_records_of_a_span_that_never_comes_leave_the_others_as_they_are() -> None:
    world = _world([(0, [ROOT, Logged(number=7)])])
    assert [(v.span_count, v.log_count) for v in world.final().values()] == [(1, 1)]
    assert _texts(world) == {f"{1:016x}": ""}


def test_log_records_of_a_forgotten_trace_are_counted_and_reopen_nothing() -> None:
    world = World(SMALL)
    _append(world, 0, [ROOT, LLM])
    world.run(until_s=1000)
    _append(world, 1000, [SAID])
    world.run(until_s=2000)
    assert len(world.versions()) == 1
    assert world.dropped("log_record_too_late") == 1


def test_log_records_over_the_caps_are_refused_while_spans_are_still_taken() -> None:
    config = SMALL.model_copy(update={"max_spans": 2})
    logged: list[Sent | Logged] = [Logged(number=2, text=str(n), at_ns=n) for n in range(5)]
    world = _world([(0, logged), (1, [ROOT, LLM])], config=config)
    assert [(v.span_count, v.log_count, v.dropped_spans) for v in world.final().values()] == [(2, 2, 0)]
    assert world.dropped("log_record_over_cap") == 3


def test_what_is_no_event_of_an_llm_is_no_content() -> None:
    world = World(SMALL)
    other: list[Sent | Logged] = [Logged(number=2, name="db.query"), Logged(number=2, name="")]
    _append(world, 0, [ROOT, LLM, *other])
    world.append_logs(1, [Logged(number=0)])
    world.run()
    assert [v.log_count for v in world.final().values()] == [0]
    assert world.dropped("log_record_not_content") == 2
    assert world.dropped("log_record_without_span_id") == 1


def test_a_record_of_logs_that_cannot_be_read_is_a_dead_letter_that_says_what_it_was() -> None:
    world = World(SMALL)
    world.append_bytes(0, b"\x0a\xff", **{topics.HEADER_SIGNAL: topics.SIGNAL_LOGS})
    world.run()
    (letter,) = [record for record in world.written if record.topic == topics.DEAD_LETTERS]
    assert b"logs" in letter.value


def test_log_records_hold_back_the_committed_offset_until_they_are_checkpointed() -> None:
    world = World(SMALL)
    _append(world, 0, [SAID])
    world.append(1, [Sent(number=1, parent=0, trace=2)])
    world.drain()
    assert world.committed == 0
    world.pass_time(SMALL.checkpoint_after_s + 1)
    assert world.committed == 2
    world.kill()
    _append(world, 40, [ROOT, LLM])
    world.run()
    assert _texts(world)[f"{2:016x}"] == "hello"


spans = st.builds(
    Sent, number=st.integers(1, 5), parent=st.sampled_from([1, 1, 2]), trace=st.integers(1, 2), failed=st.booleans()
)
logs = st.builds(
    Logged,
    number=st.integers(1, 5),
    trace=st.integers(1, 2),
    text=st.sampled_from(["hello", "there"]),
    at_ns=st.integers(1, 3),
)
records = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.5, 2, 4, 6, 25, 55, 110]), st.lists(st.one_of(spans, logs), min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=14,
)


def _consistent(drawn: Appended) -> Appended:
    """Return records where a span id always stands for the same span, span 1 is the root, and time runs on."""
    first: dict[tuple[int, int], Sent] = {}
    at_s = 0.0
    found: Appended = []
    for gap_s, sent in drawn:
        at_s += gap_s
        kept: list[Sent | Logged] = []
        for item in sent:
            if isinstance(item, Sent):
                root = Sent(number=1, parent=0, trace=item.trace, failed=item.failed)
                kept.append(first.setdefault((item.trace, item.number), root if item.number == 1 else item))
            else:
                kept.append(item)
        found.append((at_s, kept))
    return found


@pytest.mark.parametrize("limits", [{}, {"max_open": 1}, {"max_remembered": 1}, {"max_spans": 3}, {"log_wait_s": 10}])
@settings(max_examples=60, deadline=None)
@given(
    drawn=records,
    batch=st.integers(1, 5),
    kills=st.lists(st.integers(0, 30), max_size=6),
    lose=st.sampled_from(["", "state", "all"]),
)
def test_kills_change_nothing_in_the_end(
    limits: dict[str, int], drawn: Appended, batch: int, kills: list[int], lose: str
) -> None:
    appended = _consistent(drawn)
    config = SMALL.model_copy(update=limits)
    expected = _world(appended, config=config)
    world = World(config, batch=batch)
    for at_s, sent in appended:
        _append(world, at_s, sent)
    step = 0
    while True:
        is_killed = step in kills
        if not world.step(commit=not (is_killed and lose), produce=lose != "all"):
            break
        if is_killed:
            world.kill()
        step += 1
    world.run(until_s=1_000_000)
    assert outcome(world) == outcome(expected)
    assert world.state == {}
    assert world.processor.open_count == 0


@settings(max_examples=60, deadline=None)
@given(drawn=records, batch=st.integers(1, 4))
def test_backlog_gives_the_boundaries_of_live_traffic(drawn: Appended, batch: int) -> None:
    appended = _consistent(drawn)
    backlog = _world(appended, batch=batch)
    live = World(SMALL)
    for at_s, sent in appended:
        if live.records and at_s > 0:
            live.pass_time(at_s)
        _append(live, at_s, sent)
        live.drain()
    live.run(until_s=1_000_000)
    boundaries = [
        [(v.trace_id, v.version, v.log_count, v.close_reason, v.closed_at_s - START_S) for v in w.versions()]
        for w in (backlog, live)
    ]
    assert boundaries[0] == boundaries[1]


def test_a_spilled_trace_is_read_back_with_its_log_records() -> None:
    config = SMALL.model_copy(update={"max_open_bytes": 1})
    world = World(config, batch=1)
    arrival: tuple[Sent | Logged, ...] = (SAID, LLM, MORE, ROOT)
    for at_s, sent in enumerate(arrival):
        _append(world, at_s, [sent])
    world.run()
    assert _texts(world)[f"{2:016x}"] == "hello\nthere"
    assert world.recalls >= 1
    assert world.telemetry.total("clearwatch.dropped") == 0


def test_log_records_that_retention_has_deleted_leave_the_trace_whole() -> None:
    world = World(SMALL.model_copy(update={"max_open_bytes": 1}), batch=1)
    arrival: tuple[Sent | Logged, ...] = (SAID, LLM, ROOT)
    for at_s, sent in enumerate(arrival):
        _append(world, at_s, [sent])
    world.deleted = {0}
    world.run()
    assert [(v.span_count, v.log_count, v.fragment) for v in world.versions()] == [(2, 0, False)]
    assert world.dropped("recalled_log_record_gone") == 1
    assert world.dropped("recalled_span_gone") == 0
