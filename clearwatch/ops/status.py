"""The status: one consistent answer from the lag, the gauges and the records.

Order is what makes it safe to poll. Work only moves forward: from the spans topic into an open trace, from there into
the topics behind, from there into the records. So lag is read, then the open traces, then lag again, and the records
last; of two readings the larger counts. What was in an open trace at the first reading is either still there at the
second, or in the lag at the third, or in the records. "Nothing in flight" is therefore never said of work in flight.

Where roles run apart, what other processes hold is known from their reports (`sinks.records.reporter`), a second old:
there, two answers that both say it some seconds apart are as good.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from clearwatch.ops.checks import FAILURES, INHIBITED, SUPPRESSED
from core.clock import Clock
from core.telemetry import Telemetry
from sinks.records.views import ALIVE_S, LAG, Numbers, Series

if TYPE_CHECKING:
    from sinks.records.store import RecordStore

Lag: TypeAlias = Callable[[], Awaitable[Mapping[str, int]]]

# answers of the collector to requests that it took; every other one is a refusal, and shown as a reason of `dropped`
_TAKEN: Final = ("200", "OK")
_DROPPED: Final = "clearwatch.dropped"
# counters that are shown in parts, and the label that tells these apart
_PARTED_BY: Final = {_DROPPED: "reason", SUPPRESSED: "reason", INHIBITED: "check", FAILURES: "check"}


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
    suppressed: Mapping[str, int] = {}
    """Findings that a suppression held back, by its reason; there where there are any."""
    inhibited: Mapping[str, int] = {}
    """Findings told with the one that explains them, by their check; there where there are any."""
    failed_checks: Mapping[str, int] = {}
    """How often a check raised, by its name; there where one did. Its answer is lost, those of others are not."""


class StatusReader:
    """Makes statuses of the running process and its records."""

    def __init__(
        self,
        *,
        version: str,
        store: "RecordStore",
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
        others = [s for s in stored if s.instance != self._instance]
        alive = living(others, now_s=self._clock.now_s())
        return compose(
            version=self._version,
            uptime_s=self._clock.monotonic_s() - self._started_s,
            numbers=numbers,
            series=[*others, *self._live()],
            open_traces=open_traces([*alive, *live]),
            lag=reported_lag(alive, measured=lag),
            stopped=tuple(map(str, self._telemetry.stops.now())),
        )

    async def series(self) -> tuple[Series, ...]:
        """Return every counter and gauge, of this process as it is now. Raises RecordsUnavailableError."""
        stored = await asyncio.to_thread(self._store.series)
        return (*(s for s in stored if s.instance != self._instance), *self._live())

    def _stored(self) -> tuple[Numbers, tuple[Series, ...]]:
        now_s = self._clock.now_s()
        return self._store.numbers(now_s=now_s, session_gap_s=self._session_gap_s), self._store.series()

    def _live(self) -> list[Series]:
        now_s = self._clock.now_s()
        return [
            Series(instance=self._instance, name=name, labels=dict(labels), value=value, updated_at_s=now_s)
            for (name, labels), value in self._telemetry.snapshot().items()
        ]


def living(series: Iterable[Series], *, now_s: float) -> list[Series]:
    """Return the series of processes that live: only their gauges mean anything."""
    return [each for each in series if each.updated_at_s > now_s - ALIVE_S]


def open_traces(series: Iterable[Series]) -> int:
    """Return the traces that living processes assemble."""
    return int(sum(each.value for each in series if each.name == "clearwatch.traces.open"))


def reported_lag(series: Iterable[Series], *, measured: Mapping[str, int]) -> dict[str, int]:
    """Return the lag of every consumer group, once, and of every sink's outbox, summed, from what processes report.

    Several processes see the lag of one group: the newest report counts, and what was `measured` here and now before
    any. A stage that holds work somewhere lags by 1 at least.
    """
    newest: dict[str, Series] = {}
    in_hand: dict[str, int] = {}
    outboxes: dict[str, int] = defaultdict(int)
    for each in series:
        group = each.labels.get("group", "")
        if each.name == LAG and (group not in newest or each.updated_at_s > newest[group].updated_at_s):
            newest[group] = each
        elif each.name == "clearwatch.stage.in_hand":
            in_hand[group] = max(in_hand.get(group, 0), int(each.value))
        elif each.name == "clearwatch.sink.outbox" and each.labels.get("sink") != "records":
            outboxes[f"{each.labels.get('sink', '')}.outbox"] += int(each.value)
    lag = {group: int(report.value) for group, report in newest.items()} | dict(measured)
    lag |= {group: max(lag.get(group, 0), held) for group, held in in_hand.items()}
    lag |= {outbox: lag.get(outbox, 0) + waiting for outbox, waiting in outboxes.items()}
    return dict(sorted(lag.items()))


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
    parts: dict[str, dict[str, float]] = {name: defaultdict(float) for name in _PARTED_BY}
    for each in series:
        totals[each.name] += each.value
        if each.name in parts:
            parts[each.name][each.labels.get(_PARTED_BY[each.name], "")] += each.value
        if each.name == "clearwatch.collector.requests" and each.labels.get("status") not in _TAKEN:
            parts[_DROPPED][f"request_{each.labels.get('transport', '')}_{each.labels.get('status', '')}".lower()] += (
                each.value
            )
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
        dropped={reason: int(n) for reason, n in sorted(parts[_DROPPED].items()) if n},
        stopped=stopped,
        suppressed={reason: int(n) for reason, n in sorted(parts[SUPPRESSED].items())},
        inhibited={check: int(n) for check, n in sorted(parts[INHIBITED].items())},
        failed_checks={check: int(n) for check, n in sorted(parts[FAILURES].items())},
    )
