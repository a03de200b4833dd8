"""Spans per CPU-second of a receiver process, acknowledged after COMMIT: `python -m tests.bench.bench_collector`.

CPU is user plus system time of the whole server process (all threads, writer included), from /proc; the client is this
process. The naive receiver (`collector_server`) runs in every round, since absolute figures of a shared machine
wander: state ratios to it. Medians of the rounds. The slicer is compared with a full protobuf parse of the same
request, in this process.
"""

import gzip
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.slicer import slice_traces
from core.malloc import tune_malloc
from tests.bench.collector_traffic import SPANS_A_TRACE, STANDARD_TRACES, make_request
from tests.bench.load import Address, grpc_load, http_load, peak_mb

PARTITIONS = 4
DIFFERENT_REQUESTS = 16
ROUNDS = 3
_NAIVE = "naive gRPC, 512-span requests"

Row = tuple[str, float, str]


class Server:
    """A server process, and where it is."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.collector_server", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.at = Address(pid=self._process.pid, grpc_port=ports["grpc"], http_port=ports["http"])

    def stop(self) -> None:
        """End it as its operator would."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def serving(*arguments: str) -> Iterator[Address]:
    """Run a server process."""
    server = Server(*arguments)
    try:
        yield server.at
    finally:
        server.stop()


def run() -> list[Row]:
    """Return (measure, value, unit) rows."""
    tune_malloc()
    rng = random.Random(7)
    standard = [make_request(rng, STANDARD_TRACES) for _ in range(DIFFERENT_REQUESTS)]
    small = [make_request(rng, 1) for _ in range(4 * DIFFERENT_REQUESTS)]
    packed = [gzip.compress(body, 6) for body in standard]
    spans = STANDARD_TRACES * SPANS_A_TRACE
    rows: list[Row] = [("bytes per span", len(standard[0]) / spans, "By"), *slicer_rows(standard)]
    rates: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    for _ in range(ROUNDS):
        with serving("naive") as server:
            naive = uvloop.run(grpc_load(server, requests=standard, spans=spans, connections=8)).spans_a_cpu_s
        rates.setdefault(_NAIVE, []).append(naive)
        for validate in ("auto", "full"):
            for name, measure in (
                ("gRPC, 512-span requests", partial(grpc_load, requests=standard, spans=spans, connections=8)),
                ("HTTP, 512-span requests", partial(http_load, requests=standard, spans=spans, connections=8)),
                (
                    "HTTP gzip, 512-span requests",
                    partial(http_load, requests=packed, spans=spans, connections=8, gzipped=True),
                ),
                (
                    "HTTP, 8-span requests, 64 connections",
                    partial(http_load, requests=small, spans=SPANS_A_TRACE, connections=64),
                ),
            ):
                # a log of its own for each, as the naive one has: the file's size matters
                with serving("clearwatch", "--validate", validate) as server:
                    rate = uvloop.run(measure(server)).spans_a_cpu_s
                    rates.setdefault(f"{name}, validate {validate}", []).append(rate)
                    peaks[validate] = max(peaks.get(validate, 0), peak_mb(server.pid))
    for name, found in rates.items():
        rows.append((name, statistics.median(found), "spans/CPU-s"))
        ratios = [rate / naive for rate, naive in zip(found, rates[_NAIVE], strict=True)]
        rows.append((f"{name}, to naive", statistics.median(ratios), "ratio"))
    rows += [(f"peak memory, validate {validate}", peak, "MB") for validate, peak in peaks.items()]
    return rows


def slicer_rows(requests: Sequence[bytes]) -> list[Row]:
    """Return what slicing costs beside a full parse; the lower quartile of interleaved rounds.

    Each round goes over all requests with one and then with the other, so that neither finds the bytes in the cache.
    """
    slicing: list[float] = []
    parsing: list[float] = []
    for _ in range(15):
        for data in requests:
            started = time.thread_time()
            sliced = slice_traces(data, partitions=PARTITIONS, max_record_bytes=900_000)
            slicing.append((time.thread_time() - started) / sliced.accepted)
        for data in requests:
            started = time.thread_time()
            ExportTraceServiceRequest.FromString(data)
            parsing.append((time.thread_time() - started) / sliced.accepted)
    ours, full = sorted(slicing)[len(slicing) // 4], sorted(parsing)[len(parsing) // 4]
    return [
        ("slicer, 4 partitions", ours * 1e9, "ns/span"),
        ("full protobuf parse", full * 1e9, "ns/span"),
        ("slicer to full parse", ours / full, "ratio"),
    ]


def main() -> None:
    for name, value, unit in run():
        print(f"{name:<62} {value:>12,.2f} {unit}")


if __name__ == "__main__":
    main()
