"""What a replayed record means to those who read it before, and to the stage that failed on it."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from clearwatch.letters import Replay, replay
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record, StoredRecord, Work
from core.log.sqlite import SqliteLog
from core.runner import StageRunner
from core.stage import Recall
from core.telemetry import Telemetry
from detector.baselines.config import BaselinesConfig
from detector.baselines.judging import key_of
from detector.baselines.measures import OWN
from detector.baselines.stage import BaselinesProcessor, BaselinesStage
from tests.unit.records_kit import store
from tests.unit.test_baselines_stage import measured
from tests.unit.test_issues_over_log import measured as record_of
from tests.unit.test_sessions_stage import Sessions, version


class FailsAfterwards:
    """The baselines' processor, which learns and then fails on one record until it is mended."""

    def __init__(self, inner: BaselinesProcessor, stage: "FragileBaselines") -> None:
        self.inner = inner
        self._stage = stage

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        return self.inner.restore(entries)

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        self.inner.recalled(records)

    def process(self, records: Sequence[StoredRecord]) -> Work:
        work = self.inner.process(records)
        if self._stage.is_broken and any(record.offset == 7 for record in records):
            raise ValueError("a fault of ours")
        return work

    def tick(self, now_s: float) -> Work:
        return self.inner.tick(now_s)

    def next_wake_s(self) -> float | None:
        return self.inner.next_wake_s()


class FragileBaselines:
    name = "baselines"
    topics: tuple[str, ...] = (topics.MEASUREMENTS,)
    store = "state.baselines"

    def __init__(self) -> None:
        self.is_broken = True
        self.last: FailsAfterwards | None = None
        config = BaselinesConfig.model_validate({"gather_s": 0.05})
        self._stage = BaselinesStage(config=config, telemetry=Telemetry())

    def processor(self, partition: int, partitions: Mapping[str, int]) -> FailsAfterwards:
        inner = self._stage.processor(partition, partitions)
        assert isinstance(inner, BaselinesProcessor)
        self.last = FailsAfterwards(inner, self)
        return self.last

    def learned(self) -> int:
        assert self.last is not None
        return self.last.inner.learned(key_of(measured(1, 300.0), OWN))[1]


async def test_a_measurement_that_baselines_buried_is_learned_once_by_its_replay_and_again_only_if_asked() -> None:
    telemetry, clock, stage = Telemetry(), SystemClock(), FragileBaselines()
    log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=telemetry, clock=clock)
    await log.start()
    book = store().letters
    stop = asyncio.Event()

    async def until_learned(count: int) -> None:
        while stage.learned() != count or (await log.lag())["baselines"]:  # noqa: ASYNC110 - lag has no event
            await asyncio.sleep(0.02)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        await log.append([msgspec.structs.replace(record_of(n, 300.0), partition=0) for n in range(20)])
        tasks.create_task(StageRunner(stage, log=log, telemetry=telemetry, clock=clock).run(stop), name="baselines")
        while telemetry.total("clearwatch.dead_letters") < 1:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.02)
        await until_learned(19)
        (stored,) = await log.reader("test", [topics.DEAD_LETTERS]).read_at(topics.DEAD_LETTERS, 0, range(9))
        book.take([(msgspec.msgpack.decode(stored.value, type=topics.DeadLetter), stored.log_time_ms)])
        stage.is_broken = False
        await replay(Replay(all_=True), book=book, log=log, clock=clock)
        await until_learned(20)
        await replay(Replay(all_=True), book=book, log=log, clock=clock)
        await replay(Replay(all_=True, again=True), book=book, log=log, clock=clock)
        await until_learned(21)
        stop.set()
    await log.stop()


def test_a_trace_that_comes_again_is_in_its_session_once() -> None:
    sessions = Sessions()
    sessions.take(version("t1"), version("t2", 5.0))
    before = sessions.only
    sessions.take(version("t1"))
    assert sessions.only == before


async def test_a_letter_of_a_topic_or_partition_that_is_gone_is_left_and_said() -> None:
    telemetry, clock = Telemetry(), SystemClock()
    log = SqliteLog(":memory:", config=LogConfig(partitions=2), telemetry=telemetry, clock=clock)
    await log.start()
    book = store().letters
    whole = topics.DeadLetter(topic=topics.SPANS, partition=1, offset=0, stage="assemble", error="no", value=b"v")
    book.take(
        [
            (msgspec.structs.replace(whole, partition=7), 1),
            (msgspec.structs.replace(whole, topic="gone"), 2),
            (msgspec.structs.replace(whole, topic=topics.DEAD_LETTERS, partition=0), 3),
            (whole, 4),
        ]
    )
    done = await replay(Replay(all_=True), book=book, log=log, clock=clock)
    await log.append([Record(topic=topics.SPANS, partition=0, value=b"")])
    await log.stop()
    assert [each.split(":")[:2] for each in done.replayed] == [["spans", "1"]]
    assert [left.reason for left in done.skipped] == [
        "comes from partition 7 of spans, which has 2: it was made anew",
        "comes from gone, which this release does not have",
        "comes from dead-letters, which this release does not have",
    ]
