"""Forwarding spans: `traces` in, MLflow's /v1/traces out, committed only after the acknowledgement.

`forward: all` sends every live trace. `flagged` sends those with a finding, and a uniform share of the rest; the others
are held in the log (`held`) and sent when a finding names them later. `none` only counts. Nothing of a fetch is given
up for a log that is away: what was read is sent and committed, or read again after a restart.
"""

import asyncio
import enum
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import LogUnavailableError
from core.log.port import Log, Record, StateChange, StoredRecord, Work
from core.model.trace import TraceChunk, TraceRecord, TraceVersion
from core.telemetry import Telemetry
from sinks.mlflow.client import MlflowClient
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.held import HeldTraces, is_held_key
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.sending import GROUP, Piece, SpanSender
from sinks.mlflow.waiting import every
from sinks.reading import join, readable

logger = logging.getLogger(__name__)

STORE: Final = "state.sink.mlflow-spans"
_STAGE: Final = "sink.mlflow-spans"
_FETCH_TIMEOUT_S: Final = 0.2
# versions of one trace follow each other within the assembler's memory of closed traces; at 100 traces/s this is 15 min
_REMEMBERED_TRACES: Final = 100_000
# requests of held traces that may wait at a time: those who ask come again
_MOST_REQUESTS: Final = 1_000
# an average span has 1.8 kB; its version stands in the next fetch where it is not in this one
_SPAN_BYTES: Final = 1800


class Fate(enum.StrEnum):
    """Where a trace is, as far as the log can tell."""

    SENT = "sent"
    """MLflow acknowledged it, or refused it for good."""
    WAITING = "waiting"
    """It has yet to be read, or to be sent."""
    GONE = "gone"
    """It was not forwarded and cannot be any more."""
    UNKNOWN = "unknown"
    """Somebody else forwards it."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived for one routing key in one partition; traces are distinct as far as memory reaches."""

    traces: int = 0
    spans: int = 0
    last_trace_s: float = 0.0


class _StoppedError(Exception):
    """`stop` was set before everything was done: nothing is committed, all of it will be read again."""


class SpanForwarder:
    """The consumer group `mlflow-spans`. Also counts, by routing key, the traces that the run's page shows."""

    def __init__(
        self,
        *,
        log: Log,
        client: MlflowClient,
        runs: MonitorRuns,
        config: MlflowConfig,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._partitions = log.partitions(topics.TRACES)
        self._reader = log.reader(GROUP, [topics.TRACES], essential=False)
        self._sender = SpanSender(
            client=client, runs=runs, config=config, telemetry=telemetry, refused=self._dead_letter
        )
        self._decode = msgspec.msgpack.Decoder(TraceRecord).decode
        self._totals: dict[int, dict[str, Totals]] = {}
        self._counted: dict[int, set[str]] = {}
        self._held: dict[int, HeldTraces] = {}
        self._requested: OrderedDict[str, None] = OrderedDict()
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._acked_s: dict[int, float] = {}
        self._stop = asyncio.Event()

    def fate(self, trace_id: str, *, before_s: float) -> Fate:
        """Return where a trace is that was appended before this time; one that is held is sent as soon as may be."""
        if self._config.forward == "none":
            return Fate.UNKNOWN
        if self._config.forward == "flagged":
            known = [index.get(trace_id) for index in self._held.values()]
            if any(held is not None and (held.chunks or not held.is_wanted) for held in known):
                self._request(trace_id)
                return Fate.WAITING
            if any(known):
                return Fate.SENT
        if self._acked_until_s() < before_s:
            return Fate.WAITING if self._acked_s else Fate.UNKNOWN
        if len(self._acked_s) < self._partitions:
            return Fate.UNKNOWN
        return Fate.GONE if self._config.forward == "flagged" else Fate.SENT

    def totals(self) -> Mapping[str, Totals]:
        """Return what arrived for each routing key, over the partitions that this process owns."""
        found: dict[str, Totals] = {}
        for by_key in self._totals.values():
            for key, totals in by_key.items():
                found[key] = _add(found.get(key, Totals()), totals)
        return found

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load the totals and held traces of these partitions."""
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            self._totals[partition] = {
                k.decode(): msgspec.msgpack.decode(v, type=Totals) for k, v in entries if not is_held_key(k)
            }
            self._counted[partition] = set()
            self._acked_s[partition] = 0.0
            self._held[partition] = HeldTraces(
                share=self._config.forward_share, most=self._config.max_held, telemetry=self._telemetry
            )
            self._held[partition].restore(entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Forget these partitions; what was in flight and is not committed will be sent again by their new owner."""
        for partition in partitions:
            for found in (self._totals, self._counted, self._acked_s, self._held):
                found.pop(partition, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop`."""
        self._stop = stop
        if not await join(self._reader, self, stop, sink=GROUP, telemetry=self._telemetry):
            return
        try:
            while not stop.is_set():
                await self._step()
        except _StoppedError:
            pass
        finally:
            await self._reader.stop()

    async def _step(self) -> None:
        started_s = self._clock.now_s()
        try:
            fetch = await self._reader.fetch(max_bytes=self._config.batch_bytes * 2, timeout_s=_FETCH_TIMEOUT_S)
        except LogUnavailableError as exc:
            self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason="log_unavailable")
            await every(exc.retry_after_s, self._stop)
            return
        found = dict(readable(fetch, self._reader, sink=GROUP, telemetry=self._telemetry))
        if self._config.forward == "all":
            await self._send([piece for records in found.values() for piece in self._pieces(records)])
        elif self._config.forward == "flagged":
            await self._forward_wanted(found)
        for partition in sorted({*found, *(self._held if self._requested else ())}):
            await self._commit(partition, found.get(partition, ()))
        self._requested.clear()
        for partition in self._acked_s:
            if partition in found:
                # others of the same millisecond may follow
                self._acked_s[partition] = found[partition][-1].log_time_ms / 1000 - 0.001
            elif (topics.TRACES, partition) in fetch.caught_up:
                self._acked_s[partition] = started_s

    def _acked_until_s(self) -> float:
        """Return the time up to which whatever was appended has been dealt with, seconds since the epoch."""
        return min(self._acked_s.values(), default=0.0)

    def _request(self, trace_id: str) -> None:
        if len(self._requested) < _MOST_REQUESTS:
            self._requested[trace_id] = None

    async def _send(self, pieces: Sequence[Piece]) -> None:
        if pieces and not await self._sender.send(pieces, self._stop):
            raise _StoppedError

    # -- flagged

    async def _forward_wanted(self, found: Mapping[int, Sequence[StoredRecord]]) -> None:
        """Send what is wanted of these records and of earlier ones."""
        fresh: dict[tuple[int, int], TraceChunk] = {}
        wanted: dict[tuple[int, str], int] = {}
        for partition, records in found.items():
            for record, value in self._live(records):
                if isinstance(value, TraceChunk):
                    self._held[partition].add_chunk(value, record.offset)
                    fresh[partition, record.offset] = value
                elif isinstance(value, TraceVersion):
                    self._held[partition].decide(value, is_wanted=self._is_wanted(value.trace_id))
                    wanted[partition, value.trace_id] = value.span_count
        for trace_id in self._requested:
            for partition, index in self._held.items():
                if index.get(trace_id) is not None:
                    index.want(trace_id)
                    wanted.setdefault((partition, trace_id), 0)
        pieces: list[Piece] = []
        taken: list[tuple[HeldTraces, str, Sequence[int]]] = []
        for (partition, trace_id), spans in wanted.items():
            held = self._held[partition].get(trace_id)
            if held is None or not held.is_wanted:
                continue
            offsets: Sequence[int] = [offset for _, offset in held.chunks]
            for some in _groups(offsets, 8):
                otlp = await self._bytes_of(partition, some, fresh)
                if otlp:
                    pieces.append(
                        Piece(
                            trace_id=trace_id,
                            routing_key=held.routing_key,
                            otlp=otlp,
                            spans=spans if spans and len(some) == len(offsets) else max(1, len(otlp) // _SPAN_BYTES),
                            source=(topics.TRACES, partition, some[-1]),
                        )
                    )
                if sum(len(piece.otlp) for piece in pieces) > self._config.batch_bytes * 2:
                    await self._send(pieces)
                    pieces = []
            taken.append((self._held[partition], trace_id, offsets))
        await self._send(pieces)
        for index, trace_id, offsets in taken:
            index.sent(trace_id, offsets)

    def _is_wanted(self, trace_id: str) -> bool:
        """Return whether a trace is wanted in any partition: a session id learned late moves it to another."""
        if trace_id in self._requested:
            return True
        return any((held := index.get(trace_id)) is not None and held.is_wanted for index in self._held.values())

    async def _bytes_of(
        self, partition: int, offsets: Sequence[int], fresh: Mapping[tuple[int, int], TraceChunk]
    ) -> bytes:
        """Return the bytes of these chunks, read from the log again where they are not at hand."""
        found = {offset: fresh[partition, offset].otlp for offset in offsets if (partition, offset) in fresh}
        earlier = [offset for offset in offsets if offset not in found]
        if earlier:
            read = {record.offset: record for record in await self._read_at(partition, earlier)}
            for offset in earlier:
                chunk = self._decoded(read[offset]) if offset in read else None
                if isinstance(chunk, TraceChunk):
                    found[offset] = chunk.otlp
                else:
                    self._telemetry.count("clearwatch.dropped", reason="held_chunk_gone")
        return b"".join(found[offset] for offset in offsets if offset in found)

    async def _read_at(self, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        while True:
            try:
                return await self._reader.read_at(topics.TRACES, partition, offsets)
            except LogUnavailableError as exc:
                await self._wait_for_log(exc)

    # -- records

    def _live(self, records: Iterable[StoredRecord]) -> Iterable[tuple[StoredRecord, TraceRecord]]:
        for record in records:
            if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) != topics.ORIGIN_LIVE:
                continue  # backfilled traces come from MLflow, replayed ones went there before
            found = self._decoded(record)
            if found is not None:
                yield record, found

    def _decoded(self, record: StoredRecord) -> TraceRecord | None:
        try:
            found: TraceRecord = self._decode(record.value)
        except msgspec.DecodeError:
            self._telemetry.count("clearwatch.dropped", reason="mlflow_undecodable_record")
            return None
        return found

    def _pieces(self, records: Sequence[StoredRecord]) -> Iterable[Piece]:
        """Return the chunks of live traces, joined where they follow each other."""
        chunks: OrderedDict[tuple[str, str], list[TraceChunk]] = OrderedDict()
        spans: dict[tuple[str, str], int] = {}
        last: dict[tuple[str, str], StoredRecord] = {}
        for record, found in self._live(records):
            if isinstance(found, TraceChunk):
                key = (found.trace_id, found.version)
                chunks.setdefault(key, []).append(found)
                last[key] = record
            elif isinstance(found, TraceVersion):
                spans[(found.trace_id, found.version)] = found.span_count
        for key, parts in chunks.items():
            otlp = b"".join(part.otlp for part in parts)
            yield Piece(
                trace_id=key[0],
                routing_key=parts[0].routing_key,
                otlp=otlp,
                spans=spans.get(key, max(1, len(otlp) // _SPAN_BYTES)),
                source=(last[key].topic, last[key].partition, last[key].offset),
            )

    async def _dead_letter(self, piece: Piece, exc: Exception) -> None:
        logger.error("mlflow-spans: trace %s refused: %s", piece.trace_id, exc)
        self._telemetry.count("clearwatch.dead_letters", stage=_STAGE, reason="refused")
        topic, partition, offset = piece.source
        letter = topics.DeadLetter(topic=topic, partition=partition, offset=offset, error=str(exc), value=piece.otlp)
        record = Record(
            topic=topics.DEAD_LETTERS,
            partition=0,
            key=piece.trace_id.encode(),
            value=msgspec.msgpack.encode(letter),
            headers=topics.headers(),
        )
        await self._insist(partition, Work(produce=(record,)))

    async def _commit(self, partition: int, records: Sequence[StoredRecord]) -> None:
        totals = self._totals[partition]
        self._count(partition, records)
        state = [
            StateChange(key=key.encode(), value=msgspec.msgpack.encode(totals[key]))
            for key in sorted(self._counted[partition])
        ]
        self._counted[partition].clear()
        state += self._held[partition].take_changes()
        next_offsets = {topics.TRACES: records[-1].offset + 1} if records else {}
        if state or next_offsets:
            await self._insist(partition, Work(store=STORE, state=tuple(state), next_offsets=next_offsets))

    async def _insist(self, partition: int, work: Work) -> None:
        """Commit, however long the log is away; raises _StoppedError where `stop` comes first."""
        while True:
            try:
                return await self._reader.commit(partition, work)
            except LogUnavailableError as exc:
                await self._wait_for_log(exc)

    async def _wait_for_log(self, exc: LogUnavailableError) -> None:
        self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason="log_unavailable")
        if not await every(exc.retry_after_s, self._stop):
            raise _StoppedError from exc

    def _count(self, partition: int, records: Sequence[StoredRecord]) -> None:
        totals = self._totals[partition]
        for record in records:
            try:
                found = self._decode(record.value)
            except msgspec.DecodeError:
                continue
            if not isinstance(found, TraceVersion):
                continue
            before = self._seen.pop(found.trace_id, None)
            self._seen[found.trace_id] = max(found.span_count, before or 0)
            if len(self._seen) > _REMEMBERED_TRACES:
                self._seen.popitem(last=False)
            more = Totals(
                traces=int(before is None),
                spans=max(0, found.span_count - (before or 0)),
                last_trace_s=record.log_time_ms / 1000,
            )
            totals[found.routing_key] = _add(totals.get(found.routing_key, Totals()), more)
            self._counted[partition].add(found.routing_key)


def _groups(offsets: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (offsets[start : start + size] for start in range(0, len(offsets), size))


def _add(one: Totals, other: Totals) -> Totals:
    return Totals(
        traces=one.traces + other.traces,
        spans=one.spans + other.spans,
        last_trace_s=max(one.last_trace_s, other.last_trace_s),
    )
