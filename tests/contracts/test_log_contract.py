"""What every log must do, whichever it is: run over each implementation of `core.log.port.Log`."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from core import topics
from core.clock import Clock, ManualClock
from core.errors import GroupInUseError, LogUnavailableError
from core.log.config import LogConfig
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Fetch, Log, Reader, Record, StateChange, StoredRecord, TopicPartition, Work
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from tests.broker.kafka import Broker

PARTITIONS = 4


class Member:
    """An AssignmentListener that remembers what it was told."""

    def __init__(self) -> None:
        self.assigned: list[int] = []
        self.revoked: list[int] = []

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        self.assigned += partitions

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        self.revoked += partitions


class Subject:
    """A log under test; `reopen` closes it and opens what it left behind, as a restart of the process would."""

    def __init__(self, make: Callable[[Clock, Telemetry], Log], *, is_embedded: bool = True) -> None:
        # an embedded log stamps records with our clock and applies a step at once; brokers have a clock of their own
        self.is_embedded = is_embedded
        self.clock = ManualClock() if is_embedded else ManualClock(time.time())
        self.telemetry = Telemetry()
        self._make = make
        self.log = make(self.clock, self.telemetry)

    async def reopen(self) -> Log:
        await self.log.stop()
        self.log = self._make(self.clock, self.telemetry)
        await self.log.start()
        return self.log

    def assert_stamped_now(self, log_time_ms: int) -> None:
        """Assert that a record was appended just now, by the clock of the log."""
        if self.is_embedded:
            assert log_time_ms == int(self.clock.now_s() * 1000)
        else:
            assert abs(log_time_ms - time.time() * 1000) < 60_000

    async def reader(self, group: str, *names: str, essential: bool = True) -> Reader:
        reader = self.log.reader(group, names or (topics.SPANS,), essential=essential)
        await reader.start(Member())
        return reader


def _sqlite(path: str) -> Callable[[Clock, Telemetry], Log]:
    return lambda clock, telemetry: SqliteLog(
        path, config=LogConfig(partitions=PARTITIONS), telemetry=telemetry, clock=clock
    )


def _kafka(broker: Broker) -> Callable[[Clock, Telemetry], Log]:
    config = LogConfig(
        partitions=PARTITIONS,
        kafka=KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}."),
    )
    return lambda clock, telemetry: KafkaLog(config=config, instance_id="", telemetry=telemetry)


def _subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    if request.param == "kafka":
        return Subject(_kafka(request.getfixturevalue("kafka_broker")), is_embedded=False)
    path = ":memory:" if request.param == "sqlite-memory" else str(tmp_path / "data" / "log.db")
    return Subject(_sqlite(path))


KAFKA = pytest.param("kafka", marks=pytest.mark.needs_kafka)


@pytest.fixture(params=["sqlite-memory", "sqlite-file", KAFKA])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    made = _subject(request, tmp_path)
    await made.log.start()
    yield made
    await made.log.stop()


@pytest.fixture(params=["sqlite-file", KAFKA])
async def durable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    made = _subject(request, tmp_path)
    await made.log.start()
    yield made
    await made.log.stop()


def record(value: bytes, *, partition: int = 0, topic: str = topics.SPANS, **headers: str) -> Record:
    return Record(topic=topic, partition=partition, value=value, key=b"k" + value, headers=headers)


async def read_all(reader: Reader, count: int, max_bytes: int = 1 << 20) -> dict[TopicPartition, list[StoredRecord]]:
    found: dict[TopicPartition, list[StoredRecord]] = {}
    async with asyncio.timeout(20):
        while sum(map(len, found.values())) < count:
            for topic_partition, records in (await reader.fetch(max_bytes=max_bytes, timeout_s=1)).records.items():
                found.setdefault(topic_partition, []).extend(records)
    return found


async def drained(reader: Reader) -> Fetch:
    """Return the fetch that found nothing."""
    async with asyncio.timeout(20):
        while True:
            fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=0.01)
            if fetched.caught_up and not fetched.records:
                return fetched


async def test_offsets_begin_at_zero_and_grow_by_one_in_each_partition(subject: Subject) -> None:
    await subject.log.append([record(b"%d" % n, partition=n % 2) for n in range(6)])
    await subject.log.append([record(b"6", partition=0)])
    found = await read_all(await subject.reader("g"), 7)
    assert [(r.offset, r.value) for r in found[topics.SPANS, 0]] == [(0, b"0"), (1, b"2"), (2, b"4"), (3, b"6")]
    assert [(r.offset, r.value) for r in found[topics.SPANS, 1]] == [(0, b"1"), (1, b"3"), (2, b"5")]


async def test_a_record_comes_back_whole(subject: Subject) -> None:
    sent = Record(
        topic=topics.SPANS,
        partition=3,
        value=bytes(range(256)) * 500,
        key=b"\x00\xff",
        headers={"schema": "1", "é": "ü"},
    )
    await subject.log.append([sent])
    found = (await read_all(await subject.reader("g"), 1))[topics.SPANS, 3][0]
    assert (found.topic, found.partition, found.value, found.key) == (sent.topic, 3, sent.value, sent.key)
    assert dict(found.headers) == {"schema": "1", "é": "ü"}
    subject.assert_stamped_now(found.log_time_ms)


async def test_empty_values_and_headers_come_back_empty(subject: Subject) -> None:
    await subject.log.append([Record(topic=topics.SPANS, partition=0, value=b"")])
    found = (await read_all(await subject.reader("g"), 1))[topics.SPANS, 0][0]
    assert (found.value, found.key, dict(found.headers)) == (b"", b"", {})


async def test_order_holds_over_small_fetches(subject: Subject) -> None:
    await subject.log.append([record(b"%04d" % n * 25, partition=n % PARTITIONS) for n in range(200)])
    found = await read_all(await subject.reader("g"), 200, max_bytes=250)
    for records in found.values():
        assert [r.offset for r in records] == list(range(50))


async def test_a_fetch_stays_near_max_bytes_and_returns_a_record_larger_than_that(subject: Subject) -> None:
    await subject.log.append([record(b"x" * 1000) for _ in range(50)])
    reader = await subject.reader("g")
    sizes = [len(r.value) for r in (await reader.fetch(max_bytes=5000, timeout_s=1)).records[topics.SPANS, 0]]
    assert 4000 <= sum(sizes) <= 6000
    one = await reader.fetch(max_bytes=10, timeout_s=1)
    assert len(one.records[topics.SPANS, 0]) == 1


async def test_a_busy_partition_does_not_starve_the_others(subject: Subject) -> None:
    await subject.log.append([record(b"x" * 1000, partition=0) for _ in range(500)])
    await subject.log.append([record(b"y", partition=2)])
    reader = await subject.reader("g")
    for _ in range(4):
        fetched = await reader.fetch(max_bytes=2000, timeout_s=1)
        if (topics.SPANS, 2) in fetched.records:
            break
    else:
        pytest.fail("partition 2 was not delivered within four fetches")


async def test_groups_are_independent(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    first, second = await subject.reader("one"), await subject.reader("two")
    await read_all(first, 1)
    await first.commit(0, Work(next_offsets={topics.SPANS: 1}))
    assert len((await read_all(second, 1))[topics.SPANS, 0]) == 1
    assert dict(await subject.log.lag()) == {"one": 0, "two": 1}


async def test_a_new_group_starts_at_the_earliest_record(subject: Subject) -> None:
    await subject.log.append([record(b"a"), record(b"b")])
    assert len((await read_all(await subject.reader("late"), 2))[topics.SPANS, 0]) == 2


async def test_the_listener_owns_every_partition_before_the_first_record(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    reader = subject.log.reader("g", [topics.SPANS])
    member = Member()
    await reader.start(member)
    assert sorted(member.assigned) == list(range(PARTITIONS))


async def test_a_restarted_reader_begins_at_what_was_committed(subject: Subject) -> None:
    await subject.log.append([record(b"%d" % n) for n in range(5)])
    reader = await subject.reader("g")
    await read_all(reader, 5)
    await reader.commit(0, Work(next_offsets={topics.SPANS: 3}))
    await reader.stop()
    found = await read_all(await subject.reader("g"), 2)
    assert [r.offset for r in found[topics.SPANS, 0]] == [3, 4]


async def test_one_commit_produces_changes_state_and_moves_the_offset(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    reader = await subject.reader("g")
    await reader.commit(
        0,
        Work(
            produce=(record(b"t", topic=topics.TRACES, partition=2),),
            store="state.g",
            state=(StateChange(key=b"k", value=b"v"),),
            next_offsets={topics.SPANS: 1},
        ),
    )
    produced = await read_all(await subject.reader("h", topics.TRACES), 1)
    assert produced[topics.TRACES, 2][0].value == b"t"
    assert list(await reader.load_state("state.g", 0)) == [(b"k", b"v")]
    assert (await subject.log.lag())["g"] == 0


async def test_a_commit_that_is_refused_changes_nothing(subject: Subject) -> None:
    reader = await subject.reader("g")
    with pytest.raises(ValueError, match="partition"):
        await reader.commit(
            0,
            Work(
                produce=(record(b"t", topic=topics.TRACES), record(b"t", topic=topics.TRACES, partition=99)),
                store="s",
                state=(StateChange(key=b"k", value=b"v"),),
            ),
        )
    assert list(await reader.load_state("s", 0)) == []
    assert not (await drained(await subject.reader("h", topics.TRACES))).records


async def test_an_append_to_an_unknown_topic_or_partition_is_refused(subject: Subject) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        await subject.log.append([record(b"a", topic="nowhere")])
    with pytest.raises(ValueError, match="partition"):
        await subject.log.append([record(b"a", partition=PARTITIONS)])


async def test_state_keeps_the_last_value_and_forgets_deleted_keys(subject: Subject) -> None:
    reader = await subject.reader("g")
    await reader.commit(0, Work(store="s", state=tuple(StateChange(key=k, value=b"1") for k in (b"a", b"b", b"c"))))
    await reader.commit(
        0, Work(store="s", state=(StateChange(key=b"a", value=b"2"), StateChange(key=b"b", value=None)))
    )
    await reader.commit(
        0, Work(store="s", state=(StateChange(key=b"c", value=None), StateChange(key=b"c", value=b"3")))
    )
    assert dict(await reader.load_state("s", 0)) == {b"a": b"2", b"c": b"3"}


async def test_state_is_kept_by_store_and_partition(subject: Subject) -> None:
    reader = await subject.reader("g")
    await reader.commit(0, Work(store="s", state=(StateChange(key=b"k", value=b"s0"),)))
    await reader.commit(1, Work(store="s", state=(StateChange(key=b"k", value=b"s1"),)))
    await reader.commit(0, Work(store="t", state=(StateChange(key=b"k", value=b"t0"),)))
    found = [list(await reader.load_state(store, p)) for store, p in (("s", 0), ("s", 1), ("t", 0), ("t", 1))]
    assert found == [[(b"k", b"s0")], [(b"k", b"s1")], [(b"k", b"t0")], []]


async def test_large_state_values_come_back_whole(subject: Subject) -> None:
    reader = await subject.reader("g")
    value = bytes(range(256)) * 12_000  # 3 MB: above a broker's usual limit
    await reader.commit(0, Work(store="s", state=(StateChange(key=b"k", value=value),)))
    assert list(await reader.load_state("s", 0)) == [(b"k", value)]


async def test_read_at_returns_what_exists_in_order(subject: Subject) -> None:
    await subject.log.append([record(b"%d" % n, partition=1) for n in range(10)])
    reader = await subject.reader("g")
    found = await reader.read_at(topics.SPANS, 1, [0, 3, 4, 9, 10, 5000])
    assert [(r.offset, r.value) for r in found] == [(0, b"0"), (3, b"3"), (4, b"4"), (9, b"9")]
    assert list(await reader.read_at(topics.SPANS, 2, [0, 1])) == []
    assert list(await reader.read_at(topics.SPANS, 1, [])) == []


async def test_the_log_itself_reads_at_offsets_without_any_group(subject: Subject) -> None:
    await subject.log.append([record(b"%d" % n, partition=1) for n in range(3)])
    groups = dict(await subject.log.lag())
    found = await subject.log.read_at(topics.SPANS, 1, [0, 2, 7])
    assert [(r.offset, r.value) for r in found] == [(0, b"0"), (2, b"2")]
    assert dict(await subject.log.lag()) == groups


async def test_read_at_does_not_move_the_reader(subject: Subject) -> None:
    await subject.log.append([record(b"a"), record(b"b")])
    reader = await subject.reader("g")
    await reader.read_at(topics.SPANS, 0, [1])
    assert [r.offset for r in (await read_all(reader, 2))[topics.SPANS, 0]] == [0, 1]


async def test_a_paused_partition_is_neither_delivered_nor_caught_up(subject: Subject) -> None:
    await subject.log.append([record(b"a", partition=0), record(b"b", partition=1)])
    reader = await subject.reader("g")
    reader.pause([(topics.SPANS, 0), (topics.SPANS, 3)])
    assert set(await read_all(reader, 1)) == {(topics.SPANS, 1)}
    assert (await drained(reader)).caught_up == {(topics.SPANS, 1), (topics.SPANS, 2)}
    reader.resume([(topics.SPANS, 0), (topics.SPANS, 3)])
    assert set(await read_all(reader, 1)) == {(topics.SPANS, 0)}


async def test_only_partitions_with_nothing_to_deliver_are_caught_up(subject: Subject) -> None:
    await subject.log.append([record(b"a", partition=1)])
    reader = await subject.reader("g")
    fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=5)
    assert (topics.SPANS, 1) in fetched.records
    assert (topics.SPANS, 1) not in fetched.caught_up
    after = await drained(reader)
    assert after.caught_up == {(topics.SPANS, p) for p in range(PARTITIONS)}
    assert set(after.last_log_time_ms) == {(topics.SPANS, 1)}
    subject.assert_stamped_now(after.last_log_time_ms[topics.SPANS, 1])


async def test_caught_up_speaks_of_delivery_not_of_commits(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    reader = await subject.reader("g")
    await read_all(reader, 1)
    assert (topics.SPANS, 0) in (await drained(reader)).caught_up
    assert (await subject.log.lag())["g"] == 1


async def test_a_waiting_fetch_wakes_when_its_topic_grows(subject: Subject) -> None:
    reader = await subject.reader("g")
    await drained(reader)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        fetching = tasks.create_task(reader.fetch(max_bytes=1000, timeout_s=60))
        await asyncio.sleep(0)
        await subject.log.append([record(b"a", partition=2)])
    assert set(fetching.result().records) == {(topics.SPANS, 2)}


async def test_a_cancelled_fetch_loses_nothing(subject: Subject) -> None:
    await subject.log.append([record(b"%d" % n) for n in range(20)])
    reader = await subject.reader("g")
    seen: list[int] = []
    for turn in range(40):
        fetching = asyncio.ensure_future(reader.fetch(max_bytes=1, timeout_s=1))
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        fetching.cancel()
        outcome = (await asyncio.gather(fetching, return_exceptions=True))[0]
        if isinstance(outcome, Fetch):
            seen += [r.offset for r in outcome.records[topics.SPANS, 0]]
    while len(seen) < 20:
        seen += [r.offset for r in (await reader.fetch(max_bytes=1, timeout_s=1)).records[topics.SPANS, 0]]
    assert seen == list(range(20))


async def test_lag_counts_a_group_from_the_moment_it_is_made(subject: Subject) -> None:
    await subject.log.append([record(b"a"), record(b"b", topic=topics.TRACES)])
    subject.log.reader("g", [topics.SPANS, topics.TRACES])
    assert dict(await subject.log.lag()) == {"g": 2}


async def test_a_forgotten_group_leaves_lag_and_begins_anew_with_its_state(subject: Subject) -> None:
    await subject.log.append([record(b"a"), record(b"b")])
    reader = await subject.reader("gone")
    await reader.commit(0, Work(store="state.g", state=(StateChange(key=b"k", value=b"v"),)))
    await reader.commit(0, Work(next_offsets={topics.SPANS: 1}))
    await subject.reader("stays")
    await reader.stop()
    await subject.log.forget("gone")
    await subject.log.forget("gone")
    await subject.log.forget("never heard of")
    assert dict(await subject.log.lag()) == {"stays": 2}
    again = await subject.reader("gone")
    assert dict(await subject.log.lag()) == {"stays": 2, "gone": 2}
    assert [r.offset for r in (await read_all(again, 2))[topics.SPANS, 0]] == [0, 1]
    assert list(await again.load_state("state.g", 0)) == [(b"k", b"v")]


async def test_a_group_with_a_member_is_not_forgotten(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    reader = await subject.reader("g")
    with pytest.raises(GroupInUseError, match="consumer group g has a member"):
        await subject.log.forget("g")
    await reader.commit(0, Work(next_offsets={topics.SPANS: 1}))
    assert dict(await subject.log.lag()) == {"g": 0}


async def test_lag_never_shows_a_step_half_done(subject: Subject) -> None:
    """A step that moves one record on from spans to traces keeps the sum of both groups' lags."""
    count = 60
    await subject.log.append([record(b"%d" % n) for n in range(count)])
    mover = await subject.reader("mover")
    subject.log.reader("sink", [topics.TRACES])
    sums: list[int] = []

    async def watch(done: asyncio.Event) -> None:
        while not done.is_set():
            sums.append(sum((await subject.log.lag()).values()))
            await asyncio.sleep(0)

    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(done))
        for n in range(count):
            work = Work(produce=(record(b"t", topic=topics.TRACES),), next_offsets={topics.SPANS: n + 1})
            await mover.commit(0, work)
        done.set()
    # brokers cannot do both at once: a record may be counted twice on its way, and never not at all
    assert set(sums) == {count} if subject.is_embedded else min(sums) >= count


async def test_log_time_never_goes_backwards(subject: Subject) -> None:
    await subject.log.append([record(b"a")])
    subject.clock.advance(-3600)
    await subject.log.append([record(b"b"), record(b"other", partition=1)])
    subject.clock.advance(7200)
    await subject.log.append([record(b"c")])
    found = await read_all(await subject.reader("g"), 4)
    times = [r.log_time_ms for r in found[topics.SPANS, 0]]
    assert times == sorted(times)
    if subject.is_embedded:
        assert times[0] == times[1] == times[2] - 3_600_000


async def test_concurrent_appends_keep_the_order_of_each_caller_and_lose_nothing(subject: Subject) -> None:
    async def write(caller: int) -> None:
        for n in range(25):
            await subject.log.append([record(b"%d:%d" % (caller, n), partition=p) for p in range(PARTITIONS)])

    async with asyncio.TaskGroup() as tasks:
        for caller in range(16):
            tasks.create_task(write(caller))
    found = await read_all(await subject.reader("g"), 16 * 25 * PARTITIONS)
    for records in found.values():
        assert [r.offset for r in records] == list(range(16 * 25))
        for caller in range(16):
            mine = [r.value for r in records if r.value.startswith(b"%d:" % caller)]
            assert mine == [b"%d:%d" % (caller, n) for n in range(25)]


async def test_reading_while_writing_delivers_everything_once(subject: Subject) -> None:
    async def write() -> None:
        for n in range(200):
            await subject.log.append([record(b"%d" % n, partition=n % PARTITIONS)])

    reader = await subject.reader("g")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        found = await read_all(reader, 200, max_bytes=100)
    for records in found.values():
        assert [r.offset for r in records] == list(range(50))


async def test_co_partitioned_topics_are_read_together(subject: Subject) -> None:
    await subject.log.append([record(b"a", partition=1), record(b"b", topic=topics.TRACES, partition=1)])
    found = await read_all(await subject.reader("g", topics.SPANS, topics.TRACES), 2)
    assert {tp: [r.value for r in records] for tp, records in found.items()} == {
        (topics.SPANS, 1): [b"a"],
        (topics.TRACES, 1): [b"b"],
    }


async def test_a_cancelled_append_does_not_disturb_the_others(subject: Subject) -> None:
    cancelled = asyncio.ensure_future(subject.log.append([record(b"maybe")]))
    kept = asyncio.ensure_future(subject.log.append([record(b"kept")]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, kept, return_exceptions=True)
    assert kept.exception() is None
    reader = await subject.reader("g")
    values: set[bytes] = set()
    while b"kept" not in values:
        values |= {r.value for r in (await read_all(reader, 1))[topics.SPANS, 0]}
    assert values <= {b"kept", b"maybe"}


async def test_a_stopped_log_says_so(subject: Subject) -> None:
    reader = await subject.reader("g")
    await subject.log.stop()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: subject.log.append([record(b"a")]),
        lambda: reader.fetch(max_bytes=1, timeout_s=0),
        lambda: reader.commit(0, Work(next_offsets={topics.SPANS: 0})),
    ]
    for call in calls:
        with pytest.raises(LogUnavailableError):
            await call()
    await subject.log.stop()


async def test_stop_settles_what_was_taken(subject: Subject) -> None:
    appending = [asyncio.ensure_future(subject.log.append([record(b"x" * 10_000)])) for _ in range(100)]
    await asyncio.sleep(0)
    await subject.log.stop()
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*appending, return_exceptions=True)
    assert all(o is None or isinstance(o, LogUnavailableError) for o in outcomes)


async def test_a_forgotten_group_is_still_forgotten_after_a_restart(durable: Subject) -> None:
    await durable.log.append([record(b"a")])
    reader = await durable.reader("gone")
    await reader.stop()
    await durable.reopen()
    assert dict(await durable.log.lag()) == {"gone": 1}
    await durable.log.forget("gone")
    await durable.reopen()
    assert dict(await durable.log.lag()) == {}


async def test_everything_is_there_after_a_restart(durable: Subject) -> None:
    await durable.log.append([record(b"%d" % n, partition=n % 2, schema="1") for n in range(10)])
    reader = await durable.reader("g")
    await reader.commit(0, Work(store="s", state=(StateChange(key=b"k", value=b"v"),), next_offsets={topics.SPANS: 4}))
    log = await durable.reopen()
    assert (await log.lag())["g"] == 6
    again = await durable.reader("g")
    found = await read_all(again, 6)
    assert [(r.offset, r.value, dict(r.headers)) for r in found[topics.SPANS, 0]] == [(4, b"8", {"schema": "1"})]
    assert [r.offset for r in found[topics.SPANS, 1]] == [0, 1, 2, 3, 4]
    assert list(await again.load_state("s", 0)) == [(b"k", b"v")]
    await log.append([record(b"next")])
    assert [r.offset for r in (await read_all(again, 1))[topics.SPANS, 0]] == [5]


async def test_log_time_never_goes_backwards_over_a_restart(durable: Subject) -> None:
    await durable.log.append([record(b"a")])
    durable.clock.advance(-3600)
    log = await durable.reopen()
    await log.append([record(b"b")])
    first, second = (await read_all(await durable.reader("g"), 2))[topics.SPANS, 0]
    assert second.log_time_ms >= first.log_time_ms


async def test_a_restarted_group_that_finds_nothing_knows_when_its_last_record_came(durable: Subject) -> None:
    await durable.log.append([record(b"a", partition=2)])
    reader = await durable.reader("g")
    appended_ms = (await read_all(reader, 1))[topics.SPANS, 2][0].log_time_ms
    durable.assert_stamped_now(appended_ms)
    await reader.commit(2, Work(next_offsets={topics.SPANS: 1}))
    durable.clock.advance(7200)
    await durable.reopen()
    fetched = await (await durable.reader("g")).fetch(max_bytes=1, timeout_s=0)
    assert fetched.last_log_time_ms == {(topics.SPANS, 2): appended_ms}
