"""How a stage says something about issues: as a record on `findings`, where the issues stage of its key reads it."""

import msgspec

from core import topics
from core.log.port import Record
from core.model.finding import Finding, Shift, Withdrawal


def record_of(said: Finding | Withdrawal | Shift, *, partitions: int, origin: str = topics.ORIGIN_LIVE) -> Record:
    """Return the record, in the partition of its routing key; `partitions` is the number that `findings` has."""
    key = said.routing_key.encode()
    return Record(
        topic=topics.FINDINGS,
        partition=topics.partition_for(key, partitions),
        key=key,
        value=msgspec.msgpack.encode(said),
        headers=topics.headers(origin=origin),
    )
