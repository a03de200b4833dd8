"""Which traces make a session, and when it ends."""

import random

import msgspec

from core.log.port import StoredRecord, Work
from core.model.trace import CloseReason, TraceChunk, TraceRecord, TraceVersion, TraceWithdrawal
from core.telemetry import Telemetry
from core.topics import TRACES, headers
from detector.sessions.config import SessionsConfig
from detector.sessions.session import Session
from detector.sessions.stage import SessionsProcessor, SessionsStage

NOW_S = 1_800_000_000.0


def version(trace: str, at_s: float = 0.0, **fields: object) -> TraceVersion:
    made = TraceVersion(
        trace_id=trace,
        version=f"{trace}-1",
        routing_key="shop",
        span_count=3,
        close_reason=CloseReason.ROOT,
        session_id="s",
        started_ns=int((NOW_S + at_s - 1) * 1e9),
        ended_ns=int((NOW_S + at_s) * 1e9),
        last_append_s=NOW_S + at_s,
    )
    return msgspec.structs.replace(made, **fields)


class Sessions:
    """A processor and its committed state. Records are appended in one go, as a backlog is."""

    def __init__(self, **config: object) -> None:
        self.telemetry = Telemetry()
        self.stage = SessionsStage(config=SessionsConfig.model_validate(config), telemetry=self.telemetry)
        self.state: dict[bytes, bytes] = {}
        self.offset = 0
        self.restart()

    def restart(self) -> None:
        made = self.stage.processor(0, {TRACES: 1})
        assert isinstance(made, SessionsProcessor)
        made.restore(list(reversed(self.state.items())))
        self.processor = made

    def take(self, *values: TraceRecord) -> None:
        records = [
            StoredRecord(
                topic=TRACES,
                partition=0,
                offset=self.offset + n,
                log_time_ms=int((NOW_S + 1e6) * 1000),
                value=msgspec.msgpack.encode(value),
                headers=headers(),
            )
            for n, value in enumerate(values)
        ]
        self.offset += len(values)
        work = self.processor.process(records)
        assert work.next_offsets == {TRACES: self.offset}
        self.commit(work)

    def commit(self, work: Work) -> None:
        assert work.produce == ()
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value

    def tick(self, at_s: float) -> None:
        self.commit(self.processor.tick(NOW_S + at_s))

    @property
    def only(self) -> Session:
        (session,) = self.processor.sessions
        return session

    @property
    def numbers(self) -> tuple[float, float]:
        found = self.telemetry.snapshot()
        return found["clearwatch.sessions.open", ()], self.telemetry.total("clearwatch.sessions.closed")


def test_traces_with_one_session_id_are_one_session() -> None:
    sessions = Sessions()
    sessions.take(version("a"), version("b", 60, has_root=False), version("c", 120))
    assert (sessions.only.trace_count, sessions.only.turn_count) == (3, 2)
    assert sessions.only.first_seen_ns == int((NOW_S - 1) * 1e9)
    assert sessions.only.last_seen_ns == int((NOW_S + 120) * 1e9)
    assert sessions.numbers == (1, 0)


def test_a_trace_without_a_session_id_is_no_session() -> None:
    sessions = Sessions()
    sessions.take(version("a", session_id=""))
    assert sessions.processor.sessions == ()


def test_chunks_are_skipped() -> None:
    sessions = Sessions()
    sessions.take(TraceChunk(trace_id="a", version="v", routing_key="shop", index=0, otlp=b""))
    assert sessions.processor.sessions == ()


def test_one_id_under_two_routing_keys_is_two_sessions() -> None:
    sessions = Sessions()
    sessions.take(version("a"), version("b", routing_key="bank"))
    assert len(sessions.processor.sessions) == 2


def test_a_larger_version_replaces_and_a_smaller_one_does_not() -> None:
    sessions = Sessions()
    sessions.take(version("a", error_count=1), version("a", span_count=5, error_count=2), version("a", span_count=4))
    assert (sessions.only.trace_count, sessions.only.error_count) == (1, 2)


def test_a_fragment_never_replaces_and_is_replaced() -> None:
    sessions = Sessions()
    sessions.take(version("a", error_count=1), version("a", span_count=9, fragment=True))
    assert sessions.only.error_count == 1
    sessions.take(version("b", span_count=9, fragment=True, error_count=7), version("b", span_count=2))
    assert sessions.only.error_count == 1


def test_silence_ends_a_session() -> None:
    sessions = Sessions(gap_s=1800)
    sessions.take(version("a"))
    sessions.tick(1800)
    assert sessions.numbers == (1, 0)
    wake_s = sessions.processor.next_wake_s()
    assert wake_s is not None
    assert 1800 < wake_s - NOW_S < 1801
    sessions.tick(1801)
    assert sessions.numbers == (0, 1)
    sessions.tick(3700)
    assert sessions.state == {}


def test_a_backlog_ends_sessions_as_live_traffic_would() -> None:
    sessions = Sessions(gap_s=1800)
    sessions.take(version("a"), version("b", 1700), version("c", 3600))
    assert (sessions.only.part, sessions.only.trace_count) == (2, 1)
    assert sessions.numbers == (1, 1)


def test_other_sessions_let_time_pass() -> None:
    sessions = Sessions(gap_s=1800)
    sessions.take(version("a"), version("b", 2000, session_id="other"))
    assert sessions.numbers == (1, 1)


def test_a_late_version_finds_its_closed_session() -> None:
    sessions = Sessions(gap_s=1800)
    sessions.take(version("a"))
    sessions.tick(2000)
    sessions.take(version("a", 1900, span_count=9))
    assert (sessions.only.part, sessions.only.trace_count) == (1, 1)


def test_an_endless_session_goes_on_in_parts() -> None:
    sessions = Sessions(gap_s=1800, max_s=3600)
    sessions.take(*(version(f"t{n}", n * 1000) for n in range(6)))
    assert (sessions.only.part, sessions.only.trace_count) == (2, 2)
    assert sessions.numbers == (1, 1)


def test_a_withdrawn_trace_leaves_as_if_it_had_never_come() -> None:
    sessions = Sessions()
    sessions.take(version("a"), version("b", 5))
    sessions.take(TraceWithdrawal(trace_id="a", routing_key="shop", session_id="s"))
    assert sessions.only.trace_count == 1
    sessions.take(TraceWithdrawal(trace_id="b", routing_key="shop", session_id="s"))
    assert sessions.state == {}
    assert sessions.numbers == (0, 0)


def test_traces_of_a_session_are_bounded_and_counted() -> None:
    sessions = Sessions(max_traces=10)
    sessions.take(*(version(f"t{n}", n) for n in range(15)))
    assert sessions.only.trace_count == 10
    assert sessions.telemetry.total("clearwatch.dropped", reason="session_trace_limit") == 5


def test_sessions_are_bounded_and_counted() -> None:
    sessions = Sessions(max_open=10)
    sessions.take(*(version(f"t{n}", n, session_id=f"s{n}") for n in range(15)))
    assert {s.session_id for s in sessions.processor.sessions} == {f"s{n}" for n in range(5, 15)}
    assert sessions.telemetry.total("clearwatch.dropped", reason="session_evicted") == 5
    assert sessions.numbers == (10, 5)


def test_the_session_that_goes_is_the_one_unseen_for_longest_also_where_others_were_seen_since() -> None:
    sessions = Sessions(max_open=3)
    sessions.take(*(version(f"t{n}", n, session_id=f"s{n}") for n in range(4)))  # s0 goes
    sessions.take(version("t1", 5, session_id="s1", span_count=4), version("u1", 6, session_id="s2"))
    sessions.take(*(version(f"t{n}", n, session_id=f"s{n}") for n in range(7, 9)))  # s3, then s1
    assert {s.session_id for s in sessions.processor.sessions} == {"s2", "s7", "s8"}


def test_restarts_give_what_an_uninterrupted_run_gives() -> None:
    chance = random.Random(3)
    steady, restarted = Sessions(gap_s=50, max_s=400), Sessions(gap_s=50, max_s=400)
    at_s = 0.0
    for n in range(500):
        at_s += chance.random() * 20
        trace, session = f"t{chance.randrange(n + 1)}", f"s{chance.randrange(6)}"
        value: TraceRecord = version(trace, at_s, session_id=session, span_count=chance.randrange(1, 9))
        if chance.random() < 0.1:
            value = TraceWithdrawal(trace_id=trace, routing_key="shop", session_id=session)
        for sessions in (steady, restarted):
            sessions.take(value)
        if chance.random() < 0.2:
            restarted.restart()
    for sessions in (steady, restarted):
        sessions.tick(at_s + 1)
    assert steady.processor.sessions
    assert sorted(steady.processor.sessions, key=str) == sorted(restarted.processor.sessions, key=str)
    assert steady.state == restarted.state
