"""A census of spans on the brokers: what lies before the committed offsets must stand in a version or a checkpoint."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from typing import TypeAlias

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core import topics
from core.log.config import LogConfig
from core.log.kafka.client import TopicPartition
from core.log.kafka.log import KafkaLog
from core.model.trace import TraceChunk, TraceRecord
from core.telemetry import Telemetry
from detector.assemble.entry import Entry, decode

GROUP = "assemble"
STORE = "state.assemble"

Spans: TypeAlias = Mapping[bytes, Set[bytes]]


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """How many spans lie before the committed offsets, how many of these are in no version yet, and which are lost."""

    committed: int
    checkpointed: int
    lost: tuple[str, ...]


def census(config: LogConfig) -> Census:
    """Count; only while no process assembles."""
    return asyncio.run(_census(config))


async def _census(config: LogConfig) -> Census:
    log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
    await log.start()
    try:
        offsets = (await log.groups.committed()).get(GROUP, {})
        committed: dict[bytes, set[bytes]] = defaultdict(set)
        published: dict[bytes, set[bytes]] = defaultdict(set)
        kept: dict[bytes, set[bytes]] = defaultdict(set)
        decode_record = msgspec.msgpack.Decoder(TraceRecord).decode
        for number in range(log.partitions(topics.SPANS)):
            before = TopicPartition(log.topics.name(topics.SPANS), number)
            for record in await log.seeker.read_at(before, topics.SPANS, range(offsets.get(before, 0))):
                _add(committed, record.value)
            behind = TopicPartition(log.topics.name(topics.TRACES), number)
            _, end = (await log.seeker.bounds([behind]))[behind]
            for record in await log.seeker.read_at(behind, topics.TRACES, range(end)):
                found = decode_record(record.value)
                if isinstance(found, TraceChunk):
                    _add(published, found.otlp)
            restored = await log.seeker.restore(TopicPartition(log.topics.name(STORE), number))
            for trace_id, value in restored.values.items():
                entry = decode(value)
                if isinstance(entry, Entry):
                    kept[trace_id] |= set(entry.span_ids)
        return Census(
            committed=sum(map(len, committed.values())),
            checkpointed=sum(1 for t, s in _each(committed) if s not in published[t] and s in kept[t]),
            lost=tuple(
                f"{t.hex()}/{s.hex()}" for t, s in _each(committed) if s not in published[t] and s not in kept[t]
            ),
        )
    finally:
        await log.stop()


def _each(spans: Spans) -> Iterator[tuple[bytes, bytes]]:
    for trace_id, span_ids in spans.items():
        for span_id in span_ids:
            yield trace_id, span_id


def _add(found: dict[bytes, set[bytes]], otlp: bytes) -> None:
    for resource in TracesData.FromString(otlp).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                found[span.trace_id].add(span.span_id)
