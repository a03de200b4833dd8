"""What a receiver has stored, read back from the broker: is all there, and each trace in one place?"""

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core.log.kafka.client import TopicPartition, seeking_consumer
from core.log.kafka_config import KafkaConfig


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic holds: records, distinct spans, and the traces whose spans are in more than one partition."""

    records: int
    spans: int
    parted_traces: int


async def read_back(brokers: str, topic: str, partitions: int) -> Stored:
    """Read a topic of so many partitions whole."""
    consumer = seeking_consumer(KafkaConfig(bootstrap_servers=brokers))
    await consumer.start()
    try:
        mine = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(mine)
        ends = await consumer.end_offsets(mine)
        for at in mine:
            consumer.seek(at, 0)
        spans: set[tuple[bytes, bytes]] = set()
        places: dict[bytes, set[int]] = {}
        records = 0
        while any([await consumer.position(at) < ends[at] for at in mine]):
            for at, found in (await consumer.getmany(timeout_ms=500)).items():
                records += len(found)
                for record in found:
                    for resource in TracesData.FromString(record.value).resource_spans:
                        for scope in resource.scope_spans:
                            for span in scope.spans:
                                spans.add((span.trace_id, span.span_id))
                                places.setdefault(span.trace_id, set()).add(at.partition)
        return Stored(records=records, spans=len(spans), parted_traces=sum(len(p) > 1 for p in places.values()))
    finally:
        await consumer.stop()
