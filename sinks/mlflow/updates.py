"""Two ways: our news of an issue to MLflow, and what people did there back to the log. Human words win.

Before a write the issue is read; whatever differs from what we last wrote (or were about to write when the outcome
stayed unknown) is a person's, and that field is left alone from then on.
"""

import asyncio
import logging
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Log, Record
from core.model.finding import HumanStatus
from core.telemetry import Telemetry
from sinks.mlflow.client import MlflowClient, MlflowIssue, MlflowMissingError
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.issues import GROUP, IssueFiler
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.state import REOPEN, Fields, FiledIssue, fields_of

logger = logging.getLogger(__name__)

_NEVER: Final = float("-inf")
_REPORTED_KEPT: Final = 8


class IssueUpdates:
    """Writes changed issues at a bounded rate and polls for people's edits."""

    def __init__(
        self,
        *,
        log: Log,
        filer: IssueFiler,
        client: MlflowClient,
        runs: MonitorRuns,
        config: MlflowConfig,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._log = log
        self._filer = filer
        self._client = client
        self._runs = runs
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._touched_at: dict[str, float] = {}

    def waiting(self) -> int:
        """Return how many filed issues read otherwise in MLflow than they should."""
        return sum(1 for issue_id in self._filer.changed if _is_due(self._filer.filed[issue_id]))

    async def write_due(self) -> None:
        """Update the issues that changed and were not written within `update_s`. Raises what the client raises."""
        now = self._clock.monotonic_s()
        for issue_id in list(self._filer.changed):
            filed = self._filer.filed.get(issue_id)
            if filed is None or not _is_due(filed):
                self._filer.changed.discard(issue_id)
                continue
            is_urgent = bool(filed.status_to_write)
            if is_urgent or now - self._touched_at.get(issue_id, _NEVER) >= self._config.update_s:
                await self._write(issue_id)

    async def poll(self) -> None:
        """Read every filed issue's run once and report what people changed. Raises what the client raises."""
        started = self._clock.monotonic_s()
        by_run: dict[tuple[str, str], dict[str, str]] = {}
        for issue_id, filed in self._filer.filed.items():
            if filed.mlflow_issue_id:
                by_run.setdefault((filed.experiment_id, filed.run_id), {})[filed.mlflow_issue_id] = issue_id
        for (experiment_id, run_id), ours in by_run.items():
            if await self._runs.is_gone(experiment_id=experiment_id, run_id=run_id):
                await self._refile(ours)
                continue
            for found in await self._client.issues_of_run(experiment_id, run_id):
                issue_id = ours.get(found.issue_id, "")
                filed_now = self._filer.filed.get(issue_id)
                if filed_now is not None and self._touched_at.get(issue_id, _NEVER) < started:
                    await self._report(filed_now, found)

    async def _refile(self, ours: dict[str, str]) -> None:
        for issue_id in ours.values():
            filed = self._filer.filed.get(issue_id)
            if filed is not None:
                await self._filer.refile(filed)

    async def _write(self, issue_id: str) -> None:
        filed = self._filer.filed[issue_id]
        asked = filed.status_to_write
        try:
            found = await self._client.get_issue(filed.mlflow_issue_id)
        except MlflowMissingError:
            await self._filer.refile(filed)
            return
        await self._report(self._filer.filed[issue_id], found)
        filed = self._filer.filed[issue_id]
        changes = _changes(filed)
        self._touched_at[issue_id] = self._clock.monotonic_s()
        if changes and filed.written is not None:
            writing = msgspec.structs.replace(filed.written, **changes)
            await self._filer.save(msgspec.structs.replace(filed, writing=writing))
            try:
                await self._client.update_issue(filed.mlflow_issue_id, changes)
            except PermanentError as exc:
                logger.error("mlflow refuses an update of issue %s: %s", issue_id, exc)
                self._telemetry.count("clearwatch.dropped", reason="issue_update_refused")
            else:
                self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="update")
            filed = msgspec.structs.replace(self._filer.filed[issue_id], written=writing, writing=None)
        if filed.status_to_write == asked:
            filed = msgspec.structs.replace(filed, status_to_write="")
        await self._filer.save(filed)
        self._touched_at[issue_id] = self._clock.monotonic_s()

    async def _report(self, filed: FiledIssue, found: MlflowIssue) -> None:
        """Take over what MLflow says; where a person changed something, say so on `findings`."""
        there = Fields(name=found.name, description=found.description, severity=found.severity, status=found.status)
        if filed.written is None:
            # found by its marker after a lost reply: it carries what we wrote then
            await self._filer.save(msgspec.structs.replace(filed, written=there))
            return
        theirs = {
            field
            for field in ("name", "description", "severity", "status")
            if getattr(there, field)
            not in {getattr(filed.written, field), getattr(filed.writing or filed.written, field)}
        }
        if not theirs:
            return
        logger.info("issue %s was edited in mlflow: %s", filed.issue.issue_id, ", ".join(sorted(theirs)))
        reported = filed.reported
        if "status" in theirs:
            reported = (*filed.reported, there.status)[-_REPORTED_KEPT:]
        after = msgspec.structs.replace(
            filed,
            written=there,
            writing=None,
            edited=tuple(sorted(set(filed.edited) | (theirs - {"status"}))),
            reported=reported,
            status_to_write="" if "status" in theirs else filed.status_to_write,
        )
        await self._filer.save(after, produce=(self._human(filed, there, theirs),))
        self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="human_status")

    def _human(self, filed: FiledIssue, there: Fields, theirs: set[str]) -> Record:
        human = HumanStatus(
            issue_id=filed.issue.issue_id,
            routing_key=filed.issue.routing_key,
            status=there.status,
            at_s=self._clock.now_s(),
            severity=there.severity if "severity" in theirs else "",
            name=there.name if "name" in theirs else "",
        )
        key = filed.issue.routing_key.encode()
        return Record(
            topic=topics.FINDINGS,
            partition=topics.partition_for(key, self._log.partitions(topics.FINDINGS)),
            key=key,
            value=msgspec.msgpack.encode(human),
            headers=topics.headers(),
        )


def _changes(filed: FiledIssue) -> dict[str, str]:
    """Return what should be written: severity and description unless a person edited them; status where asked to."""
    if filed.written is None:
        return {}
    wanted = fields_of(filed.issue, linked=len(filed.links))
    changes = {
        field: getattr(wanted, field)
        for field in ("severity", "description")
        if field not in filed.edited and getattr(wanted, field) != getattr(filed.written, field)
    }
    if filed.status_to_write == REOPEN:
        # a regression reopens what was resolved; what a person rejected stays rejected
        if filed.written.status == "resolved":
            changes["status"] = "pending"
    elif filed.status_to_write and filed.status_to_write != filed.written.status:
        changes["status"] = filed.status_to_write
    return changes


def _is_due(filed: FiledIssue) -> bool:
    return bool(filed.mlflow_issue_id and (filed.written is None or filed.status_to_write or _changes(filed)))


async def every(seconds: float, stop: asyncio.Event) -> bool:
    """Wait; return False as soon as `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return True
    return False
