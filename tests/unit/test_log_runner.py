"""The runner with a small processor over the real embedded log: time, recall, dead letters, stops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version

import msgspec
import pytest

from core import topics
from core.clock import ManualClock
from core.dead_letters import letter_of, record_of
from core.errors import LogUnavailableError
from core.log.config import LogConfig
from core.log.port import Record, StateChange, StoredRecord, Work
from core.log.sqlite import SqliteLog
from core.runner import StageRunner
from core.stage import Processor, Recall, RecallNeeded
from core.telemetry import Telemetry


class Gather:
    """Collects values; after 5 s of log time without a record it writes them to `traces` as one record.

    Its offset stays at the first value not yet written. "boom" makes it raise, "again" asks for the first record,
    "each" for every record before it, one by one, "stuck" for the same one for ever. "letter" is a dead letter.
    """

    def __init__(self, stage: "GatherStage", partition: int) -> None:
        self._stage = stage
        self._partition = partition
        self._open: list[StoredRecord] = []
        self._position = 0
        self._last_s = 0.0
        self._recalled: list[bytes] = []

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        self._stage.restored.append(tuple(entries))
        return Recall(topic=topics.SPANS, offsets=(0,)) if self._stage.recall_on_restore else None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        self._recalled += [r.value for r in records]
        self._stage.recalled += [r.value for r in records]

    def process(self, records: Sequence[StoredRecord]) -> Work:
        if any(r.value == b"again" for r in records) and not self._recalled:
            raise RecallNeeded(Recall(topic=topics.SPANS, offsets=(0,)))
        if any(r.value == b"stuck" for r in records):
            raise RecallNeeded(Recall(topic=topics.SPANS, offsets=(0,)))
        for record in records:
            if record.value == b"each" and len(self._recalled) < record.offset:
                raise RecallNeeded(Recall(topic=topics.SPANS, offsets=(len(self._recalled),)))
        letters: list[Record] = []
        for record in records:
            now_s = record.log_time_ms / 1000
            self._stage.times.append(now_s)
            if record.value == b"boom":
                raise ValueError("boom")
            self._position = record.offset + 1
            if record.value == b"letter":
                letters.append(record_of(letter_of(record, stage="gather", error=ValueError("no"), reason="unfit")))
                continue
            self._open.append(record)
            self._last_s = now_s
        first = self._open[0].offset if self._open else self._position
        return Work(produce=tuple(letters), next_offsets={topics.SPANS: first})

    def tick(self, now_s: float) -> Work:
        self._stage.times.append(now_s)
        self._stage.ticks.append(now_s)
        if self._stage.fail_ticks:
            self._stage.fail_ticks -= 1
            raise ValueError("tick")
        value = b",".join(r.value for r in self._open)
        self._open = []
        return Work(
            produce=(Record(topic=topics.TRACES, partition=self._partition, value=value),),
            store=self._stage.store,
            state=(StateChange(key=b"count", value=str(self._position).encode()),),
            next_offsets={topics.SPANS: self._position},
        )

    def next_wake_s(self) -> float | None:
        return self._last_s + 5.0 if self._open else None


class GatherStage:
    name = "gather"
    topics: tuple[str, ...] = (topics.SPANS,)
    store = "state.gather"

    def __init__(self) -> None:
        self.restored: list[tuple[tuple[bytes, bytes], ...]] = []
        self.recalled: list[bytes] = []
        self.times: list[float] = []
        self.ticks: list[float] = []
        self.recall_on_restore = False
        self.fail_ticks = 0

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        return Gather(self, partition)


class RefusingLog(SqliteLog):
    """Refuses the next `refusals` commits of stages."""

    refusals = 0

    async def commit(self, group: str, partition: int, work: Work) -> None:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailableError("refused", retry_after_s=0.01)
        await super().commit(group, partition, work)


class Bench:
    """A log of one partition, a stage, a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.stage = GatherStage()
        self.log = RefusingLog(":memory:", config=LogConfig(partitions=1), telemetry=self.telemetry, clock=self.clock)

    async def append(self, *values: bytes, schema: str = "1") -> None:
        await self.log.append(
            [Record(topic=topics.SPANS, partition=0, value=v, headers={"schema": schema}) for v in values]
        )

    def runner(self) -> StageRunner:
        return StageRunner(self.stage, log=self.log, telemetry=self.telemetry, clock=self.clock, fetch_timeout_s=0.02)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[StageRunner]:
        runner = self.runner()
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run(stop), name="runner")
            try:
                yield runner
            finally:
                stop.set()

    async def values(self, topic: str) -> list[bytes]:
        end = self.log.mirror.partitions[topic, 0].next_offset
        reader = self.log.reader("test", [topic])
        return [r.value for r in await reader.read_at(topic, 0, range(end))]

    async def until(self, is_true: Callable[[], bool], *, advance_s: float = 0.0) -> None:
        while not is_true():
            self.clock.advance(advance_s)
            await asyncio.sleep(0.01)

    def lag(self) -> int:
        return self.log.mirror.lag()["gather"]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.log.start()
    yield made
    await made.log.stop()


async def idle(bench: Bench, runner: StageRunner, seconds: float) -> None:
    await bench.until(lambda: 0 in runner._owned and runner._owned[0].caught_up_since_s is not None)
    bench.clock.advance(seconds)
    reached_s = runner._owned[0].idle_s + seconds
    await bench.until(lambda: runner._owned[0].idle_s >= reached_s - 1e-9)


async def test_idle_time_closes_after_the_last_record(bench: Bench) -> None:
    await bench.append(b"a", b"b")
    appended_s = bench.clock.now_s()
    async with bench.running() as runner:
        await idle(bench, runner, 4.9)
        assert bench.stage.ticks == []
        await idle(bench, runner, 0.2)
        await bench.until(lambda: bench.lag() == 0)
    assert await bench.values(topics.TRACES) == [b"a,b"]
    assert bench.stage.ticks == pytest.approx([appended_s + 5.1])


async def test_a_restart_hours_later_lets_idle_time_begin_anew(bench: Bench) -> None:
    await bench.append(b"a")
    appended_s = bench.clock.now_s()
    bench.clock.advance(7200)
    async with bench.running() as runner:
        await idle(bench, runner, 4.9)
        assert bench.stage.ticks == []
        await idle(bench, runner, 0.2)
        await bench.until(lambda: bench.lag() == 0)
    assert bench.stage.ticks == pytest.approx([appended_s + 5.1])


async def test_time_never_goes_backwards(bench: Bench) -> None:
    async with bench.running():
        for round_ in range(5):
            await bench.append(b"%d" % round_)
            ticks = len(bench.stage.ticks)
            await bench.until(lambda before=ticks: len(bench.stage.ticks) > before, advance_s=0.7)  # type: ignore[misc]
    assert bench.stage.times == sorted(bench.stage.times)


async def test_a_record_that_fails_alone_is_dead_lettered_and_its_neighbours_live(bench: Bench) -> None:
    await bench.append(b"a", b"boom", b"b")
    async with bench.running():
        await bench.until(lambda: bench.log.mirror.partitions[topics.TRACES, 0].next_offset == 1, advance_s=0.5)
        await bench.until(lambda: bench.lag() == 0)
    assert await bench.values(topics.TRACES) == [b"a,b"]
    letters = [msgspec.msgpack.decode(v, type=topics.DeadLetter) for v in await bench.values(topics.DEAD_LETTERS)]
    assert [(letter.topic, letter.offset, letter.value) for letter in letters] == [(topics.SPANS, 1, b"boom")]
    assert bench.telemetry.total("clearwatch.dead_letters", stage="gather") == 1


@pytest.mark.parametrize("values", [(b"boom",), (b"boom", b"boom"), (b"a", b"boom"), (b"boom", b"a")])
async def test_the_offset_moves_past_a_dead_letter(bench: Bench, values: tuple[bytes, ...]) -> None:
    await bench.append(*values)
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    assert bench.telemetry.total("clearwatch.dead_letters") == values.count(b"boom")


async def test_a_stage_whose_every_record_fails_stops_instead_of_emptying_the_log(bench: Bench) -> None:
    await bench.append(*[b"boom"] * 150)
    async with bench.running() as runner:
        await bench.until(lambda: runner.stopped_partitions == (0,))
    assert bench.telemetry.total("clearwatch.dead_letters") == 100
    assert bench.lag() == 50


async def test_a_stage_that_fails_on_one_record_in_ten_stops_at_the_hundred_and_first(bench: Bench) -> None:
    await bench.append(*[b"letter", *[b"a"] * 9] * 110)
    async with bench.running() as runner:
        await bench.until(lambda: runner.stopped_partitions == (0,))
    (stopped,) = bench.telemetry.stops.now()
    assert stopped.offset == 10 * 100
    assert stopped.reason.startswith("more than 100 of the last 10,000 records failed")
    assert "clearwatch dead-letters list --stage gather" in stopped.reason
    assert bench.telemetry.total("clearwatch.dead_letters") == 100


async def test_a_restart_takes_a_stopped_partition_up_again_where_it_stopped(bench: Bench) -> None:
    await bench.append(*[b"boom"] * 150)
    for letters in (100, 150):
        async with bench.running() as runner:
            await bench.until(lambda: bool(runner.stopped_partitions) or bench.lag() == 0)
        assert bench.telemetry.total("clearwatch.dead_letters") == letters
    assert bench.lag() == 0


async def test_a_stopped_partition_that_is_taken_away_and_given_back_says_so_again_and_buries_no_more(
    bench: Bench,
) -> None:
    await bench.append(*[b"boom"] * 150)
    async with bench.running() as runner:
        await bench.until(lambda: runner.stopped_partitions == (0,))
        await runner.on_revoked([0])
        assert bench.telemetry.stops.now() == ()
        await runner.on_assigned([0])
        bench.log._members["gather"]._positions[topics.SPANS, 0] = 100  # as a rebalance seeks what is committed
        await bench.until(lambda: runner.stopped_partitions == (0,))
    assert bench.telemetry.stops.now()[0].offset == 100
    assert bench.telemetry.total("clearwatch.dead_letters") == 100


async def test_letters_that_a_processor_writes_itself_stop_the_partition_too(bench: Bench) -> None:
    await bench.append(*[b"a"] * 3, *[b"letter"] * 150)
    async with bench.running() as runner:
        await bench.until(lambda: runner.stopped_partitions == (0,))
    letters = [msgspec.msgpack.decode(v, type=topics.DeadLetter) for v in await bench.values(topics.DEAD_LETTERS)]
    assert sorted({letter.offset for letter in letters}) == list(range(3, 103))
    assert bench.telemetry.total("clearwatch.dead_letters", stage="gather", reason="unfit") == 100
    assert bench.telemetry.stops.now()[0].offset == 103


async def test_a_dead_letter_tells_all_that_is_known_of_its_record(bench: Bench) -> None:
    headers = {"schema": "1", "experiment": "7"}
    await bench.log.append(
        [Record(topic=topics.SPANS, partition=0, key=b"k", value=b"boom", headers=headers)],
    )
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    (value,) = await bench.values(topics.DEAD_LETTERS)
    letter = msgspec.msgpack.decode(value, type=topics.DeadLetter)
    assert (letter.topic, letter.partition, letter.offset, letter.stage) == (topics.SPANS, 0, 0, "gather")
    assert (letter.error_type, letter.error, letter.kind) == ("ValueError", "boom", "record")
    assert (letter.key, letter.value, letter.headers, letter.schema) == (b"k", b"boom", headers, 1)
    assert letter.build == version("clearwatch")


async def test_a_newer_schema_stops_the_partition_after_the_records_before_it(bench: Bench) -> None:
    await bench.append(b"a")
    await bench.append(b"new", schema="2")
    async with bench.running() as runner:
        await bench.until(lambda: runner.stopped_partitions == (0,))
    assert len(bench.stage.times) == 1
    assert bench.telemetry.total("clearwatch.dead_letters") == 0
    assert bench.telemetry.total("clearwatch.stage.failures", reason="schema_too_new") == 1
    (stopped,) = bench.telemetry.stops.now()
    assert (stopped.group, stopped.topic, stopped.partition, stopped.offset) == ("gather", topics.SPANS, 0, 1)
    assert stopped.reason.endswith("schema 2, this release reads up to 1: upgrade before reading on")
    assert bench.lag() == 2


async def test_recall_during_process_reads_back_and_goes_on(bench: Bench) -> None:
    await bench.append(b"first", b"again")
    async with bench.running():
        await bench.until(lambda: bench.log.mirror.partitions[topics.TRACES, 0].next_offset == 1, advance_s=0.5)
    assert bench.stage.recalled == [b"first"]
    assert await bench.values(topics.TRACES) == [b"first,again"]


async def test_one_call_may_ask_again_for_as_long_as_it_goes_on(bench: Bench) -> None:
    await bench.append(*[b"%d" % n for n in range(150)], b"each")
    async with bench.running():
        await bench.until(lambda: bench.log.mirror.partitions[topics.TRACES, 0].next_offset == 1, advance_s=0.5)
    assert bench.stage.recalled == [b"%d" % n for n in range(150)]


async def test_a_call_that_asks_for_the_same_for_ever_is_dead_lettered(bench: Bench) -> None:
    await bench.append(b"a", b"stuck", b"b")
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    assert await bench.values(topics.TRACES) == [b"a,b"]
    assert bench.telemetry.total("clearwatch.dead_letters", reason="RuntimeError") == 1


async def test_while_the_log_is_unavailable_work_waits_and_is_done_once(bench: Bench) -> None:
    bench.log.refusals = 3
    await bench.append(b"a", b"b")
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    assert bench.log.refusals == 0
    assert await bench.values(topics.TRACES) == [b"a,b"]
    assert bench.telemetry.total("clearwatch.dead_letters") == 0


async def test_stop_while_the_log_is_unavailable_ends_and_loses_nothing(bench: Bench) -> None:
    bench.log.refusals = 1_000_000
    await bench.append(b"a", b"b")
    async with bench.running():
        await bench.until(lambda: bench.log.refusals < 999_998)
    bench.log.refusals = 0
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    assert await bench.values(topics.TRACES) == [b"a,b"]


async def test_restore_gets_the_committed_state_and_its_recall(bench: Bench) -> None:
    await bench.append(b"a")
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=0.5)
    bench.stage.recall_on_restore = True
    async with bench.running():
        await bench.until(lambda: len(bench.stage.recalled) == 1)
    assert bench.stage.restored[-1] == ((b"count", b"1"),)


async def test_a_failing_tick_is_counted_and_tried_again_with_a_restored_processor(bench: Bench) -> None:
    bench.stage.fail_ticks = 1
    await bench.append(b"a", b"b")
    async with bench.running():
        await bench.until(lambda: bench.lag() == 0, advance_s=1.0)
    assert await bench.values(topics.TRACES) == [b"a,b"]
    assert bench.telemetry.total("clearwatch.stage.failures", reason="tick") == 1


async def test_stop_while_nothing_happens_returns_at_once(bench: Bench) -> None:
    async with asyncio.timeout(5), bench.running():
        await bench.until(lambda: len(bench.stage.restored) == 1)
