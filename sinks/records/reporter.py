"""What every process tells about itself: its counters, its gauges, and the lag it sees, stored every second.

Totals are sums over all process starts, so they survive restarts; each start has a name of its own (`instance`). A
series is written when it has changed. A heartbeat in the same transaction says how old all of them are at most, so that
gauges of a process that died do not count for longer than `ALIVE_S`. Clocks of machines must agree within seconds.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from core.clock import Clock
from core.errors import PermanentError, RetryableError
from core.telemetry import Series, Telemetry
from core.waiting import stopped_within
from sinks.records.engine import RecordsAccessError, RecordsUnavailableError
from sinks.records.store import RecordStore
from sinks.records.views import LAG

_log = logging.getLogger(__name__)

Lag: TypeAlias = Callable[[], Awaitable[Mapping[str, int]]]

_EVERY_S: Final = 1.0
_BACKOFF_MAX_S: Final = 30.0


async def open_when_there(store: RecordStore, stop: asyncio.Event, *, waits_for_access: bool = False) -> bool:
    """Open the store, waiting for a database server that does not answer yet; return False where `stop` came first.

    Raises RecordsSchemaError, RecordsUnavailableError where an SQLite file cannot be used, and RecordsAccessError where
    the server lets nobody in, unless that `waits_for_access` too.
    """
    delay_s = 0.5
    while True:
        try:
            await asyncio.to_thread(store.open)
        except RecordsUnavailableError as exc:
            if store.is_sqlite or (isinstance(exc, RecordsAccessError) and not waits_for_access):
                raise
            _log.warning("records are tried again in %.1f s: %s", delay_s, exc)
            if await stopped_within(delay_s, stop):
                return False
            delay_s = min(delay_s * 2, _BACKOFF_MAX_S)
        else:
            return True


class Reporter:
    """Stores the counters and gauges of this process, and the lag of every consumer group where `lag` tells it.

    `lag` is asked with each report, so it must be at hand. Lags of outboxes (`<sink>.outbox`) are left out: they are
    gauges of each process already.
    """

    def __init__(
        self, *, store: RecordStore, telemetry: Telemetry, clock: Clock, lag: Lag | None = None, instance: str = ""
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._lag = lag
        self.instance = instance or uuid.uuid4().hex
        self._lags: dict[Series, float] = {}
        self._saved: dict[Series, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Report until `stop` is set, then a last time, and say that this process ends.

        A database that is away, or lets nobody in, delays a report; the next one holds what was missed: no collector
        depends on it. Raises RecordsSchemaError for a store of a newer release.
        """
        if not await open_when_there(self._store, stop, waits_for_access=True):
            return
        while not stop.is_set():
            await self._report()
            await stopped_within(_EVERY_S, stop)
        if await self._report():
            with contextlib.suppress(RetryableError):
                await asyncio.to_thread(self._store.leave, self.instance)

    async def _report(self) -> bool:
        """Store what has changed since the last time that worked; return whether it is stored."""
        await self._measure_lag()
        snapshot = self._telemetry.snapshot() | self._lags
        changed = {series: value for series, value in snapshot.items() if self._saved.get(series) != value}
        try:
            await asyncio.to_thread(self._store.save_counters, self.instance, changed, now_s=self._clock.now_s())
        except (RetryableError, PermanentError) as exc:
            self._telemetry.count("clearwatch.sink.failed", sink="records", reason=type(exc).__name__)
            return False
        self._saved |= changed
        return True

    async def _measure_lag(self) -> None:
        if self._lag is None:
            return
        with contextlib.suppress(RetryableError):
            found = await self._lag()
            self._lags = {
                (LAG, (("group", group),)): float(records)
                for group, records in found.items()
                if not group.endswith(".outbox")
            }
