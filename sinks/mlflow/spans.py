"""Forwarding spans: `traces` in, MLflow's /v1/traces out, committed only after the acknowledgement.

`forward: all` sends every live trace. `flagged` sends those with a finding, and a uniform share of the rest; the others
are held in the log (`held`) and sent when a finding names them later. `none` only counts. Nothing of a fetch is given
up for a log that is away: what was read is sent and committed, or read again after a restart.
"""

import asyncio
import enum
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.dead_letters import letter_of, record_of
from core.errors import LogUnavailableError, PartitionLostError
from core.log.port import Log, StateChange, StoredRecord, Work
from core.model.trace import TraceChunk, TraceRecord, TraceVersion
from core.telemetry import Telemetry
from core.waiting import stopped_within
from sinks.mlflow.client import MlflowClient
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.held import HeldTraces, is_held_key
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.sending import GROUP, Piece, SpanSender
from sinks.poison import Decoded, Poison
from sinks.reading import join, let_go, readable, take_up

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


class _Owned:
    """What is known of one partition of `traces`, for as long as it belongs to this process."""

    def __init__(self, held: HeldTraces) -> None:
        self.totals: dict[str, Totals] = {}
        self.counted: set[str] = set()
        self.held = held
        self.acked_s = 0.0


class _StoppedError(Exception):
    """`stop` was set before everything was done: nothing is committed, all of it will be read again."""


class _HaltedError(Exception):
    """MLflow refuses too much: nothing is committed, nothing more is read, and a person has to look."""


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
        self._log = log
        self._partitions = log.partitions(topics.TRACES)
        self._reader = log.reader(GROUP, [topics.TRACES], essential=False)
        self._sender = SpanSender(
            client=client, runs=runs, config=config, telemetry=telemetry, refused=self._dead_letter
        )
        self._decode = msgspec.msgpack.Decoder(TraceRecord).decode
        self._poison = Poison(stage=_STAGE, group=GROUP, telemetry=telemetry)
        self._owned: dict[int, _Owned] = {}
        self._committing = asyncio.Lock()
        self._requested: OrderedDict[str, None] = OrderedDict()
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._stop = asyncio.Event()

    def fate(self, trace_id: str, *, before_s: float) -> Fate:
        """Return where a trace is that was appended before this time; one that is held is sent as soon as may be."""
        if self._config.forward == "none":
            return Fate.UNKNOWN
        if self._config.forward == "flagged":
            known = [owned.held.get(trace_id) for owned in self._owned.values()]
            if any(held is not None and (held.chunks or not held.is_wanted) for held in known):
                self._request(trace_id)
                return Fate.WAITING
            if any(known):
                return Fate.SENT
        if self._acked_until_s() < before_s:
            return Fate.WAITING if self._owned else Fate.UNKNOWN
        if len(self._owned) < self._partitions:
            return Fate.UNKNOWN
        return Fate.GONE if self._config.forward == "flagged" else Fate.SENT

    def totals(self) -> Mapping[str, Totals]:
        """Return what arrived for each routing key, over the partitions that this process owns."""
        found: dict[str, Totals] = {}
        for owned in self._owned.values():
            for key, totals in owned.totals.items():
                found[key] = _add(found.get(key, Totals()), totals)
        return found

    def parts(self, routing_key: str) -> Mapping[int, Totals]:
        """Return what arrived for a routing key, by partition."""
        owned = self._owned.items()
        return {number: mine.totals[routing_key] for number, mine in owned if routing_key in mine.totals}

    def owned(self) -> Set[int]:
        """Return the partitions that this process owns."""
        return self._owned.keys()

    def owns_all(self) -> bool:
        """Return whether no other process forwards anything."""
        return len(self._owned) == self._partitions

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load the totals and held traces of these partitions."""
        take_up(self._reader, [topics.TRACES], partitions)
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            held = HeldTraces(share=self._config.forward_share, most=self._config.max_held, telemetry=self._telemetry)
            held.restore(entries)
            owned = self._owned[partition] = _Owned(held)
            owned.totals = {
                k.decode(): msgspec.msgpack.decode(v, type=Totals) for k, v in entries if not is_held_key(k)
            }

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Forget these partitions; what was in flight and is not committed will be sent again by their new owner."""
        async with self._committing:
            for partition in partitions:
                self._owned.pop(partition, None)
            let_go(self._telemetry, GROUP, partitions)

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
            await stopped_within(exc.retry_after_s, self._stop)
            return
        # an assignment that ends and comes back meanwhile is another one
        owned_then = dict(self._owned)
        found = {
            partition: self._poison.decoded(records, self._decode, self._reader.pause)
            for partition, records in readable(fetch, self._reader, sink=GROUP, telemetry=self._telemetry)
            if partition in owned_then
        }
        try:
            if self._config.forward == "all":
                await self._send([piece for decoded in found.values() for piece in self._pieces(decoded.found)])
            elif self._config.forward == "flagged":
                await self._forward_wanted(owned_then, found)
        except _HaltedError:
            self._requested.clear()
            return
        async with self._committing:
            for partition in sorted({*found, *(owned_then if self._requested else ())}):
                await self._commit(partition, owned_then[partition], found.get(partition) or Decoded())
        self._requested.clear()
        for partition, owned in owned_then.items():
            if partition in found:
                for record, _ in found[partition].found[-1:]:
                    # others of the same millisecond may follow
                    owned.acked_s = record.log_time_ms / 1000 - 0.001
            elif (topics.TRACES, partition) in fetch.caught_up:
                owned.acked_s = started_s

    def _acked_until_s(self) -> float:
        """Return the time up to which whatever was appended has been dealt with, seconds since the epoch."""
        return min((owned.acked_s for owned in self._owned.values()), default=0.0)

    def _request(self, trace_id: str) -> None:
        if len(self._requested) < _MOST_REQUESTS:
            self._requested[trace_id] = None

    async def _send(self, pieces: Sequence[Piece]) -> None:
        if pieces and not await self._sender.send(pieces, self._stop):
            raise _StoppedError if self._stop.is_set() else _HaltedError

    # -- flagged

    async def _forward_wanted(self, owned: Mapping[int, _Owned], found: Mapping[int, Decoded[TraceRecord]]) -> None:
        """Send what is wanted of these records and of earlier ones."""
        fresh: dict[tuple[int, int], tuple[StoredRecord, TraceChunk]] = {}
        wanted: dict[tuple[int, str], int] = {}
        for partition, decoded in found.items():
            for record, value in _live(decoded.found):
                if isinstance(value, TraceChunk):
                    owned[partition].held.add_chunk(value, record.offset)
                    fresh[partition, record.offset] = (record, value)
                    if self._is_wanted(value.trace_id):
                        wanted.setdefault((partition, value.trace_id), 0)
                elif isinstance(value, TraceVersion):
                    owned[partition].held.decide(value, is_wanted=self._is_wanted(value.trace_id))
                    wanted[partition, value.trace_id] = value.span_count
        for trace_id in self._requested:
            for partition, there in owned.items():
                if there.held.get(trace_id) is not None:
                    there.held.want(trace_id)
                    wanted.setdefault((partition, trace_id), 0)
        pieces: list[Piece] = []
        taken: list[tuple[HeldTraces, str, Sequence[int]]] = []
        for (partition, trace_id), spans in wanted.items():
            held = owned[partition].held.get(trace_id)
            if held is None or not held.is_wanted:
                continue
            offsets: Sequence[int] = [offset for _, offset in held.chunks]
            for some in _groups(offsets, 8):
                chunks = await self._chunks_at(partition, some, fresh)
                if chunks:
                    otlp = b"".join(chunk.otlp for _, chunk in chunks)
                    source, last = chunks[-1]
                    pieces.append(
                        Piece(
                            trace_id=trace_id,
                            version=last.version,
                            routing_key=held.routing_key,
                            otlp=otlp,
                            spans=spans if spans and len(some) == len(offsets) else max(1, len(otlp) // _SPAN_BYTES),
                            source=source,
                        )
                    )
                if sum(len(piece.otlp) for piece in pieces) > self._config.batch_bytes * 2:
                    await self._send(pieces)
                    pieces = []
            taken.append((owned[partition].held, trace_id, offsets))
        await self._send(pieces)
        for index, trace_id, offsets in taken:
            index.sent(trace_id, offsets)

    def _is_wanted(self, trace_id: str) -> bool:
        """Return whether a trace is wanted in any partition: a session id learned late moves it to another."""
        if trace_id in self._requested:
            return True
        known = (owned.held.get(trace_id) for owned in self._owned.values())
        return any(held is not None and held.is_wanted for held in known)

    async def _chunks_at(
        self, partition: int, offsets: Sequence[int], fresh: Mapping[tuple[int, int], tuple[StoredRecord, TraceChunk]]
    ) -> Sequence[tuple[StoredRecord, TraceChunk]]:
        """Return these chunks with their records, read from the log again where they are not at hand."""
        found = {offset: fresh[partition, offset] for offset in offsets if (partition, offset) in fresh}
        earlier = [offset for offset in offsets if offset not in found]
        if earlier:
            read = {record.offset: record for record in await self._read_at(partition, earlier)}
            for offset in earlier:
                chunk = self._decoded(read[offset]) if offset in read else None
                if isinstance(chunk, TraceChunk):
                    found[offset] = (read[offset], chunk)
                else:
                    self._telemetry.count("clearwatch.dropped", reason="held_chunk_gone")
        return [found[offset] for offset in offsets if offset in found]

    async def _read_at(self, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        while True:
            try:
                return await self._reader.read_at(topics.TRACES, partition, offsets)
            except LogUnavailableError as exc:
                await self._wait_for_log(exc)

    # -- records

    def _decoded(self, record: StoredRecord) -> TraceRecord | None:
        """Return what was read before, and could be."""
        try:
            found: TraceRecord = self._decode(record.value)
        except msgspec.DecodeError:
            return None
        return found

    def _pieces(self, records: Sequence[tuple[StoredRecord, TraceRecord]]) -> Iterable[Piece]:
        """Return the chunks of live traces, joined where they follow each other."""
        chunks: OrderedDict[tuple[str, str], list[TraceChunk]] = OrderedDict()
        spans: dict[tuple[str, str], int] = {}
        last: dict[tuple[str, str], StoredRecord] = {}
        for record, found in _live(records):
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
                version=key[1],
                routing_key=parts[0].routing_key,
                otlp=otlp,
                spans=spans.get(key, max(1, len(otlp) // _SPAN_BYTES)),
                source=last[key],
            )

    async def _dead_letter(self, piece: Piece, exc: Exception) -> bool:
        """Write what MLflow will not take to dead-letters; where that is too much, halt and return False."""
        logger.error("mlflow-spans: trace %s refused: %s", piece.trace_id, exc)
        source = piece.source
        if not self._poison.takes(source.topic, source.partition, source.offset, pause=self._reader.pause):
            # the others wait as well: what this fetch holds of them is not committed, and is read again at the restart
            self._reader.pause([(topics.TRACES, partition) for partition in self._owned])
            return False
        # a record as it could stand on `traces`: whoever appends it again has these bytes forwarded
        chunk = TraceChunk(
            trace_id=piece.trace_id, version=piece.version, routing_key=piece.routing_key, index=0, otlp=piece.otlp
        )
        record = msgspec.structs.replace(source, value=msgspec.msgpack.encode(chunk))
        letter = record_of(letter_of(record, stage=_STAGE, error=exc, reason="refused"))
        while True:
            try:
                # not a commit: the trace was refused, whoever owns its partition by now
                await self._log.append([letter])
                break
            except LogUnavailableError as unavailable:
                await self._wait_for_log(unavailable)
        self._poison.count(1, reason="refused")
        return True

    async def _commit(self, partition: int, owned: _Owned, decoded: Decoded[TraceRecord]) -> None:
        """Count and commit what MLflow has, unless the partition is another member's by now.

        However long the log is away; raises _StoppedError where `stop` comes first.
        """
        if self._owned.get(partition) is not owned:
            return
        self._count(owned, decoded.found)
        state = [
            StateChange(key=key.encode(), value=msgspec.msgpack.encode(owned.totals[key]))
            for key in sorted(owned.counted)
        ]
        owned.counted.clear()
        state += owned.held.take_changes()
        next_offsets = {} if decoded.next_offset is None else {topics.TRACES: decoded.next_offset}
        while state or next_offsets:
            try:
                letters = tuple(decoded.letters)
                work = Work(produce=letters, store=STORE, state=tuple(state), next_offsets=next_offsets)
                await self._reader.commit(partition, work)
                self._poison.count(len(letters), reason="undecodable")
                break
            except PartitionLostError as exc:
                logger.info("mlflow-spans: %s; its new owner sends the same again", exc)
                self._owned.pop(partition, None)
                break
            except LogUnavailableError as exc:
                await self._wait_for_log(exc)

    async def _wait_for_log(self, exc: LogUnavailableError) -> None:
        self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason="log_unavailable")
        if await stopped_within(exc.retry_after_s, self._stop):
            raise _StoppedError from exc

    def _count(self, owned: _Owned, records: Sequence[tuple[StoredRecord, TraceRecord]]) -> None:
        for record, found in records:
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
            owned.totals[found.routing_key] = _add(owned.totals.get(found.routing_key, Totals()), more)
            owned.counted.add(found.routing_key)


def _live(records: Iterable[tuple[StoredRecord, TraceRecord]]) -> Iterator[tuple[StoredRecord, TraceRecord]]:
    for record, found in records:
        # backfilled traces come from MLflow, replayed ones went there before
        if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) == topics.ORIGIN_LIVE:
            yield record, found


def _groups(offsets: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (offsets[start : start + size] for start in range(0, len(offsets), size))


def _add(one: Totals, other: Totals) -> Totals:
    return Totals(
        traces=one.traces + other.traces,
        spans=one.spans + other.spans,
        last_trace_s=max(one.last_trace_s, other.last_trace_s),
    )
