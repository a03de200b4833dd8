"""Trace assembly: spans a CPU second of `AssembleProcessor.process`, with decoding and the checks that ship.

Traces of 8 spans of 1.8 KB, as chat agents send them, in records of 32 traces a second apart, so that traces close all
the time. Usage: `python -m tests.bench.bench_assemble`.
"""

import random
import statistics
import time

from core import topics
from core.log.port import StoredRecord
from core.otlp.wire import read_spans
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.stage import AssembleStage
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.bench.bench_decode import _trace
from tests.properties.assembler_model import PARTITIONS, Rules

TRACES = 1600
TRACES_A_RECORD = 32
ROUNDS = 5


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows: medians of five rounds, process CPU time."""
    traces = [_trace(random.Random(seed)) for seed in range(TRACES)]
    records = [
        StoredRecord(
            topic=topics.SPANS,
            partition=0,
            offset=number,
            log_time_ms=1_760_000_000_000 + number * 1000,
            value=b"".join(traces[number * TRACES_A_RECORD : (number + 1) * TRACES_A_RECORD]),
            headers=topics.headers(),
        )
        for number in range(TRACES // TRACES_A_RECORD)
    ]
    spans = sum(len(read_spans(record.value)[0]) for record in records)
    telemetry = Telemetry()
    with_checks = [_cpu_s(records, Checks(ChecksConfig(), telemetry)) for _ in range(ROUNDS)]
    two_rules = [_cpu_s(records, Rules()) for _ in range(ROUNDS)]
    checked, plain = statistics.median(with_checks), statistics.median(two_rules)
    return [
        ("spans assembled, decoded and checked", spans / checked, "spans/CPU-s"),
        ("cost of a span", checked / spans * 1e6, "µs"),
        ("cost of a span without the checks that ship", plain / spans * 1e6, "µs"),
    ]


def _cpu_s(records: list[StoredRecord], inspector: Checks | Rules) -> float:
    stage = AssembleStage(inspector, AssembleConfig(), Telemetry())
    processor = stage.processor(0, PARTITIONS)
    started = time.process_time_ns()
    for at in range(0, len(records), 4):
        processor.process(records[at : at + 4])
    processor.tick(records[-1].log_time_ms / 1000 + 10)
    taken_s = (time.process_time_ns() - started) / 1e9
    assert processor.open_count == 0
    return taken_s


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name}: {value:,.1f} {unit}")
