"""What every sink does with its reader: join the group, and stop at records that a newer release wrote."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from core import topics
from core.errors import LogUnavailableError, PartitionLostError, SchemaTooNewError
from core.log.port import AssignmentListener, Fetch, Reader, StoredRecord
from core.stops import StoppedPartition
from core.telemetry import Telemetry
from core.waiting import stopped_within

logger = logging.getLogger(__name__)


async def join(
    reader: Reader, listener: AssignmentListener, stop: asyncio.Event, *, sink: str, telemetry: Telemetry
) -> bool:
    """Start a reader, trying again for as long as the log is unavailable; return False where `stop` came meanwhile."""
    while True:
        try:
            await reader.start(listener)
        except LogUnavailableError as exc:
            telemetry.count("clearwatch.sink.failed", sink=sink, reason="log_unavailable")
            logger.warning("sink %s waits for the log: %s", sink, exc)
            if await stopped_within(exc.retry_after_s, stop):
                return False
        else:
            return True


def take_up(reader: Reader, topic_names: Sequence[str], partitions: Sequence[int]) -> None:
    """Read partitions that are assigned, also where they stopped here before: another member may have got past it."""
    reader.resume([(topic, partition) for topic in topic_names for partition in partitions])


def let_go(telemetry: Telemetry, group: str, partitions: Sequence[int]) -> None:
    """Forget what stopped in partitions that are revoked: it is for their next owner to say."""
    for partition in partitions:
        telemetry.stops.forget(group, partition)


async def take_next(
    reader: Reader,
    take: Callable[[int, Sequence[StoredRecord]], Awaitable[None]],
    *,
    is_full: bool,
    max_bytes: int,
    timeout_s: float,
    sink: str,
    telemetry: Telemetry,
) -> None:
    """Fetch once and hand each partition's readable records to `take`; wait instead while the outbox `is_full`.

    A log that is unavailable is counted and waited for; what it delivers later is not affected.
    """
    if is_full:
        await asyncio.sleep(timeout_s)
        return
    try:
        fetch = await reader.fetch(max_bytes=max_bytes, timeout_s=timeout_s)
    except LogUnavailableError as exc:
        telemetry.count("clearwatch.sink.failed", sink=sink, reason="log_unavailable")
        await asyncio.sleep(exc.retry_after_s)
        return
    for partition, records in readable(fetch, reader, sink=sink, telemetry=telemetry):
        try:
            await take(partition, records)
        except PartitionLostError as exc:
            logger.info("sink %s drops what it has in hand: %s", sink, exc)


def readable(
    fetch: Fetch, reader: Reader, *, sink: str, telemetry: Telemetry
) -> Iterator[tuple[int, Sequence[StoredRecord]]]:
    """Yield (partition, records) up to the first record of a newer schema; such a partition is paused, never skipped.

    Its offset stays where it is: after an upgrade it goes on from there. /readyz shows it meanwhile.
    """
    for (_, partition), records in fetch.records.items():
        schemas = [topics.schema_of(record.headers) for record in records]
        too_new = next((i for i, schema in enumerate(schemas) if schema > topics.SCHEMA), len(records))
        if too_new < len(records):
            stop_at(records[too_new], reader, group=sink, telemetry=telemetry)
        if too_new:
            yield partition, records[:too_new]


def stop_at(record: StoredRecord, reader: Reader, *, group: str, telemetry: Telemetry) -> None:
    """Read a partition no further than a record that a newer release wrote, and say so until this one is upgraded."""
    schema = topics.schema_of(record.headers)
    stopped = StoppedPartition(
        group=group,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=str(SchemaTooNewError(topic=record.topic, schema=schema, supported=topics.SCHEMA)),
    )
    if telemetry.stops.add(stopped):
        logger.error("%s", stopped)
    reader.pause([(record.topic, record.partition)])
