"""What a reader on a real broker does beyond the contract: clients that fail, partitions that come and go."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest

from core import topics
from core.errors import LogUnavailableError, PartitionLostError
from core.log.config import LogConfig
from core.log.kafka.client import TopicPartition
from core.log.kafka.log import KafkaLog
from core.log.kafka.reader import KafkaReader
from core.log.kafka_config import KafkaConfig
from core.log.port import Record, StateChange, StoredRecord, Work
from core.telemetry import Telemetry
from tests.broker.kafka import Broker

PARTITIONS = 4

pytestmark = [pytest.mark.integration, pytest.mark.needs_kafka]

MakeLog = Callable[[], Awaitable[KafkaLog]]


class Member:
    """Keeps what it was told, in order."""

    def __init__(self) -> None:
        self.owned: set[int] = set()
        self.told: list[tuple[str, tuple[int, ...]]] = []

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        self.told.append(("assigned", tuple(partitions)))
        self.owned |= set(partitions)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        self.told.append(("revoked", tuple(partitions)))
        self.owned -= set(partitions)


@pytest.fixture
async def make_log(kafka_broker: Broker) -> AsyncIterator[MakeLog]:
    """Return what makes another process's log over the same topics."""
    config = LogConfig(
        partitions=PARTITIONS,
        kafka=KafkaConfig(
            bootstrap_servers=kafka_broker.bootstrap_servers,
            topic_prefix=f"t{uuid.uuid4().hex[:8]}.",
            delivery_timeout_s=1.0,
        ),
    )
    async with AsyncExitStack() as closing:

        async def make() -> KafkaLog:
            log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
            await log.start()
            closing.push_async_callback(log.stop)
            return log

        yield make


def record(value: bytes, *, partition: int = 0, **headers: str) -> Record:
    return Record(topic=topics.SPANS, partition=partition, value=value, headers=headers)


async def fetch_until(reader: KafkaReader, count: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    async with asyncio.timeout(40):
        while len(found) < count:
            try:
                fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=0.5)
            except LogUnavailableError:
                continue
            found += [r for records in fetched.records.values() for r in records]
    return found


async def settle(*readers: tuple[KafkaReader, Member], owned: Sequence[int]) -> None:
    """Fetch side by side until each member owns so many partitions."""
    async with asyncio.timeout(40):
        while [len(member.owned) for _, member in readers] != list(owned):
            await asyncio.gather(*(reader.fetch(max_bytes=1, timeout_s=0.1) for reader, _ in readers))


async def test_a_client_that_fails_is_made_anew_and_reading_goes_on_from_what_is_committed(make_log: MakeLog) -> None:
    log, member = await make_log(), Member()
    reader = log.reader("g", [topics.SPANS])
    await reader.start(member)
    await log.append([record(b"%d" % number) for number in range(3)])
    await fetch_until(reader, 3)
    await reader.commit(0, Work(next_offsets={topics.SPANS: 2}))
    client = reader._consumer
    assert client is not None
    await client.stop()
    await log.append([record(b"3")])
    found = await fetch_until(reader, 2)
    assert [r.value for r in found] == [b"2", b"3"]
    everything = tuple(range(PARTITIONS))
    assert member.told == [("assigned", everything), ("revoked", everything), ("assigned", everything)]


async def test_parts_of_a_producer_that_died_hold_back_what_follows_for_a_while_only(make_log: MakeLog) -> None:
    log = await make_log()
    reader = log.reader("g", [topics.SPANS])
    await reader.start(Member())
    await log.append([record(b"half", chunk=f"{uuid.uuid4().hex}:0:2"), record(b"whole")])
    found = await fetch_until(reader, 1)
    assert [r.value for r in found] == [b"whole"]
    async with asyncio.timeout(20):
        while (topics.SPANS, 0) not in (await reader.fetch(max_bytes=1, timeout_s=0.1)).caught_up:
            pass


async def test_a_paused_partition_that_comes_back_is_delivered_again(make_log: MakeLog) -> None:
    log, member = await make_log(), Member()
    reader = log.reader("g", [topics.SPANS])
    await reader.start(member)
    every = [(topics.SPANS, number) for number in range(PARTITIONS)]
    reader.pause(every)
    other_log, other_member = await make_log(), Member()
    other = other_log.reader("g", [topics.SPANS])
    joining = asyncio.create_task(other.start(other_member))
    await settle((reader, member), owned=[PARTITIONS // 2])
    await joining
    await other.stop()
    await settle((reader, member), owned=[PARTITIONS])
    await log.append([record(b"%d" % number, partition=number) for number in range(PARTITIONS)])
    assert len(await fetch_until(reader, PARTITIONS)) == PARTITIONS


async def test_a_lost_partition_takes_no_commit_and_its_new_owner_has_the_state(make_log: MakeLog) -> None:
    log, member = await make_log(), Member()
    reader = log.reader("g", [topics.SPANS])
    await reader.start(member)
    for number in range(PARTITIONS):
        work = Work(store="state.g", state=(StateChange(key=b"k", value=b"%d" % number),))
        await reader.commit(number, work)
    other_log, other_member = await make_log(), Member()
    other = other_log.reader("g", [topics.SPANS])
    joining = asyncio.create_task(other.start(other_member))
    await settle((reader, member), owned=[PARTITIONS // 2])
    await joining
    for number in sorted(other_member.owned):
        with pytest.raises(PartitionLostError):
            await reader.commit(number, Work(store="state.g", state=(StateChange(key=b"k", value=b"zombie"),)))
        assert await other.load_state("state.g", number) == [(b"k", b"%d" % number)]


async def test_members_that_start_at_once_divide_the_partitions_and_miss_no_record(make_log: MakeLog) -> None:
    logs = [await make_log() for _ in range(3)]
    await logs[0].append([record(b"%d" % number, partition=number) for number in range(PARTITIONS)])
    readers = [log.reader("g", [topics.SPANS]) for log in logs]
    members = [Member() for _ in readers]
    found: set[bytes] = set()

    async def run(reader: KafkaReader, member: Member) -> None:
        await reader.start(member)
        while len(found) < PARTITIONS or sum(len(m.owned) for m in members) != PARTITIONS or not member.owned:
            fetched = await reader.fetch(max_bytes=1 << 20, timeout_s=0.1)
            found.update(r.value for records in fetched.records.values() for r in records)

    async with asyncio.timeout(60):
        await asyncio.gather(*(run(reader, member) for reader, member in zip(readers, members, strict=True)))
    assert sorted(number for member in members for number in member.owned) == list(range(PARTITIONS))


class SlowMember(Member):
    """Takes its time to give up partitions, once."""

    def __init__(self) -> None:
        super().__init__()
        self.may_finish = asyncio.Event()
        self.finished = 0

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        await self.may_finish.wait()
        await super().on_revoked(partitions)
        self.finished += 1


async def test_a_stage_that_gives_up_slowly_finishes_before_it_gets_partitions_again(make_log: MakeLog) -> None:
    log, member = await make_log(), SlowMember()
    reader = log.reader("g", [topics.SPANS])
    await reader.start(member)
    reader.revoked_within_s = 0.2
    at = [TopicPartition(log.topics.name(topics.SPANS), number) for number in range(PARTITIONS)]
    for _ in range(3):  # as the client calls it, while the stage is still busy
        await reader.revoked()
        reader.assigned(at)
    assert [what for what, _ in member.told] == ["assigned"]
    member.may_finish.set()
    async with asyncio.timeout(20):
        while [what for what, _ in member.told] != ["assigned", "revoked", "assigned"]:
            await reader.fetch(max_bytes=1, timeout_s=0.05)
    assert member.finished == 1
    await log.append([record(b"after")])
    assert [r.value for r in await fetch_until(reader, 1)] == [b"after"]
