"""Spans per CPU-second of a receiver process, acknowledged after COMMIT: `python -m tests.bench.bench_collector`.

CPU is user plus system time of the whole server process (all threads, writer included), from /proc; the client is this
process. The naive receiver (`collector_server`) runs in every round, since absolute figures of a shared machine
wander: state ratios to it. Medians of the rounds. The slicer is compared with a full protobuf parse of the same
request, in this process.
"""

import asyncio
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop
from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.slicer import slice_traces
from core.malloc import tune_malloc
from tests.bench.collector_traffic import SPANS_A_TRACE, STANDARD_TRACES, make_request

PARTITIONS = 4
DIFFERENT_REQUESTS = 16
SECONDS = 2.0
ROUNDS = 3
WARM_UP_S = 0.5
_NAIVE = "naive gRPC, 512-span requests"
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Row = tuple[str, float, str]
Sender = Callable[[bytes], Awaitable[None]]


class Server:
    """A server process and what it has cost."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.collector_server", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.grpc_port, self.http_port = ports["grpc"], ports["http"]

    def cpu_s(self) -> float:
        """Return CPU seconds of all threads, ended ones included."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """Return the highest resident size so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def stop(self) -> None:
        """End it as its operator would."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Run a server process."""
    server = Server(*arguments)
    try:
        yield server
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
            naive = uvloop.run(_grpc(server, standard, spans, 8))
        rates.setdefault(_NAIVE, []).append(naive)
        for validate in ("auto", "full"):
            for name, measure in (
                ("gRPC, 512-span requests", partial(_grpc, requests=standard, spans=spans, connections=8)),
                ("HTTP, 512-span requests", partial(_http, requests=standard, spans=spans, connections=8)),
                (
                    "HTTP gzip, 512-span requests",
                    partial(_http, requests=packed, spans=spans, connections=8, gzipped=True),
                ),
                (
                    "HTTP, 8-span requests, 64 connections",
                    partial(_http, requests=small, spans=SPANS_A_TRACE, connections=64),
                ),
            ):
                # a log of its own for each, as the naive one has: the file's size matters
                with serving("clearwatch", "--validate", validate) as server:
                    rates.setdefault(f"{name}, validate {validate}", []).append(uvloop.run(measure(server)))
                    peaks[validate] = max(peaks.get(validate, 0), server.peak_mb())
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


async def _grpc(server: Server, requests: Sequence[bytes], spans: int, connections: int) -> float:
    async with aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        export = channel.unary_unary(_EXPORT, bytes, bytes)

        async def send(body: bytes) -> None:
            await export(body)

        return await _measure(server, [send] * connections, requests, spans)


async def _http(
    server: Server, requests: Sequence[bytes], spans: int, connections: int, *, gzipped: bool = False
) -> float:
    encoding = "content-encoding: gzip\r\n" if gzipped else ""
    head = f"POST /v1/traces HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-protobuf\r\n{encoding}"
    whole = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in requests]
    streams = [await asyncio.open_connection("127.0.0.1", server.http_port) for _ in range(connections)]

    def sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Sender:
        async def send(body: bytes) -> None:
            writer.write(body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200") or b"content-length: 0" not in answer:
                raise RuntimeError(f"refused: {answer!r}")

        return send

    try:
        return await _measure(server, [sender(*stream) for stream in streams], whole, spans)
    finally:
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()


async def _measure(server: Server, senders: Sequence[Sender], bodies: Sequence[bytes], spans: int) -> float:
    """Send from all senders at once; return spans acknowledged per CPU-second of the server, warm-up left out."""
    done = 0
    until = time.monotonic() + WARM_UP_S + SECONDS

    async def work(send: Sender, first: int) -> None:
        nonlocal done
        index = first
        while time.monotonic() < until:
            await send(bodies[index % len(bodies)])
            done += 1
            index += 1

    async with asyncio.TaskGroup() as tasks:
        for first, send in enumerate(senders):
            tasks.create_task(work(send, first), name=f"bench-client-{first}")
        await asyncio.sleep(WARM_UP_S)
        done_before, cpu_before = done, server.cpu_s()
    return (done - done_before) * spans / (server.cpu_s() - cpu_before)


def main() -> None:
    for name, value, unit in run():
        print(f"{name:<62} {value:>12,.2f} {unit}")


if __name__ == "__main__":
    main()
