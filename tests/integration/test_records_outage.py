"""A real PostgreSQL that goes away while it is used: retried, nothing lost, nothing repeated, no password told."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from sinks.records.engine import RecordsAccessError, RecordsUnavailableError
from sinks.records.reporter import Reporter, open_when_there
from sinks.records.sink import RecordsSink
from sinks.records.store import RecordStore
from tests.integration.postgres_server import RunningPostgres
from tests.ports import free_port
from tests.unit.records_kit import NOW_S, finding, store, trace

pytestmark = [pytest.mark.integration, pytest.mark.needs_postgres]


class Kit:
    """A records sink and a reporter over the embedded log, writing to a server that the test stops and starts."""

    def __init__(self, url: str) -> None:
        self.telemetry = Telemetry()
        self.clock = SystemClock()
        self.log = SqliteLog(":memory:", config=LogConfig(), telemetry=self.telemetry, clock=self.clock)
        self.store = RecordStore(url, telemetry=self.telemetry)
        self._appended = 0

    async def append(self, traces: int) -> None:
        for _ in range(traces):
            values = ((topics.TRACES, trace(trace_id=f"{self._appended:032x}")), (topics.FINDINGS, self._finding()))
            self._appended += 1
            await self.log.append(
                [
                    Record(topic=topic, partition=0, value=msgspec.msgpack.encode(value), headers=topics.headers())
                    for topic, value in values
                ]
            )

    def _finding(self) -> Any:
        return finding(f"f{self._appended:05}", trace_id=f"{self._appended:032x}", observed_at_ns=self._appended)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        sink = RecordsSink(log=self.log, store=self.store, telemetry=self.telemetry, clock=self.clock, instance="me")
        reporter = Reporter(store=self.store, telemetry=self.telemetry, clock=self.clock, instance="me")
        stop = asyncio.Event()
        await self.log.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run(stop), name="records")
            tasks.create_task(reporter.run(stop), name="reporter")
            try:
                yield
            finally:
                stop.set()
        await self.log.stop()
        self.store.close()

    @staticmethod
    async def until(holds: Callable[[], bool]) -> None:
        for _ in range(6_000):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not come to hold within a minute")

    def failures(self) -> float:
        return self.telemetry.total("clearwatch.sink.failed", sink="records")

    async def until_read(self) -> None:
        for _ in range(6_000):
            if (await self.log.lag()).get("records") == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("records lag after a minute")


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_restarts_costs_no_record_and_repeats_none(own_postgres: RunningPostgres, how: str) -> None:
    kit = Kit(own_postgres.url)
    async with kit.running():
        await kit.append(50)
        await kit.until_read()
        for _ in range(2):
            feeding = asyncio.create_task(kit.append(300), name="feeding")
            await asyncio.to_thread(getattr(own_postgres, how))
            failed = kit.failures()
            await kit.append(20)
            await kit.until(lambda failed=failed: kit.failures() > failed)  # type: ignore[misc]
            await asyncio.to_thread(own_postgres.start)
            await feeding
            await kit.until_read()
    read = store(own_postgres.url)
    numbers = read.numbers(now_s=NOW_S, session_gap_s=60)
    assert (numbers.traces_closed, numbers.findings) == (690, 690)
    assert len(list(read.findings())) == 690
    sent = [s.value for s in read.series() if s.name == "clearwatch.sink.sent"]
    assert sent == [1380], "each record was taken once, and the last report tells it"
    assert kit.telemetry.total("clearwatch.dead_letters") == 0
    read.close()


async def test_a_stop_while_the_server_is_away_ends_and_the_next_start_goes_on(
    own_postgres: RunningPostgres, tmp_path: Path
) -> None:
    kit = Kit(own_postgres.url)
    log_file = str(tmp_path / "log.sqlite3")
    kit.log = SqliteLog(log_file, config=LogConfig(), telemetry=kit.telemetry, clock=kit.clock)
    async with kit.running():
        await kit.until_read()
        await asyncio.to_thread(own_postgres.stop)
        await kit.append(10)
        await kit.until(lambda: kit.failures() > 0)
    await asyncio.to_thread(own_postgres.start)
    again = Kit(own_postgres.url)
    again.log = SqliteLog(log_file, config=LogConfig(), telemetry=again.telemetry, clock=again.clock)
    async with again.running():
        await again.until_read()
        assert again.store.numbers(now_s=NOW_S, session_gap_s=60).traces_closed == 10


async def test_rights_that_are_lost_are_waited_for_and_nothing_is_a_dead_letter(own_postgres: RunningPostgres) -> None:
    kit = Kit(own_postgres.url)
    mine = sql.Identifier("watch")
    with psycopg.connect(own_postgres.url, autocommit=True) as admin:
        async with kit.running():
            await kit.until_read()
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(mine))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            await kit.append(5)
            await kit.until(
                lambda: kit.telemetry.total("clearwatch.sink.failed", reason=RecordsAccessError.__name__) > 1
            )
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(mine, sql.Literal(own_postgres.password)))
            await kit.until_read()
            assert kit.store.numbers(now_s=NOW_S, session_gap_s=60).traces_closed == 5
    assert kit.telemetry.total("clearwatch.dead_letters") == 0


async def test_a_record_that_the_database_refuses_is_a_dead_letter_and_its_neighbours_are_stored(
    postgres_url: str,
) -> None:
    kit = Kit(postgres_url)
    async with kit.running():
        await kit.until_read()
        with kit.store._database.writing() as connection:
            connection.execute(sa.text("ALTER TABLE findings ADD CHECK (finding_id <> 'f00003')"))
        await kit.append(10)
        await kit.until_read()
        assert kit.store.numbers(now_s=NOW_S, session_gap_s=60).findings == 9
    assert kit.telemetry.total("clearwatch.dead_letters", reason="refused_by_store") == 1


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"password": "wrong-hunter2"}, RecordsAccessError, "password authentication failed"),
        ({"username": "nobody-here"}, RecordsAccessError, "password authentication failed"),
        ({"database": "not-there"}, RecordsAccessError, 'database "not-there" does not exist'),
        ({"host": "no-such-host.invalid"}, RecordsUnavailableError, "no-such-host.invalid"),
        ({"port": 0}, RecordsUnavailableError, "refused"),
    ],
    ids=["password", "user", "database", "host", "port"],
)
def test_what_is_wrong_with_the_address_is_said_without_the_password(
    postgres: str, change: dict[str, Any], error: type[Exception], why: str
) -> None:
    url = sa.make_url(postgres)
    if change.get("port") == 0:
        change = {"port": free_port("127.0.0.1")}
    url = url.set(**change)
    records = RecordStore(url.render_as_string(hide_password=False))
    for act in (records.open, records.check, lambda: records.apply([])):
        with pytest.raises(error, match=why) as caught:
            act()
        told = "".join(traceback.format_exception(caught.value))
        assert str(url.password) not in told
        assert len(str(caught.value).splitlines()) == 1
    records.close()


async def test_a_start_waits_for_a_server_that_comes_later_and_says_so(
    own_postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    own_postgres.stop()
    records = RecordStore(own_postgres.url)
    with caplog.at_level(logging.WARNING):
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(open_when_there(records, asyncio.Event()), name="open")
            await Kit.until(lambda: "are tried again" in caplog.text)
            await asyncio.to_thread(own_postgres.start)
    assert opening.result()
    assert own_postgres.password not in caplog.text
    records.check()
    records.close()


async def test_a_start_that_waits_can_be_stopped() -> None:
    records = RecordStore(f"postgresql://u:p@127.0.0.1:{free_port('127.0.0.1')}/d")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(open_when_there(records, stop), name="open")
        await asyncio.sleep(0)
        stop.set()
    assert not opening.result()
    records.close()
