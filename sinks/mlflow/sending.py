"""Batches of traces to MLflow's /v1/traces, for as long as it takes.

Chunks of a trace are valid `TracesData`, so a batch is their bytes one after the other, one experiment to a request.
MLflow takes a batch whole or not at all: a refused one is halved by trace until the bad trace stands alone; that one
is mended or handed to `refused`. An unreachable or failing server is waited for; sending twice changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from core.errors import RetryableError
from core.log.port import StoredRecord
from core.telemetry import Telemetry
from core.waiting import stopped_within
from sinks.delivery import Backoff
from sinks.mlflow.client import MlflowClient, MlflowFailedError, MlflowMissingError, MlflowRefusedError
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.mending import cut_ids
from sinks.mlflow.runs import MonitorRuns

logger = logging.getLogger(__name__)

GROUP: Final = "mlflow-spans"
# answers of 500 before a batch is halved, to see whether one trace is at fault
_FAILURES_OF_A_BATCH: Final = 5
# and before one trace that stands alone is dead-lettered: some 8 minutes, while MLflow answers other calls
_FAILURES_OF_ONE_TRACE: Final = 20


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks of one trace that are sent together, and the record that the last of them came from."""

    trace_id: str
    version: str
    routing_key: str
    otlp: bytes
    spans: int
    source: StoredRecord


Refused: TypeAlias = Callable[[Piece, Exception], Awaitable[bool]]
"""Takes a trace that MLflow will never take; returns False where that is one too many."""


class SpanSender:
    """Sends pieces until MLflow has them or `stop` is set."""

    def __init__(
        self,
        *,
        client: MlflowClient,
        runs: MonitorRuns,
        config: MlflowConfig,
        telemetry: Telemetry,
        refused: Refused,
    ) -> None:
        self._client = client
        self._runs = runs
        self._config = config
        self._telemetry = telemetry
        self._refused = refused

    async def send(self, pieces: Iterable[Piece], stop: asyncio.Event) -> bool:
        """Send everything; return False where `stop` came first, or where too much was refused."""
        in_flight = asyncio.Semaphore(self._config.requests_in_flight)

        async def send(batch: Sequence[Piece]) -> bool:
            async with in_flight:
                return await self._send_until_done(batch, stop)

        return all(await asyncio.gather(*(send(batch) for batch in self._batches(pieces))))

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
            if await stopped_within(Backoff().delay_s(attempts) or 0.0, stop):
                return False

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
                return await self._refused(batch[0], exc)
            self._telemetry.count("clearwatch.dropped", reason="mlflow_long_id_cut")
            return await self._send_until_done([msgspec.structs.replace(batch[0], otlp=mended)], stop)
        middle = len(batch) // 2
        first = await self._send_until_done(batch[:middle], stop)
        return await self._send_until_done(batch[middle:], stop) and first
