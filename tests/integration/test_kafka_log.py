"""What only the log on Kafka has: topics of others, several members, records above the brokers' limit."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core import topics
from core.errors import LogUnavailableError, PartitionLostError
from core.log.config import LogConfig
from core.log.kafka.client import seeking_consumer
from core.log.kafka.log import KafkaLog
from core.log.kafka.topic_setup import TopicMismatchError
from core.log.kafka_config import KafkaConfig
from core.log.port import Reader, Record, StateChange, StoredRecord, Work
from core.telemetry import Telemetry
from tests.broker.kafka import Broker

pytestmark = [pytest.mark.needs_kafka, pytest.mark.integration]

PARTITIONS = 4


class Logs:
    """Processes that share topics, as many as a test asks for."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.prefix = f"t{uuid.uuid4().hex[:8]}."
        self.made: list[KafkaLog] = []
        self.telemetry = Telemetry()

    def config(self, *, partitions: int | None = PARTITIONS, **kafka: Any) -> LogConfig:
        servers = self.broker.bootstrap_servers
        values: dict[str, Any] = {"bootstrap_servers": servers, "topic_prefix": self.prefix, **kafka}
        return LogConfig(partitions=partitions, kafka=KafkaConfig.model_validate(values))

    async def start(self, instance_id: str = "", **settings: Any) -> KafkaLog:
        log = KafkaLog(config=self.config(**settings), instance_id=instance_id, telemetry=self.telemetry)
        self.made.append(log)
        await log.start()
        return log


@pytest.fixture
async def logs(kafka_broker: Broker) -> AsyncIterator[Logs]:
    made = Logs(kafka_broker)
    yield made
    for log in made.made:
        await log.stop()


@pytest.fixture
async def admin(kafka_broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    await client.start()
    yield client
    await client.close()


class Member:
    """A listener that keeps what it owns, and may take its time to restore."""

    def __init__(self, restoring: asyncio.Event | None = None) -> None:
        self.owned: set[int] = set()
        self.restored = 0
        self.began = asyncio.Event()
        self.changed = asyncio.Event()
        self._restoring = restoring

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        self.began.set()
        if self._restoring is not None:
            await self._restoring.wait()
        self.owned |= set(partitions)
        self.restored += 1
        self.changed.set()

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        self.owned -= set(partitions)
        self.changed.set()

    async def owns(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.owned) != count:
                self.changed.clear()
                await self.changed.wait()


def record(value: bytes, partition: int = 0) -> Record:
    return Record(topic=topics.SPANS, partition=partition, value=value, key=b"k", headers=topics.headers())


async def read(reader: Reader, count: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            fetched = await reader.fetch(max_bytes=1 << 24, timeout_s=0.2)
            found += [r for records in fetched.records.values() for r in records]
    return found


# -- topics


async def test_processes_that_start_together_make_the_topics_once(logs: Logs) -> None:
    started = await asyncio.gather(*(logs.start() for _ in range(4)))
    assert [log.partitions(topics.SPANS) for log in started] == [PARTITIONS] * 4
    assert started[0].partitions(topics.DEAD_LETTERS) == 1


async def test_without_a_number_the_partitions_are_what_the_topics_have(logs: Logs) -> None:
    await logs.start(partitions=3)
    assert (await logs.start(partitions=None)).partitions(topics.TRACES) == 3


async def test_another_number_of_partitions_is_refused_with_what_to_do(logs: Logs) -> None:
    await logs.start(partitions=3)
    with pytest.raises(TopicMismatchError, match=r"`log\.partitions` is 5 but the topics have 3"):
        await logs.start(partitions=5)


@pytest.mark.parametrize(
    ("configs", "complaint"),
    [
        ({"message.timestamp.type": "CreateTime"}, r"`message\.timestamp\.type` is 'CreateTime'"),
        ({"cleanup.policy": "compact"}, r"`cleanup\.policy` is 'compact'"),
        (
            {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "100000"},
            r"`max\.message\.bytes` is 100000",
        ),
    ],
)
async def test_a_topic_that_does_not_fit_is_refused_and_left_alone(
    logs: Logs, admin: AIOKafkaAdminClient, configs: dict[str, str], complaint: str
) -> None:
    name = f"{logs.prefix}{topics.SPANS}"
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=configs)])
    with pytest.raises(TopicMismatchError, match=complaint):
        await logs.start()


async def test_brokers_that_do_not_answer_are_said_to(logs: Logs) -> None:
    with pytest.raises(LogUnavailableError, match=r"connecting to 127\.0\.0\.1:1"):
        await logs.start(bootstrap_servers="127.0.0.1:1")


# -- large records


async def test_records_above_the_limit_come_back_whole_and_can_be_read_again(logs: Logs) -> None:
    log = await logs.start(max_record_bytes=16_384)
    large = [bytes([n]) * 100_000 for n in range(3)]
    await asyncio.gather(*(log.append([record(value), record(b"small")]) for value in large))
    reader = log.reader("g", [topics.SPANS])
    await reader.start(Member())
    found = await read(reader, 6)
    assert sorted(r.value for r in found) == sorted([*large, *[b"small"] * 3])
    assert [r.offset for r in found] == sorted(r.offset for r in found)
    again = await reader.read_at(topics.SPANS, 0, [r.offset for r in found])
    assert [(r.offset, r.value, r.headers) for r in again] == [(r.offset, r.value, r.headers) for r in found]
    await reader.commit(0, Work(next_offsets={topics.SPANS: found[-1].offset + 1}))
    assert await log.lag() == {"g": 0}


async def test_a_record_committed_up_to_is_not_read_again_in_the_middle_of_its_parts(logs: Logs) -> None:
    log = await logs.start(max_record_bytes=16_384)
    await log.append([record(b"a" * 50_000)])
    await log.append([record(b"b" * 50_000)])
    reader = log.reader("g", [topics.SPANS])
    await reader.start(Member())
    first, second = await read(reader, 2)
    await reader.commit(0, Work(next_offsets={topics.SPANS: first.offset + 1}))
    await reader.stop()
    again = log.reader("g", [topics.SPANS])
    await again.start(Member())
    assert [(r.offset, r.value) for r in await read(again, 1)] == [(second.offset, second.value)]


# -- several members


async def test_two_members_share_the_partitions_and_the_one_that_stays_takes_over(logs: Logs) -> None:
    one, other = await logs.start(), await logs.start()
    first, second = Member(), Member()
    readers = [one.reader("g", [topics.SPANS]), other.reader("g", [topics.SPANS])]
    await readers[0].start(first)
    assert first.owned == set(range(PARTITIONS))
    polling = asyncio.ensure_future(_poll(readers[0]))
    try:
        await readers[1].start(second)
        await second.owns(PARTITIONS // 2)
        await first.owns(PARTITIONS // 2)
        assert first.owned | second.owned == set(range(PARTITIONS))
        await readers[1].stop()
        await first.owns(PARTITIONS)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def test_members_over_two_topics_get_the_same_partitions_of_both(logs: Logs) -> None:
    one, other = await logs.start(), await logs.start()
    first, second = Member(), Member()
    names = [topics.ISSUES, topics.FINDINGS]
    readers = [one.reader("g", names), other.reader("g", names)]
    await readers[0].start(first)
    polling = asyncio.ensure_future(_poll(readers[0]))
    try:
        await readers[1].start(second)
        await second.owns(PARTITIONS // 2)
        await first.owns(PARTITIONS // 2)
        assert first.owned | second.owned == set(range(PARTITIONS))
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def _poll(reader: Reader) -> None:
    while True:
        await reader.fetch(max_bytes=1000, timeout_s=0.2)


async def test_nothing_is_delivered_before_the_state_is_restored(logs: Logs) -> None:
    log = await logs.start()
    await log.append([record(b"%d" % n, n % PARTITIONS) for n in range(100)])
    may_restore = asyncio.Event()
    member = Member(may_restore)
    reader = log.reader("g", [topics.SPANS])
    starting = asyncio.ensure_future(reader.start(member))
    await member.began.wait()
    early: list[StoredRecord] = []
    for _ in range(20):
        fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=0.1)
        early += [r for records in fetched.records.values() for r in records]
        assert not fetched.caught_up
    assert not early
    may_restore.set()
    await starting
    assert len(await read(reader, 100)) == 100


async def test_a_commit_for_a_partition_that_moved_away_is_refused(logs: Logs) -> None:
    one, other = await logs.start(), await logs.start()
    first, second = Member(), Member()
    left, right = one.reader("g", [topics.SPANS]), other.reader("g", [topics.SPANS])
    await left.start(first)
    polling = asyncio.ensure_future(_poll(left))
    try:
        await right.start(second)
        await first.owns(PARTITIONS // 2)
        lost = min(second.owned)
        with pytest.raises(PartitionLostError):
            await left.commit(lost, Work(next_offsets={topics.SPANS: 0}))
        await right.commit(lost, Work(next_offsets={topics.SPANS: 0}))
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def test_a_member_with_a_name_takes_its_place_again_at_once(logs: Logs) -> None:
    log = await logs.start("pod-0", session_timeout_s=30.0)
    await log.append([record(b"a")])
    reader = log.reader("g", [topics.SPANS])
    await reader.start(Member())
    await read(reader, 1)
    await reader.commit(0, Work(next_offsets={topics.SPANS: 1}))
    await log.stop()
    began_s = asyncio.get_running_loop().time()
    again = (await logs.start("pod-0", session_timeout_s=30.0)).reader("g", [topics.SPANS])
    member = Member()
    await again.start(member)
    assert member.owned == set(range(PARTITIONS))
    assert asyncio.get_running_loop().time() - began_s < 15


async def test_state_counts_where_the_offset_was_not_committed_any_more(logs: Logs) -> None:
    """A kill between the state's manifest and the group's offset: the step is done, and is not done again."""
    log = await logs.start()
    await log.append([record(b"a"), record(b"b")])
    reader = log.reader("g", [topics.SPANS])
    await reader.start(Member())
    await read(reader, 2)
    change = (StateChange(key=b"k", value=b"after a"),)
    # what `commit` does, up to the kill
    await reader.commit(0, Work(next_offsets={topics.SPANS: 0}))
    await reader._stores.prepare("s")
    await reader._stores.write("s", 0, change, {topics.SPANS: 1})
    await reader.stop()

    class Restoring(Member):
        async def on_assigned(self, partitions: Sequence[int]) -> None:
            for number in partitions:
                self.found = dict(await again.load_state("s", number)) | getattr(self, "found", {})
            await super().on_assigned(partitions)

    again = log.reader("g", [topics.SPANS])
    member = Restoring()
    await again.start(member)
    assert member.found == {b"k": b"after a"}
    assert [r.value for r in await read(again, 1)] == [b"b"]


async def test_a_client_that_fetches_no_more_is_made_anew_while_the_brokers_answer(logs: Logs) -> None:
    log = await logs.start()
    reader = log.reader("g", [topics.SPANS])
    reader.stalled_s = 3.0
    await reader.start(Member())
    await log.append([record(b"before")])
    await read(reader, 1)
    # seen after a broker's restart: heartbeats go on, the task that fetches is gone, nothing is raised
    fetcher: Any = reader._consumer and reader._consumer._fetcher
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):
        task.cancel()
    await log.append([record(b"after", partition=n) for n in range(PARTITIONS)])
    found = await read(reader, PARTITIONS)
    assert {(r.partition, r.value) for r in found} >= {(n, b"after") for n in range(PARTITIONS)}
    assert logs.telemetry.snapshot()["clearwatch.log.rejoins", (("group", "g"),)] == 1
    await reader.stop()


async def test_a_client_whose_group_never_answers_is_made_anew_while_the_brokers_answer(logs: Logs) -> None:
    log = await logs.start(delivery_timeout_s=0.5)
    reader, member = log.reader("g", [topics.SPANS]), Member()
    reader.stalled_s = 2.0
    await reader.start(member)
    await log.append([record(b"before")])
    await read(reader, 1)
    # seen after a broker's restart: what looks for the group's coordinator never returns, and nobody else may look
    coordinator: Any = reader._consumer and reader._consumer._coordinator
    await coordinator._coordinator_lookup_lock.acquire()
    coordinator.coordinator_dead()
    commit = Work(next_offsets={topics.SPANS: 1})

    async def insist() -> None:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(LogUnavailableError):
                    await reader.commit(0, commit)

    with pytest.raises(PartitionLostError):
        await insist()
    reader.stalled_s = 60.0
    assert [r.value for r in await read(reader, 1)] == [b"before"]
    await reader.commit(0, commit)
    assert logs.telemetry.snapshot()["clearwatch.log.rejoins", (("group", "g"),)] == 1
    assert coordinator._heartbeat_task.done()
    await reader.stop()


async def test_a_connection_that_is_lost_under_uvloop_is_made_again(kafka_broker: Broker) -> None:
    """uvloop raises RuntimeError where asyncio ignores a write: it ended the task that keeps the cluster's metadata."""
    consumer = seeking_consumer(KafkaConfig(bootstrap_servers=kafka_broker.bootstrap_servers))
    await consumer.start()
    try:
        client: Any = consumer._client
        async with asyncio.timeout(30):
            while not await client.force_metadata_update():
                pass
            (connection,) = client._conns.values()
            # the time between the loss and the client's being told of it, made long
            connection._protocol.connection_lost = lambda _: None
            connection._writer.transport.abort()
            await asyncio.sleep(0.1)
            assert connection.connected()
            while not await client.force_metadata_update():
                pass
        assert not connection.connected()
    finally:
        await consumer.stop()
