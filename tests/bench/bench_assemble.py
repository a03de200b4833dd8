"""Trace assembly: CPU of `AssembleProcessor.process`, with decoding and the checks that ship, and of its parts.

Traces of 8 spans of 1.8 KB, as chat agents send them, in records of 32 traces a second apart, so that traces close all
the time. Before each round what decoding remembers of attributes is forgotten: ids and counts of tokens are new in real
traffic; one row shows what it is worth to have seen them. Every round also parses the same bytes through the full
schema: on a shared machine only the ratio to that holds from run to run. Usage: `python -m tests.bench.bench_assemble`.
"""

import gc
import operator
import random
import statistics
import time
from collections.abc import Callable, Sequence

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core import topics
from core.cycles import tune_cycles
from core.dialects import decode, pairs
from core.log.port import StoredRecord
from core.malloc import tune_malloc
from core.model.trace import Trace
from core.otlp.build import build_traces_data
from core.otlp.wire import SpanSlice, read_spans
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.stage import BATCH_TRACES, AssembleStage
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.bench.bench_decode import _trace
from tests.properties.assembler_model import PARTITIONS, Inspection, Rules

TRACES = 640
TRACES_A_RECORD = 32
ROUNDS = 9
_odd_session = operator.attrgetter("odd_session")


class _Nothing:
    """No checks."""

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspection]:
        return [Inspection((), {})] * len(traces)


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows of process CPU time: the best of nine rounds; ratios are medians."""
    tune_malloc()  # as `up` does
    tune_cycles()
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
    slices = [read_spans(data)[0] for data in traces]
    decoded = [[decode(piece) for piece in pieces] for pieces in slices]
    seen = [Trace(trace_id=spans[0].trace_id, spans=spans) for spans in decoded]
    spans = sum(map(len, slices))
    checks = Checks(ChecksConfig(), Telemetry())
    work: dict[str, Callable[[], float]] = {
        "reference: full protobuf parse": lambda: _timed(lambda: [TracesData.FromString(r.value) for r in records]),
        "whole stage": lambda: _cpu_s(records, Checks(ChecksConfig(), Telemetry())),
        "whole stage, every attribute seen before": lambda: _cpu_s(
            records, Checks(ChecksConfig(), Telemetry()), is_first=False
        ),
        "whole stage without collector of cycles": lambda: _without_gc(records),
        "whole stage without checks": lambda: _cpu_s(records, _Nothing()),
        "part: read_spans": lambda: _timed(lambda: [read_spans(record.value) for record in records]),
        "part: decode": lambda: _timed(lambda: [[decode(piece) for piece in pieces] for pieces in slices]),
        # a new trace each time: it keeps its tree once that was asked for
        "part: checks": lambda: _timed(
            lambda: [
                checks.inspect_all(
                    [Trace(trace_id="", spans=s, version="v", routing_key="k") for s in decoded[at : at + BATCH_TRACES]]
                )
                for at in range(0, len(decoded), BATCH_TRACES)
            ]
        ),
        "part: build_traces_data": lambda: _timed(
            lambda: [_built(pieces, trace) for pieces, trace in zip(slices, seen, strict=True)]
        ),
    }
    rounds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, measure in work.items():
            rounds[name].append(measure())
    names = list(work)
    parts = [name for name in names if name.startswith("part")]
    warm = rounds["whole stage, every attribute seen before"]
    rounds["rest of the stage, by difference"] = [
        whole - sum(rounds[part][number] for part in parts) for number, whole in enumerate(warm)
    ]
    rows = [("spans assembled, decoded and checked", spans / min(rounds["whole stage"]), "spans/CPU-s")]
    for name, times in rounds.items():
        # the least of a difference is that of two rounds which were disturbed differently
        best = statistics.median(times) if name.startswith("rest") else min(times)
        rows.append((name, best / spans * 1e6, "µs/span"))
        ratio = statistics.median(t / reference for t, reference in zip(times, rounds[names[0]], strict=True))
        rows.append((f"{name}, to the reference", ratio, "ratio"))
    return rows


def _built(pieces: Sequence[SpanSlice], trace: Trace) -> list[bytes]:
    mend = any(map(_odd_session, trace.spans))
    return build_traces_data(
        pieces, session_id=trace.session_id, user_id=trace.user_id, max_bytes=800_000, mend_sessions=mend
    )


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time_ns()
    work()
    return (time.process_time_ns() - started) / 1e9


def _without_gc(records: list[StoredRecord]) -> float:
    gc.disable()
    try:
        return _cpu_s(records, Checks(ChecksConfig(), Telemetry()))
    finally:
        gc.enable()


def _cpu_s(records: list[StoredRecord], inspector: Checks | Rules | _Nothing, *, is_first: bool = True) -> float:
    if is_first:
        pairs.memo.clear()
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
    for label, value, unit in run():
        print(f"{label:60} {value:12,.2f} {unit}")
