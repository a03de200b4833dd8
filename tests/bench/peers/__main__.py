"""`make bench-peers`: our collector and the OpenTelemetry Collector in Go, one after the other on the same broker.

Both answer after the broker's acknowledgement (acks=all), keep each trace in one partition, get the same requests from
the same client over the same number of connections. CPU is user plus system time of the receiver's process; the client
and the broker share the machine's cores with it, so the rate says what was acknowledged here, not what either could do.
Rounds are interleaved, medians are shown. Before anything is measured, what each stored of some requests is read back.
"""

import argparse
import contextlib
import gzip
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final

import uvloop

from core import topics
from core.log.config import LogConfig
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.malloc import tune_malloc
from core.telemetry import Telemetry
from tests.bench.bench_collector import serving
from tests.bench.bench_kafka_collector import bench_broker
from tests.bench.collector_traffic import SPANS_A_TRACE, STANDARD_TRACES, make_request
from tests.bench.load import Address, Measured, grpc_load, http_load, peak_mb
from tests.bench.peers.otelcol import PeerMissingError, binary, otelcol, version
from tests.bench.peers.read_back import read_back
from tests.broker.jars import BrokerMissingError

PARTITIONS: Final = 12
_MAX_BYTES: Final = 512 * 1024**2
_OURS: Final = "clearwatch"
_THEIRS: Final = "otelcol"
_READ_BACK_REQUESTS: Final = 20

Load = Callable[[Address], Coroutine[Any, Any, Measured]]


@contextlib.contextmanager
def receiver(kind: str, *, brokers: str, prefix: str, compression: str) -> Iterator[Address]:
    """Run one of the two, its topic made before as ours are."""
    if kind == _OURS:
        where = ("--brokers", brokers, "--prefix", prefix, "--partitions", str(PARTITIONS))
        with serving(_OURS, *where, "--compression", compression, "--max-bytes", str(_MAX_BYTES)) as at:
            yield at
        return
    uvloop.run(_make_topics(brokers, prefix))
    with otelcol(brokers=brokers, topic=prefix + topics.SPANS, compression=compression) as at:
        yield at


async def _make_topics(brokers: str, prefix: str) -> None:
    config = LogConfig(
        kind="kafka",
        partitions=PARTITIONS,
        max_bytes=_MAX_BYTES,
        kafka=KafkaConfig(bootstrap_servers=brokers, topic_prefix=prefix),
    )
    log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
    await log.start()
    await log.stop()


def cases() -> dict[str, Load]:
    """Return the loads by name."""
    rng = random.Random(7)
    spans = STANDARD_TRACES * SPANS_A_TRACE
    standard = [make_request(rng, STANDARD_TRACES) for _ in range(16)]
    small = [make_request(rng, 1) for _ in range(64)]
    packed, small_packed = _packed(standard), _packed(small)
    return {
        "gRPC, 512 spans, 8 at a time": partial(grpc_load, requests=standard, spans=spans, connections=8),
        "HTTP+gzip, 512 spans, 8 connections": partial(
            http_load, requests=packed, spans=spans, connections=8, gzipped=True
        ),
        "gRPC, 8 spans, 64 at a time": partial(grpc_load, requests=small, spans=SPANS_A_TRACE, connections=64),
        "HTTP+gzip, 8 spans, 64 connections": partial(
            http_load, requests=small_packed, spans=SPANS_A_TRACE, connections=64, gzipped=True
        ),
    }


def _packed(requests: Sequence[bytes]) -> list[bytes]:
    return [gzip.compress(body, 6) for body in requests]


def check(brokers: str) -> None:
    """Print what each stored of the same requests; raises RuntimeError where it is not what was sent."""
    rng = random.Random(11)
    requests = [make_request(rng, STANDARD_TRACES) for _ in range(_READ_BACK_REQUESTS)]
    wanted = len(requests) * STANDARD_TRACES * SPANS_A_TRACE
    for kind in (_OURS, _THEIRS):
        prefix = f"check-{kind}."
        with receiver(kind, brokers=brokers, prefix=prefix, compression="none") as at:
            load = grpc_load(at, requests=requests, spans=STANDARD_TRACES * SPANS_A_TRACE, connections=4, seconds=1.0)
            uvloop.run(load)
        stored = uvloop.run(read_back(brokers, prefix + topics.SPANS, PARTITIONS))
        print(
            f"{kind}: {stored.spans} of {wanted} distinct spans read back from {stored.records} records, "
            f"{stored.parted_traces} traces in more than one partition"
        )
        if stored.spans != wanted or stored.parted_traces:
            raise RuntimeError(f"{kind} did not store what it acknowledged")


def main() -> int:
    """Build the peer, run both, print the table."""
    parser = argparse.ArgumentParser(prog="make bench-peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compression", default="none", choices=["none", "zstd", "snappy"])
    options = parser.parse_args()
    tune_malloc()
    try:
        binary()
        with bench_broker() as broker:
            check(broker.bootstrap_servers)
            _compare(broker.bootstrap_servers, options.rounds, options.compression)
    except (PeerMissingError, BrokerMissingError) as exc:
        print(f"cannot run: {exc}")
        return 1
    return 0


def _compare(brokers: str, rounds: int, compression: str) -> None:
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} {platform.machine()} cores, Python {platform.python_version()},"
        f" OpenTelemetry Collector {version()}, compression {compression}, {rounds} rounds\n"
    )
    print(f"{'':38}{'CPU-s a million spans':^38}{'peak MB':^22}{'spans/s':^22}")
    print(f"{'':38}{_OURS:>12}{_THEIRS:>12}{'ratio':>14}{_OURS:>12}{_THEIRS:>10}{_OURS:>12}{_THEIRS:>10}", flush=True)
    for number, (name, load) in enumerate(cases().items()):
        cost: dict[str, list[float]] = {_OURS: [], _THEIRS: []}
        rate: dict[str, list[float]] = {_OURS: [], _THEIRS: []}
        peak = {_OURS: 0.0, _THEIRS: 0.0}
        for turn in range(rounds):
            for kind in cost:
                prefix = f"p{number}-{turn}-{kind}."
                with receiver(kind, brokers=brokers, prefix=prefix, compression=compression) as at:
                    found = uvloop.run(load(at))
                    peak[kind] = max(peak[kind], peak_mb(at.pid))
                cost[kind].append(1e6 * found.cpu_s / found.spans)
                rate[kind].append(found.spans / found.wall_s)
        ratios = [ours / theirs for ours, theirs in zip(cost[_OURS], cost[_THEIRS], strict=True)]
        ours, theirs = (statistics.median(cost[kind]) for kind in cost)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(
            f"{name:38}{ours:12.2f}{theirs:12.2f}{spread:>18}{peak[_OURS]:8.0f}{peak[_THEIRS]:10.0f}"
            + "".join(f"{statistics.median(rate[kind]):11,.0f}" for kind in rate),
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
