"""The status: one consistent answer from the lag, the gauges and the records.

Order is what makes it safe to poll. Work only moves forward: from the spans topic into an open trace, from there into
the topics behind, from there into the records. So lag is read, then the open traces, then lag again, and the records
last; of two readings the larger counts. What was in an open trace at the first reading is either still there at the
second, or in the lag at the third, or in the records. "Nothing in flight" is therefore never said of work in flight.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from core.clock import Clock
from core.telemetry import Telemetry
from sinks.records.store import RecordStore
from sinks.records.views import Numbers, Series

Lag: TypeAlias = Callable[[], Awaitable[Mapping[str, int]]]

# a process stores its gauges every 5 s at least; one silent for three times that is gone
_ALIVE_S: Final = 15.0
# answers of the collector to requests that it took; every other one is a refusal, and shown as a reason of `dropped`
_TAKEN: Final = ("200", "OK")


class SpanCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Spans that were acknowledged, and refused in partial_success."""

    received: int
    rejected: int


class OpenClosed(msgspec.Struct, frozen=True, kw_only=True):
    """How many are open now, and closed so far."""

    open: int
    closed: int


class TriageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the LLM was asked; mode is full, suspicious, rules or off."""

    judged: int = 0
    skipped: Mapping[str, int] = {}
    cost_usd: float = 0.0
    mode: str = "off"


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`/api/v1/status`: sums over all processes. The names are public; `stopped` is there where there is any."""

    version: str
    uptime_s: float
    spans: SpanCounts
    traces: OpenClosed
    sessions: OpenClosed
    findings: int
    issues: Mapping[str, int]
    triage: TriageStatus
    lag: Mapping[str, int]
    dead_letters: int
    dropped: Mapping[str, int]
    stopped: tuple[str, ...] = ()
    """Partitions of the running process that are read no further, each with its reason."""


class StatusReader:
    """Makes statuses of the running process and its records."""

    def __init__(
        self,
        *,
        version: str,
        store: RecordStore,
        telemetry: Telemetry,
        clock: Clock,
        instance: str,
        lag: Lag,
        session_gap_s: float,
    ) -> None:
        self._version = version
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._instance = instance
        self._lag = lag
        self._session_gap_s = session_gap_s
        self._started_s = clock.monotonic_s()

    async def read(self) -> Status:
        """Return the status now. Raises RecordsUnavailableError, LogUnavailableError."""
        before = await self._lag()
        live = self._live()
        after = await self._lag()
        lag = {group: max(before.get(group, 0), after.get(group, 0)) for group in sorted({*before, *after})}
        numbers, stored = await asyncio.to_thread(self._stored)
        # counters only grow: those of this process are newer than what it has stored
        series = [*(s for s in stored if s.instance != self._instance), *self._live()]
        open_traces = _sum(s for s in [*stored, *live] if self._is_live_gauge(s, live))
        return compose(
            version=self._version,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            numbers=numbers,
            series=series,
            open_traces=open_traces,
            lag=lag,
            stopped=tuple(map(str, self._telemetry.stops.now())),
        )

    def _stored(self) -> tuple[Numbers, tuple[Series, ...]]:
        now_s = self._clock.now_s()
        return self._store.numbers(now_s=now_s, session_gap_s=self._session_gap_s), self._store.series()

    def _live(self) -> list[Series]:
        now_s = self._clock.now_s()
        return [
            Series(instance=self._instance, name=name, labels=dict(labels), value=value, updated_at_s=now_s)
            for (name, labels), value in self._telemetry.snapshot().items()
        ]

    def _is_live_gauge(self, series: Series, live: list[Series]) -> bool:
        if series.name != "clearwatch.traces.open":
            return False
        if series.instance == self._instance:
            return any(series is own for own in live)
        return series.updated_at_s > self._clock.now_s() - _ALIVE_S


def compose(
    *,
    version: str,
    uptime_s: float,
    numbers: Numbers,
    series: Iterable[Series],
    open_traces: int,
    lag: Mapping[str, int],
    stopped: tuple[str, ...] = (),
) -> Status:
    """Return the status that these numbers make."""
    totals: dict[str, float] = defaultdict(float)
    dropped: dict[str, float] = defaultdict(float)
    for each in series:
        totals[each.name] += each.value
        if each.name == "clearwatch.dropped":
            dropped[each.labels.get("reason", "")] += each.value
        if each.name == "clearwatch.collector.requests" and each.labels.get("status") not in _TAKEN:
            dropped[f"request_{each.labels.get('transport', '')}_{each.labels.get('status', '')}".lower()] += each.value
    return Status(
        version=version,
        uptime_s=round(uptime_s, 3),
        spans=SpanCounts(
            received=int(totals["clearwatch.collector.spans.received"]),
            rejected=int(totals["clearwatch.collector.spans.rejected"]),
        ),
        traces=OpenClosed(open=open_traces, closed=numbers.traces_closed),
        sessions=OpenClosed(open=numbers.sessions_open, closed=numbers.sessions_closed),
        findings=numbers.findings,
        issues=numbers.issues,
        triage=TriageStatus(),
        lag=lag,
        dead_letters=int(totals["clearwatch.dead_letters"]),
        dropped={reason: int(n) for reason, n in sorted(dropped.items()) if n},
        stopped=stopped,
    )


def _sum(series: Iterable[Series]) -> int:
    return int(sum(each.value for each in series))
