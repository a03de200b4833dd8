"""What sessions cost: µs of CPU a trace, for the digest of a turn in assembly and for the sessions stage.

Digests are of the traces of `bench_decode` (8 spans, 1.8 KB each). The stage reads sessions of 10 turns with 60
characters of question and 400 of answer, all sound; a session's checks are asked again with each of its turns.
"""

import random
import time
from collections.abc import Callable

import msgspec

from core.dialects import decode
from core.log.port import StoredRecord
from core.model.span import ContentState
from core.model.trace import CloseReason, Trace, TraceVersion, Turn
from core.otlp.wire import read_spans
from core.telemetry import Telemetry
from core.topics import TRACES, headers
from detector.assemble.turn import turn_of
from detector.sessions.config import SessionsConfig
from detector.sessions.stage import SessionsStage
from tests.bench.bench_decode import _text, _trace

_TRACES = 400
_SESSIONS = 100
_TURNS = 10
_ROUNDS = 5
_NOW_S = 1_760_000_000.0


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows; the best of the rounds counts."""
    spans = [[decode(piece) for piece in read_spans(_trace(random.Random(seed)))[0]] for seed in range(_TRACES)]

    def digests() -> Callable[[], None]:
        traces = [Trace(trace_id=found[0].trace_id, spans=found) for found in spans]

        def work() -> None:
            for trace in traces:
                turn_of(trace, chars=2_000)

        return work

    records = _records(random.Random(7))

    def stage() -> Callable[[], None]:
        processor = SessionsStage(config=SessionsConfig(), telemetry=Telemetry()).processor(0, {TRACES: 1})

        def work() -> None:
            for record in records:
                processor.process([record])

        return work

    return [
        ("digest of a turn, in assembly", _us(digests, _TRACES), "µs/trace"),
        ("sessions stage, sessions of 10 turns", _us(stage, len(records)), "µs/trace"),
    ]


def _records(rng: random.Random) -> list[StoredRecord]:
    """Return the versions of sessions that go on side by side."""
    records: list[StoredRecord] = []
    for turn in range(_TURNS):
        for session in range(_SESSIONS):
            at_s = _NOW_S + turn * 60 + session * 0.1
            # a number makes every question another one
            question = f"{_text(rng, 60)} {turn}?"
            version = TraceVersion(
                trace_id=f"{turn:016x}{session:016x}",
                version="v",
                routing_key="shop",
                span_count=8,
                close_reason=CloseReason.ROOT,
                session_id=f"s{session}",
                started_ns=int(at_s * 1e9),
                ended_ns=int((at_s + 2) * 1e9),
                last_append_s=at_s + 2,
                turn=Turn(question, ContentState.PRESENT, _text(rng, 400), ContentState.PRESENT, "q", "a"),
            )
            value = msgspec.msgpack.encode(version)
            records.append(
                StoredRecord(
                    topic=TRACES,
                    partition=0,
                    offset=len(records),
                    log_time_ms=int(at_s * 1000),
                    value=value,
                    headers=headers(),
                )
            )
    return records


def _us(prepare: Callable[[], Callable[[], None]], count: int) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        work = prepare()
        started_s = time.process_time()
        work()
        best = min(best, time.process_time() - started_s)
    return best * 1e6 / count
