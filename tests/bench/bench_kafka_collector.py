"""Spans per CPU-second of a receiver on a real Kafka broker: `python -m tests.bench kafka-collector`.

Answered after the broker's acknowledgement (acks=all, idempotent), 12 partitions. CPU is user plus system time of the
receiver's process; broker and client are others. The naive receiver (`collector_server`) has the same client with the
same settings and runs in every round: state ratios to it. Medians of the rounds.
"""

import contextlib
import gzip
import random
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from core.malloc import tune_malloc
from tests.bench.bench_collector import serving
from tests.bench.collector_traffic import SPANS_A_TRACE, STANDARD_TRACES, make_request
from tests.bench.load import grpc_load, http_load, peak_mb
from tests.broker.kafka import RunningKafka, running_kafka

ROUNDS = 3
DIFFERENT_REQUESTS = 16
_NAIVE = "naive gRPC, 512-span requests"
# a folder in memory, where there is one: it is not the disk that is measured
_FAST: Final = Path("/dev/shm")  # noqa: S108
# segments small enough for deletion to keep up with the bench
_BROKER: Final = {
    "log.segment.bytes": str(32 * 1024**2),
    "log.retention.check.interval.ms": "2000",
    "log.segment.delete.delay.ms": "1000",
}

Row = tuple[str, float, str]


@contextlib.contextmanager
def bench_broker(options: Mapping[str, str] = _BROKER) -> Iterator[RunningKafka]:
    """Run a broker for the time of the block, its data in memory where the machine offers that."""
    with (
        tempfile.TemporaryDirectory(dir=_FAST if _FAST.is_dir() else None) as folder,
        running_kafka(Path(folder), options=dict(options)) as broker,
    ):
        yield broker


def run() -> list[Row]:
    """Return (measure, value, unit) rows."""
    tune_malloc()
    rng = random.Random(7)
    spans = STANDARD_TRACES * SPANS_A_TRACE
    standard = [make_request(rng, STANDARD_TRACES) for _ in range(DIFFERENT_REQUESTS)]
    small = [make_request(rng, 1) for _ in range(4 * DIFFERENT_REQUESTS)]
    packed = [gzip.compress(body, 6) for body in standard]
    grpc = partial(grpc_load, requests=standard, spans=spans, connections=8)
    http = partial(http_load, requests=standard, spans=spans, connections=8)
    http_gzip = partial(http_load, requests=packed, spans=spans, connections=8, gzipped=True)
    http_small = partial(http_load, requests=small, spans=SPANS_A_TRACE, connections=64)
    cases = [
        (_NAIVE, "naive", "none", grpc),
        ("gRPC, 512-span requests", "clearwatch", "none", grpc),
        ("HTTP, 512-span requests", "clearwatch", "none", http),
        ("HTTP gzip, 512-span requests", "clearwatch", "none", http_gzip),
        ("HTTP, 8-span requests, 64 connections", "clearwatch", "none", http_small),
        ("gRPC, 512-span requests, zstd", "clearwatch", "zstd", grpc),
        ("HTTP, 512-span requests, zstd", "clearwatch", "zstd", http),
        ("HTTP, 512-span requests, snappy", "clearwatch", "snappy", http),
    ]
    rates: dict[str, list[float]] = {name: [] for name, *_ in cases}
    peak = 0.0
    with bench_broker() as broker:
        for turn in range(ROUNDS):
            for number, (name, kind, compression, load) in enumerate(cases):
                where = ("--brokers", broker.bootstrap_servers, "--prefix", f"b{turn}-{number}.")
                with serving(kind, *where, "--compression", compression) as server:
                    rates[name].append(uvloop.run(load(server)).spans_a_cpu_s)
                    if kind == "clearwatch":
                        peak = max(peak, peak_mb(server.pid))
    rows: list[Row] = []
    for name, found in rates.items():
        rows.append((name, statistics.median(found), "spans/CPU-s"))
        ratios = [rate / naive for rate, naive in zip(found, rates[_NAIVE], strict=True)]
        rows.append((f"{name}, to naive", statistics.median(ratios), "ratio"))
    return [*rows, ("peak memory", peak, "MB")]


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name:<62} {value:>12,.2f} {unit}")
