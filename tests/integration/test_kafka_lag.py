"""What `lag` says of consumer groups of other processes, against a real broker."""

import asyncio
import uuid

import pytest

from core import topics
from core.log.config import LogConfig
from core.log.kafka.client import TopicPartition, group_consumer
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Record
from core.telemetry import Telemetry
from tests.broker.kafka import Broker

pytestmark = pytest.mark.needs_kafka


async def test_a_group_that_has_joined_and_committed_nothing_is_not_called_caught_up(
    kafka_broker: Broker,
) -> None:
    kafka = KafkaConfig(
        bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", compression="none"
    )
    config = LogConfig(kind="kafka", partitions=2, kafka=kafka)
    log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
    await log.start()
    await log.append([Record(topic=topics.SPANS, partition=0, value=b"waits")])
    member = group_consumer(
        kafka, group=log.groups.name("assemble"), instance_id="", topics=1, rebalance_timeout_s=10.0
    )
    await member.start()
    try:
        member.subscribe([log.topics.name(topics.SPANS)])
        async with asyncio.timeout(30):
            while not member.assignment():
                await member.getmany(timeout_ms=100)
            assert "assemble" not in await log.lag()
            await member.commit({TopicPartition(log.topics.name(topics.SPANS), 0): 0})
            assert (await log.lag())["assemble"] == 1
    finally:
        await member.stop()
        await log.stop()
