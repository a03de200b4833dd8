"""Full disks, killed writers, second processes, foreign and newer files."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from core import topics
from core.clock import SystemClock
from core.errors import LogUnavailableError
from core.log.config import LogConfig
from core.log.database import LogFormatError, LogLockedError
from core.log.port import Record, StateChange, StoredRecord, Work
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry

ROOT = Path(__file__).parents[2]


class Owner:
    async def on_assigned(self, partitions: Sequence[int]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


def make(path: Path | str, partitions: int = 1) -> SqliteLog:
    return SqliteLog(str(path), config=LogConfig(partitions=partitions), telemetry=Telemetry(), clock=SystemClock())


@contextlib.asynccontextmanager
async def opened(path: Path | str) -> AsyncIterator[SqliteLog]:
    log = make(path)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


def spans(*values: bytes) -> list[Record]:
    return [Record(topic=topics.SPANS, partition=0, value=v) for v in values]


async def stored(log: SqliteLog, topic: str = topics.SPANS) -> list[StoredRecord]:
    reader = log.reader("look", [topic])
    return list(await reader.read_at(topic, 0, range(log.mirror.partitions[topic, 0].next_offset)))


async def test_a_full_file_refuses_with_a_delay_and_recovers_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path / "log.db") as log:
        await log.append(spans(b"before"))
        assert log._connection is not None
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(LogUnavailableError, match="full") as refused:
            await log.append(spans(bytes(1_000_000)))
        assert refused.value.retry_after_s > 0
        await log.append(spans(b"small still fits"))
        log._connection.execute("PRAGMA max_page_count = 1000000")
        await log.append(spans(bytes(1_000_000)))
        assert [len(r.value) for r in await stored(log)] == [6, 16, 1_000_000]
        assert [r.offset for r in await stored(log)] == [0, 1, 2]


async def test_of_requests_written_together_only_the_one_that_does_not_fit_fails(tmp_path: Path) -> None:
    async with opened(tmp_path / "log.db") as log:
        assert log._connection is not None
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        outcomes = await asyncio.gather(
            log.append(spans(b"a")), log.append(spans(bytes(500_000))), log.append(spans(b"b")), return_exceptions=True
        )
        assert [type(o) for o in outcomes] == [type(None), LogUnavailableError, type(None)]
        assert [r.value for r in await stored(log)] == [b"a", b"b"]


async def test_a_value_that_sqlite_cannot_take_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "log.db") as log:
        wrong = Record(topic=topics.SPANS, partition=0, value=b"x", key=object())  # type: ignore[arg-type]
        outcomes = await asyncio.gather(
            log.append(spans(b"a")), log.append([wrong]), log.append(spans(b"b")), return_exceptions=True
        )
        assert [isinstance(o, Exception) for o in outcomes] == [False, True, False]
        assert [r.value for r in await stored(log)] == [b"a", b"b"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_refuses_with_a_delay_and_recovers_when_space_returns(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(2_000_000))
    async with opened(tiny_disk / "log.db") as log:
        acknowledged: list[bytes] = []
        for n in range(200):
            value = b"%03d" % n + bytes(50_000)
            try:
                await log.append(spans(value))
            except LogUnavailableError as exc:
                assert exc.retry_after_s > 0  # noqa: PT017 - the loop is the claim
                break
            acknowledged.append(value)
        else:
            pytest.fail("the disk never filled")
        ballast.unlink()
        await log.append(spans(b"after"))
        assert [r.value for r in await stored(log)] == [*acknowledged, b"after"]
    async with opened(tiny_disk / "log.db") as log:
        assert [r.value for r in await stored(log)] == [*acknowledged, b"after"]


WRITER = """
import asyncio, sys
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record, StateChange, Work
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry

class Owner:
    async def on_assigned(self, partitions): ...
    async def on_revoked(self, partitions): ...

async def main():
    log = SqliteLog(sys.argv[1], config=LogConfig(partitions=1), telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    reader = log.reader("mover", ["spans"])
    await reader.start(Owner())

    async def append(caller):
        n = 0
        while True:
            await log.append([Record(topic="spans", partition=0, value=b"%d:%d:%d" % (caller, n, i)) for i in range(3)])
            print("a", caller, n, flush=True)
            n += 1

    async def commit():
        n = 0
        while True:
            n += 1
            number = b"%d" % n
            await reader.commit(0, Work(
                produce=(Record(topic="traces", partition=0, value=number),), store="s",
                state=(StateChange(key=b"n", value=number),), next_offsets={"spans": n},
            ))
            print("c", n, flush=True)

    async with asyncio.TaskGroup() as tasks:
        for caller in range(4):
            tasks.create_task(append(caller))
        tasks.create_task(commit())

asyncio.run(main())
"""


def start_writer(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT)


@pytest.mark.parametrize("lines", [20, 60, 150, 400])
async def test_after_sigkill_everything_acknowledged_is_there_and_nothing_is_half(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "log.db"
    process = start_writer(path)
    with process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    acknowledged = [line.decode().split() for line in seen if line.endswith(b"\n")]
    async with opened(path) as log:
        values = [tuple(map(int, r.value.split(b":"))) for r in await stored(log)]
        for _, caller, n in (a for a in acknowledged if a[0] == "a"):
            assert {(int(caller), int(n), i) for i in range(3)} <= set(values)
        assert len(values) == len(set(values))
        assert len(values) % 3 == 0, "an append was stored in part"
        steps = [int(r.value) for r in await stored(log, topics.TRACES)]
        committed = max((int(a[1]) for a in acknowledged if a[0] == "c"), default=0)
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= committed
        state = await log.reader("x", [topics.SPANS]).load_state("s", 0)
        assert state == ([(b"n", b"%d" % len(steps))] if steps else [])
        assert log.mirror.committed("mover", (topics.SPANS, 0)) == len(steps)


async def test_a_second_log_on_the_same_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path):
        with pytest.raises(LogLockedError, match=str(path)):
            await make(path).start()
    async with opened(path) as log:
        await log.append(spans(b"a"))


async def test_another_process_is_refused_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    process = start_writer(path)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(LogLockedError, match="in use by another process"):
            await make(path).start()
        process.kill()
        process.stdout.read()
    async with opened(path) as log:
        await log.append(spans(b"a"))


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LogFormatError, match="has format 99, this release reads up to 1"):
        await make(path).start()


async def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (id)")
    connection.close()
    with pytest.raises(LogFormatError, match="not a log"):
        await make(path).start()


async def test_another_partition_count_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path):
        pass
    with pytest.raises(LogFormatError, match=r"has 1 partitions of \w+, `log.partitions` asks for 8"):
        await make(path, partitions=8).start()
    async with opened(path):
        pass


async def test_a_file_that_is_no_database_is_unavailable_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(LogUnavailableError, match="not a database"):
        await make(path).start()


async def test_a_group_has_one_reader_at_a_time(tmp_path: Path) -> None:
    async with opened(":memory:") as log:
        first = log.reader("g", [topics.SPANS])
        await first.start(Owner())
        with pytest.raises(ValueError, match="has a reader already"):
            await log.reader("g", [topics.SPANS]).start(Owner())
        await first.stop()
        await log.reader("g", [topics.SPANS]).start(Owner())


async def test_a_commit_on_a_full_disk_leaves_state_and_offset_as_they_were(tmp_path: Path) -> None:
    async with opened(tmp_path / "log.db") as log:
        await log.append(spans(b"a"))
        reader = log.reader("g", [topics.SPANS])
        await reader.start(Owner())
        assert log._connection is not None
        pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
        log._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        work = Work(
            produce=(Record(topic=topics.TRACES, partition=0, value=bytes(900_000)),),
            store="s",
            state=(StateChange(key=b"k", value=b"v"),),
            next_offsets={topics.SPANS: 1},
        )
        with pytest.raises(LogUnavailableError):
            await reader.commit(0, work)
        assert list(await reader.load_state("s", 0)) == []
        assert (await log.lag())["g"] == 1
        log._connection.execute("PRAGMA max_page_count = 1000000")
        await reader.commit(0, work)
        assert (await log.lag())["g"] == 0


class BreakingClock(SystemClock):
    is_broken = False

    def now_s(self) -> float:
        if self.is_broken:
            raise RuntimeError("no time")
        return super().now_s()


async def test_a_writer_that_dies_refuses_instead_of_letting_callers_wait_for_ever(tmp_path: Path) -> None:
    clock = BreakingClock()
    log = SqliteLog(str(tmp_path / "log.db"), config=LogConfig(partitions=1), telemetry=Telemetry(), clock=clock)
    await log.start()
    await log.append(spans(b"before"))
    clock.is_broken = True
    async with asyncio.timeout(10):
        for _ in range(3):
            with contextlib.suppress(RuntimeError), pytest.raises(LogUnavailableError):
                await log.append(spans(b"after"))
    await log.stop()
    async with opened(tmp_path / "log.db") as again:
        assert [r.value for r in await stored(again)] == [b"before"]


async def test_units_are_counted_with_their_records_over_restarts_and_failures(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for spans_before in (0, 5):
        async with opened(path) as log:
            assert log.units(topics.SPANS) == spans_before
            records = spans(b"a", b"b")
            await log.append([Record(topic=topics.SPANS, partition=0, value=b"c", units=5), *records])
            assert log._connection is not None
            log._connection.execute("PRAGMA max_page_count = 1")
            with pytest.raises(LogUnavailableError):
                await log.append([Record(topic=topics.SPANS, partition=0, value=bytes(100_000), units=7)])
            assert log.units(topics.SPANS) == spans_before + 5
            assert log.units(topics.TRACES) == 0


async def test_a_file_of_before_units_were_counted_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as log:
        await log.append(spans(b"old"))
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE topic_partitions DROP COLUMN units")
    connection.close()
    async with opened(path) as log:
        await log.append([Record(topic=topics.SPANS, partition=0, value=b"new", units=2)])
        assert [record.value for record in await stored(log)] == [b"old", b"new"]
        assert log.units(topics.SPANS) == 2
