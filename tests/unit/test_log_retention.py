"""What the embedded log deletes, what it never deletes, and what it refuses instead."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from core import topics
from core.clock import ManualClock
from core.errors import LogFullError
from core.log.config import LogConfig
from core.log.member import SqliteReader
from core.log.port import Record, Work
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry


class Owner:
    async def on_assigned(self, partitions: Sequence[int]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


class Store:
    """A log of one partition for each topic, and shorthands."""

    def __init__(self, path: Path, **config: object) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.path = path
        self.config = LogConfig.model_validate({"partitions": 1, "retention_interval_s": 0.01, **config})
        self.log = self.make()

    def make(self) -> SqliteLog:
        return SqliteLog(str(self.path), config=self.config, telemetry=self.telemetry, clock=self.clock)

    async def append(self, count: int, size: int = 1000, topic: str = topics.SPANS) -> None:
        await self.log.append([Record(topic=topic, partition=0, value=bytes(size)) for _ in range(count)])

    async def join(self, group: str, topic: str = topics.SPANS, *, essential: bool = True) -> SqliteReader:
        reader = self.log.reader(group, [topic], essential=essential)
        await reader.start(Owner())
        return reader

    def start_of(self, topic: str) -> int:
        return self.log.mirror.partitions[topic, 0].start_offset

    def deleted(self, **labels: str) -> float:
        return self.telemetry.total("clearwatch.log.deleted", **labels)

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_true():  # noqa: ASYNC110 - the writer's thread has no event to wait for
                await asyncio.sleep(0.005)


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(tmp_path / "log.db", **getattr(request, "param", {}))
    await made.log.start()
    yield made
    await made.log.stop()


small = pytest.mark.parametrize("store", [{"max_bytes": 100_000}], indirect=True)


async def test_each_topic_is_kept_for_its_own_time(store: Store) -> None:
    for topic in (topics.SPANS, topics.FINDINGS):
        await store.append(3, topic=topic)
    store.clock.advance(47 * 3600)
    await store.append(1)
    store.clock.advance(2 * 3600)
    await store.until(lambda: store.deleted(topic=topics.SPANS, reason="time") == 3)
    assert (store.start_of(topics.SPANS), store.start_of(topics.FINDINGS)) == (3, 0)
    store.clock.advance(7 * 24 * 3600)
    await store.until(lambda: store.log.mirror.stored_bytes == 0)
    assert store.deleted(topic=topics.FINDINGS, reason="time") == 3


@pytest.mark.parametrize("store", [{"retention_h": {"spans": 1.0}}], indirect=True)
async def test_a_topic_may_be_kept_shorter(store: Store) -> None:
    await store.append(1)
    store.clock.advance(3601)
    await store.until(lambda: store.deleted(reason="time") == 1)


async def test_more_than_one_batch_goes_by_time(store: Store) -> None:
    await store.append(10_000, size=10)
    store.clock.advance(49 * 3600)
    await store.until(lambda: store.deleted(reason="time") == 10_000)


async def test_a_reader_behind_retention_goes_on_at_the_first_record_and_counts_the_gap(store: Store) -> None:
    reader = await store.join("slow")
    await store.append(5)
    store.clock.advance(49 * 3600)
    await store.until(lambda: store.deleted(reason="time") == 5)
    await store.append(1)
    fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=5)
    assert [r.offset for r in fetched.records[topics.SPANS, 0]] == [5]
    assert store.telemetry.total("clearwatch.dropped", reason="retention_slow") == 5
    assert (await store.log.lag())["slow"] == 1
    assert list(await reader.read_at(topics.SPANS, 0, [0, 4, 5])) == list(fetched.records[topics.SPANS, 0])


async def test_offsets_and_log_time_survive_a_restart_with_nothing_left(store: Store) -> None:
    await store.append(5)
    stamped_ms = store.log.mirror.partitions[topics.SPANS, 0].last_log_time_ms
    store.clock.advance(49 * 3600)
    await store.until(lambda: store.deleted(reason="time") == 5)
    await store.log.stop()
    store.clock.advance(-100 * 3600)
    store.log = store.make()
    await store.log.start()
    await store.append(1)
    reader = await store.join("g")
    found = (await reader.fetch(max_bytes=1000, timeout_s=5)).records[topics.SPANS, 0]
    assert [(r.offset, r.log_time_ms) for r in found] == [(5, stamped_ms)]


@small
async def test_by_size_the_oldest_that_everybody_has_read_go_first(store: Store) -> None:
    reader = await store.join("g")
    await store.append(40)
    store.clock.advance(1)
    await store.append(40, topic=topics.DEAD_LETTERS)
    await reader.commit(0, Work(next_offsets={topics.SPANS: 30}))
    await store.append(40)
    assert store.deleted(topic=topics.SPANS, reason="size") >= 20
    assert store.start_of(topics.SPANS) <= 30
    assert store.log.mirror.stored_bytes <= 100_000


@small
async def test_what_an_essential_group_needs_is_never_deleted_by_size_and_spans_are_refused(store: Store) -> None:
    reader = await store.join("assemble")
    await store.append(100)
    with pytest.raises(LogFullError, match=r"max_bytes. is 100000") as refused:
        await store.append(1)
    assert refused.value.retry_after_s > 0
    assert store.start_of(topics.SPANS) == 0
    await reader.commit(0, Work(next_offsets={topics.SPANS: 50}))
    await store.append(10)
    assert 0 < store.start_of(topics.SPANS) <= 50


@small
async def test_a_full_log_still_takes_what_stages_produce_up_to_its_reserve(store: Store) -> None:
    reader = await store.join("assemble")
    await store.append(100)
    produced = Work(produce=(Record(topic=topics.TRACES, partition=0, value=bytes(1000)),))
    await store.join("sessions", topics.TRACES)
    for _ in range(100):
        await reader.commit(0, produced)
    with pytest.raises(LogFullError):
        await reader.commit(0, produced)
    await reader.commit(0, Work(next_offsets={topics.SPANS: 100}))
    await reader.commit(0, produced)


@small
async def test_a_sink_does_not_hold_back_deletion_by_size(store: Store) -> None:
    stage, sink = await store.join("assemble"), await store.join("sink", essential=False)
    await store.append(90)
    await stage.commit(0, Work(next_offsets={topics.SPANS: 90}))
    await store.append(50)
    assert store.deleted(reason="size_unread") >= 40
    assert store.deleted(reason="size") == 0
    await sink.fetch(max_bytes=1, timeout_s=5)
    assert store.telemetry.total("clearwatch.dropped", reason="retention_sink") == store.start_of(topics.SPANS)


@small
async def test_what_sinks_have_read_goes_before_what_they_have_not(store: Store) -> None:
    stage, sink = await store.join("assemble"), await store.join("sink", essential=False)
    await store.append(90)
    await stage.commit(0, Work(next_offsets={topics.SPANS: 90}))
    await sink.commit(0, Work(next_offsets={topics.SPANS: 45}))
    await store.append(40)
    assert store.deleted(reason="size_unread") == 0


@small
async def test_groups_of_an_earlier_run_are_respected_before_they_are_back(store: Store) -> None:
    await store.join("assemble")
    await store.append(100)
    await store.log.stop()
    store.log = store.make()
    await store.log.start()
    assert dict(await store.log.lag()) == {"assemble": 100}
    with pytest.raises(LogFullError):
        await store.append(1)


@small
async def test_a_forgotten_group_holds_back_no_deletion(store: Store) -> None:
    gone = await store.join("removed-stage")
    await store.append(100)
    await gone.stop()
    await store.log.forget("removed-stage")
    await store.append(50)
    assert store.deleted(reason="size") >= 50


@small
async def test_one_refused_append_does_not_refuse_its_neighbours(store: Store) -> None:
    await store.join("assemble")
    outcomes = await asyncio.gather(store.append(60), store.append(60), store.append(30), return_exceptions=True)
    assert [type(o) for o in outcomes] == [type(None), LogFullError, type(None)]
    assert store.log.mirror.stored_bytes == 90_000


@small
async def test_at_the_limit_appends_go_on_for_as_long_as_readers_keep_up(store: Store) -> None:
    reader = await store.join("assemble")
    for round_ in range(1, 60):
        await store.append(10)
        await reader.commit(0, Work(next_offsets={topics.SPANS: round_ * 10}))
        assert store.log.mirror.stored_bytes <= 100_000
    assert store.deleted(topic=topics.SPANS, reason="size") >= 480


async def test_the_byte_count_survives_a_restart(store: Store) -> None:
    await store.append(7, size=333)
    await store.log.stop()
    store.log = store.make()
    await store.log.start()
    assert store.log.mirror.stored_bytes == 7 * 333
    assert store.telemetry.snapshot()["clearwatch.log.bytes", ()] == 7 * 333
