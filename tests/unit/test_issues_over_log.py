"""Measurements to issues through the real runner and the real embedded log, with a restart in between."""

import asyncio
from pathlib import Path

import msgspec

from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.model.issue import IssueEvent, IssueEventKind
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import SpanKind
from core.runner import StageRunner
from core.telemetry import Telemetry
from detector.config import DetectorConfig
from detector.stages import stages

CONFIG = DetectorConfig.model_validate({"baselines": {"gather_s": 0.05}})


def measured(number: int, duration_ms: float) -> Record:
    now_ns = int(SystemClock().now_s() * 1e9)
    row = Measurement(
        routing_key="shop",
        service="shop",
        operation="retrieve_documents",
        kind=SpanKind.RETRIEVER,
        model="",
        duration_ms=duration_ms,
        failed=False,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        session_id="",
        started_ns=now_ns,
        ended_ns=now_ns + int(duration_ms * 1e6),
    )
    value = msgspec.msgpack.encode(MeasurementBatch(measurements=(row,)))
    return Record(topic=topics.MEASUREMENTS, partition=1, value=value, headers=topics.headers())


async def run_until_grouped(log: SqliteLog, telemetry: Telemetry, findings: int) -> None:
    """Run both stages until as many findings were grouped and every offset is committed."""
    stop = asyncio.Event()
    made = stages(CONFIG, telemetry)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for name in ("baselines", "issues"):
            runner = StageRunner(made[name], log=log, telemetry=telemetry, clock=SystemClock())
            tasks.create_task(runner.run(stop), name=name)
        while (  # noqa: ASYNC110 - neither counters nor lag can be waited for
            telemetry.total("clearwatch.stage.records", stage="issues") < findings or any((await log.lag()).values())
        ):
            await asyncio.sleep(0.02)
        stop.set()


async def test_slow_calls_become_one_issue_across_a_restart(tmp_path: Path) -> None:
    telemetry = Telemetry()
    log = SqliteLog(str(tmp_path / "log.db"), config=LogConfig(partitions=2), telemetry=telemetry, clock=SystemClock())
    await log.start()
    try:
        await log.append([measured(n, 300.0) for n in range(60)] + [measured(60, 4_000.0)])
        await run_until_grouped(log, telemetry, 1)
        await log.append([measured(n, 4_000.0) for n in range(61, 64)])
        await run_until_grouped(log, telemetry, 4)
        reader = log.reader("test", (topics.ISSUES,))
        partition = topics.partition_for(b"shop", 2)
        events = [
            msgspec.msgpack.decode(record.value, type=IssueEvent)
            for record in await reader.read_at(topics.ISSUES, partition, range(10))
        ]
    finally:
        await log.stop()
    assert events[0].kind is IssueEventKind.OPENED
    assert {event.issue.title for event in events} == {"retrieve_documents is slow"}
    linked = [link.trace_id for event in events for link in event.links]
    assert sorted(linked) == [f"{n:032x}" for n in range(60, 64)]
    assert events[-1].issue.trace_count == 4
    assert telemetry.total("clearwatch.dead_letters") == 0
