"""Forwarding spans: `traces` in, MLflow's /v1/traces out, committed only after the acknowledgement.

Chunks of a trace are valid `TracesData`, so a batch is their bytes one after the other, one experiment to a request.
MLflow takes a batch whole or not at all: a refused one is halved by trace until the bad trace stands alone; that one
is mended or dead-lettered. An unreachable or failing server is waited for as long as it takes; sending twice changes
nothing.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import LogUnavailableError, RetryableError
from core.log.port import Log, Record, StateChange, StoredRecord, Work
from core.model.trace import TraceChunk, TraceRecord, TraceVersion
from core.telemetry import Telemetry
from sinks.delivery import Backoff
from sinks.mlflow.client import MlflowClient, MlflowFailedError, MlflowMissingError, MlflowRefusedError
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.mending import cut_ids
from sinks.mlflow.runs import MonitorRuns
from sinks.reading import join, readable

logger = logging.getLogger(__name__)

GROUP: Final = "mlflow-spans"
STORE: Final = "state.sink.mlflow-spans"
_STAGE: Final = "sink.mlflow-spans"
_FETCH_TIMEOUT_S: Final = 0.2
# answers of 500 before a batch is halved, to see whether one trace is at fault
_FAILURES_OF_A_BATCH: Final = 5
# and before one trace that stands alone is dead-lettered: some 8 minutes, while MLflow answers other calls
_FAILURES_OF_ONE_TRACE: Final = 20
# versions of one trace follow each other within the assembler's memory of closed traces; at 100 traces/s this is 15 min
_REMEMBERED_TRACES: Final = 100_000


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived for one routing key in one partition; traces are distinct as far as memory reaches."""

    traces: int = 0
    spans: int = 0
    last_trace_s: float = 0.0


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """The chunks of one trace that stand together in a fetch, and the record that the last of them came from."""

    trace_id: str
    routing_key: str
    otlp: bytes
    spans: int
    source: tuple[str, int, int]


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
        self._client = client
        self._runs = runs
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._reader = log.reader(GROUP, [topics.TRACES], essential=False)
        self._decode = msgspec.msgpack.Decoder(TraceRecord).decode
        self._totals: dict[int, dict[str, Totals]] = {}
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._acked_until_s = 0.0

    def acked_until_s(self) -> float:
        """Return the time up to which MLflow has acknowledged whatever was appended, seconds since the epoch."""
        return self._acked_until_s

    def totals(self) -> Mapping[str, Totals]:
        """Return what arrived for each routing key, over the partitions that this process owns."""
        found: dict[str, Totals] = {}
        for by_key in self._totals.values():
            for key, totals in by_key.items():
                found[key] = _add(found.get(key, Totals()), totals)
        return found

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load the totals of these partitions."""
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            self._totals[partition] = {k.decode(): msgspec.msgpack.decode(v, type=Totals) for k, v in entries}

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Forget these partitions; what was in flight and is not committed will be sent again by their new owner."""
        for partition in partitions:
            self._totals.pop(partition, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop`."""
        if not await join(self._reader, self, stop, sink=GROUP, telemetry=self._telemetry):
            return
        try:
            while not stop.is_set():
                await self._step(stop)
        finally:
            await self._reader.stop()

    async def _step(self, stop: asyncio.Event) -> None:
        started_s = self._clock.now_s()
        try:
            fetch = await self._reader.fetch(max_bytes=self._config.batch_bytes * 2, timeout_s=_FETCH_TIMEOUT_S)
            if not fetch.records:
                self._acked_until_s = started_s
                return
            found = dict(readable(fetch, self._reader))
            if found and await self._forward(found, stop):
                for partition, records in found.items():
                    await self._commit(partition, records)
                last_ms = min(records[-1].log_time_ms for records in found.values())
                self._acked_until_s = max(self._acked_until_s, last_ms / 1000)
        except LogUnavailableError as exc:
            self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason="log_unavailable")
            await asyncio.sleep(exc.retry_after_s)

    async def _forward(self, records: Mapping[int, Sequence[StoredRecord]], stop: asyncio.Event) -> bool:
        """Send everything; return False where `stop` came first."""
        pieces: list[Piece] = []
        for found in records.values():
            pieces.extend(self._pieces(found))
        if self._config.forward == "none":
            return True
        in_flight = asyncio.Semaphore(self._config.requests_in_flight)

        async def send(batch: Sequence[Piece]) -> bool:
            async with in_flight:
                return await self._send_until_done(batch, stop)

        results = await asyncio.gather(*(send(batch) for batch in self._batches(pieces)))
        return all(results)

    def _pieces(self, records: Sequence[StoredRecord]) -> Iterable[Piece]:
        """Return the chunks of live traces, joined where they follow each other."""
        chunks: OrderedDict[tuple[str, str], list[TraceChunk]] = OrderedDict()
        spans: dict[tuple[str, str], int] = {}
        last: dict[tuple[str, str], StoredRecord] = {}
        for record in records:
            if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) != topics.ORIGIN_LIVE:
                continue  # backfilled traces come from MLflow, replayed ones went there before
            try:
                found = self._decode(record.value)
            except msgspec.DecodeError:
                self._telemetry.count("clearwatch.dropped", reason="mlflow_undecodable_record")
                continue
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
                # an average span has 1.8 kB; its version stands in the next fetch where it is not in this one
                spans=spans.get(key, max(1, len(otlp) // 1800)),
                source=(last[key].topic, last[key].partition, last[key].offset),
            )

    def _batches(self, pieces: Iterable[Piece]) -> Sequence[Sequence[Piece]]:
        open_batches: dict[str, list[Piece]] = {}
        done: list[list[Piece]] = []
        for piece in pieces:
            batch = open_batches.setdefault(piece.routing_key, [])
            is_full = (
                sum(p.spans for p in batch) + piece.spans > self._config.batch_spans
                or sum(len(p.otlp) for p in batch) + len(piece.otlp) > self._config.batch_bytes
            )
            if batch and is_full:
                done.append(batch)
                batch = open_batches[piece.routing_key] = []
            batch.append(piece)
        return [*done, *(batch for batch in open_batches.values() if batch)]

    async def _send_until_done(self, batch: Sequence[Piece], stop: asyncio.Event) -> bool:
        attempts, failures = 0, 0
        while True:
            try:
                experiment_id = await self._runs.experiment(batch[0].routing_key)
                await self._client.send_spans(experiment_id, b"".join(piece.otlp for piece in batch))
            except MlflowMissingError:
                # the experiment went away after it was resolved
                self._runs.forget_experiment(batch[0].routing_key)
                attempts += 1
            except MlflowRefusedError as exc:
                return await self._split(batch, exc, stop)
            except RetryableError as exc:
                attempts += 1
                failures += isinstance(exc, MlflowFailedError)
                is_hopeless = failures >= (_FAILURES_OF_A_BATCH if len(batch) > 1 else _FAILURES_OF_ONE_TRACE)
                if is_hopeless and isinstance(exc, MlflowFailedError):
                    if len(batch) > 1 or await self._answers():
                        return await self._split(batch, exc, stop)
                    failures = 0
                self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason="unavailable")
                if attempts == 1:
                    logger.warning("mlflow-spans: %s", exc)
            else:
                self._telemetry.count("clearwatch.sink.sent", len(batch), sink=GROUP, what="trace")
                self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="request")
                return True
            if stop.is_set():
                return False
            await _pause(Backoff().delay_s(attempts) or 0.0, stop)

    async def _answers(self) -> bool:
        """Return whether MLflow, down to its database, can be read: then a 500 may be the trace's fault."""
        try:
            await self._client.find_experiment("Default")
        except MlflowMissingError:
            return True
        except (RetryableError, MlflowRefusedError):
            return False
        return True

    async def _split(self, batch: Sequence[Piece], exc: Exception, stop: asyncio.Event) -> bool:
        if len(batch) == 1:
            mended = cut_ids(batch[0].otlp)
            if mended is None:
                await self._dead_letter(batch[0], exc)
                return True
            self._telemetry.count("clearwatch.dropped", reason="mlflow_long_id_cut")
            return await self._send_until_done([msgspec.structs.replace(batch[0], otlp=mended)], stop)
        middle = len(batch) // 2
        first = await self._send_until_done(batch[:middle], stop)
        return await self._send_until_done(batch[middle:], stop) and first

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
        await self._reader.commit(partition, Work(produce=(record,)))

    async def _commit(self, partition: int, records: Sequence[StoredRecord]) -> None:
        changed = self._count(partition, records)
        totals = self._totals.setdefault(partition, {})
        state = tuple(StateChange(key=k.encode(), value=msgspec.msgpack.encode(totals[k])) for k in sorted(changed))
        await self._reader.commit(
            partition, Work(store=STORE, state=state, next_offsets={topics.TRACES: records[-1].offset + 1})
        )

    def _count(self, partition: int, records: Sequence[StoredRecord]) -> set[str]:
        totals = self._totals.setdefault(partition, {})
        changed: set[str] = set()
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
            changed.add(found.routing_key)
        return changed


def _add(one: Totals, other: Totals) -> Totals:
    return Totals(
        traces=one.traces + other.traces,
        spans=one.spans + other.spans,
        last_trace_s=max(one.last_trace_s, other.last_trace_s),
    )


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
