"""The stage as it really runs: runner, SQLite log and the checks that ship, across a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest

from clearwatch.letters import Replay, replay
from core import topics
from core.clock import ManualClock
from core.dialects import decode
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.model.finding import Dimension, Finding, FindingRecord
from core.model.trace import CloseReason, Trace, TraceChunk, TraceRecord, TraceVersion
from core.otlp.wire import read_spans
from core.runner import StageRunner
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.publication import Inspected, Inspector
from detector.assemble.stage import AssembleStage
from detector.checks.config import ChecksConfig
from detector.checks.port import Answer
from detector.checks.registry import Checks
from tests.properties.assembler_model import Logged, Sent, encoded, encoded_logs
from tests.unit.records_kit import store

NAME = "assemble"


class Deployment:
    """A log that outlives its runners, and a clock moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=self.telemetry, clock=self.clock)

    async def append(self, *spans: Sent) -> None:
        await self.log.append([Record(topic=topics.SPANS, partition=0, value=encoded(spans), headers=topics.headers())])

    async def append_logs(self, *logs: Logged) -> None:
        headers = topics.headers(signal=topics.SIGNAL_LOGS)
        await self.log.append([Record(topic=topics.SPANS, partition=0, value=encoded_logs(logs), headers=headers)])

    @contextlib.asynccontextmanager
    async def running(self, checks: Inspector | None = None) -> AsyncIterator[None]:
        checks = checks or Checks(ChecksConfig(), self.telemetry)
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


async def test_log_records_wait_over_a_restart_and_late_ones_make_a_new_version_after_another() -> None:
    world = Deployment()
    await world.log.start()
    try:
        await world.append_logs(Logged(number=2, text="hello"))
        async with world.running():
            await world.until(lambda: world.processed() >= 1)

        await world.append(Sent(number=1, parent=0), Sent(number=2))
        async with world.running():
            await world.until(lambda: world.telemetry.total("clearwatch.traces.closed") == 1, advance_s=0.5)
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0)

        await world.append_logs(Logged(number=2, text="there", at_ns=2))
        async with world.running():
            await world.until(lambda: world.telemetry.total("clearwatch.traces.closed") == 2, advance_s=0.5)
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0)

        first, revised = await world.versions()
        assert (first.version, first.span_count, first.log_count) == (revised.version, 2, 1)
        assert (revised.close_reason, revised.span_count, revised.log_count) == (CloseReason.LATE, 2, 2)
        chunks = [msgspec.msgpack.decode(value, type=TraceRecord) for value in await world.values(topics.TRACES)]
        last = [value.otlp for value in chunks if isinstance(value, TraceChunk)][-1]
        assert [decode(piece).output.text for piece in read_spans(last)[0]] == ["", "hello\nthere"]
    finally:
        await world.log.stop()


class Raising:
    """A check of somebody else's, with a bug."""

    name = "raising"
    dimension = Dimension.EXECUTION

    def inspect(self, trace: Trace) -> Answer:
        raise RuntimeError("cannot read this trace")


async def test_a_check_that_crashes_on_a_trace_costs_its_own_answer_and_not_the_trace() -> None:
    world = Deployment()
    await world.log.start()
    try:
        await world.append(Sent(number=1, parent=0), Sent(number=2, failed=True))
        async with world.running(Checks(ChecksConfig(), world.telemetry, extra=[Raising()])):
            await world.until(lambda: world.telemetry.total("clearwatch.traces.closed") == 1, advance_s=0.5)
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0)
        (version,) = await world.versions()
        assert (version.answers["raising"], version.answers["failed_span"]) == ("failed", "found")
        found = [msgspec.msgpack.decode(value, type=FindingRecord) for value in await world.values(topics.FINDINGS)]
        assert {value.check for value in found if isinstance(value, Finding)} >= {"failed_span"}
        assert world.telemetry.total("clearwatch.check.failures", check="raising") == 1
        assert world.telemetry.total("clearwatch.dead_letters") == 0
        assert world.telemetry.stops.now() == ()
    finally:
        await world.log.stop()


class Broken:
    """Checks of which nothing works until they are mended: a fault of ours, in every trace."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.is_broken = True
        self._checks = Checks(ChecksConfig(), telemetry)

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspected]:
        if self.is_broken:
            raise RuntimeError("a fault of ours")
        return self._checks.inspect_all(traces)


async def test_traces_that_all_fail_stop_the_partition_and_come_back_after_the_fault_is_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("CRITICAL", logger="detector.assemble.publication")
    world = Deployment()
    await world.log.start()
    book = store().letters
    try:
        broken = Broken(world.telemetry)
        for trace in range(1, 121):
            await world.append(Sent(number=1, parent=0, trace=trace), Sent(number=2, trace=trace))
            world.clock.advance(6.0)
        async with world.running(broken):
            await world.until(lambda: len(world.telemetry.stops.now()) == 1)
        assert world.telemetry.total("clearwatch.dead_letters", reason="trace_not_published") == 100
        assert await world.versions() == []

        broken.is_broken = False
        world.telemetry.stops.forget(NAME, 0)
        async with world.running(broken):
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0, advance_s=0.5)
            # what was not buried was held back, and is whole
            assert len({version.trace_id for version in await world.versions()}) == 20
            letters = [
                msgspec.msgpack.decode(v, type=topics.DeadLetter) for v in await world.values(topics.DEAD_LETTERS)
            ]
            book.take([(letter, 1) for letter in letters])
            done = await replay(Replay(all_=True), book=book, log=world.log, clock=world.clock)
            assert len(done.replayed) == 100
            await world.until(lambda: world.log.mirror.lag()[NAME] == 0, advance_s=0.5)
        versions = await world.versions()
        assert len(versions) == len({version.trace_id for version in versions}) == 120
        assert {(version.span_count, version.fragment) for version in versions} == {(2, False)}
    finally:
        await world.log.stop()
