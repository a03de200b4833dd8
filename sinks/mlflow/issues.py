"""Issues: `issues` in, MLflow's issues, links and feedback out, through the outbox.

Reading an event only decides: the state of its issue and its effects go to the store in the commit that moves the
offset. The effects then happen in any order that keeps these rules: an issue is filed before it is linked; a trace is
linked when MLflow has it; what happens to one (issue, trace) happens in log order.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Log, Record, StateChange, StoredRecord, Work
from core.model.issue import IssueEvent, IssueEventKind, IssueFiled, IssueLink, IssueRecord
from core.telemetry import Telemetry
from sinks.delivery import Backoff, Done, Entry, Outbox, PeerUnavailableError, WaitError
from sinks.mlflow.client import Assessment, MlflowClient, MlflowFailedError, MlflowMissingError
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.links import choose
from sinks.mlflow.runs import MonitorRuns, RunRef
from sinks.mlflow.state import (
    CAUSE_CHARS,
    ISSUE_PREFIX,
    RATIONALE_CHARS,
    REOPEN,
    Effect,
    File,
    FiledIssue,
    Link,
    Unlink,
    cut,
    feedback_id_of,
    fields_of,
    link_id_of,
    marker_of,
)
from sinks.reading import join, take_next

logger = logging.getLogger(__name__)

GROUP: Final = "mlflow"
STORE: Final = "state.sink.mlflow"
_FETCH_BYTES: Final = 1024 * 1024
_FETCH_TIMEOUT_S: Final = 0.2
_WAIT_FOR_FILING_S: Final = 0.3
_WAIT_FOR_TRACE_S: Final = 0.25
# 404s of a trace whose spans MLflow has been sent: some 14 minutes, the pauses growing to 30 s
_TRACE_ATTEMPTS: Final = 45
# answers of 500 to one effect before it is called hopeless: 5 minutes
_FAILED_ATTEMPTS: Final = 15


class IssueFiler:
    """The consumer group `mlflow`: keeps MLflow's issues as the `issues` topic says. Lives on one event loop."""

    def __init__(
        self,
        *,
        log: Log,
        client: MlflowClient,
        runs: MonitorRuns,
        config: MlflowConfig,
        telemetry: Telemetry,
        clock: Clock,
        spans_acked_until_s: Callable[[], float],
    ) -> None:
        self._client = client
        self._runs = runs
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._spans_acked_until_s = spans_acked_until_s
        self._reader = log.reader(GROUP, [topics.ISSUES], essential=False)
        self._decode = msgspec.msgpack.Decoder(IssueRecord).decode
        self._decode_effect = msgspec.msgpack.Decoder(Effect).decode
        self._trace_misses: dict[str, tuple[int, int]] = {}
        self._markers: dict[str, dict[str, str]] = {}
        self._refiled = 0
        self._successes = 0
        self._failed_after: dict[str, int] = {}
        self.filed: dict[str, FiledIssue] = {}
        self.changed: set[str] = set()
        """Issues that may have to be written; `IssueUpdates` takes them out again."""
        self.partition_of: dict[str, int] = {}
        self.outbox = Outbox(
            sink=GROUP,
            store=STORE,
            reader=self._reader,
            deliver=self._deliver,
            policy=Backoff(max_attempts=_FAILED_ATTEMPTS),
            telemetry=telemetry,
            clock=clock,
            concurrency=config.concurrency,
            max_entries=config.max_outbox,
            given_up=self._given_up,
        )

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load issues and waiting effects of these partitions."""
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            for key, value in entries:
                if key.startswith(ISSUE_PREFIX):
                    filed = msgspec.msgpack.decode(value, type=FiledIssue)
                    self.filed[filed.issue.issue_id] = filed
                    self.changed.add(filed.issue.issue_id)
                    self.partition_of[filed.issue.issue_id] = partition
            self.outbox.restore(partition, entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish what is in flight in these partitions and forget them."""
        await self.outbox.release(partitions)
        for issue_id in [i for i, partition in self.partition_of.items() if partition in partitions]:
            del self.partition_of[issue_id]
            del self.filed[issue_id]
            self.changed.discard(issue_id)

    async def run(self, stop: asyncio.Event) -> None:
        """Read and deliver until `stop`; then finish what is in flight."""
        if not await join(self._reader, self, stop, sink=GROUP, telemetry=self._telemetry):
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.outbox.run(stop), name="mlflow-outbox")
                while not stop.is_set():
                    await self._step()
        finally:
            await self._reader.stop()

    async def save(self, filed: FiledIssue, *, produce: tuple[Record, ...] = ()) -> None:
        """Keep and commit what is known of an issue; a partition that was lost meanwhile is left alone."""
        partition = self.partition_of.get(filed.issue.issue_id)
        if partition is not None:
            await self.outbox.commit(partition, Work(produce=produce, state=(self.keep(filed),)))

    def keep(self, filed: FiledIssue) -> StateChange:
        """Keep what is known of an issue and return the change to commit."""
        self.changed.add(filed.issue.issue_id)
        self.filed[filed.issue.issue_id] = filed
        return StateChange(key=ISSUE_PREFIX + filed.issue.issue_id.encode(), value=msgspec.msgpack.encode(filed))

    async def refile(self, filed: FiledIssue) -> None:
        """File an issue again, under the run that now stands for its experiment, with the links it had."""
        issue_id = filed.issue.issue_id
        partition = self.partition_of[issue_id]
        self._markers.pop(filed.run_id, None)
        again = msgspec.structs.replace(
            filed, mlflow_issue_id="", experiment_id="", run_id="", written=None, writing=None
        )
        effects: list[Effect] = [File(issue_id=issue_id)]
        effects += [Link(issue_id=issue_id, link=linked.link) for linked in filed.links]
        # far beyond any offset, so that these follow whatever waits already; and no two alike
        self._refiled = max(self._refiled + 1, int(self._clock.now_s() * 1000) + 10**13)
        entries = self._entries(effects, offset=self._refiled)
        await self.outbox.put(partition, entries, Work(state=(self.keep(again),)))

    async def _step(self) -> None:
        await take_next(
            self._reader,
            self._take,
            is_full=self.outbox.is_full(),
            max_bytes=_FETCH_BYTES,
            timeout_s=_FETCH_TIMEOUT_S,
            sink=GROUP,
            telemetry=self._telemetry,
        )

    async def _take(self, partition: int, records: Sequence[StoredRecord]) -> None:
        entries: list[Entry] = []
        state: dict[bytes, StateChange] = {}
        for record in records:
            try:
                found = self._decode(record.value)
            except msgspec.DecodeError:
                self._telemetry.count("clearwatch.dropped", reason="mlflow_undecodable_record")
                continue
            if isinstance(found, IssueFiled):
                continue
            effects = self._plan(partition, found)
            if effects is None:
                continue
            change = self.keep(self.filed[found.issue.issue_id])
            state[change.key] = change
            entries += self._entries(effects, offset=record.offset)
        work = Work(state=tuple(state.values()), next_offsets={topics.ISSUES: records[-1].offset + 1})
        await self.outbox.put(partition, entries, work)

    def _plan(self, partition: int, event: IssueEvent) -> Sequence[Effect] | None:
        """Change the state of the event's issue and return its effects; None for a repeat."""
        issue = event.issue
        filed = self.filed.get(issue.issue_id)
        if filed is not None and issue.sequence <= filed.sequence:
            return None
        effects: list[Effect] = []
        if filed is None:
            filed = FiledIssue(issue=issue)
            self.partition_of[issue.issue_id] = partition
            effects.append(File(issue_id=issue.issue_id))
        elif filed.is_refused:
            filed = msgspec.structs.replace(filed, is_refused=False)
            effects.append(File(issue_id=issue.issue_id))
        choice = choose(filed, event, first=self._config.max_links_per_issue)
        filed = msgspec.structs.replace(choice.filed, issue=issue, sequence=issue.sequence)
        if event.kind is IssueEventKind.STATUS_CHANGED and str(issue.status) in filed.reported:
            # our own report coming back: MLflow has it already, or something newer
            at = filed.reported.index(str(issue.status))
            filed = msgspec.structs.replace(filed, reported=filed.reported[at + 1 :])
        elif event.kind is IssueEventKind.STATUS_CHANGED:
            filed = msgspec.structs.replace(filed, status_to_write=str(issue.status))
        elif event.kind is IssueEventKind.REGRESSED:
            filed = msgspec.structs.replace(filed, status_to_write=REOPEN)
        self.filed[issue.issue_id] = filed
        effects += [Link(issue_id=issue.issue_id, link=link) for link in choice.links]
        effects += choice.unlinks
        if choice.capped:
            self._telemetry.count("clearwatch.dropped", choice.capped, reason="link_capped")
        if choice.without_trace:
            self._telemetry.count("clearwatch.dropped", choice.without_trace, reason="link_without_trace")
        return effects

    def _entries(self, effects: Sequence[Effect], *, offset: int) -> list[Entry]:
        now = self._clock.now_s()
        return [
            Entry(
                position=(offset, index),
                entry_id=f"{type(effect).__name__.lower()} {_lane_of(effect)}",
                lane=_lane_of(effect),
                body=msgspec.msgpack.encode(effect),
                created_s=now,
            )
            for index, effect in enumerate(effects)
        ]

    async def _deliver(self, partition: int, entry: Entry) -> Done:
        """Do one effect. A 500 counts against it only where others succeed meanwhile: else it is MLflow's, not its."""
        try:
            done = await self._do(partition, entry)
        except MlflowFailedError as exc:
            before = self._failed_after.get(entry.entry_id)
            self._failed_after[entry.entry_id] = self._successes
            if before is None or before == self._successes:
                raise PeerUnavailableError(str(exc)) from exc
            raise
        self._successes += 1
        self._failed_after.pop(entry.entry_id, None)
        return done

    async def _do(self, partition: int, entry: Entry) -> Done:
        effect = self._decode_effect(entry.body)
        filed = self.filed.get(effect.issue_id)
        if filed is None:
            raise PermanentError(f"no state of issue {effect.issue_id}")
        if isinstance(effect, File):
            return await self._file(partition, filed)
        if filed.is_refused:
            self._telemetry.count("clearwatch.dropped", reason="link_issue_refused")
            return Done()
        if not filed.mlflow_issue_id:
            raise WaitError(f"issue {effect.issue_id} is not filed yet", retry_after_s=_WAIT_FOR_FILING_S)
        if isinstance(effect, Link):
            await self._link(filed, effect.link, entry)
        else:
            await self._unlink(filed, effect)
        return Done()

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
            self.filed[issue.issue_id],
            mlflow_issue_id=mlflow_id,
            experiment_id=run.experiment_id,
            run_id=run.run_id,
            # found, not created: what it reads now is taken as ours at the first update
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
        return Done(produce=(record,), state=(self.keep(done),))

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
            self._markers.pop(run.run_id, None)
            raise

    async def _link(self, filed: FiledIssue, link: IssueLink, entry: Entry) -> None:
        trace_id = _mlflow_trace_id(link.trace_id)
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
        name = filed.written.name if filed.written else fields_of(filed.issue, linked=0).name
        reference = Assessment(
            assessment_id=link_id_of(mlflow_issue_id=filed.mlflow_issue_id, trace_id=trace_id),
            name=filed.mlflow_issue_id,
            issue_name=name,
            rationale=rationale,
            metadata=metadata,
            span_id=link.span_id,
        )
        feedback = Assessment(
            assessment_id=feedback_id_of(trace_id=trace_id, category=link.category),
            name=f"clears.{link.category}",
            rationale=rationale,
            metadata=metadata,
            span_id=link.span_id,
        )
        try:
            is_new = await self._client.write_assessment(trace_id, reference)
            await self._client.write_assessment(trace_id, feedback)
        except MlflowMissingError as exc:
            self._wait_for_trace(entry, exc)
            return
        self._trace_misses.pop(entry.entry_id, None)
        self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what="link" if is_new else "link_repeat")

    def _wait_for_trace(self, entry: Entry, exc: MlflowMissingError) -> None:
        """Raise WaitError, or return where the trace will not come: it was not forwarded.

        Only misses after everything older than the link was forwarded count against it.
        """
        tries, misses = self._trace_misses.get(entry.entry_id, (0, 0))
        tries, misses = tries + 1, misses + int(self._spans_acked_until_s() >= entry.created_s)
        self._trace_misses[entry.entry_id] = (tries, misses)
        if misses < _TRACE_ATTEMPTS:
            raise WaitError(str(exc), retry_after_s=min(30.0, _WAIT_FOR_TRACE_S * 1.3 ** min(tries, 30))) from exc
        del self._trace_misses[entry.entry_id]
        self._telemetry.count("clearwatch.dropped", reason="link_trace_not_forwarded")

    def _given_up(self, entry: Entry) -> tuple[StateChange, ...]:
        self._failed_after.pop(entry.entry_id, None)
        effect = self._decode_effect(entry.body)
        filed = self.filed.get(effect.issue_id)
        if filed is None or not isinstance(effect, File):
            return ()
        return (self.keep(msgspec.structs.replace(filed, is_refused=True)),)

    async def _unlink(self, filed: FiledIssue, effect: Unlink) -> None:
        trace_id = _mlflow_trace_id(effect.trace_id)
        feedback_id = feedback_id_of(trace_id=trace_id, category=effect.category)
        await self._client.delete_assessment(
            trace_id, link_id_of(mlflow_issue_id=filed.mlflow_issue_id, trace_id=trace_id)
        )
        try:
            found = await self._client.assessments(trace_id)
        except MlflowMissingError:
            return
        # the feedback speaks for one issue; another of the same dimension may still hold for this trace
        mine = next((a for a in found if a.get("assessment_id") == feedback_id), None)
        if mine is None or mine.get("metadata", {}).get("clears.issue_id") != filed.mlflow_issue_id:
            return
        await self._client.delete_assessment(trace_id, feedback_id)
        for other in found:
            metadata = other.get("metadata", {})
            if (
                "issue" in other
                and metadata.get("clears.issue_id") != filed.mlflow_issue_id
                and (metadata.get("clears.dimension") == str(effect.category))
            ):
                again = Assessment(
                    assessment_id=feedback_id,
                    name=f"clears.{effect.category}",
                    rationale=str(other.get("rationale", "")),
                    metadata=metadata,
                    span_id=str(other.get("span_id", "")),
                )
                await self._client.write_assessment(trace_id, again)
                return


def _lane_of(effect: Effect) -> str:
    if isinstance(effect, File):
        return effect.issue_id
    trace_id = effect.link.trace_id if isinstance(effect, Link) else effect.trace_id
    return f"{effect.issue_id}/{trace_id}"


def _mlflow_trace_id(trace_id: str) -> str:
    return "tr-" + trace_id.removeprefix("tr-")
