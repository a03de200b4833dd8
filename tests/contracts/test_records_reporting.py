"""What processes tell of themselves, on every database: totals over all starts, each group's lag once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec
import pytest

from clearwatch.ops.status import Status, StatusReader, living, open_traces, reported_lag
from core.clock import ManualClock
from core.errors import LogUnavailableError
from core.telemetry import Telemetry
from sinks.records.reporter import Reporter
from sinks.records.store import RecordStore
from tests.unit.records_kit import NOW_S, store


@pytest.fixture
def records(records_url: str) -> Iterator[RecordStore]:
    made = store(records_url)
    yield made
    made.close()


class Process:
    """One start of a role: counters of its own, and the lag that it sees."""

    def __init__(self, records: RecordStore, clock: ManualClock, instance: str, **lag: int) -> None:
        self.telemetry = Telemetry()
        self.lag: dict[str, int] | None = lag
        self.reporter = Reporter(
            store=records, telemetry=self.telemetry, clock=clock, lag=self._read_lag, instance=instance
        )
        self.outbox = 0
        self.open = 0
        self.in_hand = 0
        self.telemetry.gauge("clearwatch.traces.open", lambda: self.open)
        self.telemetry.gauge("clearwatch.sink.outbox", lambda: self.outbox, sink="mlflow")
        self.telemetry.gauge("clearwatch.stage.in_hand", lambda: self.in_hand, group="assemble")

    async def _read_lag(self) -> Mapping[str, int]:
        if self.lag is None:
            raise LogUnavailableError("broker away")
        return self.lag

    async def report(self) -> None:
        """Report as its loop does every second."""
        assert await self.reporter._report()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.reporter.run(stop), name="reporter")
            try:
                yield
            finally:
                stop.set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S)


async def status_at(records: RecordStore, clock: ManualClock, **measured: int) -> Status:
    async def lag() -> Mapping[str, int]:
        return measured

    reader = StatusReader(
        version="1",
        store=records,
        telemetry=Telemetry(),
        clock=clock,
        instance="reader",
        lag=lag,
        session_gap_s=1800,
    )
    return await reader.read()


async def test_totals_are_sums_over_processes_and_survive_restarts(records: RecordStore, clock: ManualClock) -> None:
    for start in ("a", "b", "a again"):
        process = Process(records, clock, start)
        async with process.running():
            process.telemetry.count("clearwatch.collector.spans.received", 5)
    assert (await status_at(records, clock)).spans.received == 15


async def test_the_lag_of_a_group_is_its_newest_report_and_never_the_sum(
    records: RecordStore, clock: ManualClock
) -> None:
    one, other = Process(records, clock, "one", issues=7, assemble=3), Process(records, clock, "other", issues=9)
    await one.report()
    clock.advance(1)
    await other.report()
    assert (await status_at(records, clock)).lag == {"assemble": 3, "issues": 9, "mlflow.outbox": 0}
    clock.advance(2)
    one.lag = {"issues": 2, "assemble": 0}
    await one.report()
    assert (await status_at(records, clock)).lag == {"assemble": 0, "issues": 2, "mlflow.outbox": 0}


async def test_what_is_measured_now_goes_before_reports_but_not_before_work_in_hand(
    records: RecordStore, clock: ManualClock
) -> None:
    process = Process(records, clock, "one", assemble=40, issues=40)
    process.in_hand, process.outbox, process.open = 1, 6, 8
    await process.report()
    status = await status_at(records, clock, assemble=0, issues=0, **{"mlflow.outbox": 1})
    assert status.lag == {"assemble": 1, "issues": 0, "mlflow.outbox": 7}
    assert status.traces.open == 8


async def test_gauges_of_a_process_that_ended_or_died_do_not_count_and_its_counters_do(
    records: RecordStore, clock: ManualClock
) -> None:
    ended, died = Process(records, clock, "ended", sessions=5), Process(records, clock, "died", issues=5)
    for process in (ended, died):
        process.open = 3
        process.telemetry.count("clearwatch.dead_letters", stage="issues", reason="x")
    async with ended.running():
        pass
    await died.report()
    assert (await status_at(records, clock)).traces.open == 3
    clock.advance(16)
    status = await status_at(records, clock)
    assert (status.lag, status.traces.open, status.dead_letters) == ({}, 0, 2)


async def test_a_process_whose_gauges_do_not_change_lives_by_its_heartbeat(
    records: RecordStore, clock: ManualClock
) -> None:
    process = Process(records, clock, "quiet", issues=4)
    process.open = 2
    for _ in range(20):
        await process.report()
        clock.advance(1)
    status = await status_at(records, clock)
    assert (status.lag["issues"], status.traces.open) == (4, 2)
    assert len([s for s in records.series() if s.instance == "quiet"]) == 5


async def test_a_log_that_is_away_keeps_the_lag_it_had(records: RecordStore, clock: ManualClock) -> None:
    process = Process(records, clock, "one", issues=4)
    await process.report()
    process.lag = None
    clock.advance(5)
    await process.report()
    assert (await status_at(records, clock)).lag["issues"] == 4


async def test_without_a_process_to_ask_the_reports_are_read(records: RecordStore, clock: ManualClock) -> None:
    process = Process(records, clock, "one", issues=4)
    process.open = 1
    await process.report()
    alive = living(records.series(), now_s=clock.now_s())
    assert open_traces(alive) == 1
    assert reported_lag(alive, measured={}) == {"assemble": 0, "issues": 4, "mlflow.outbox": 0}
    assert msgspec.json.encode(reported_lag([], measured={})) == b"{}"
