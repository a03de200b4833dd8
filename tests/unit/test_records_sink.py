"""The consumer group `records` over the real embedded log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.model.finding import Finding
from core.model.trace import TraceChunk
from core.telemetry import Telemetry
from sinks.records.engine import RecordsUnavailableError
from sinks.records.sink import RecordsSink
from sinks.records.store import RecordStore
from tests.unit.records_kit import NOW_S, TRACE, event, filed, finding, issue, link, store, trace


class Kit:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.clock = SystemClock()
        self.log = SqliteLog(":memory:", config=LogConfig(), telemetry=self.telemetry, clock=self.clock)
        self.store: RecordStore = store()

    def sink(self) -> RecordsSink:
        return RecordsSink(log=self.log, store=self.store, telemetry=self.telemetry, clock=self.clock)

    async def append(self, topic: str, *values: Any, schema: int = topics.SCHEMA) -> None:
        headers = topics.headers() | {topics.HEADER_SCHEMA: str(schema)}
        encoded = [value if isinstance(value, bytes) else msgspec.msgpack.encode(value) for value in values]
        await self.log.append([Record(topic=topic, partition=0, value=e, headers=headers) for e in encoded])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RecordsSink]:
        sink, stop = self.sink(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run(stop), name="records")
            try:
                yield sink
            finally:
                stop.set()

    async def until(self, holds: Callable[[int], bool]) -> None:
        """Wait until it holds of the group's lag."""
        for _ in range(2_000):
            lag = (await self.log.lag()).get("records", -1)
            if holds(lag):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the lag is still {lag}")

    async def until_letters(self, count: int) -> None:
        """Wait until so many letters are stored."""
        async with asyncio.timeout(20):
            while len(self.store.letters.latest(limit=1000)) < count:  # noqa: ASYNC110 - the records have no event
                await asyncio.sleep(0.01)

    async def until_read(self) -> None:
        await self.until(lambda lag: lag == 0)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit()
    await made.log.start()
    yield made
    await made.log.stop()
    made.store.close()


async def test_what_the_stages_wrote_is_readable_once_the_lag_is_zero(kit: Kit) -> None:
    chunk = TraceChunk(trace_id=TRACE, version="a", routing_key="shop", index=0, otlp=b"\x0a\x00")
    async with kit.running():
        await kit.append(topics.TRACES, chunk, trace())
        await kit.append(topics.FINDINGS, finding())
        await kit.append(topics.ISSUES, event(issue(), link("f1")), filed())
        await kit.until_read()
        numbers = kit.store.numbers(now_s=NOW_S, session_gap_s=1800)
    assert (numbers.traces_closed, numbers.findings, numbers.issues["pending"]) == (1, 1, 1)


async def test_a_restart_goes_on_where_it_was(kit: Kit) -> None:
    async with kit.running():
        await kit.append(topics.TRACES, trace())
        await kit.until_read()
    sent = kit.telemetry.total("clearwatch.sink.sent", sink="records")
    async with kit.running():
        await kit.append(topics.TRACES, trace(trace_id="f" * 32))
        await kit.until_read()
    assert kit.telemetry.total("clearwatch.sink.sent", sink="records") == sent + 1
    assert kit.store.numbers(now_s=NOW_S, session_gap_s=1800).traces_closed == 2


async def test_a_record_that_cannot_be_read_is_a_dead_letter_and_holds_up_nothing(kit: Kit) -> None:
    async with kit.running():
        await kit.append(topics.FINDINGS, b"\xc1 not msgpack", finding())
        await kit.until_read()
    assert kit.store.numbers(now_s=NOW_S, session_gap_s=1800).findings == 1
    assert kit.telemetry.total("clearwatch.dead_letters", stage="records") == 1


async def test_a_hundred_and_first_record_that_cannot_be_read_stops_its_partition_and_no_other(kit: Kit) -> None:
    async with kit.running():
        await kit.append(topics.FINDINGS, *[b"\xc1"] * 150)
        await kit.append(topics.TRACES, trace())
        await kit.until(lambda lag: lag == 50)
    assert kit.store.trace(TRACE)
    assert kit.telemetry.total("clearwatch.dead_letters", stage="records", reason="undecodable") == 100
    (stopped,) = kit.telemetry.stops.now()
    assert (stopped.group, stopped.topic, stopped.offset) == ("records", topics.FINDINGS, 100)
    assert stopped.reason.startswith("100 records in a row failed, so it is no fault of theirs")


class Picky(RecordStore):
    """A database that takes no findings."""

    def apply(self, changes: Any) -> None:
        if any(isinstance(each.value, Finding) for each in changes):
            raise ValueError("no findings")
        super().apply(changes)


async def test_what_the_store_refuses_is_a_dead_letter_until_it_is_too_much(kit: Kit) -> None:
    kit.store.close()
    kit.store = Picky("sqlite://")
    async with kit.running():
        await kit.append(topics.FINDINGS, *[finding(f"f{n}") for n in range(150)])
        await kit.append(topics.TRACES, trace())
        await kit.until(lambda lag: lag == 50)
        await kit.until_letters(100)
    assert kit.store.trace(TRACE)
    assert kit.telemetry.total("clearwatch.dead_letters", reason="refused_by_store") == 100
    assert [(s.topic, s.offset) for s in kit.telemetry.stops.now()] == [(topics.FINDINGS, 100)]


async def test_a_letter_that_the_log_repeats_is_one_and_stays_replayed(kit: Kit) -> None:
    letter = topics.DeadLetter(topic=topics.SPANS, partition=0, offset=7, error="no", value=b"v", stage="assemble")
    async with kit.running():
        await kit.append(topics.DEAD_LETTERS, letter)
        await kit.until_letters(1)
        kit.store.letters.replayed([kit.store.letters.latest()[0].id], now_s=NOW_S)
        await kit.append(topics.DEAD_LETTERS, letter, b"\xc1 no letter", msgspec.structs.replace(letter, offset=8))
        await kit.until_letters(2)
    assert [(row.offset, row.replays) for row in kit.store.letters.latest()] == [(8, 0), (7, 1)]
    assert kit.telemetry.total("clearwatch.dropped", reason="dead_letter_not_stored") == 1


async def test_a_newer_schema_stops_its_partition_and_is_not_a_dead_letter(kit: Kit) -> None:
    async with kit.running():
        await kit.append(topics.FINDINGS, finding("new"), schema=topics.SCHEMA + 1)
        await kit.append(topics.FINDINGS, finding("behind"))
        await kit.append(topics.TRACES, trace())
        await kit.until(lambda lag: lag == 2)
    assert kit.store.trace(TRACE)
    assert list(kit.store.findings()) == []
    assert kit.telemetry.total("clearwatch.dead_letters") == 0
    assert [(s.group, s.topic, s.offset) for s in kit.telemetry.stops.now()] == [("records", topics.FINDINGS, 0)]


class Flaky(RecordStore):
    """A database that is away for its first writes."""

    failures = 2

    def apply(self, changes: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise RecordsUnavailableError("records cannot be written: away")
        super().apply(changes)


async def test_a_database_that_is_away_delays_and_loses_nothing(kit: Kit) -> None:
    kit.store.close()
    kit.store = Flaky("sqlite://")
    async with kit.running():
        await kit.append(topics.TRACES, trace())
        await kit.until_read()
    assert kit.store.trace(TRACE)
    assert kit.telemetry.total("clearwatch.sink.failed", sink="records") == 2
