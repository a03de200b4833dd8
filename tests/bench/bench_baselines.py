"""What the baselines cost: µs a measurement, learned, judged and written, and what a key takes to be read back.

Traces of eight measurements over forty operations of one service and three models, as an agent sends them; process CPU
time, the median of rounds. Usage: `python -m tests.bench.bench_baselines`.
"""

import math
import random
import statistics
import time

import msgspec

from core import topics
from core.log.port import StoredRecord
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import SpanKind
from core.telemetry import Telemetry
from detector.baselines.config import BaselinesConfig
from detector.baselines.stage import BaselinesProcessor, BaselinesStage

TRACES = 1_500
SPANS = 8
ROUNDS = 5
_KINDS = (SpanKind.LLM, SpanKind.TOOL, SpanKind.RETRIEVER, SpanKind.UNKNOWN)


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows."""
    learning = [_record(random.Random(seed), seed, 1.0) for seed in range(TRACES)]
    sound = [_record(random.Random(seed), TRACES + seed, 1.0) for seed in range(TRACES)]
    slow = [_record(random.Random(seed), 2 * TRACES + seed, 5.0) for seed in range(TRACES)]
    rows: list[tuple[str, float, str]] = []
    taken: dict[str, list[float]] = {"learning": [], "sound": [], "in an episode": []}
    restored: list[float] = []
    for _ in range(ROUNDS):
        processor = _processor()
        entries: list[tuple[bytes, bytes]] = []
        for name, records in zip(taken, (learning, sound, slow), strict=True):
            took, entries = _us(processor, records)
            taken[name].append(took)
        fresh = _processor()
        started = time.process_time_ns()
        fresh.restore(entries)
        restored.append((time.process_time_ns() - started) / 1e3 / max(1, len(entries)))
    rows += [(f"a measurement, {name}", statistics.median(times), "µs") for name, times in taken.items()]
    rows.append(("a key restored", statistics.median(restored), "µs"))
    return rows


def _processor() -> BaselinesProcessor:
    config = BaselinesConfig(gather_most=10**9, gather_s=10.0**9)
    made = BaselinesStage(config=config, telemetry=Telemetry()).processor(0, {topics.MEASUREMENTS: 1})
    assert isinstance(made, BaselinesProcessor)
    return made


def _us(processor: BaselinesProcessor, records: list[StoredRecord]) -> tuple[float, list[tuple[bytes, bytes]]]:
    """Return what a measurement takes, and the keys that were written: once, as in two seconds of live traffic."""
    started = time.process_time_ns()
    for at in range(0, len(records), 32):
        processor.process(records[at : at + 32])
    work = processor.tick(math.inf)
    took = (time.process_time_ns() - started) / 1e3 / (len(records) * SPANS)
    return took, [(change.key, change.value or b"") for change in work.state]


def _record(chance: random.Random, number: int, times: float) -> StoredRecord:
    rows = []
    for span in range(SPANS):
        kind = _KINDS[span % len(_KINDS)]
        is_llm = kind is SpanKind.LLM
        duration_ms = times * 400 * chance.lognormvariate(0, 0.4)
        rows.append(
            Measurement(
                routing_key="travel",
                service="travel-assistant",
                operation=f"operation {chance.randrange(40)}",
                kind=kind,
                model=f"model {chance.randrange(3)}" if is_llm else "",
                duration_ms=duration_ms,
                failed=False,
                trace_id=f"{number:032x}",
                span_id=f"{number * SPANS + span:016x}",
                session_id="",
                started_ns=number * 10**9,
                ended_ns=number * 10**9 + int(duration_ms * 1e6),
                time_to_first_token_s=duration_ms / 4_000 if is_llm else None,
                input_tokens=chance.randrange(500, 2_000) if is_llm else 0,
                output_tokens=chance.randrange(50, 400) if is_llm else 0,
                cost_usd=0.002 * chance.lognormvariate(0, 0.4) if is_llm else None,
                own_ms=duration_ms,
            )
        )
    return StoredRecord(
        topic=topics.MEASUREMENTS,
        partition=0,
        offset=number,
        log_time_ms=number * 1000,
        value=msgspec.msgpack.encode(MeasurementBatch(measurements=tuple(rows))),
        headers=topics.headers(),
    )


if __name__ == "__main__":
    for measure, value, unit in run():
        print(f"{measure:45s} {value:8.2f} {unit}")
