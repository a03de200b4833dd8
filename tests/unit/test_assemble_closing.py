"""When traces close, with which reason, and what is published."""

from itertools import pairwise

import msgspec
import pytest
from pydantic import ValidationError

from core import topics
from core.model.finding import Finding, Withdrawal
from core.model.trace import CloseReason, version_of
from core.otlp.wire import read_spans
from core.topics import LetterKind
from detector.assemble.assembler import Assembler
from detector.assemble.config import AssembleConfig
from detector.assemble.stage import BATCH_TRACES
from tests.properties.assembler_model import START_S, Sent, World, encoded

ROOT = Sent(number=1, parent=0)
CHILD = Sent(number=2)


def test_trace_with_root_closes_five_seconds_after_its_last_span() -> None:
    world = World()
    world.append(0, [CHILD])
    world.append(3, [ROOT])
    world.append(7, [Sent(number=3)])
    world.drain()
    world.pass_time(11.9)
    assert world.versions() == []
    world.pass_time(12)
    (version,) = world.versions()
    assert version.close_reason is CloseReason.ROOT
    assert version.span_count == 3
    assert version.closed_at_s == START_S + 12
    assert version.last_append_s == START_S + 7
    assert version.version == version_of([ROOT.span_id, CHILD.span_id, Sent(number=3).span_id])


def test_everything_due_is_closed_before_a_record_is_applied() -> None:
    world = World()
    world.append(0, [ROOT])
    world.append(5, [CHILD])
    world.run()
    assert [v.span_count for v in world.versions()] == [1, 2]
    assert [v.close_reason for v in world.versions()] == [CloseReason.ROOT, CloseReason.LATE]


def test_traces_that_are_due_together_are_published_in_the_order_of_their_deadlines() -> None:
    world = World()
    many = 2 * BATCH_TRACES + 3
    for trace in range(many, 0, -1):
        world.append((many - trace) * 0.01, [Sent(number=1, parent=0, trace=trace)])
    world.drain()
    world.pass_time(100)
    assert [int(v.trace_id, 16) for v in world.versions()] == list(range(many, 0, -1))


@pytest.mark.parametrize(("max_traces", "max_bytes", "taken"), [(9, 10**6, 3), (2, 10**6, 2), (9, 1, 1)])
def test_traces_are_taken_for_closing_up_to_a_number_and_a_size(max_traces: int, max_bytes: int, taken: int) -> None:
    assembler = Assembler(AssembleConfig())
    for number in (1, 2, 3):
        slices, _ = read_spans(encoded([Sent(number=1, parent=0, trace=number)]))
        assembler.take(slices[0].trace_id, slices, offset=number, now_s=number, origin="live", experiment="")
    found = assembler.to_close(100, max_traces=max_traces, max_bytes=max_bytes)
    assert [trace.trace_id[-1] for trace, _ in found] == [1, 2, 3][:taken]
    for trace, due in found:
        assembler.closed(trace, at_s=due.at_s)
    assert assembler.open_count == 3 - taken


def test_trace_without_root_is_published_provisionally_and_closes_when_idle() -> None:
    world = World()
    world.append(0, [CHILD, Sent(number=3, failed=True)])
    world.run()
    first, last = world.versions()
    assert (first.provisional, first.close_reason, first.closed_at_s) == (True, CloseReason.PROVISIONAL, START_S + 60)
    assert (last.provisional, last.close_reason, last.closed_at_s) == (False, CloseReason.IDLE, START_S + 1800)
    assert not last.has_root


def test_checks_of_absence_wait_for_the_final_version() -> None:
    world = World()
    world.append(0, [CHILD, Sent(number=3, failed=True)])
    world.drain()
    world.pass_time(100)
    assert [f.check for f in world.finding_records() if isinstance(f, Finding)] == ["failed"]
    world.pass_time(2000)
    assert [f.check for f in world.finding_records() if isinstance(f, Finding)] == ["failed", "orphan", "orphan"]


def test_long_trace_is_published_every_five_minutes_while_it_grows_and_closes_at_max_age() -> None:
    world = World(AssembleConfig(max_age_s=2000))
    for number in range(2, 402):
        world.append(number * 10, [Sent(number=number)])
    world.drain()
    versions = world.versions()
    assert versions[0].closed_at_s == START_S + 20 + 300
    provisional = [v for v in versions if v.provisional]
    assert len(provisional) == 6
    final = [v for v in versions if not v.provisional]
    assert final[0].close_reason is CloseReason.AGE
    assert final[0].closed_at_s == START_S + 20 + 2000
    # what comes after the close is late, but no version for each span
    assert all(b.closed_at_s - a.closed_at_s >= 190 for a, b in pairwise(final[1:]))


def test_provisional_versions_carry_only_new_spans_and_the_final_one_all() -> None:
    world = World()
    world.append(0, [Sent(number=2)])
    world.append(100, [Sent(number=3)])
    world.append(200, [ROOT])
    world.run()
    chunks = [[s.span_id[-1] for s in read_spans(chunk.otlp)[0]] for chunk in world.chunks()]
    assert chunks == [[2], [3], [2, 3, 1]]
    assert [v.chunk_count for v in world.versions()] == [1, 1, 1]


def test_duplicates_change_nothing_and_are_counted() -> None:
    world = World()
    world.append(0, [ROOT, CHILD])
    world.append(4, [ROOT, CHILD])
    world.append(100, [CHILD])
    world.run()
    (version,) = world.versions()
    assert version.closed_at_s == START_S + 5
    assert world.telemetry.total("clearwatch.spans.duplicate") == 3


def test_late_spans_of_one_burst_make_one_larger_version_with_new_findings_only() -> None:
    world = World()
    world.append(0, [ROOT, Sent(number=5, failed=True)])
    world.append(100, [Sent(number=3, failed=True)])
    world.append(104, [Sent(number=4)])
    world.run()
    first, late = world.versions()
    assert (first.span_count, late.span_count) == (2, 4)
    assert (late.close_reason, late.closed_at_s, late.fragment) == (CloseReason.LATE, START_S + 109, False)
    assert len([f for f in world.finding_records() if isinstance(f, Finding)]) == 2
    assert sorted(m.span_id[-1] for m in world.measurements() if not m.is_trace) == ["1", "3", "4", "5"]
    assert [m.span_id[-1] for m in world.measurements() if m.is_trace] == ["1"]
    assert world.telemetry.total("clearwatch.spans.late") == 2


def test_finding_that_no_longer_holds_is_withdrawn() -> None:
    world = World()
    world.append(0, [ROOT, Sent(number=3, parent=2)])
    world.append(100, [CHILD])
    world.run()
    found, withdrawn = world.finding_records()
    assert isinstance(found, Finding)
    assert isinstance(withdrawn, Withdrawal)
    assert withdrawn.finding_id == found.finding_id
    assert world.findings() == set()


def test_trace_closed_without_root_takes_its_root_hours_later() -> None:
    world = World()
    world.append(0, [CHILD])
    world.append(1800 + 6 * 3600 - 10, [ROOT])
    world.run(until_s=100_000)
    assert [v.close_reason for v in world.versions()] == ["provisional", "idle", "late"]
    assert world.versions()[-1].has_root
    assert not world.versions()[-1].fragment


def test_late_span_of_a_forgotten_trace_is_a_fragment_without_absence() -> None:
    world = World()
    world.append(0, [ROOT])
    world.append(2000, [Sent(number=3, failed=True)])
    world.run()
    whole, fragment = world.versions()
    assert (whole.fragment, fragment.fragment) == (False, True)
    assert fragment.span_count == 1
    assert [f.check for f in world.finding_records() if isinstance(f, Finding)] == ["failed"]
    assert world.final()[whole.trace_id] == whole


def test_late_span_of_an_evicted_trace_is_a_fragment_and_counted() -> None:
    world = World(AssembleConfig(max_remembered=1))
    world.append(0, [ROOT])
    world.append(1, [Sent(number=1, parent=0, trace=2)])
    world.append(20, [CHILD])
    world.run()
    assert [v.fragment for v in world.versions(1)] == [False, True]
    assert world.dropped("trace_memory_evicted") >= 1


def test_late_span_whose_records_are_deleted_makes_a_fragment() -> None:
    world = World()
    world.append(0, [ROOT, Sent(number=3, parent=2)])
    world.append(100, [CHILD])
    world.deleted.add(0)
    world.run()
    whole, fragment = world.versions()
    assert (fragment.fragment, fragment.span_count) == (True, 1)
    assert world.dropped("recalled_span_gone") == 2
    assert not any(isinstance(f, Withdrawal) for f in world.finding_records())
    assert world.final()[whole.trace_id] == whole


def test_session_learned_late_moves_the_trace() -> None:
    world = World()
    world.append(0, [ROOT])
    world.append(100, [Sent(number=2, session="chat-7")])
    world.run()
    (gone,) = world.moves()
    assert (gone.session_id, gone.routing_key) == ("", "shop")
    records = [r for r in world.written if r.topic == topics.TRACES]
    keys = [b"shop\0" + ROOT.trace_id.hex().encode()] * 3 + [b"shop\0chat-7"] * 2
    assert [r.key for r in records] == keys  # chunk, version, withdrawal; chunk, version
    new = records[-1]
    assert new.key == b"shop\0chat-7"
    assert world.versions()[-1].session_id == "chat-7"
    assert new.partition == topics.partition_for(new.key, 4)


def test_routing_key_is_the_named_experiment_and_fixed_at_the_first_version() -> None:
    world = World()
    world.append(0, [Sent(number=2, service="worker")])
    world.append(100, [ROOT])
    world.append(0 + 100, [Sent(number=1, parent=0, trace=2)], experiment="42")
    world.run()
    assert {v.routing_key for v in world.versions(1)} == {"worker"}
    assert {v.routing_key for v in world.versions(2)} == {"experiment:42"}


def test_trace_over_its_cap_closes_and_counts_what_comes_after() -> None:
    world = World(AssembleConfig(max_spans=3))
    world.append(0, [Sent(number=n) for n in range(2, 7)])
    world.append(1, [Sent(number=8)])
    world.append(100, [ROOT])
    world.run()
    (version,) = world.versions()
    assert (version.close_reason, version.span_count, version.dropped_spans) == (CloseReason.SIZE, 3, 2)
    assert world.dropped("trace_over_cap") == 4


def test_trace_over_its_bytes_closes() -> None:
    world = World(AssembleConfig(max_bytes=10_000))
    for number in range(2, 20):
        world.append(number, [Sent(number=number, text="x" * 1000)])
    world.run()
    assert world.versions()[0].close_reason is CloseReason.SIZE
    assert world.versions()[0].span_count + world.dropped("trace_over_cap") == 18


def test_broken_records_and_spans_cost_only_themselves() -> None:
    world = World()
    world.append_bytes(0, b"\x0a\xff\xff\xff\x7f")
    world.append(0, [ROOT, Sent(number=0)])
    world.append_bytes(0, b"anything", signal="logs")
    world.run()
    assert [v.span_count for v in world.versions()] == [1]
    letters = [msgspec.msgpack.decode(r.value, type=topics.DeadLetter) for r in world.written
               if r.topic == topics.DEAD_LETTERS]  # fmt: skip
    assert [(letter.reason, letter.kind, letter.offset) for letter in letters] == [
        ("record_not_decodable", LetterKind.RECORD, 0),
        ("span_not_readable", LetterKind.PART, 1),
        ("record_not_decodable", LetterKind.RECORD, 2),
    ]


def test_replayed_traces_are_not_measured() -> None:
    world = World()
    world.append(0, [ROOT], origin="replay")
    world.run()
    assert world.measurements() == []
    assert all(r.headers["origin"] == "replay" for r in world.written)


def test_state_is_empty_once_everything_is_forgotten() -> None:
    world = World()
    for trace in range(1, 30):
        world.append(trace, [Sent(number=1, parent=0, trace=trace)])
    world.drain()
    world.pass_time(100)
    assert len(world.state) == 29
    world.pass_time(200_000)
    assert world.state == {}
    assert world.processor.next_wake_s() is None


def test_committed_offset_waits_for_open_traces_until_they_are_checkpointed() -> None:
    world = World(batch=1)
    world.append(0, [CHILD])
    world.append(30, [Sent(number=1, parent=0, trace=2)])
    world.append(59, [Sent(number=1, parent=0, trace=3)])
    world.append(61, [Sent(number=1, parent=0, trace=4)])
    for _ in range(3):
        world.step()
    assert world.committed == 0
    world.step()
    assert world.committed == 2


@pytest.mark.parametrize(
    ("key", "value"), [("root_grace_s", 2000.0), ("provisional_s", 1801.0), ("remember_s", 30.0), ("idle_s", 30_000.0)]
)
def test_contradictions_are_refused_with_both_keys(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=rf"`{key}` \({value}\)|\({value}\)"):
        AssembleConfig.model_validate({key: value})


def test_limits_over_all_partitions_are_split() -> None:
    share = AssembleConfig(max_open=10, max_open_bytes=7).share(4)
    assert (share.max_open, share.max_open_bytes, share.max_spans) == (3, 2, 50_000)


def test_fragment_that_lost_the_span_with_the_session_stays_under_its_key() -> None:
    world = World()
    world.append(0, [Sent(number=1, parent=0, session="chat-7")])
    world.append(100, [CHILD])
    world.deleted.add(0)
    world.run()
    assert world.moves() == []
    assert [v.session_id for v in world.versions()] == ["chat-7", "chat-7"]


def test_early_close_for_want_of_room_does_not_withdraw_and_does_not_speak_of_absence() -> None:
    world = World(AssembleConfig(max_open=1))
    world.append(0, [Sent(number=3, parent=2)])
    world.append(1, [Sent(number=1, parent=0, trace=2)])
    world.run()
    (early,) = world.versions(1)
    assert (early.provisional, early.closed_at_s) == (True, START_S + 1)
    assert world.finding_records() == []
    assert world.dropped("open_trace_evicted") == 1
