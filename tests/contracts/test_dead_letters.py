"""From a record that a stage cannot use to its replay, over each implementation of the log."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from clearwatch.letters import Replay, Replayed, replay
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Log, Record, StateChange, StoredRecord, Work
from core.log.sqlite import SqliteLog
from core.runner import StageRunner
from core.stage import Recall
from core.telemetry import Telemetry
from detector.config import DetectorConfig
from detector.stages import stages
from sinks.records.queries import AmbiguousIdError, UnknownIdError
from sinks.records.sink import RecordsSink
from sinks.records.views import LetterRow
from tests.unit.records_kit import NOW_S, finding, store

PARTITIONS = 3
PARTITION = topics.partition_for(b"shop", PARTITIONS)
HEADERS = topics.headers(experiment="7")


class FragileStage:
    """Fails on every finding until it is mended; keeps what it could use."""

    name = "fragile"
    topics: tuple[str, ...] = (topics.FINDINGS,)
    store = "state.fragile"

    def __init__(self) -> None:
        self.is_broken = True
        self.used: list[StoredRecord] = []

    def processor(self, partition: int, partitions: Mapping[str, int]) -> "Fragile":
        return Fragile(self)


class Fragile:
    def __init__(self, stage: FragileStage) -> None:
        self._stage = stage

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        pass

    def process(self, records: Sequence[StoredRecord]) -> Work:
        if self._stage.is_broken:
            raise ValueError("a fault of ours")
        self._stage.used += records
        last = records[-1].offset
        change = StateChange(key=b"last", value=b"%d" % last)
        return Work(store=self._stage.store, state=(change,), next_offsets={topics.FINDINGS: last + 1})

    def tick(self, now_s: float) -> Work:
        return Work()

    def next_wake_s(self) -> float | None:
        return None


class World:
    """A log, the records, the stage that fails, and the stage that groups findings beside it."""

    def __init__(self, log: Log, telemetry: Telemetry) -> None:
        self.log = log
        self.telemetry = telemetry
        self.store = store()
        self.stage = FragileStage()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clock, stop = SystemClock(), asyncio.Event()
        sink = RecordsSink(log=self.log, store=self.store, telemetry=self.telemetry, clock=clock)
        issues = stages(DetectorConfig(), self.telemetry)["issues"]
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run(stop), name="records")
            for stage in (self.stage, issues):
                runner = StageRunner(stage, log=self.log, telemetry=self.telemetry, clock=clock)
                tasks.create_task(runner.run(stop), name=stage.name)
            try:
                yield
            finally:
                stop.set()

    async def append(self, name: str) -> None:
        value = msgspec.msgpack.encode(finding(name))
        await self.log.append(
            [Record(topic=topics.FINDINGS, partition=PARTITION, key=b"shop", value=value, headers=HEADERS)]
        )

    async def until(self, is_true: Callable[[], bool]) -> None:
        while not is_true() or any((await self.log.lag()).values()):  # noqa: ASYNC110 - lag cannot be waited for
            await asyncio.sleep(0.02)

    async def letters(self, count: int) -> tuple[LetterRow, ...]:
        await self.until(lambda: len(self.store.letters.latest()) >= count)
        return self.store.letters.latest()

    async def replay(self, *ids: str, again: bool = False, stage: str = "") -> Replayed:
        asked = Replay(ids=ids, all_=not ids, again=again, stage=stage)
        return await replay(asked, book=self.store.letters, log=self.log, clock=SystemClock())


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.needs_kafka)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    telemetry, clock = Telemetry(), SystemClock()
    log: Log
    if request.param == "kafka":
        broker = request.getfixturevalue("kafka_broker")
        kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.")
        config = LogConfig(kind="kafka", partitions=PARTITIONS, kafka=kafka)
        log = KafkaLog(config=config, instance_id="", telemetry=telemetry)
    else:
        log = SqliteLog(":memory:", config=LogConfig(partitions=PARTITIONS), telemetry=telemetry, clock=clock)
    await log.start()
    made = World(log, telemetry)
    yield made
    await log.stop()
    made.store.close()


async def test_a_letter_is_listed_replayed_once_and_used_by_the_stage_that_was_mended(world: World) -> None:
    async with world.running():
        await world.append("f1")
        (letter,) = await world.letters(1)
        assert (letter.topic, letter.partition, letter.offset, letter.stage) == (
            topics.FINDINGS,
            PARTITION,
            0,
            "fragile",
        )
        assert (letter.error_type, letter.error, letter.schema) == ("ValueError", "a fault of ours", 1)
        assert (letter.replays, letter.replayed_at, letter.headers) == (0, None, HEADERS)

        world.stage.is_broken = False
        assert (await world.replay(f"{topics.FINDINGS}:{PARTITION}:0")).replayed == (letter.id,)
        await world.until(lambda: len(world.stage.used) == 1)
        (used,) = world.stage.used
        assert (used.value, used.key, dict(used.headers)) == (msgspec.msgpack.encode(finding("f1")), b"shop", HEADERS)
        assert (used.topic, used.partition) == (topics.FINDINGS, PARTITION)

        assert (await world.replay(letter.id)).skipped[0].reason.startswith("was replayed before")
        assert await world.replay() == Replayed()
        assert (await world.replay(letter.id, again=True)).replayed == (letter.id,)
        await world.until(lambda: len(world.stage.used) == 2)
        assert world.store.letters.detail(letter.id).replays == 2

    # whoever had used it before sees it three times and counts it once
    assert world.store.numbers(now_s=NOW_S, session_gap_s=1800).findings == 1
    (issue,) = world.store.issues(status="")
    assert (issue.issue.finding_count, issue.issue.trace_count) == (1, 1)
    assert world.telemetry.total("clearwatch.dead_letters") == 1


async def test_a_replay_that_fails_again_is_a_letter_of_its_own(world: World) -> None:
    async with world.running():
        await world.append("f1")
        (first,) = await world.letters(1)
        await world.replay(stage="fragile")
        second, still_there = await world.letters(2)
        assert (second.offset, still_there.id, still_there.replays) == (1, first.id, 1)
        assert (await world.replay()).replayed == (second.id,)
        await world.letters(3)


async def test_all_of_a_stage_go_back_oldest_first_and_others_stay(world: World) -> None:
    async with world.running():
        for number in range(12):
            await world.append(f"f{number}")
        await world.letters(12)
        world.stage.is_broken = False
        assert await world.replay(stage="other") == Replayed()
        done = await world.replay(stage="fragile")
        await world.until(lambda: len(world.stage.used) == 12)
    assert [letter_id.split(":")[2] for letter_id in done.replayed] == [str(n) for n in range(12)]


async def test_an_unknown_id_replays_nothing_and_a_prefix_must_be_unique(world: World) -> None:
    async with world.running():
        for number in range(2):
            await world.append(f"f{number}")
        first = (await world.letters(2))[-1]
        with pytest.raises(UnknownIdError):
            await world.replay(first.id, "spans:9")
        with pytest.raises(AmbiguousIdError):
            await world.replay("findings")
    assert [row.replays for row in world.store.letters.latest()] == [0, 0]
