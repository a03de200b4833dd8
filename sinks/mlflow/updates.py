"""Two ways: our news of an issue to MLflow, and what people did there back to the log. Human words win.

Before a write the issue is read; whatever differs from what we last wrote (or were about to write when the outcome
stayed unknown) is a person's, and that field is left alone from then on.
"""

import logging
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Log, Record
from core.model.finding import HumanStatus
from core.telemetry import Telemetry
from sinks.mlflow.client import MlflowClient, MlflowFailedError, MlflowIssue, MlflowMissingError
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.effects import GROUP
from sinks.mlflow.issues import IssueFiler
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.state import Fields, FiledIssue, changes_of, digest_of, fields_of, is_due, is_same

logger = logging.getLogger(__name__)

_NEVER: Final = float("-inf")
_REPORTED_KEPT: Final = 8
# an issue whose events pause this long, with nothing left to be done in MLflow, is written at once
_QUIET_S: Final = 2.0
_FIELDS: Final = ("name", "description", "severity", "status")


class _Paces(msgspec.Struct):
    """When an issue was written, on the monotonic clock."""

    written_s: float = _NEVER
    """In step with `update_s`, or because it was urgent."""
    touched_s: float = _NEVER
    """For whatever reason; what a poll read before that is older than what we know."""
    settled_s: float = _NEVER
    """Out of step, because it had fallen quiet."""
    sequence: int = -1
    changed_s: float = _NEVER
    """When this sequence was first seen."""


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
        self._paces: dict[str, _Paces] = {}

    def waiting(self) -> int:
        """Return how many filed issues read otherwise in MLflow than they should."""
        found = [self._filer.filed.get(issue_id) for issue_id in self._filer.filed.changed]
        return sum(1 for filed in found if filed is not None and is_due(filed))

    async def write_due(self) -> None:
        """Update the issues whose time has come: `update_s` after the last time, or as soon as they fall quiet.

        An issue that MLflow fails at waits for its next turn and holds back no other. Raises PeerUnavailableError.
        """
        for issue_id in list(self._filer.filed.changed):
            filed = self._filer.filed.get(issue_id)
            if filed is None or not is_due(filed):
                self._filer.filed.changed.discard(issue_id)
                continue
            if not self._is_time(filed):
                continue
            try:
                await self._write(issue_id)
            except (MlflowFailedError, PermanentError) as exc:
                self._paces[issue_id].written_s = self._clock.monotonic_s()
                self._telemetry.count("clearwatch.sink.failed", sink=GROUP, reason=type(exc).__name__)
                logger.warning("issue %s cannot be updated: %s", issue_id, exc)
        for issue_id in [i for i in self._paces if self._filer.filed.get(i) is None]:
            del self._paces[issue_id]

    def _is_time(self, filed: FiledIssue) -> bool:
        """Return whether to write it now: at most twice in `update_s`, once in step and once when it falls quiet."""
        now = self._clock.monotonic_s()
        pace = self._paces.setdefault(filed.issue.issue_id, _Paces())
        if pace.sequence != filed.sequence:
            pace.sequence, pace.changed_s = filed.sequence, now
        if filed.status_to_write or now - pace.written_s >= self._config.update_s:
            pace.written_s = now
            return True
        is_quiet = now - pace.changed_s >= _QUIET_S and not self._filer.outbox.waiting()
        if is_quiet and now - pace.settled_s >= self._config.update_s:
            pace.settled_s = now
            return True
        return False

    async def poll(self) -> None:
        """Read every filed issue's run once and report what people changed. Raises what the client raises."""
        started = self._clock.monotonic_s()
        by_run: dict[tuple[str, str], dict[str, str]] = {}
        for filed in self._filer.filed:
            if filed.mlflow_issue_id:
                ours = by_run.setdefault((filed.experiment_id, filed.run_id), {})
                ours[filed.mlflow_issue_id] = filed.issue.issue_id
        for (experiment_id, run_id), ours in by_run.items():
            if await self._runs.is_gone(experiment_id=experiment_id, run_id=run_id):
                await self._refile(ours)
                continue
            for found in await self._client.issues_of_run(experiment_id, run_id):
                issue_id = ours.get(found.issue_id, "")
                filed_now = self._filer.filed.get(issue_id)
                if filed_now is None or filed_now.mlflow_issue_id != found.issue_id:
                    continue
                pace = self._paces.get(issue_id)
                if pace is None or pace.touched_s < started:
                    await self._report(filed_now, found)

    async def _refile(self, ours: dict[str, str]) -> None:
        for issue_id in ours.values():
            filed = self._filer.filed.get(issue_id)
            if filed is not None:
                await self._filer.refile(filed)

    async def _write(self, issue_id: str) -> None:
        filed = self._filer.filed.get(issue_id)
        if filed is None:
            return
        asked = filed.status_to_write
        try:
            found = await self._client.get_issue(filed.mlflow_issue_id)
        except MlflowMissingError:
            await self._filer.refile(filed)
            return
        pace = self._paces.setdefault(issue_id, _Paces())
        filed = self._filer.filed.get(issue_id)
        if filed is None:
            return
        await self._report(filed, found)
        filed = self._filer.filed.get(issue_id)
        if filed is None:
            return
        changes = changes_of(filed)
        pace.touched_s = self._clock.monotonic_s()
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
            filed = self._filer.filed.get(issue_id)
            if filed is None:
                return
            filed = msgspec.structs.replace(filed, written=writing, writing=None)
        if filed.status_to_write == asked:
            filed = msgspec.structs.replace(filed, status_to_write="")
        await self._filer.save(filed)
        pace.touched_s = self._clock.monotonic_s()

    async def _report(self, filed: FiledIssue, found: MlflowIssue) -> None:
        """Take over what MLflow says; where a person changed something, say so on `findings`."""
        there = Fields(name=found.name, description=found.description, severity=found.severity, status=found.status)
        theirs = _by_a_person(filed, found, there)
        if filed.written is None and not theirs:
            await self._filer.save(msgspec.structs.replace(filed, written=there))
            return
        if not theirs:
            return
        if filed.is_slim:
            there = msgspec.structs.replace(there, description=digest_of(there.description))
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


def _by_a_person(filed: FiledIssue, found: MlflowIssue, there: Fields) -> set[str]:
    """Return the fields that a person changed.

    Of an issue that was found by its marker (its creation's reply was lost, or it was forgotten here) nobody knows what
    we wrote last. One that was never updated reads as we created it; of any other, what differs may be a person's.
    """
    if filed.written is None:
        if found.last_updated_timestamp == found.created_timestamp:
            return set()
        known: tuple[Fields, ...] = (fields_of(filed.issue, linked=len(filed.links)),)
    else:
        known = (filed.written, filed.writing or filed.written)
    return {
        field for field in _FIELDS if not any(is_same(getattr(there, field), getattr(ours, field)) for ours in known)
    }
