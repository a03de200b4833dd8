"""Whatever the order, the repeats, the batches and the kills: the same versions, findings and keys in the end."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model.trace import TraceVersion, version_of
from detector.assemble.config import AssembleConfig
from tests.properties.assembler_model import Sent, World, outcome

ROOT = Sent(number=1, parent=0, service="front")
TOOL = Sent(number=2, parent=1, failed=True)
LLM = Sent(number=3, parent=1, session="chat")
DEEP = Sent(number=4, parent=2, service="front", failed=True)

SMALL = AssembleConfig(
    root_grace_s=5,
    provisional_s=20,
    provisional_every_s=50,
    idle_s=100,
    max_age_s=400,
    remember_s=300,
    remember_rootless_s=1000,
    checkpoint_after_s=30,
    max_open_bytes=1200,
)


@pytest.mark.parametrize("arrival", list(itertools.permutations([ROOT, TOOL, LLM, DEEP])))
def test_arrival_order_does_not_matter(arrival: tuple[Sent, ...]) -> None:
    expected = outcome(_world([(0, [ROOT, TOOL, LLM, DEEP])]))
    assert outcome(_world([(second, [sent]) for second, sent in enumerate(arrival)])) == expected
    twice = [(second / 4, [sent]) for second, sent in enumerate(arrival + arrival[::-1])]
    assert outcome(_world(twice)) == expected


@pytest.mark.parametrize("gap", [4, 8, 70, 299])
@pytest.mark.parametrize("arrival", list(itertools.permutations([ROOT, TOOL, LLM])))
def test_late_spans_end_in_the_same_version_in_any_order(arrival: tuple[Sent, ...], gap: int) -> None:
    same = [Sent(number=s.number, parent=s.parent, failed=s.failed, session=s.session) for s in arrival]
    expected = outcome(_world([(0, sorted(same, key=lambda s: s.number))]))
    assert outcome(_world([(n * gap, [sent]) for n, sent in enumerate(same)], config=AssembleConfig())) == expected
    small = outcome(_world([(n * min(gap, 90), [sent, same[0]]) for n, sent in enumerate(same)]))
    assert small == expected


def _world(appended: list[tuple[float, list[Sent]]], *, config: AssembleConfig = SMALL, batch: int = 1000) -> World:
    world = World(config, batch=batch)
    for at_s, spans in appended:
        world.append(at_s, spans)
    return world.run(until_s=1_000_000)


spans = st.builds(
    Sent,
    number=st.integers(1, 9),
    parent=st.sampled_from([1, 1, 2, 3]),
    trace=st.integers(1, 3),
    failed=st.booleans(),
    session=st.sampled_from(["", "", "", "a"]),
)
records = st.lists(
    st.tuples(st.sampled_from([0, 0, 0.5, 2, 4, 6, 25, 55, 110]), st.lists(spans, min_size=1, max_size=4)),
    min_size=1,
    max_size=14,
)


def _consistent(drawn: list[tuple[float, list[Sent]]]) -> list[tuple[float, list[Sent]]]:
    """Return records where a span id always stands for the same span, span 1 is the root, and time runs on."""
    first: dict[tuple[int, int], Sent] = {}
    at_s = 0.0
    found = []
    for gap_s, sent in drawn:
        at_s += gap_s
        kept = [first.setdefault((s.trace, s.number), s if s.number > 1 else _root(s)) for s in sent]
        found.append((at_s, kept))
    return found


def _root(sent: Sent) -> Sent:
    return Sent(number=1, parent=0, trace=sent.trace, failed=sent.failed)


@pytest.mark.parametrize("limits", [{}, {"max_open": 1}, {"max_remembered": 1}, {"max_spans": 3}])
@settings(max_examples=60, deadline=None)
@given(
    drawn=records,
    batch=st.integers(1, 5),
    kills=st.lists(st.integers(0, 30), max_size=6),
    lose=st.sampled_from(["", "state", "all"]),
)
def test_kills_change_nothing_in_the_end(
    limits: dict[str, int], drawn: list[tuple[float, list[Sent]]], batch: int, kills: list[int], lose: str
) -> None:
    appended = _consistent(drawn)
    config = SMALL.model_copy(update=limits)
    expected = _world(appended, config=config)
    world = World(config, batch=batch)
    for at_s, sent in appended:
        world.append(at_s, sent)
    step = 0
    while True:
        is_killed = step in kills
        if not world.step(commit=not (is_killed and lose), produce=lose != "all"):
            break
        assert world.committed <= world.position
        if is_killed:
            world.kill()
        step += 1
    world.run(until_s=1_000_000)
    assert outcome(world) == outcome(expected)
    assert {v.version for v in world.versions()} == {v.version for v in expected.versions()}
    assert world.state == {}


@settings(max_examples=100, deadline=None)
@given(drawn=records, batch=st.integers(1, 4))
def test_backlog_gives_the_boundaries_of_live_traffic(drawn: list[tuple[float, list[Sent]]], batch: int) -> None:
    appended = _consistent(drawn)
    backlog = _world(appended, batch=batch)
    live = World(SMALL)
    for at_s, sent in appended:
        if live.records and at_s > 0:
            live.pass_time(at_s)
        live.append(at_s, sent)
        live.drain()
    live.run(until_s=1_000_000)
    boundaries = [
        [(v.trace_id, v.version, v.close_reason, v.closed_at_s) for v in w.versions()] for w in (backlog, live)
    ]
    assert boundaries[0] == boundaries[1]


@settings(max_examples=100, deadline=None)
@given(drawn=records, max_spans=st.integers(1, 6))
def test_every_span_is_in_a_version_or_in_a_counter(drawn: list[tuple[float, list[Sent]]], max_spans: int) -> None:
    # a span that comes again once its trace is forgotten is in a fragment as well, and measured twice
    remembered = {"remember_s": 100_000, "remember_rootless_s": 100_000}
    config = SMALL.model_copy(update={"max_spans": max_spans} | remembered)
    appended = _consistent(drawn)
    world = _world(appended, config=config)
    sent = [span for _, batch in appended for span in batch]
    kept = sum(version.span_count for version in _distinct(world))
    counted = world.telemetry.total("clearwatch.spans.duplicate") + world.dropped("trace_over_cap")
    assert kept + counted == len(sent)
    assert len({(m.trace_id, m.span_id) for m in world.measurements() if not m.is_trace}) == len(
        [m for m in world.measurements() if not m.is_trace]
    )


def _distinct(world: World) -> list[TraceVersion]:
    """Return the last of the versions that grow from each other, and each fragment on its own."""
    final = list(world.final().values())
    shown = {v.version for v in final}
    fragments = {v.trace_id: v for v in world.versions() if v.fragment and v.version not in shown}
    return final + list(fragments.values())


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_spilled_trace_is_read_back_whole(every: int) -> None:
    config = SMALL.model_copy(update={"max_open_bytes": 1})
    world = World(config, batch=every)
    numbers = range(1, 13)
    for number in numbers:
        world.append(number, [Sent(number=number, parent=0 if number == 12 else 12, text="x" * 500)])
    world.run()
    (version,) = world.final().values()
    assert version.version == version_of([n.to_bytes(8, "big") for n in numbers])
    assert version.chunk_count == 1
    assert world.recalls >= 1
    assert world.telemetry.total("clearwatch.dropped") == 0
