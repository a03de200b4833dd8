"""Our own metrics: one catalogue, counted in the process, exposed by opentelemetry-sdk.

Counters are plain numbers behind a lock-free dict so that counting costs a dictionary update on the hot path; the
OpenTelemetry instruments are observable ones which read them when somebody looks. Names not in `CATALOGUE` are refused.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from core.stops import Stops

Labels: TypeAlias = tuple[tuple[str, str], ...]
Series: TypeAlias = tuple[str, Labels]


class Metric(msgspec.Struct, frozen=True):
    """One entry of the catalogue; `labels` are the only label names it may carry."""

    kind: Literal["counter", "gauge"]
    unit: str
    description: str
    labels: tuple[str, ...] = ()


CATALOGUE: Final[Mapping[str, Metric]] = {
    "clearwatch.collector.requests": Metric("counter", "{request}", "OTLP requests answered", ("transport", "status")),
    "clearwatch.collector.spans.received": Metric("counter", "{span}", "spans acknowledged", ()),
    "clearwatch.collector.spans.rejected": Metric("counter", "{span}", "spans refused in partial_success", ("reason",)),
    "clearwatch.collector.logs.received": Metric("counter", "{record}", "log records acknowledged", ()),
    "clearwatch.collector.in_flight": Metric("gauge", "By", "request bytes taken and not yet answered", ()),
    "clearwatch.dropped": Metric("counter", "{item}", "everything dropped, skipped, truncated or refused", ("reason",)),
    "clearwatch.dead_letters": Metric("counter", "{record}", "records sent to dead-letters", ("stage", "reason")),
    "clearwatch.log.records.appended": Metric("counter", "{record}", "records stored", ("topic",)),
    "clearwatch.log.bytes": Metric("gauge", "By", "bytes of values stored in the log", ()),
    "clearwatch.log.deleted": Metric("counter", "{record}", "records deleted by retention", ("topic", "reason")),
    "clearwatch.log.rejoins": Metric("counter", "{rejoin}", "stalled group members made anew", ("group",)),
    "clearwatch.stage.records": Metric("counter", "{record}", "records processed", ("stage",)),
    "clearwatch.stage.failures": Metric(
        "counter", "{failure}", "ticks that raised, partitions stopped", ("stage", "reason")
    ),
    "clearwatch.partitions.stopped": Metric("gauge", "{partition}", "partitions that a group reads no further", ()),
    "clearwatch.stage.lag": Metric("gauge", "{record}", "records not yet committed", ("group",)),
    "clearwatch.stage.in_hand": Metric("gauge", "{stage}", "1 while a stage holds work it took", ("group",)),
    "clearwatch.traces.open": Metric("gauge", "{trace}", "traces being assembled", ()),
    "clearwatch.traces.closed": Metric("counter", "{trace}", "trace versions closed", ("reason",)),
    "clearwatch.traces.cost": Metric("counter", "{USD}", "what closed traces cost, as far as it is known", ()),
    "clearwatch.sessions.open": Metric("gauge", "{session}", "sessions that may go on", ()),
    "clearwatch.sessions.closed": Metric("counter", "{session}", "sessions that ended", ()),
    "clearwatch.spans.duplicate": Metric("counter", "{span}", "spans seen before", ()),
    "clearwatch.spans.late": Metric("counter", "{span}", "spans after their trace was closed", ()),
    "clearwatch.findings": Metric("counter", "{finding}", "findings made", ("check",)),
    "clearwatch.findings.inhibited": Metric(
        "counter", "{finding}", "findings that are consequences of another, said with it", ("check", "cause")
    ),
    "clearwatch.findings.suppressed": Metric(
        "counter", "{finding}", "findings held back by a suppression", ("check", "reason")
    ),
    "clearwatch.check.answers": Metric("counter", "{answer}", "answers of checks", ("check", "outcome")),
    "clearwatch.check.failures": Metric("counter", "{failure}", "checks that raised", ("check",)),
    "clearwatch.check.seconds": Metric("counter", "s", "time that checks of third parties took", ("check",)),
    "clearwatch.issue.events": Metric("counter", "{event}", "issue events written", ("kind",)),
    "clearwatch.sink.sent": Metric("counter", "{effect}", "effects done by a sink", ("sink", "what")),
    "clearwatch.sink.failed": Metric("counter", "{attempt}", "attempts of a sink that failed", ("sink", "reason")),
    "clearwatch.sink.outbox": Metric("gauge", "{entry}", "effects waiting to be sent", ("sink",)),
    "clearwatch.ready": Metric("gauge", "{process}", "1 while /readyz says so, else 0", ()),
    "clearwatch.loop.lag": Metric("gauge", "s", "how late the event loop runs", ()),
}


class Telemetry:
    """Counts and gauges of this process, and what has stopped in it (`stops`).

    Thread-safe; names and labels are checked against the catalogue.
    """

    def __init__(self) -> None:
        self.stops = Stops()
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, Labels], float] = {}
        self._gauges: dict[tuple[str, Labels], Callable[[], float]] = {}
        # checking and sorting labels costs five times what counting does; as many entries as there are series
        self._keys: dict[tuple[object, ...], tuple[str, Labels]] = {}
        self.gauge("clearwatch.partitions.stopped", lambda: len(self.stops.now()))

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter. Raises KeyError for a name or label outside the catalogue."""
        seen = (name, *labels.items())
        key = self._keys.get(seen)
        if key is None:
            key = self._keys[seen] = self._key(name, labels)
        with self._lock:
            self._counters[key] = self._counters.get(key, 0) + amount

    def series(self, name: str, **labels: str) -> Series:
        """Return the key of a counter, for `count_each`. Raises KeyError for a name or label outside the catalogue."""
        return self._key(name, labels)

    def count_each(self, series: Iterable[Series], amount: float = 1) -> None:
        """Add an amount to each of these counters; cheaper than `count` for each."""
        counters = self._counters
        with self._lock:
            for key in series:
                counters[key] = counters.get(key, 0) + amount

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Register what reads a gauge; the last one registered for a name and labels wins."""
        self._gauges[self._key(name, labels)] = read

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a counter over every series that carries these labels."""
        wanted = set(labels.items())
        with self._lock:
            return sum(v for (n, found), v in self._counters.items() if n == name and wanted <= set(found))

    def snapshot(self) -> dict[tuple[str, Labels], float]:
        """Return every counter and gauge now."""
        with self._lock:
            found = dict(self._counters)
        for key, read in list(self._gauges.items()):
            found[key] = read()
        return found

    def bind(self, meter: Meter) -> None:
        """Expose the whole catalogue on an OpenTelemetry meter."""
        for name, metric in CATALOGUE.items():
            create = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
            create(name, callbacks=[self._observe(name)], unit=metric.unit, description=metric.description)

    def _observe(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            return [Observation(v, dict(labels)) for (n, labels), v in self.snapshot().items() if n == name]

        return observe

    @staticmethod
    def _key(name: str, labels: Mapping[str, str]) -> tuple[str, Labels]:
        unknown = set(labels) - set(CATALOGUE[name].labels)
        if unknown:
            raise KeyError(f"metric {name} has no label {', '.join(sorted(unknown))}")
        return name, tuple(sorted(labels.items()))
