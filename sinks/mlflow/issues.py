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
from core.model.issue import EffectAgain, IssueEvent, IssueEventKind, IssueRecord
from core.telemetry import Telemetry
from sinks.delivery import Backoff, Entry, Outbox, taken_back
from sinks.mlflow.client import MlflowClient
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.effects import GROUP, EffectWriter, FateOf
from sinks.mlflow.filed import FiledIssues
from sinks.mlflow.links import choose
from sinks.mlflow.runs import MonitorRuns
from sinks.mlflow.seen import SeenFeedback
from sinks.mlflow.spans import Fate
from sinks.mlflow.state import REOPEN, Effect, File, FiledIssue, Forward, Link, lane_of
from sinks.poison import Poison
from sinks.reading import join, let_go, take_next, take_up

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
        self._decode_effect = msgspec.msgpack.Decoder(Effect).decode
        self._poison = Poison(stage=f"sink.{GROUP}", group=GROUP, telemetry=telemetry)
        self._refiled = 0
        self._partitions = log.partitions(topics.ISSUES)
        self._taking = asyncio.Lock()
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
        take_up(self._reader, [topics.ISSUES, topics.FINDINGS], partitions)
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            self.filed.restore(partition, entries)
            self.outbox.restore(partition, entries)
            self.seen_feedback[partition] = SeenFeedback()
            self.seen_feedback[partition].restore(entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish what is in flight in these partitions and forget them."""
        async with self._taking:
            await self.outbox.release(partitions)
            self.filed.forget(partitions)
            for partition in partitions:
                self.seen_feedback.pop(partition, None)
            let_go(self._telemetry, GROUP, partitions)

    def owns(self, routing_key: str) -> bool:
        """Return whether the issues of this key, and with them the run that shows them, are this process's."""
        return topics.partition_for(routing_key.encode(), self._partitions) in self.filed.partitions

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
        """Keep and commit what is known of an issue; a partition that was lost meanwhile is left alone.

        Raises PartitionLostError where it is lost while this is committed.
        """
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
        async with self._taking:
            if partition in self.filed.partitions:
                await self._put(partition, records)

    async def _put(self, partition: int, records: Sequence[StoredRecord]) -> None:
        if records[0].topic == topics.FINDINGS:
            await self._put_findings(partition, records)
            return
        entries: list[Entry] = []
        state: dict[bytes, StateChange] = {}
        decoded = self._poison.decoded(records, self._decode, self._reader.pause)
        for record, found in decoded.found:
            if isinstance(found, IssueEvent):
                effects, changes = self._event(partition, found)
                entries += self._entries(effects, offset=record.offset)
            elif isinstance(found, EffectAgain) and found.sink == GROUP:
                again, changes = self._taken_back(partition, found, offset=record.offset)
                entries += again
            else:
                continue
            state |= {change.key: change for change in changes}
        if decoded.next_offset is None:
            return
        if self.filed.is_over(partition):
            lanes = (*self.outbox.lanes(partition), *(entry.lane for entry in entries))
            busy = {lane.partition("/")[0] for lane in lanes}
            state |= {change.key: change for change in self.filed.trim(partition, busy=busy)}
        next_offsets = {topics.ISSUES: decoded.next_offset}
        work = Work(produce=tuple(decoded.letters), state=tuple(state.values()), next_offsets=next_offsets)
        await self.outbox.put(partition, entries, work)
        self._poison.count(len(decoded.letters), reason="undecodable")

    async def _put_findings(self, partition: int, records: Sequence[StoredRecord]) -> None:
        if self._config.forward != "flagged":
            await self.outbox.put(partition, (), Work(next_offsets={topics.FINDINGS: records[-1].offset + 1}))
            return
        decoded = self._poison.decoded(records, self._decode_finding, self._reader.pause)
        entries = [entry for record, found in decoded.found for entry in self._flags(record, found)]
        if decoded.next_offset is None:
            return
        next_offsets = {topics.FINDINGS: decoded.next_offset}
        await self.outbox.put(partition, entries, Work(produce=tuple(decoded.letters), next_offsets=next_offsets))
        self._poison.count(len(decoded.letters), reason="undecodable")

    def _flags(self, record: StoredRecord, found: FindingRecord) -> Sequence[Entry]:
        """Return what a finding asks for: that its trace is forwarded, where that is not so anyway."""
        if record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE) != topics.ORIGIN_LIVE:
            return ()
        if not isinstance(found, Finding) or not found.trace_id:
            return ()
        if self._fate_of(found.trace_id, before_s=self._clock.now_s()) is Fate.SENT:
            return ()
        return self._entries([Forward(trace_id=found.trace_id)], offset=record.offset, first=_FINDING_INDEX)

    def _event(self, partition: int, event: IssueEvent) -> tuple[Sequence[Effect], Sequence[StateChange]]:
        planned = self._plan(event)
        if planned is None:
            return (), ()
        filed, effects = planned
        return effects, (self.filed.keep(partition, filed),)

    def _taken_back(
        self, partition: int, again: EffectAgain, *, offset: int
    ) -> tuple[Sequence[Entry], Sequence[StateChange]]:
        """Return the entries of an effect that was given up; an issue that was refused gets its links again, too."""
        entries = [taken_back(again, offset=offset, now_s=self._clock.now_s())]
        effect = self._decode_effect(again.body)
        filed = self.filed.get(effect.issue_id) if isinstance(effect, File) else None
        if filed is None or not filed.is_refused:
            return entries, ()
        links = [Link(issue_id=filed.issue.issue_id, link=linked.link) for linked in filed.links]
        entries += self._entries(links, offset=offset, first=1)
        return entries, (self.filed.keep(partition, msgspec.structs.replace(filed, is_refused=False)),)

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
