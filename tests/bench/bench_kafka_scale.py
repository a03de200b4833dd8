"""CPU per span of one, two and four detector processes over 12 partitions: `python -m tests.bench kafka-scale`.

The log is preloaded, then `clearwatch detector` processes with all stages run until no stage lags. What they cost is
their user plus system time, less what the same number of processes costs to start and join on an empty log. Beside it
the wall clock of two processes pinned to a core each, starting left out in the same way; the broker then serves reads
and the stages' own writes only. Runs are interleaved, medians shown. Traces close half a second after their last span,
so that preloading in seconds leaves as little open at once as traffic of that rate would.
"""

import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.slicer import slice_traces
from core import topics
from core.log.config import LogConfig
from core.log.kafka.client import make_admin
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Record
from core.telemetry import Telemetry
from tests.bench.bench_kafka_collector import bench_broker
from tests.bench.collector_traffic import SPANS_A_TRACE, STANDARD_TRACES, make_request
from tests.bench.load import cpu_s
from tests.e2e.harness import Up

PARTITIONS: Final = 12
SPANS: Final = 200_000
ROUNDS: Final = 3
STAGES: Final = frozenset({"assemble", "sessions", "baselines", "issues"})
# a rate at which what is open at once fits into memory
_PRELOAD_SPANS_A_S: Final = 40_000
_DIFFERENT_REQUESTS: Final = 8
_SETTINGS: Final = {
    "CLEARWATCH__LOG__KIND": "kafka",
    "CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "0.5",
}
# members that start together join together, as brokers do it unless told otherwise
_JOIN_TOGETHER: Final = {"group.initial.rebalance.delay.ms": "3000"}
_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.25

Row = tuple[str, float, str]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took: CPU of all processes, and wall clock from their launch."""

    cpu_s: float
    wall_s: float


class Bench:
    """Runs detectors against one broker, each time under a topic prefix of its own."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self._brokers = brokers
        self._folder = folder
        self._runs = 0
        rng = random.Random(5)
        self._requests = [
            ExportTraceServiceRequest.FromString(make_request(rng, STANDARD_TRACES)) for _ in range(_DIFFERENT_REQUESTS)
        ]

    def run(self, processes: int, *, spans: int, is_pinned: bool = False) -> Cost:
        """Preload `spans` spans, run so many detectors until nothing lags, and return what they took."""
        return uvloop.run(self._run(processes, spans, is_pinned=is_pinned))

    async def _run(self, processes: int, spans: int, *, is_pinned: bool) -> Cost:
        self._runs += 1
        prefix = f"scale{self._runs}."
        kafka = KafkaConfig(bootstrap_servers=self._brokers, topic_prefix=prefix)
        config = LogConfig(kind="kafka", partitions=PARTITIONS, kafka=kafka)
        log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
        await log.start()
        try:
            await self._preload(log, spans)
            settings = _SETTINGS | {
                "CLEARWATCH__LOG__KAFKA__BOOTSTRAP_SERVERS": self._brokers,
                "CLEARWATCH__LOG__KAFKA__TOPIC_PREFIX": prefix,
            }
            ups = [Up(self._folder / f"{prefix}{number}", **settings) for number in range(processes)]
            for up in ups:
                up.command = ("detector",)
            with _running(ups, is_pinned=is_pinned):
                began_s = time.monotonic()
                await _until_done(log, ups)
                return Cost(cpu_s=sum(cpu_s(up.pid) for up in ups), wall_s=time.monotonic() - began_s)
        finally:
            await log.stop()
            await _delete(kafka, prefix)

    async def _preload(self, log: KafkaLog, spans: int) -> None:
        rng = random.Random(6)
        headers = topics.headers(signal=topics.SIGNAL_TRACES)
        began_s = time.monotonic()
        for number in range(spans // (STANDARD_TRACES * SPANS_A_TRACE)):
            request = self._requests[number % len(self._requests)]
            for scope in request.resource_spans[0].scope_spans:
                for index, span in enumerate(scope.spans):
                    if index % SPANS_A_TRACE == 0:
                        trace_id = rng.randbytes(16)
                    span.trace_id = trace_id
            sliced = slice_traces(request.SerializeToString(), partitions=PARTITIONS, max_record_bytes=900_000)
            await log.append(
                [
                    Record(topic=topics.SPANS, partition=p.partition, value=p.value, headers=headers)
                    for p in sliced.parts
                ]
            )
            due_s = began_s + (number + 1) * STANDARD_TRACES * SPANS_A_TRACE / _PRELOAD_SPANS_A_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


@contextlib.contextmanager
def _running(ups: Sequence[Up], *, is_pinned: bool) -> Iterator[None]:
    try:
        for number, up in enumerate(ups):
            up.launch()
            if is_pinned:
                os.sched_setaffinity(up.pid, {number})
        yield
    finally:
        for up in ups:
            up.stop()


async def _until_done(log: KafkaLog, ups: Sequence[Up]) -> None:
    """Wait until every stage has joined and read all there is."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        lag = await log.lag()
        if lag.keys() >= STAGES and not any(lag[stage] for stage in STAGES) and await _are_ready(ups):
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not done within {_TIMEOUT_S:.0f} s, lag {lag}: {ups[0].log_tail()}")
        await asyncio.sleep(_POLL_S)


async def _are_ready(ups: Sequence[Up]) -> bool:
    return all([await asyncio.to_thread(up._is_ready) for up in ups])


async def _delete(kafka: KafkaConfig, prefix: str) -> None:
    """Delete the run's topics, or the broker's memory fills."""
    admin = make_admin(kafka)
    await admin.start()
    try:
        await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(prefix)])
    finally:
        await admin.close()


def run() -> list[Row]:
    """Return (measure, value, unit) rows."""
    cases = {"1 process": (1, False), "2 processes": (2, False), "4 processes": (4, False)}
    if len(os.sched_getaffinity(0)) > 1:
        cases["2 processes, a core each"] = (2, True)
    found: dict[str, list[Cost]] = {name: [] for name in cases}
    starts: dict[str, list[Cost]] = {name: [] for name in cases}
    with bench_broker(_JOIN_TOGETHER) as broker, tempfile.TemporaryDirectory() as folder:
        bench = Bench(broker.bootstrap_servers, Path(folder))
        for _ in range(ROUNDS):
            for name, (processes, is_pinned) in cases.items():
                starts[name].append(bench.run(processes, spans=0, is_pinned=is_pinned))
                found[name].append(bench.run(processes, spans=SPANS, is_pinned=is_pinned))
                print(f"  {name}: {starts[name][-1]} {found[name][-1]}", file=sys.stderr, flush=True)
    rows: list[Row] = []
    start_s = {name: statistics.median([cost.cpu_s for cost in costs]) for name, costs in starts.items()}
    net = {name: [(cost.cpu_s - start_s[name]) / SPANS * 1e6 for cost in costs] for name, costs in found.items()}
    for name, costs in net.items():
        rows.append((f"{name}: CPU", statistics.median(costs), "µs/span"))
        rows.append((f"{name}: CPU to start and join", start_s[name], "s"))
        ratios = [cost / one for cost, one in zip(costs, net["1 process"], strict=True)]
        rows.append((f"{name}: CPU per span to that of one", statistics.median(ratios), "ratio"))
        start_wall_s = statistics.median([cost.wall_s for cost in starts[name]])
        wall_s = statistics.median([cost.wall_s for cost in found[name]]) - start_wall_s
        rows.append((f"{name}: wall clock, starting left out", wall_s, "s"))
    return rows


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name:<62} {value:>12,.2f} {unit}")
