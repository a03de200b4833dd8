"""The spans of a trace, read back from the log and decoded: what `clearwatch trace` and the API show of them.

The records keep a trace's summary and where its last version stands on `traces`; the bytes of its spans are in the
chunks before it, as long as that topic is kept. Nothing is stored twice.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from clearwatch.ops.trace_shapes import TraceShape, trace_shape
from core import dialects, topics
from core.errors import LogUnavailableError
from core.log.port import StoredRecord
from core.model.trace import Trace, TraceChunk, TraceRecord, TraceVersion
from core.otlp.wire import read_spans
from core.prices import PriceTable
from detector.assemble.pricing import fill_in_costs
from sinks.records.views import TraceDetail

_log = logging.getLogger(__name__)
_decode: Final = msgspec.msgpack.Decoder(TraceRecord).decode
# other writers' records may stand between a version and its chunks; how many are looked through, and at a time
_FURTHEST: Final = 1_024
_STEP: Final = 64


class ReadsAt(Protocol):
    """The part of a `Log` that is needed here."""

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        ...

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        ...


async def shape_of(detail: TraceDetail, log: ReadsAt | None, prices: PriceTable | None) -> TraceShape:
    """Return a trace with its spans, as far as they can be read. Does not raise where they cannot."""
    if log is None:
        return trace_shape(detail, None, note="the log is not there to be asked")
    try:
        chunks = await chunks_of(detail.trace, log)
    except LogUnavailableError as exc:
        return trace_shape(detail, None, note=f"the log cannot be read: {exc}")
    if not chunks:
        return trace_shape(detail, None, note="its spans are not kept any more")
    return await asyncio.to_thread(lambda: trace_shape(detail, trace_of(detail.trace, chunks, prices)))


async def chunks_of(version: TraceVersion, log: ReadsAt) -> list[bytes]:
    """Return the OTLP bytes of a version, as many of its chunks as are still kept. Raises LogUnavailableError."""
    found: dict[int, bytes] = {}
    if version.offset < 0 or not 0 <= version.partition < log.partitions(topics.TRACES):
        return []
    end = version.offset
    lowest = max(0, end - version.chunk_count - _FURTHEST)
    start = max(lowest, end - version.chunk_count)
    while len(found) < version.chunk_count and start < end:
        for record in reversed(await log.read_at(topics.TRACES, version.partition, range(start, end))):
            value = _decode(record.value)
            if isinstance(value, TraceChunk) and (value.trace_id, value.version) == (version.trace_id, version.version):
                # the one nearest to the version is of that version
                found.setdefault(value.index, value.otlp)
        start, end = max(lowest, start - _STEP), start
    return [found[index] for index in sorted(found)]


def trace_of(version: TraceVersion, chunks: Sequence[bytes], prices: PriceTable | None) -> Trace:
    """Return the trace as the checks saw it; spans that cannot be decoded are left out."""
    slices = [item for chunk in chunks for item in read_spans(chunk)[0]]
    spans = []
    for item in slices:
        try:
            spans.append(dialects.decode(item))
        except Exception:  # noqa: BLE001 - whatever a dialect stumbles over costs one span, as when it was assembled
            _log.debug("a span of trace %s cannot be decoded", version.trace_id, exc_info=True)
    trace = Trace(
        trace_id=version.trace_id,
        spans=spans,
        version=version.version,
        routing_key=version.routing_key,
        is_final=not version.provisional,
        is_fragment=version.fragment,
        close_reason=version.close_reason,
    )
    if prices is not None:
        fill_in_costs(trace, prices, slices)
    return trace
