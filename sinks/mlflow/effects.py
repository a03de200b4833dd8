"""What is done in MLflow for an issue: filed, linked, unlinked. Idempotent, and a person's hand is never undone.

- An issue is created only after its run was searched for its marker; a lost reply is searched for again.
- Links and feedback carry ids of our choice, so a repeat finds them there.
- We never edit an assessment, so one that was edited, overridden or deleted since was so by a person: it is not written
  again, not deleted, and counted (`feedback_of_person_kept`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Record, StateChange
from core.model.finding import Dimension
from core.model.issue import IssueFiled
from core.telemetry import Telemetry
from sinks.delivery import Done, Entry, PeerUnavailableError, WaitError
from sinks.mlflow.client import SOURCE_ID, Assessment, MlflowClient, MlflowFailedError, MlflowMissingError
from sinks.mlflow.filed import FiledIssues
from sinks.mlflow.runs import MonitorRuns, RunRef
from sinks.mlflow.spans import Fate
from sinks.mlflow.state import (
    CAUSE_CHARS,
    RATIONALE_CHARS,
    Effect,
    File,
    FiledIssue,
    Forward,
    Link,
    Unlink,
    cut,
    feedback_id_of,
    fields_of,
    link_id_of,
    marker_of,
    mlflow_trace_id,
)

GROUP: Final = "mlflow"
_WAIT_FOR_FILING_S: Final = 0.3
_WAIT_FOR_TRACE_S: Final = 0.25
# 404s of a trace that was sent to MLflow: some 10 seconds, the pauses growing
_SENT_ATTEMPTS: Final = 8
# and of one that somebody else sends: some 14 minutes, the pauses growing to 30 s
_FOREIGN_ATTEMPTS: Final = 45


class FateOf(Protocol):
    """Tells what became of a trace that was appended before a time (seconds since the epoch)."""

    def __call__(self, trace_id: str, *, before_s: float) -> Fate:
        """Return where the trace is."""
        ...


class EffectWriter:
    """Does the effects that the outbox hands it. Lives on one event loop."""

    def __init__(
        self,
        *,
        client: MlflowClient,
        runs: MonitorRuns,
        filed: FiledIssues,
        telemetry: Telemetry,
        clock: Clock,
        fate_of: FateOf,
    ) -> None:
        self._client = client
        self._runs = runs
        self._filed = filed
        self._telemetry = telemetry
        self._clock = clock
        self._fate_of = fate_of
        self._decode = msgspec.msgpack.Decoder(Effect).decode
        self._misses: dict[str, tuple[int, int]] = {}
        self._markers: dict[str, dict[str, str]] = {}
        self._successes = 0
        self._failed_after: dict[str, int] = {}

    def forget_run(self, run_id: str) -> None:
        """Search this run again before anything is created in it."""
        self._markers.pop(run_id, None)

    async def deliver(self, partition: int, entry: Entry) -> Done:
        """Do one effect. A 500 counts against it only where others succeed meanwhile: else it is MLflow's, not its."""
        try:
            done = await self._do(partition, entry)
        except MlflowFailedError as exc:
            before = self._failed_after.get(entry.entry_id)
            self._failed_after[entry.entry_id] = self._successes
            if before is None or before == self._successes:
                raise PeerUnavailableError(str(exc)) from exc
            raise
        except PermanentError:
            self._misses.pop(entry.entry_id, None)
            raise
        self._successes += 1
        self._forget(entry)
        return done

    def given_up(self, entry: Entry) -> tuple[StateChange, ...]:
        """Take note of an effect that will never succeed."""
        self._forget(entry)
        effect = self._decode(entry.body)
        if not isinstance(effect, File):
            return ()
        filed, partition = self._filed.get(effect.issue_id), self._filed.partition_of(effect.issue_id)
        if filed is None or partition is None:
            return ()
        return (self._filed.keep(partition, msgspec.structs.replace(filed, is_refused=True)),)

    def _forget(self, entry: Entry) -> None:
        self._failed_after.pop(entry.entry_id, None)
        self._misses.pop(entry.entry_id, None)

    async def _do(self, partition: int, entry: Entry) -> Done:
        effect = self._decode(entry.body)
        if isinstance(effect, Forward):
            self._await_forwarding(effect, entry)
            return Done()
        filed = self._filed.get(effect.issue_id)
        if filed is None:
            raise PermanentError(f"no state of issue {effect.issue_id}")
        if isinstance(effect, File):
            return await self._file(partition, filed)
        if filed.is_refused:
            self._telemetry.count("clearwatch.dropped", reason="link_issue_refused")
            return Done()
        if not filed.mlflow_issue_id:
            raise WaitError(f"issue {effect.issue_id} is not filed yet", retry_after_s=_WAIT_FOR_FILING_S)
        if isinstance(effect, Unlink):
            await self._unlink(filed, effect)
            return Done()
        try:
            await self._link(filed, effect)
        except MlflowMissingError as exc:
            self._wait_for_trace(effect.link.trace_id, entry, exc)
            return Done()
        return self._linked(partition, effect)

    # -- filing

    async def _file(self, partition: int, filed: FiledIssue) -> Done:
        issue = filed.issue
        if filed.mlflow_issue_id:
            return Done()
        run = await self._runs.run(issue.routing_key)
        marker = marker_of(issue)
        markers = self._markers.get(run.run_id)
        if markers is None:
            known = await self._client.issues_of_run(run.experiment_id, run.run_id)
            markers = self._markers[run.run_id] = {found.created_by: found.issue_id for found in known}
        mlflow_id = markers.get(marker, "")
        written = None
        if not mlflow_id:
            written = fields_of(issue, linked=len(filed.links))
            mlflow_id = await self._create(run, marker, filed)
            markers[marker] = mlflow_id
            self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="issue")
        done = msgspec.structs.replace(
            self._filed.get(issue.issue_id) or filed,
            mlflow_issue_id=mlflow_id,
            experiment_id=run.experiment_id,
            run_id=run.run_id,
            # found, not created: it is read before it is first written
            written=written,
        )
        announcement = IssueFiled(
            issue_id=issue.issue_id,
            routing_key=issue.routing_key,
            mlflow_issue_id=mlflow_id,
            experiment_id=run.experiment_id,
            run_id=run.run_id,
            url=run.issue_url(mlflow_id),
            run_url=run.run_url,
            at_s=self._clock.now_s(),
        )
        record = Record(
            topic=topics.ISSUES,
            partition=partition,
            key=issue.routing_key.encode(),
            value=msgspec.msgpack.encode(announcement),
            headers=topics.headers(),
        )
        return Done(produce=(record,), state=(self._filed.keep(partition, done),))

    async def _create(self, run: RunRef, marker: str, filed: FiledIssue) -> str:
        fields = fields_of(filed.issue, linked=len(filed.links))
        body = {
            "experiment_id": run.experiment_id,
            "name": fields.name,
            "description": fields.description,
            "severity": fields.severity,
            "status": fields.status,
            "categories": [str(filed.issue.category)],
            "root_causes": [cut(filed.issue.target or filed.issue.check, CAUSE_CHARS)],
            "created_by": marker,
            "source_run_id": run.run_id,
        }
        try:
            return (await self._client.create_issue(body)).issue_id
        except (PeerUnavailableError, MlflowFailedError):
            # it may have been created all the same: look again before the next attempt
            self.forget_run(run.run_id)
            raise

    # -- traces

    def _await_forwarding(self, effect: Forward, entry: Entry) -> None:
        """Raise WaitError until the trace was sent, or say why it will not be."""
        fate = self._fate_of(effect.trace_id, before_s=entry.created_s)
        if fate is Fate.WAITING:
            raise WaitError(f"trace {effect.trace_id} is not forwarded yet", retry_after_s=_WAIT_FOR_TRACE_S)
        if fate is Fate.GONE:
            self._telemetry.count("clearwatch.dropped", reason="flagged_trace_gone")
        elif fate is Fate.UNKNOWN:
            self._telemetry.count("clearwatch.dropped", reason="flagged_trace_elsewhere")

    def _wait_for_trace(self, trace_id: str, entry: Entry, exc: MlflowMissingError) -> None:
        """Raise WaitError, or return where the trace will not come: it was not forwarded.

        A trace that is yet to be sent is waited for as long as that takes. Of one that the log says was sent, or that
        somebody else sends, a bounded number of misses is enough.
        """
        tries, misses = self._misses.get(entry.entry_id, (0, 0))
        fate = self._fate_of(trace_id, before_s=entry.created_s)
        tries, misses = tries + 1, misses + int(fate is not Fate.WAITING)
        self._misses[entry.entry_id] = (tries, misses)
        most = {Fate.GONE: 0, Fate.SENT: _SENT_ATTEMPTS}.get(fate, _FOREIGN_ATTEMPTS)
        if fate is Fate.WAITING or misses < most:
            raise WaitError(str(exc), retry_after_s=min(30.0, _WAIT_FOR_TRACE_S * 1.3 ** min(tries, 30))) from exc
        self._telemetry.count("clearwatch.dropped", reason="link_trace_not_forwarded")

    async def _link(self, filed: FiledIssue, effect: Link) -> None:
        link = effect.link
        trace_id = mlflow_trace_id(link.trace_id)
        metadata = {
            "mlflow.assessment.sourceRunId": filed.run_id,
            "clears.fingerprint": filed.issue.fingerprint[:250],
            "clears.issue_id": filed.mlflow_issue_id,
            "clears.check": link.check,
            "clears.dimension": str(link.category),
            "clears.severity": str(link.severity),
        }
        if link.session_id:
            metadata["mlflow.trace.session"] = link.session_id[:250]
        rationale = cut(link.rationale, RATIONALE_CHARS)
        reference = Assessment(
            assessment_id=link_id_of(mlflow_issue_id=filed.mlflow_issue_id, trace_id=trace_id),
            name=filed.mlflow_issue_id,
            issue_name=filed.written.name if filed.written else fields_of(filed.issue, linked=0).name,
            rationale=rationale,
            metadata=metadata,
            span_id=link.span_id,
        )
        feedback = Assessment(
            assessment_id=feedback_id_of(
                trace_id=trace_id, category=link.category, run_id=filed.run_id if effect.is_again else ""
            ),
            name=f"clears.{link.category}",
            rationale=rationale,
            metadata=metadata,
            span_id=link.span_id,
        )
        is_new = await self._client.write_assessment(trace_id, reference)
        if effect.is_again or not self._filed.has_feedback(link.trace_id, link.category):
            # once and never again: if it is gone, a person took it away
            await self._client.write_assessment(trace_id, feedback)
        self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="link" if is_new else "link_repeat")

    def _linked(self, partition: int, effect: Link) -> Done:
        """Return the change that remembers a link which MLflow now has."""
        self._filed.add_feedback(effect.link.trace_id, effect.link.category)
        filed = self._filed.get(effect.issue_id)
        if filed is None:
            return Done()
        links = tuple(
            msgspec.structs.replace(linked, is_written=True) if linked.trace_id == effect.link.trace_id else linked
            for linked in filed.links
        )
        return Done(state=(self._filed.keep(partition, msgspec.structs.replace(filed, links=links)),))

    async def _unlink(self, filed: FiledIssue, effect: Unlink) -> None:
        trace_id = mlflow_trace_id(effect.trace_id)
        await self._client.delete_assessment(
            trace_id, link_id_of(mlflow_issue_id=filed.mlflow_issue_id, trace_id=trace_id)
        )
        try:
            found = await self._client.assessments(trace_id)
        except MlflowMissingError:
            return
        # the feedback speaks for one issue; another of the same dimension may still hold for this trace
        mine = _own_feedback(found, filed.mlflow_issue_id, effect.category)
        if mine is None:
            return
        feedback_id = str(mine["assessment_id"])
        if is_touched(mine, found):
            self._telemetry.count("clearwatch.dropped", reason="feedback_of_person_kept")
            return
        await self._client.delete_assessment(trace_id, feedback_id)
        self._filed.drop_feedback(effect.trace_id, effect.category)
        other = _other_link(found, filed.mlflow_issue_id, effect.category)
        if other is not None:
            again = Assessment(
                assessment_id=feedback_id,
                name=f"clears.{effect.category}",
                rationale=str(other.get("rationale", "")),
                metadata=other["metadata"],
                span_id=str(other.get("span_id", "")),
            )
            await self._client.write_assessment(trace_id, again)
            self._filed.add_feedback(effect.trace_id, effect.category)


def is_touched(mine: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a person edited or overrode this assessment of ours, which we never update."""
    if mine.get("last_update_time") != mine.get("create_time") or mine.get("valid") is False:
        return True
    return any(other.get("overrides") == mine.get("assessment_id") for other in found)


def _own_feedback(
    found: Sequence[Mapping[str, Any]], mlflow_issue_id: str, category: Dimension
) -> Mapping[str, Any] | None:
    """Return our feedback on this dimension where it speaks for this issue."""
    for there in found:
        is_ours = there.get("source", {}).get("source_id") == SOURCE_ID and "feedback" in there
        speaks_for = there.get("metadata", {}).get("clears.issue_id")
        if is_ours and there.get("assessment_name") == f"clears.{category}" and speaks_for == mlflow_issue_id:
            return there
    return None


def _other_link(
    found: Sequence[Mapping[str, Any]], mlflow_issue_id: str, category: Dimension
) -> Mapping[str, Any] | None:
    """Return the link of another issue in this dimension."""
    for there in found:
        metadata = there.get("metadata", {})
        if (
            "issue" in there
            and metadata.get("clears.issue_id") != mlflow_issue_id
            and metadata.get("clears.dimension") == str(category)
        ):
            return there
    return None
