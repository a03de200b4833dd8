"""Everything in one process: what `clearwatch up` runs, and how it starts and stops.

Start order follows the data backwards, so that nothing is produced before its reader exists: records, ops, log, sinks,
stages, collector. Stop order follows the data: the collector takes no more and answers what it has; the stages commit
what they have in hand; the sinks send what they have; then the ops server and the log close. Whatever is not finished
within the deadline is still in the log and is taken up at the next start.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from clearwatch.config import Config
from clearwatch.ops.server import OpsServer
from collector.service import Collector
from core import topics
from core.clock import SystemClock
from core.log.port import Log
from core.log.sqlite import SqliteLog
from core.runner import StageRunner
from core.telemetry import Telemetry
from detector.stages import stages
from sinks.mlflow.sink import MlflowSink
from sinks.port import Sink
from sinks.records.sink import RecordsSink
from sinks.records.store import RecordStore
from sinks.webhook.sink import WebhookSink

logger = logging.getLogger(__name__)

# by name, whether they are switched on or not
_SINKS = frozenset({"records", "mlflow", "webhook"})
_RECEIVED = "clearwatch.collector.spans.received"
LOG_FILE = "log.sqlite3"
DRAIN_S = 20.0
# of that: for requests in hand. A client that has sent half of one must not use up the time of the stages
COLLECTOR_DRAIN_S = 5.0
LOOP_PROBE_S = 0.25


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running app listens."""

    grpc: str
    http: str
    ops: str


class App:
    """One process with collector, stages, sinks, records and ops over the embedded log."""

    def __init__(self, config: Config, *, data_dir: Path, mlflow_url: str) -> None:
        self._config = config
        self._data_dir = data_dir
        self._mlflow_url = mlflow_url
        self._clock = SystemClock()
        self._telemetry = Telemetry()
        self._phase = "starting"
        self._loop_lag_s = 0.0

    async def run(self, stop: asyncio.Event, *, started: Callable[[Addresses], None]) -> None:
        """Start everything, call `started`, work until `stop` is set, drain, return.

        Raises what cannot be recovered: a taken port, a log that is locked, a stage that lost an invariant.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True)
        config, telemetry, clock = self._config, self._telemetry, self._clock
        log = SqliteLog(str(self._data_dir / LOG_FILE), config=config.log, telemetry=telemetry, clock=clock)
        store = RecordStore(config.sinks.records.url_in(self._data_dir))
        records = RecordsSink(
            log=log,
            store=store,
            telemetry=telemetry,
            clock=clock,
            retention_s=config.sinks.records.retention_days * 86_400.0,
        )
        sinks: list[Sink] = [records, *self._senders(log)]
        runners = {
            name: StageRunner(stage, log=log, telemetry=telemetry, clock=clock)
            for name, stage in stages(config.detector, telemetry).items()
        }
        collector = Collector(log=log, config=config.collector, telemetry=telemetry, clock=clock)
        ops = OpsServer(
            config=config.ops,
            store=store,
            telemetry=telemetry,
            version=version("clearwatch"),
            lag=self._lag(log, sinks, runners),
            instance=records.instance,
            clock=clock,
            mlflow_url=lambda: self._mlflow_url,
            otlp_http_url=f"http://{config.collector.http.listen}",
            otlp_grpc_url=f"http://{config.collector.grpc.listen}",
            session_gap_s=config.detector.sessions.gap_s,
            readiness=lambda: self._not_ready(runners),
        )
        telemetry.gauge("clearwatch.loop.lag", lambda: self._loop_lag_s)
        for sink in sinks:
            telemetry.gauge("clearwatch.sink.outbox", sink.waiting, sink=sink.name)
        async with _Closing() as closing:
            await log.start()
            closing.add("log", log.stop)
            await forget_removed(log, keep={*runners, *_SINKS})
            await asyncio.to_thread(store.open)
            closing.add("records", lambda: asyncio.to_thread(store.close))
            counted = sum(s.value for s in await asyncio.to_thread(store.series) if s.name == _RECEIVED)
            # the log counts in the transaction of the spans; the counters of a process that was killed are a second old
            telemetry.count(_RECEIVED, max(0, log.units(topics.SPANS) - int(counted)))
            await ops.start()
            closing.add("ops", ops.stop)
            await collector.start()
            closing.add("collector", lambda: collector.stop(COLLECTOR_DRAIN_S))
            started(
                Addresses(
                    grpc=_address(config.collector.grpc.listen, collector.grpc_port),
                    http=_address(config.collector.http.listen, collector.http_port),
                    ops=_address(config.ops.listen, ops.port),
                )
            )
            self._phase = "ready"
            await self._work(stop, collector, runners, sinks)

    async def _work(
        self, stop: asyncio.Event, collector: Collector, runners: dict[str, StageRunner], sinks: list[Sink]
    ) -> None:
        stop_stages, stop_sinks = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            probing = tasks.create_task(self._probe_loop(), name="app-loop-probe")
            sending = [tasks.create_task(sink.run(stop_sinks), name=f"sink-{sink.name}") for sink in sinks]
            working = [
                tasks.create_task(runner.run(stop_stages), name=f"stage-{name}") for name, runner in runners.items()
            ]
            await stop.wait()
            self._phase = "stopping"
            logger.info("stopping: taking no more, finishing what was taken")
            deadline = time.monotonic() + DRAIN_S
            await collector.stop(COLLECTOR_DRAIN_S)
            stop_stages.set()
            await _finish(working, deadline)
            stop_sinks.set()
            await _finish(sending, deadline)
            probing.cancel()

    def _senders(self, log: SqliteLog) -> list[Sink]:
        config, telemetry, clock = self._config.sinks, self._telemetry, self._clock
        senders: list[Sink] = []
        if config.mlflow.enabled:
            target = config.mlflow.model_copy(update={"tracking_uri": self._mlflow_url})
            senders.append(MlflowSink(log=log, config=target, telemetry=telemetry, clock=clock))
        if config.webhook.enabled:
            senders.append(WebhookSink(log=log, config=config.webhook, telemetry=telemetry, clock=clock))
        return senders

    def _not_ready(self, runners: Mapping[str, StageRunner]) -> tuple[str, ...]:
        if self._phase != "ready":
            return (self._phase,)
        return tuple(f"{name}: restoring" for name, runner in runners.items() if not runner.is_ready)

    @staticmethod
    def _lag(
        log: SqliteLog, sinks: list[Sink], runners: Mapping[str, StageRunner]
    ) -> Callable[[], Awaitable[Mapping[str, int]]]:
        running = {*runners, *(sink.name for sink in sinks)}

        async def lag() -> Mapping[str, int]:
            # what a stage has in hand counts, or a checkpointed trace would stand nowhere while it closes
            busy = {name: 1 for name, runner in runners.items() if runner.is_busy or not runner.is_ready}
            # the log before the outboxes: an entry leaves the log's lag in the same commit that puts it there
            found = {group: n for group, n in (await log.lag()).items() if _owner_of(group) in running}
            found |= {name: max(least, found.get(name, 0)) for name, least in busy.items()}
            return found | {f"{sink.name}.outbox": sink.waiting() for sink in sinks if sink.name != "records"}

        return lag

    async def _probe_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOP_PROBE_S)
            self._loop_lag_s = max(0.0, time.monotonic() - before - LOOP_PROBE_S)


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
