"""The stage as it really runs: runner, SQLite log and the checks that ship, across a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec

from core import topics
from core.clock import ManualClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.model.finding import Finding, FindingRecord
from core.model.trace import CloseReason, TraceRecord, TraceVersion
from core.runner import StageRunner
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.stage import AssembleStage
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.properties.assembler_model import Sent, encoded

NAME = "assemble"


class Deployment:
    """A log that outlives its runners, and a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=self.telemetry, clock=self.clock)

    async def append(self, *spans: Sent) -> None:
        await self.log.append([Record(topic=topics.SPANS, partition=0, value=encoded(spans), headers=topics.headers())])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        checks = Checks(ChecksConfig(), self.telemetry)
        # every byte is spilled at once: each close reads its spans back from the log
        stage = AssembleStage(checks, AssembleConfig(max_open_bytes=1), self.telemetry)
        runner = StageRunner(stage, log=self.log, telemetry=self.telemetry, clock=self.clock, fetch_timeout_s=0.02)
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run(stop), name="runner")
            try:
                yield
            finally:
                stop.set()

    async def until(self, is_true: Callable[[], bool], *, advance_s: float = 0.0) -> None:
        while not is_true():
            self.clock.advance(advance_s)
            await asyncio.sleep(0.01)

    def processed(self) -> float:
        return self.telemetry.total("clearwatch.stage.records", stage=NAME)

    async def values(self, topic: str) -> list[bytes]:
        end = self.log.mirror.partitions[topic, 0].next_offset
        return [r.value for r in await self.log.reader("test", [topic]).read_at(topic, 0, range(end))]

    async def versions(self) -> list[TraceVersion]:
        found = [msgspec.msgpack.decode(value, type=TraceRecord) for value in await self.values(topics.TRACES)]
        return [value for value in found if isinstance(value, TraceVersion)]


async def test_an_open_trace_survives_a_restart_and_late_spans_find_it_after_another() -> None:
    world = Deployment()
    await world.log.start()
    try:
        await world.append(Sent(number=2, failed=True))
        async with world.running():
            await world.until(lambda: world.processed() >= 1)
        assert await world.versions() == []

        await world.append(Sent(number=1, parent=0))
        async with world.running():
            await world.until(lambda: world.telemetry.total("clearwatch.traces.closed") == 1, advance_s=0.5)
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0)

        await world.append(Sent(number=3, failed=True))
        async with world.running():
            await world.until(lambda: world.telemetry.total("clearwatch.traces.closed") == 2, advance_s=0.5)
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0)

        whole, larger = await world.versions()
        assert (whole.close_reason, whole.span_count) == (CloseReason.ROOT, 2)
        assert (larger.close_reason, larger.span_count, larger.fragment) == (CloseReason.LATE, 3, False)
        found = [msgspec.msgpack.decode(value, type=FindingRecord) for value in await world.values(topics.FINDINGS)]
        ids = [value.finding_id for value in found if isinstance(value, Finding)]
        assert len(ids) == len(set(ids))
        assert set(larger.finding_ids) == set(ids)
        assert {value.check for value in found if isinstance(value, Finding)} >= {"failed_span"}
    finally:
        await world.log.stop()
