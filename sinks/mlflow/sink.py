"""The MLflow sink: spans, the run of each experiment, issues with their links, and people's edits, side by side."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from core.clock import Clock
from core.errors import PartitionLostError, PermanentError, RetryableError
from core.log.port import Log
from core.telemetry import Telemetry
from core.waiting import stopped_within
from sinks.delivery import Backoff
from sinks.mlflow.client import MlflowClient
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.effects import GROUP
from sinks.mlflow.feedback import FeedbackPoller
from sinks.mlflow.issues import IssueFiler
from sinks.mlflow.runs import MonitorRuns, RunFigures
from sinks.mlflow.spans import SpanForwarder
from sinks.mlflow.updates import IssueUpdates

logger = logging.getLogger(__name__)

_UPDATE_TICK_S = 1.0
_FIRST_REFRESH_S = 1.0


class MlflowSink:
    """Implements `sinks.port.Sink`. `config.tracking_uri` must be set. A server that is down delays only this sink."""

    def __init__(self, *, log: Log, config: MlflowConfig, telemetry: Telemetry, clock: Clock) -> None:
        self._config = config
        self._telemetry = telemetry
        self._client = MlflowClient(config)
        self._runs = MonitorRuns(client=self._client, config=config, telemetry=telemetry, clock=clock)
        self._spans = SpanForwarder(
            log=log, client=self._client, runs=self._runs, config=config, telemetry=telemetry, clock=clock
        )
        self._filer = IssueFiler(
            log=log,
            client=self._client,
            runs=self._runs,
            config=config,
            telemetry=telemetry,
            clock=clock,
            fate_of=self._spans.fate,
        )
        self._updates = IssueUpdates(
            log=log,
            filer=self._filer,
            client=self._client,
            runs=self._runs,
            config=config,
            telemetry=telemetry,
            clock=clock,
        )
        self._feedback = FeedbackPoller(
            log=log,
            filer=self._filer,
            client=self._client,
            runs=self._runs,
            config=config,
            telemetry=telemetry,
            clock=clock,
            routing_keys=self._routing_keys,
        )

    @property
    def name(self) -> str:
        """Return the consumer group and metric label."""
        return GROUP

    def waiting(self) -> int:
        """Return how many effects are persisted and not yet done: outbox entries and issues to be updated."""
        return self._filer.outbox.waiting() + self._updates.waiting()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`, then finish what is in flight within `drain_s`; the rest stays in the log."""
        try:
            await self._run(stop)
        finally:
            await self._client.close()

    async def _run(self, stop: asyncio.Event) -> None:
        # the reader of issues is stopped last: updates and polls commit through it
        others_done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            filing = tasks.create_task(self._filer.run(others_done), name="mlflow-issues")
            others = [
                tasks.create_task(self._spans.run(stop), name="mlflow-spans"),
                tasks.create_task(self._repeat(self._updates.write_due, _UPDATE_TICK_S, stop), name="mlflow-updates"),
                tasks.create_task(self._repeat(self._updates.poll, self._config.poll_s, stop), name="mlflow-poll"),
                tasks.create_task(self._repeat(self._feedback.poll, self._config.poll_s, stop), name="mlflow-feedback"),
                tasks.create_task(self._refresh_runs(stop), name="mlflow-runs"),
                tasks.create_task(self._greet(stop), name="mlflow-greet"),
            ]
            await stop.wait()
            deadline_s = asyncio.get_running_loop().time() + self._config.drain_s
            await asyncio.wait(others, timeout=self._config.drain_s)
            others_done.set()
            await asyncio.wait([filing], timeout=max(0.1, deadline_s - asyncio.get_running_loop().time()))
            for task in (*others, filing):
                task.cancel()

    async def _repeat(self, step: Callable[[], Awaitable[None]], seconds: float, stop: asyncio.Event) -> None:
        failures = 0
        pause_s = seconds
        while not await stopped_within(pause_s, stop):
            try:
                await step()
            except PartitionLostError as exc:
                logger.info("mlflow: %s; its new owner does it", exc)
            except (RetryableError, PermanentError) as exc:
                failures += 1
                if failures == 1:
                    logger.warning("mlflow: %s", exc)
                self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason=type(exc).__name__)
                pause_s = max(seconds, Backoff().delay_s(failures) or 0.0)
            else:
                failures, pause_s = 0, seconds

    async def _refresh_runs(self, stop: asyncio.Event) -> None:
        if not await stopped_within(_FIRST_REFRESH_S, stop):
            await self._repeat(self._refresh, self._config.refresh_s, stop)

    async def _refresh(self) -> None:
        # a run is one process's, or two would make one each
        keys = self._routing_keys()
        mine = {key for key in keys if self._filer.owns(key)}
        elsewhere = RunFigures()
        figures: dict[str, Callable[[], RunFigures]] = {}
        for key in mine:
            if not self._spans.owns_all():
                elsewhere = await self._runs.left_by_others(key, mine=set(self._spans.owned()))
            figures[key] = functools.partial(self._figures, key, elsewhere)
        await self._runs.refresh(figures)
        for key in keys - mine:
            parts = {
                number: RunFigures(traces=part.traces, spans=part.spans, last_trace_s=part.last_trace_s)
                for number, part in self._spans.parts(key).items()
            }
            await self._runs.contribute(key, parts)

    def _routing_keys(self) -> set[str]:
        return {*self._spans.totals(), *(filed.issue.routing_key for filed in self._filer.filed)}

    def _figures(self, routing_key: str, elsewhere: RunFigures) -> RunFigures:
        totals = self._spans.totals().get(routing_key)
        issues = [filed.issue for filed in self._filer.filed if filed.issue.routing_key == routing_key]
        last_seen_s = max((issue.last_seen_ns / 1e9 for issue in issues), default=0.0)
        worst = sorted(issues, key=lambda issue: (-issue.trace_count, issue.title))
        return RunFigures(
            traces=(totals.traces if totals else 0) + elsewhere.traces,
            spans=(totals.spans if totals else 0) + elsewhere.spans,
            last_trace_s=max(totals.last_trace_s if totals else last_seen_s, elsewhere.last_trace_s),
            issues=len(issues),
            findings=sum(issue.finding_count for issue in issues),
            categories=tuple(sorted({str(issue.category) for issue in issues})),
            summary="\n".join(f"- {issue.title[:200]}: {issue.trace_count} traces" for issue in worst[:10]),
        )

    async def _greet(self, stop: asyncio.Event) -> None:
        """Wait for the server, say which it is, and have its workers load what they need."""
        failures = 0
        while not stop.is_set():
            try:
                version = await self._client.version()
            except RetryableError:
                failures += 1
                await stopped_within(Backoff(cap_s=5.0).delay_s(failures) or 1.0, stop)
                continue
            logger.info("mlflow %s answers", version or "(version unknown)")
            await self._client.warm_up()
            return
