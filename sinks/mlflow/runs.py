"""Experiments and the monitor's run in each: where the issues hang, for MLflow lists issues by run alone.

One run for each (experiment, deployment), found again by its tag. It is RUNNING while traces arrive, else FINISHED
with the result tags: a running run's page hides its summary.

Where several processes share the sink, one keeps a run: whoever owns the issues of its routing key. The others leave
what they forwarded in tags of it, one for each partition of `traces`.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Mapping, Set
from typing import Final

import msgspec

from core.clock import Clock
from core.telemetry import Telemetry
from sinks.mlflow.client import MlflowClient, MlflowMissingError, MlflowRefusedError
from sinks.mlflow.config import MlflowConfig

logger = logging.getLogger(__name__)

MONITOR_TAG: Final = "clears.monitor"
_PART_TAG: Final = "clears.part."
_NAMED: Final = "experiment:"
# MLflow's columns: experiments.name 256
_NAME_CHARS: Final = 250


class RunRef(msgspec.Struct, frozen=True, kw_only=True):
    """The run that the issues of a routing key belong to."""

    experiment_id: str
    run_id: str
    run_url: str

    def issue_url(self, mlflow_issue_id: str) -> str:
        """Return the deep link to one issue on the run's page."""
        return f"{self.run_url}?selectedIssueId={mlflow_issue_id}"


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's tags and metrics say."""

    traces: int = 0
    spans: int = 0
    last_trace_s: float = 0.0
    issues: int = 0
    findings: int = 0
    categories: tuple[str, ...] = ()
    summary: str = ""


class MonitorRuns:
    """Finds or makes experiments and runs, once each, and keeps the runs' tags and metrics up to date."""

    def __init__(self, *, client: MlflowClient, config: MlflowConfig, telemetry: Telemetry, clock: Clock) -> None:
        self._client = client
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, RunRef] = {}
        self._written: dict[str, tuple[str, RunFigures]] = {}
        self._lock = asyncio.Lock()

    async def experiment(self, routing_key: str) -> str:
        """Return the experiment id of a routing key, made if need be. Raises what the client raises."""
        if routing_key in self._experiments:
            return self._experiments[routing_key]
        async with self._lock:
            if routing_key not in self._experiments:
                self._experiments[routing_key] = await self._resolve(routing_key)
            return self._experiments[routing_key]

    def forget_experiment(self, routing_key: str) -> None:
        """Resolve this key again at its next use: MLflow says that its experiment is gone."""
        self._runs.pop(self._experiments.pop(routing_key, ""), None)

    async def run(self, routing_key: str) -> RunRef:
        """Return the run of a routing key, made if need be. Raises what the client raises."""
        experiment_id = await self.experiment(routing_key)
        if experiment_id in self._runs:
            return self._runs[experiment_id]
        async with self._lock:
            if experiment_id not in self._runs:
                self._runs[experiment_id] = await self._find_or_create(experiment_id)
            return self._runs[experiment_id]

    async def is_gone(self, *, experiment_id: str, run_id: str) -> bool:
        """Return whether somebody deleted the run; it is then forgotten and the next use makes another."""
        try:
            is_gone = (await self._client.get_run(run_id)).lifecycle_stage == "deleted"
        except MlflowMissingError:
            is_gone = True
        known = self._runs.get(experiment_id)
        if is_gone and known is not None and known.run_id == run_id:
            logger.warning("mlflow run %s was deleted; its issues move to a new one", run_id)
            del self._runs[experiment_id]
        return is_gone

    async def contribute(self, routing_key: str, parts: Mapping[int, RunFigures]) -> None:
        """Leave what arrived here, by partition, for the process that keeps the run; not before it has made it."""
        experiment_id = await self.experiment(routing_key)
        run = await self._client.find_run(experiment_id, MONITOR_TAG, self._config.deployment)
        if run is None:
            return
        wanted = {
            _part_tag(number, routing_key): f"{part.traces} {part.spans} {part.last_trace_s:.3f}"
            for number, part in parts.items()
        }
        tags = {name: value for name, value in wanted.items() if run.tags.get(name) != value}
        if tags:
            await self._client.log_batch(run.run_id, tags=tags, metrics={}, at_ms=int(self._clock.now_s() * 1000))

    async def left_by_others(self, routing_key: str, *, mine: Set[int]) -> RunFigures:
        """Return what other processes left, of partitions that are not `mine`."""
        run = await self.run(routing_key)
        tags = (await self._client.get_run(run.run_id)).tags
        parts = [RunFigures()]
        for number in {_partition_of(name) for name in tags if name.startswith(_PART_TAG)} - mine:
            if value := tags.get(_part_tag(number, routing_key)):
                traces, spans, last_trace_s = value.split()
                parts.append(RunFigures(traces=int(traces), spans=int(spans), last_trace_s=float(last_trace_s)))
        return _sum(parts)

    async def refresh(self, figures_of: Mapping[str, Callable[[], RunFigures]]) -> None:
        """Write tags, metrics and status of the runs of these routing keys, where they changed."""
        by_run: dict[str, tuple[RunRef, list[RunFigures]]] = {}
        for routing_key, read in figures_of.items():
            run = await self.run(routing_key)
            by_run.setdefault(run.run_id, (run, []))[1].append(read())
        for run, parts in by_run.values():
            await self._write(run, _sum(parts))

    async def _write(self, run: RunRef, figures: RunFigures) -> None:
        now = self._clock.now_s()
        is_running = now - figures.last_trace_s < self._config.running_s
        status = "RUNNING" if is_running else "FINISHED"
        written = self._written.get(run.run_id)
        if written == (status, figures):
            return
        tags = {
            "total_traces": str(figures.traces),
            "categories": ", ".join(figures.categories),
            "mlflow.issueDetection.result.issues": str(figures.issues),
            "mlflow.issueDetection.result.totalTracesAnalyzed": str(figures.traces),
            "mlflow.issueDetection.result.summary": figures.summary,
        }
        metrics = {
            "traces": figures.traces,
            "spans": figures.spans,
            "issues": figures.issues,
            "findings": figures.findings,
        }
        await self._client.log_batch(
            run.run_id, tags=tags, metrics={k: float(v) for k, v in metrics.items()}, at_ms=int(now * 1000)
        )
        if written is None or written[0] != status:
            end_ms = None if is_running else int(max(figures.last_trace_s, 1.0) * 1000)
            await self._client.set_run_status(run.run_id, status, end_ms)
        self._written[run.run_id] = (status, figures)

    async def _resolve(self, routing_key: str) -> str:
        name = routing_key
        if routing_key.startswith(_NAMED):
            experiment_id = routing_key.removeprefix(_NAMED)
            try:
                await self._client.experiment_name(experiment_id)
            except MlflowRefusedError:
                self._telemetry.count("clearwatch.dropped", reason="unknown_experiment_id")
                name = f"clearwatch-{experiment_id}"
                logger.warning(
                    "experiment id %s does not exist in mlflow; using an experiment named %s", experiment_id, name
                )
            else:
                return experiment_id
        return await self._find_or_create_experiment(name[:_NAME_CHARS] or "clearwatch")

    async def _find_or_create_experiment(self, name: str) -> str:
        for candidate in (name, f"{name} (clearwatch)"):
            try:
                found, is_active = await self._client.find_experiment(candidate)
            except MlflowMissingError:
                try:
                    return await self._client.create_experiment(candidate)
                except MlflowRefusedError as exc:
                    if exc.code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found, is_active = await self._client.find_experiment(candidate)
            if is_active:
                return found
        # deleted by somebody twice over: it can still be written, and restored
        return found

    async def _find_or_create(self, experiment_id: str) -> RunRef:
        found = await self._client.find_run(experiment_id, MONITOR_TAG, self._config.deployment)
        if found is not None:
            return self._ref(experiment_id, found.run_id)
        tags = {
            MONITOR_TAG: self._config.deployment,
            "mlflow.runType": "issue_detection",
            "mlflow.user": "clearwatch",
            "model": "rules",
            "categories": "",
            "total_traces": "0",
        }
        run_id = await self._client.create_run(
            experiment_id,
            name=f"Clearwatch ({self._config.deployment})"[:_NAME_CHARS],
            start_ms=int(self._clock.now_s() * 1000),
            tags=tags,
        )
        # another process may have made one at the same moment: while partitions change hands, both believe it theirs
        oldest = await self._client.find_run(experiment_id, MONITOR_TAG, self._config.deployment)
        if oldest is not None and oldest.run_id != run_id:
            await self._client.delete_run(run_id)
            return self._ref(experiment_id, oldest.run_id)
        return self._ref(experiment_id, run_id)

    def _ref(self, experiment_id: str, run_id: str) -> RunRef:
        url = f"{self._client.ui}/#/experiments/{experiment_id}/evaluation-runs/{run_id}/issues"
        return RunRef(experiment_id=experiment_id, run_id=run_id, run_url=url)


def _part_tag(partition: int, routing_key: str) -> str:
    return f"{_PART_TAG}{partition}.{zlib.crc32(routing_key.encode()):08x}"


def _partition_of(tag: str) -> int:
    number = tag.removeprefix(_PART_TAG).partition(".")[0]
    return int(number) if number.isdecimal() else -1


def _sum(parts: list[RunFigures]) -> RunFigures:
    return RunFigures(
        traces=sum(part.traces for part in parts),
        spans=sum(part.spans for part in parts),
        last_trace_s=max(part.last_trace_s for part in parts),
        issues=sum(part.issues for part in parts),
        findings=sum(part.findings for part in parts),
        categories=tuple(sorted({category for part in parts for category in part.categories})),
        summary="\n".join(part.summary for part in parts if part.summary),
    )
