"""The consumer group `records-letters`: dead letters from the log into the records.

`dead-letters` has one partition, whatever the other topics have, so its reader is one of its own.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PartitionLostError, PermanentError, RetryableError
from core.log.port import Fetch, Log, Reader, Work
from core.telemetry import Telemetry
from core.waiting import stopped_within
from sinks.reading import join, readable
from sinks.records.letters import LetterBook

_log = logging.getLogger(__name__)

GROUP: Final = "records-letters"
_FETCH_BYTES: Final = 8 << 20
_FETCH_WAIT_S: Final = 0.5
_RETAIN_EVERY_S: Final = 60.0


class LettersReader:
    """Copies letters into the book, and keeps it within its bounds."""

    def __init__(self, *, log: Log, book: LetterBook, telemetry: Telemetry, clock: Clock) -> None:
        self._log = log
        self._book = book
        self._telemetry = telemetry
        self._clock = clock
        self._decode = msgspec.msgpack.Decoder(topics.DeadLetter).decode
        self._retain_at_s = 0.0

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Nothing to restore: all state is in the book."""

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Nothing to give up: a letter that is stored twice is one."""

    async def run(self, stop: asyncio.Event) -> None:
        """Copy until `stop`; the tables must be there."""
        reader = self._log.reader(GROUP, [topics.DEAD_LETTERS])
        if not await join(reader, self, stop, sink=GROUP, telemetry=self._telemetry):
            return
        try:
            while not stop.is_set():
                try:
                    fetch = await reader.fetch(max_bytes=_FETCH_BYTES, timeout_s=_FETCH_WAIT_S)
                    await self._store(reader, fetch, stop)
                    await self._retain()
                except RetryableError as exc:
                    self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason=type(exc).__name__)
                    await stopped_within(exc.retry_after_s, stop)
        finally:
            await reader.stop()

    async def _store(self, reader: Reader, fetch: Fetch, stop: asyncio.Event) -> None:
        for partition, records in readable(fetch, reader, sink=GROUP, telemetry=self._telemetry):
            found: list[tuple[topics.DeadLetter, int]] = []
            for record in records:
                try:
                    found.append((self._decode(record.value), record.log_time_ms))
                except msgspec.DecodeError as exc:
                    self._unusable(1, exc)
            while not await self._take(found):
                if await stopped_within(1.0, stop):
                    return  # not committed: the next start stores them
            with contextlib.suppress(PartitionLostError):
                await reader.commit(partition, Work(next_offsets={topics.DEAD_LETTERS: records[-1].offset + 1}))

    async def _take(self, found: Sequence[tuple[topics.DeadLetter, int]]) -> bool:
        """Store letters, each alone where one cannot be stored; return False where the database is away."""
        try:
            await asyncio.to_thread(self._book.take, found)
        except RetryableError as exc:
            self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason=type(exc).__name__)
            return False
        except PermanentError as exc:
            if len(found) > 1:
                return all([await self._take([each]) for each in found])
            self._unusable(1, exc)
        return True

    def _unusable(self, amount: int, exc: Exception) -> None:
        # of a dead letter there is no dead letter: the log still has it
        _log.error("a dead letter cannot be stored: %s", exc)
        self._telemetry.count("clearwatch.dropped", amount, reason="dead_letter_not_stored")

    async def _retain(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._retain_at_s:
            return
        aged, excess = await asyncio.to_thread(self._book.retain, now_s=self._clock.now_s())
        if excess:
            self._telemetry.count("clearwatch.dropped", excess, reason="dead_letters_over_limit")
        if not aged and not excess:
            self._retain_at_s = now_s + _RETAIN_EVERY_S
