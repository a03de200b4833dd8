"""Memory and work stay bounded, and extreme traces come through."""

import pytest

from core.model.trace import CloseReason
from core.otlp.wire import read_spans
from detector.assemble.config import AssembleConfig
from tests.properties.assembler_model import START_S, Sent, World


def test_trace_of_100k_spans_keeps_its_cap_and_counts_the_rest() -> None:
    world = World(AssembleConfig(max_spans=50_000))
    for start in range(1, 100_001, 5000):
        world.append(start / 1e6, [Sent(number=n, parent=int(n > 1)) for n in range(start, start + 5000)])
    world.run()
    (version,) = world.versions()
    assert (version.close_reason, version.span_count) == (CloseReason.SIZE, 50_000)
    assert world.dropped("trace_over_cap") == 50_000
    assert len([m for m in world.measurements() if not m.is_trace]) == 50_000
    assert max(len(record.value) for record in world.written) < 1_000_000


def test_trace_of_83_minutes_is_one_final_version() -> None:
    world = World(batch=7)
    for number in range(2, 85):
        world.append(number * 60, [Sent(number=number)])
    world.append(85 * 60, [Sent(number=1, parent=0)])
    world.run()
    assert [v.close_reason for v in world.versions() if not v.provisional] == [CloseReason.ROOT]
    assert world.versions()[-1].span_count == 84
    spans = [s for chunk in world.chunks() for s in read_spans(chunk.otlp)[0]]
    assert len(spans) < 3 * 84


def test_long_trace_does_not_hold_back_the_committed_offset() -> None:
    world = World(batch=1)
    for number in range(2, 200):
        world.append(number * 30, [Sent(number=number)])
        world.step()
        pinned_s = (world.records[-1].log_time_ms - world.records[world.committed - 1].log_time_ms) / 1000
        assert world.committed == 0 or pinned_s <= world.config.checkpoint_after_s + 30
    assert world.committed > 190


def test_trace_of_3_5_megabytes_goes_out_whole_in_chunks_under_the_limit() -> None:
    world = World()
    for number in range(1, 36):
        world.append(0.01 * number, [Sent(number=number, parent=int(number > 1), text="x" * 100_000)])
    world.run()
    assert world.versions()[-1].span_count == 35
    assert max(len(chunk.otlp) for chunk in world.chunks()) <= 800_000
    assert sum(len(read_spans(chunk.otlp)[0]) for chunk in world.chunks()) == 35
    assert world.versions()[-1].chunk_count == len(world.chunks())


def test_endless_trace_is_cut_and_goes_on_as_few_versions() -> None:
    world = World(AssembleConfig(max_spans=1000, max_open_bytes=100_000), batch=50)
    for number in range(2, 1502):
        world.append(number * 40, [Sent(number=number)])
    world.run(until_s=100_000)
    final = [v for v in world.versions() if not v.provisional]
    assert final[0].close_reason is CloseReason.AGE
    assert final[-1].close_reason is CloseReason.SIZE
    assert len(world.versions()) < 1500 * 40 / 300 + 5
    assert final[-1].span_count + world.dropped("trace_over_cap") == 1500
    assert world.processor._assembler.held_bytes == 0


@pytest.mark.parametrize("has_root", [True, False])
def test_a_flood_of_trace_ids_stays_within_every_bound(has_root: bool) -> None:
    bounds = AssembleConfig(max_open=500, max_open_bytes=50_000, max_remembered=700, max_forgotten=300)
    world = World(bounds, batch=20)
    total = 6_000
    assembler = world.processor._assembler
    for start in range(0, total, 50):
        parent = 0 if has_root else 9
        world.append(start / 100, [Sent(number=1, parent=parent, trace=start + n + 1) for n in range(50)])
        world.drain()
        assert assembler.open_count <= 500 + 50
        assert assembler.held_bytes <= 50_000
        assert assembler.remembered_count <= 700
        assert assembler.forgotten_count <= 300
        assert len(world.state) <= 500 + 700 + 300 + 50
        assert len(assembler._deadlines) <= 2 * 550 + 1000
        assert assembler._closed.place_count <= 2 * 700 + 1000
    world.run(until_s=400_000)
    assert len({v.trace_id for v in world.versions()}) == total
    assert world.state == {}
    assert assembler._deadlines == []
    assert not any(v.fragment for v in world.versions())
    if not has_root:
        assert world.dropped("open_trace_evicted") >= total - 500
        assert {v.provisional for v in world.versions()} >= {True}


def test_orphans_and_zero_parents_close_as_they_should() -> None:
    world = World()
    world.append(0, [Sent(number=number, parent=99) for number in range(2, 9)])
    world.append(0, [Sent(number=7, parent=0, trace=2)])
    world.run()
    assert world.versions(1)[-1].close_reason is CloseReason.IDLE
    assert not world.versions(1)[-1].has_root
    assert world.versions(2)[-1].closed_at_s == START_S + 5
