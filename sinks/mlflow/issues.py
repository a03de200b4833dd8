"""Issues: `issues` (and findings, under `forward: flagged`) in, MLflow's issues, links and feedback out.

Reading an event only decides: the state of its issue and its effects go to the store in the commit that moves the
offset. The effects (`effects`) then happen in any order that keeps these rules: an issue is filed before it is linked;
a trace is linked when MLflow has it; what happens to one (issue, trace) happens in log order.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.log.port import Log, Record, StateChange, StoredRecord, Work
from core.model.finding import Finding, FindingRecord
from core.model.issue import IssueEvent, IssueEventKind, IssueFiled, IssueRecord
from core.telemetry import Telemetry
from sinks.delivery import Backoff, Entry, Outbox
from sinks.mlflow.client import MlflowClient
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.effects import GROUP, EffectWriter, FateOf
from sinks.mlflow.filed import FiledIssues
from sinks.mlflow.links import choose
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.seen import SeenFeedback
from sinks.mlflow.spans import Fate
from sinks.mlflow.state import REOPEN, Effect, File, FiledIssue, Forward, Link, lane_of
from sinks.reading import join, take_next

logger = logging.getLogger(__name__)

STORE: Final = "state.sink.mlflow"
_FETCH_BYTES: Final = 1024 * 1024
_FETCH_TIMEOUT_S: Final = 0.2
# answers of 500 to one effect before it is called hopeless: 5 minutes
_FAILED_ATTEMPTS: Final = 15
# effects of a record of `findings` are numbered from here: its offset may be that of an issue event too
_FINDING_INDEX: Final = 500_000


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
        fate_of: FateOf,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._fate_of = fate_of
        # co-partitioned: both are keyed by the routing key
        self._reader = log.reader(GROUP, [topics.ISSUES, topics.FINDINGS], essential=False)
        self._decode = msgspec.msgpack.Decoder(IssueRecord).decode
        self._decode_finding = msgspec.msgpack.Decoder(FindingRecord).decode
        self._refiled = 0
        self.seen_feedback: dict[int, SeenFeedback] = {}
        self.filed = FiledIssues(max_issues=config.max_issues, telemetry=telemetry)
        self._writer = EffectWriter(
            client=client, runs=runs, filed=self.filed, telemetry=telemetry, clock=clock, fate_of=fate_of
        )
        self.outbox = Outbox(
            sink=GROUP,
            store=STORE,
            reader=self._reader,
            deliver=self._writer.deliver,
            policy=Backoff(max_attempts=_FAILED_ATTEMPTS),
            telemetry=telemetry,
            clock=clock,
            concurrency=config.concurrency,
            max_entries=config.max_outbox,
            given_up=self._writer.given_up,
        )

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load issues and waiting effects of these partitions."""
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            self.filed.restore(partition, entries)
            self.outbox.restore(partition, entries)
            self.seen_feedback[partition] = SeenFeedback()
            self.seen_feedback[partition].restore(entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish what is in flight in these partitions and forget them."""
        await self.outbox.release(partitions)
        self.filed.forget(partitions)
        for partition in partitions:
            self.seen_feedback.pop(partition, None)

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
        partition = self.filed.partition_of(filed.issue.issue_id)
        if partition is not None:
            state = (self.filed.keep(partition, filed),)
            await self.outbox.commit(partition, Work(produce=produce, state=state))

    async def refile(self, filed: FiledIssue) -> None:
        """File an issue again, under the run that now stands for its experiment, with the links it had."""
        issue_id = filed.issue.issue_id
        partition = self.filed.partition_of(issue_id)
        if partition is None:
            return
        self._writer.forget_run(filed.run_id)
        again = msgspec.structs.replace(
            filed, mlflow_issue_id="", experiment_id="", run_id="", written=None, writing=None
        )
        effects: list[Effect] = [File(issue_id=issue_id)]
        effects += [Link(issue_id=issue_id, link=linked.link, is_again=linked.is_written) for linked in filed.links]
        # far beyond any offset, so that these follow whatever waits already; and no two alike
        self._refiled = max(self._refiled + 1, int(self._clock.now_s() * 1000) + 10**13)
        entries = self._entries(effects, offset=self._refiled)
        await self.outbox.put(partition, entries, Work(state=(self.filed.keep(partition, again),)))

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
        topic = records[0].topic
        entries: list[Entry] = []
        state: dict[bytes, StateChange] = {}
        for record in records:
            if topic == topics.FINDINGS:
                entries += self._flags(record)
            else:
                effects, changes = self._event(partition, record)
                entries += self._entries(effects, offset=record.offset)
                state |= {change.key: change for change in changes}
        if self.filed.is_over(partition):
            lanes = (*self.outbox.lanes(partition), *(entry.lane for entry in entries))
            busy = {lane.partition("/")[0] for lane in lanes}
            state |= {change.key: change for change in self.filed.trim(partition, busy=busy)}
        work = Work(state=tuple(state.values()), next_offsets={topic: records[-1].offset + 1})
        await self.outbox.put(partition, entries, work)

    def _flags(self, record: StoredRecord) -> Sequence[Entry]:
        """Return what a finding asks for: that its trace is forwarded, where that is not so anyway."""
        origin = record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE)
        if self._config.forward != "flagged" or origin != topics.ORIGIN_LIVE:
            return ()
        try:
            found = self._decode_finding(record.value)
        except msgspec.DecodeError:
            self._telemetry.count("clearwatch.dropped", reason="mlflow_undecodable_record")
            return ()
        if not isinstance(found, Finding) or not found.trace_id:
            return ()
        if self._fate_of(found.trace_id, before_s=self._clock.now_s()) is Fate.SENT:
            return ()
        return self._entries([Forward(trace_id=found.trace_id)], offset=record.offset, first=_FINDING_INDEX)

    def _event(self, partition: int, record: StoredRecord) -> tuple[Sequence[Effect], Sequence[StateChange]]:
        try:
            found = self._decode(record.value)
        except msgspec.DecodeError:
            self._telemetry.count("clearwatch.dropped", reason="mlflow_undecodable_record")
            return (), ()
        if isinstance(found, IssueFiled):
            return (), ()
        planned = self._plan(found)
        if planned is None:
            return (), ()
        filed, effects = planned
        return effects, (self.filed.keep(partition, filed),)

    def _plan(self, event: IssueEvent) -> tuple[FiledIssue, Sequence[Effect]] | None:
        """Return the state of the event's issue after it, and its effects; None for a repeat."""
        issue = event.issue
        filed = self.filed.get(issue.issue_id)
        if filed is not None and issue.sequence <= filed.sequence:
            return None
        effects: list[Effect] = []
        if filed is None:
            filed = FiledIssue(issue=issue)
            effects.append(File(issue_id=issue.issue_id))
        elif filed.is_refused:
            filed = msgspec.structs.replace(filed, is_refused=False)
            effects.append(File(issue_id=issue.issue_id))
        choice = choose(filed, event, first=self._config.max_links_per_issue)
        filed = msgspec.structs.replace(choice.filed, issue=issue, sequence=issue.sequence, is_slim=False)
        if event.kind is IssueEventKind.STATUS_CHANGED and str(issue.status) in filed.reported:
            # our own report coming back: MLflow has it already, or something newer
            at = filed.reported.index(str(issue.status))
            filed = msgspec.structs.replace(filed, reported=filed.reported[at + 1 :])
        elif event.kind is IssueEventKind.STATUS_CHANGED:
            filed = msgspec.structs.replace(filed, status_to_write=str(issue.status))
        elif event.kind is IssueEventKind.REGRESSED:
            filed = msgspec.structs.replace(filed, status_to_write=REOPEN)
        effects += [Link(issue_id=issue.issue_id, link=link) for link in choice.links]
        effects += choice.unlinks
        if choice.capped:
            self._telemetry.count("clearwatch.dropped", choice.capped, reason="link_capped")
        if choice.without_trace:
            self._telemetry.count("clearwatch.dropped", choice.without_trace, reason="link_without_trace")
        return filed, effects

    def _entries(self, effects: Sequence[Effect], *, offset: int, first: int = 0) -> list[Entry]:
        now = self._clock.now_s()
        return [
            Entry(
                position=(offset, index),
                entry_id=f"{type(effect).__name__.lower()} {lane_of(effect)}",
                lane=lane_of(effect),
                body=msgspec.msgpack.encode(effect),
                created_s=now,
            )
            for index, effect in enumerate(effects, first)
        ]
