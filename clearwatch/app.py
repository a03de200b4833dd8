"""One process: its part of collector, stages and sinks over the log, with ops beside them; how it starts and stops.

Start order: ops first, so that whoever asks hears what is being waited for; then the log and what reads it, and the
collector last, so that nothing is taken before its readers exist. Stop order follows the data: the collector takes no
more and answers what it has; the stages commit what they have in hand; the sinks send what they have; then the ops
server and the log close. Whatever is not finished within the deadline is still in the log and is taken up at the next
start, or by another process.
"""

import asyncio
import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from clearwatch.config import Config
from clearwatch.letters import Replay, Replayed, replay
from clearwatch.ops.server import OpsServer
from clearwatch.roles import SINKS, Place, Roles, open_log, sink_names, stage_names
from collector.service import Collector
from core import topics
from core.clock import SystemClock
from core.errors import LogUnavailableError
from core.log.port import Log
from core.log.sqlite import SqliteLog
from core.prices import PriceTable
from core.runner import StageRunner
from core.telemetry import Telemetry
from core.waiting import stopped_within
from detector.catalogue import catalogue
from detector.checks.plugin import Plugin
from detector.stages import stages
from sinks.mlflow.sink import MlflowSink
from sinks.port import Sink
from sinks.records.reporter import Reporter, open_when_there
from sinks.records.sink import RecordsSink
from sinks.records.store import RecordStore
from sinks.webhook.sink import WebhookSink

logger = logging.getLogger(__name__)

_RECEIVED = "clearwatch.collector.spans.received"
DRAIN_S = 20.0
# of that: for requests in hand. A client that has sent half of one must not use up the time of the stages
COLLECTOR_DRAIN_S = 5.0
LOOP_PROBE_S = 0.25
_LAG_PROBE_S = 2.0


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running app listens; the collector's are empty where it has none."""

    grpc: str
    http: str
    ops: str


class App:
    """One process. `roles` says which parts run in it."""

    def __init__(
        self,
        config: Config,
        *,
        roles: Roles,
        data_dir: Path,
        mlflow_url: str,
        plugins: Sequence[Plugin] = (),
        prices: PriceTable | None = None,
    ) -> None:
        self._config = config
        self._roles = roles
        self._data_dir = data_dir
        self._mlflow_url = mlflow_url
        self._plugins = plugins
        self._prices = prices
        self._clock = SystemClock()
        self._telemetry = Telemetry()
        self._phase = "starting"
        self._loop_lag_s = 0.0
        self._behind: tuple[str, ...] = ()
        self._polled: Mapping[str, int] | None = None
        """The log's lag of every group, as it was last asked."""
        self._log: Log | None = None
        self._runners: dict[str, StageRunner] = {}
        self._sinks: list[Sink] = []
        self._collector: Collector | None = None

    async def run(self, stop: asyncio.Event, *, started: Callable[[Addresses], None]) -> None:
        """Start everything, call `started`, work until `stop` is set, drain, return.

        Raises what cannot be recovered: a taken port, a log that is locked, a stage that lost an invariant.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True)
        config, telemetry, clock = self._config, self._telemetry, self._clock
        store = RecordStore(config.sinks.records.url_in(self._data_dir), telemetry=telemetry)
        instance = uuid.uuid4().hex
        reporter = Reporter(store=store, telemetry=telemetry, clock=clock, lag=self._polled_lag, instance=instance)
        ops = OpsServer(
            config=config.ops,
            store=store,
            telemetry=telemetry,
            version=version("clearwatch"),
            lag=self._lag,
            instance=instance,
            clock=clock,
            mlflow_url=lambda: self._mlflow_url,
            otlp_http_url=f"http://{config.collector.http.listen}",
            otlp_grpc_url=f"http://{config.collector.grpc.listen}",
            session_gap_s=config.detector.sessions.gap_s,
            readiness=self._not_ready,
            replay=lambda asked: self._replay(asked, store),
            checks=catalogue(config.detector, plugins=self._plugins),
            suppressions=config.detector.suppressions,
            log=lambda: self._log,
            prices=self._prices,
        )
        telemetry.gauge("clearwatch.loop.lag", lambda: self._loop_lag_s)
        async with _Closing() as closing:
            closing.add("records", lambda: asyncio.to_thread(store.close))
            log = await self._open_log(closing)
            await ops.start()
            closing.add("ops", ops.stop)
            if not await self._start_log(log, closing, stop):
                return
            self._make_parts(log, store, instance)
            if self._roles.is_all:
                await forget_removed(log, keep={*stage_names(config), *SINKS})
            if isinstance(log, SqliteLog):
                self._phase = "waiting for the records"
                if not await open_when_there(store, stop):
                    return
                await self._count_received(log, store)
            if self._collector is not None:
                await self._collector.start()
                closing.add("collector", self._stop_collector)
            started(self._addresses(ops))
            self._phase = "ready"
            await self._work(stop, log, reporter)

    async def _open_log(self, closing: "_Closing") -> Log:
        """Make the log; on Kafka with this process's place in its groups. An embedded one is started before ops."""
        instance_id = ""
        if self._config.log.kind == "kafka":
            place = Place(self._data_dir, self._roles.name)
            instance_id = await asyncio.to_thread(place.take)
            closing.add("place", lambda: asyncio.to_thread(place.leave))
        log = open_log(
            self._config, data_dir=self._data_dir, instance_id=instance_id, telemetry=self._telemetry, clock=self._clock
        )
        if self._config.log.kind == "sqlite":
            await log.start()
            closing.add("log", log.stop)
            self._log = log
        return log

    async def _start_log(self, log: Log, closing: "_Closing", stop: asyncio.Event) -> bool:
        """Start a log that may not be reachable yet; return False where `stop` came first."""
        if self._log is log:
            return True
        closing.add("log", log.stop)
        while not stop.is_set():
            try:
                await log.start()
            except LogUnavailableError as exc:
                self._phase = f"waiting for the log: {exc}"
                logger.warning("waiting for the log: %s", exc)
                await stopped_within(exc.retry_after_s, stop)
            else:
                self._log = log
                return True
        return False

    async def _count_received(self, log: SqliteLog, store: RecordStore) -> None:
        """Count what a kill took: the log counts in the transaction of the spans, the counters are a second old."""
        counted = sum(s.value for s in await asyncio.to_thread(store.series) if s.name == _RECEIVED)
        self._telemetry.count(_RECEIVED, max(0, log.units(topics.SPANS) - int(counted)))

    def _make_parts(self, log: Log, store: RecordStore, instance: str) -> None:
        config, telemetry, clock, roles = self._config, self._telemetry, self._clock, self._roles
        for name in roles.sinks:
            sink = self._make_sink(name, log, store, instance)
            self._sinks.append(sink)
            telemetry.gauge("clearwatch.sink.outbox", sink.waiting, sink=sink.name)
        self._runners = {
            name: StageRunner(stage, log=log, telemetry=telemetry, clock=clock)
            for name, stage in stages(config.detector, telemetry, plugins=self._plugins, prices=self._prices).items()
            if name in roles.stages
        }
        for name, runner in self._runners.items():
            telemetry.gauge("clearwatch.stage.in_hand", functools.partial(_in_hand, runner), group=name)
        if roles.collector:
            self._collector = Collector(log=log, config=config.collector, telemetry=telemetry, clock=clock)

    def _make_sink(self, name: str, log: Log, store: RecordStore, instance: str) -> Sink:
        config, telemetry, clock = self._config.sinks, self._telemetry, self._clock
        if name == "mlflow":
            target = config.mlflow.model_copy(update={"tracking_uri": self._mlflow_url})
            return MlflowSink(log=log, config=target, telemetry=telemetry, clock=clock)
        if name == "webhook":
            return WebhookSink(log=log, config=config.webhook, telemetry=telemetry, clock=clock)
        retention_s = config.records.retention_days * 86_400.0
        return RecordsSink(
            log=log, store=store, telemetry=telemetry, clock=clock, retention_s=retention_s, instance=instance
        )

    async def _work(self, stop: asyncio.Event, log: Log, reporter: Reporter) -> None:
        stop_stages, stop_sinks, stop_reports = asyncio.Event(), asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            probing = [
                tasks.create_task(self._probe_loop(), name="app-loop-probe"),
                tasks.create_task(self._probe_lag(log), name="app-lag-probe"),
            ]
            reporting = tasks.create_task(reporter.run(stop_reports), name="app-reporter")
            sending = [tasks.create_task(sink.run(stop_sinks), name=f"sink-{sink.name}") for sink in self._sinks]
            working = [
                tasks.create_task(runner.run(stop_stages), name=f"stage-{name}")
                for name, runner in self._runners.items()
            ]
            await stop.wait()
            self._phase = "stopping"
            logger.info("stopping: taking no more, finishing what was taken")
            deadline = time.monotonic() + DRAIN_S
            await self._stop_collector()
            stop_stages.set()
            await _finish(working, deadline)
            stop_sinks.set()
            await _finish(sending, deadline)
            stop_reports.set()
            await _finish([reporting], time.monotonic() + 5.0)
            for task in probing:
                task.cancel()

    async def _stop_collector(self) -> None:
        if self._collector is not None:
            await self._collector.stop(COLLECTOR_DRAIN_S)

    def _addresses(self, ops: OpsServer) -> Addresses:
        config, collector = self._config, self._collector
        return Addresses(
            grpc=_address(config.collector.grpc.listen, collector.grpc_port) if collector else "",
            http=_address(config.collector.http.listen, collector.http_port) if collector else "",
            ops=_address(config.ops.listen, ops.port),
        )

    def _not_ready(self) -> tuple[str, ...]:
        if self._phase != "ready":
            return (self._phase,)
        restoring = tuple(f"{name}: restoring" for name, runner in self._runners.items() if not runner.is_ready)
        return restoring + self._behind

    async def _replay(self, asked: Replay, store: RecordStore) -> Replayed:
        """Replay dead letters through this process's log. Raises LogUnavailableError."""
        if self._log is None:
            raise LogUnavailableError(self._phase)
        return await replay(asked, book=store.letters, log=self._log, clock=self._clock)

    async def _lag(self) -> Mapping[str, int]:
        """Return the lag of every group that is configured, whichever process runs it, and our own outboxes."""
        if self._log is None:
            raise LogUnavailableError(self._phase)
        return self._with_own(await self._log.lag())

    async def _polled_lag(self) -> Mapping[str, int]:
        """Return the same from the log's lag as last asked for, `_LAG_PROBE_S` ago while the log is there."""
        if self._polled is None:
            raise LogUnavailableError(self._phase)
        return self._with_own(self._polled)

    def _with_own(self, measured: Mapping[str, int]) -> Mapping[str, int]:
        """Return the lag of the groups that are configured, with what this process holds; asked after the log's."""
        # another process may run a sink that is switched off here; in `up` nothing else runs
        sinks = sink_names(self._config) if self._roles.is_all else SINKS
        known = {*stage_names(self._config), *sinks}
        # what a stage has in hand counts, or a checkpointed trace would stand nowhere while it closes
        busy = {name: 1 for name, runner in self._runners.items() if _in_hand(runner)}
        # the log before the outboxes: an entry leaves the log's lag in the same commit that puts it there
        found = {group: n for group, n in measured.items() if _owner_of(group) in known}
        found |= {name: max(least, found.get(name, 0)) for name, least in busy.items()}
        return found | {f"{sink.name}.outbox": sink.waiting() for sink in self._sinks if sink.name != "records"}

    async def _probe_lag(self, log: Log) -> None:
        """Ask the log for its lag, and note which of this process's stages are too far behind to be called ready."""
        most = self._config.ops.ready_max_lag
        while True:
            with contextlib.suppress(LogUnavailableError):
                lag = await log.lag()
                self._keep_lag(lag)
                self._behind = tuple(
                    f"{name}: {lag[name]} records behind (`ops.ready_max_lag`)"
                    for name in self._runners
                    if lag.get(name, 0) > most
                )
            await asyncio.sleep(_LAG_PROBE_S)

    def _keep_lag(self, lag: Mapping[str, int]) -> None:
        """Keep it, for reports and for the gauges of every group's lag; an embedded log reads its own."""
        self._polled = lag
        if isinstance(self._log, SqliteLog):
            return
        for group in lag:
            gauge = functools.partial(self._polled_lag_of, group)
            self._telemetry.gauge("clearwatch.stage.lag", gauge, group=group)

    def _polled_lag_of(self, group: str) -> int:
        return (self._polled or {}).get(group, 0)

    async def _probe_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOP_PROBE_S)
            self._loop_lag_s = max(0.0, time.monotonic() - before - LOOP_PROBE_S)


def _in_hand(runner: StageRunner) -> int:
    return int(runner.is_busy or not runner.is_ready)


async def forget_removed(log: Log, *, keep: Collection[str]) -> None:
    """Forget the consumer groups in the log whose stage or sink (`keep`, by name) is no more.

    A stage that was switched off would hold back deletion by size until the log is full. A sink that was switched off
    holds back nothing, so it keeps its place and does not tell everything again when it comes back.
    """
    for group, behind in (await log.lag()).items():
        if _owner_of(group) not in keep:
            await log.forget(group)
            logger.info("consumer group %s is forgotten, %d records unread: nothing runs it any more", group, behind)


def _owner_of(group: str) -> str:
    """Return the stage or sink that a group belongs to: a sink's second one is named after it (`mlflow-spans`)."""
    return group.partition("-")[0]


async def _finish(tasks: list[asyncio.Task[None]], deadline: float) -> None:
    """Wait for tasks until the deadline; what is still running is cancelled: its work is in the log."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=max(0.1, deadline - time.monotonic()))
    for task in late:
        logger.warning("%s did not finish in time; it continues at the next start", task.get_name())
        task.cancel()


def _address(listen: str, port: int) -> str:
    return f"{listen.rpartition(':')[0]}:{port}"


class _Closing:
    """Runs the undo of every start, in reverse, each in spite of the others' failures."""

    def __init__(self) -> None:
        self._undo: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    def add(self, name: str, undo: Callable[[], Awaitable[None]]) -> None:
        self._undo.append((name, undo))

    async def __aenter__(self) -> "_Closing":
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, undo in reversed(self._undo):
            try:
                await undo()
            except Exception:
                logger.exception("closing %s failed", name)
