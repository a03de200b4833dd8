"""What people say of traces in MLflow, read from there and put on `findings`: ratings, expectations, contradictions.

MLflow has neither a webhook for assessments nor a search by who wrote one or when, so traces are read, a bounded number
at each poll: of each experiment the newest, and a page further back each time until `feedback_window_s` is covered;
then from the start again. A sweep reads `feedback_traces` traces an experiment and poll, without their spans.
An assessment is reported once for each state that it was seen in; memory of that is bounded, and its loss repeats a
report under the same id.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.log.port import Log, Record, StateChange, Work
from core.model.finding import Feedback
from core.telemetry import Telemetry
from sinks.mlflow.client import SOURCE_ID, MlflowClient, TraceAssessments
from sinks.mlflow.config import MlflowConfig
from sinks.mlflow.effects import GROUP, is_touched
from sinks.mlflow.issues import IssueFiler
from sinks.mlflow.runs import MonitorRuns

logger = logging.getLogger(__name__)

_TEXT_CHARS: Final = 2_000
# experiments read at one poll; more of them take turns
_EXPERIMENTS: Final = 20
_NEGATIVE: Final = frozenset(
    {"no", "false", "bad", "negative", "thumbs_down", "thumbs down", "down", "fail", "incorrect"}
)


class FeedbackPoller:
    """Polls at a bounded cost. Lives on one event loop."""

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
        routing_keys: Callable[[], Iterable[str]],
    ) -> None:
        self._partitions = log.partitions(topics.FINDINGS)
        self._filer = filer
        self._client = client
        self._runs = runs
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._routing_keys = routing_keys
        self._turn = 0
        self._cursor_ms: OrderedDict[str, int] = OrderedDict()

    async def poll(self) -> None:
        """Read the newest traces of each experiment and one page of older ones. Raises what the client raises."""
        if not self._config.feedback_traces:
            return
        keys = sorted(self._routing_keys())
        self._turn = (self._turn + _EXPERIMENTS) % len(keys) if len(keys) > _EXPERIMENTS else 0
        for routing_key in (keys[self._turn :] + keys[: self._turn])[:_EXPERIMENTS]:
            partition = topics.partition_for(routing_key.encode(), self._partitions)
            if partition in self._filer.filed.partitions:
                await self._read(partition, routing_key)

    async def _read(self, partition: int, routing_key: str) -> None:
        experiment_id = await self._runs.experiment(routing_key)
        now_ms = int(self._clock.now_s() * 1000)
        oldest_ms = now_ms - int(self._config.feedback_window_s * 1000)
        size = max(1, self._config.feedback_traces // 2)
        # clocks of clients run ahead, too
        newest = await self._client.traces_before(experiment_id, now_ms + 86_400_000, oldest_ms, most=size)
        await self._report(partition, routing_key, newest)
        cursor_ms = self._cursor_ms.pop(experiment_id, 0) or min((t.started_ms for t in newest), default=0)
        if cursor_ms <= oldest_ms or len(newest) < size:
            cursor_ms = 0  # the newest are all there are: nothing to sweep
        else:
            older = await self._client.traces_before(experiment_id, cursor_ms, oldest_ms, most=size)
            await self._report(partition, routing_key, older)
            last_ms = min((t.started_ms for t in older), default=0)
            # a page of one millisecond is not read twice
            cursor_ms = 0 if len(older) < size else min(last_ms, cursor_ms - 1)
        self._cursor_ms[experiment_id] = cursor_ms
        if len(self._cursor_ms) > _EXPERIMENTS * 10:
            self._cursor_ms.popitem(last=False)

    async def _report(self, partition: int, routing_key: str, traces: Sequence[TraceAssessments]) -> None:
        seen = self._filer.seen_feedback.get(partition)
        if seen is None:
            return
        produce: list[Record] = []
        state: list[StateChange] = []
        for trace in traces:
            for said in spoken(trace, routing_key=routing_key, now_s=self._clock.now_s()):
                if seen.knows(said.feedback_id, said.changed_at):
                    continue
                state += seen.add(said.feedback_id, said.changed_at)
                produce.append(self._record(said, partition))
                what = "human_feedback_negative" if said.is_negative else "human_feedback"
                self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what=what)
        if produce:
            changes = tuple({change.key: change for change in state}.values())
            await self._filer.outbox.commit(partition, Work(produce=tuple(produce), state=changes))

    def _record(self, said: Feedback, partition: int) -> Record:
        return Record(
            topic=topics.FINDINGS,
            partition=partition,
            key=said.routing_key.encode(),
            value=msgspec.msgpack.encode(said),
            headers=topics.headers(),
        )


def spoken(trace: TraceAssessments, *, routing_key: str, now_s: float) -> Iterable[Feedback]:
    """Return what people said of a trace: their own assessments, and their edits of ours."""
    by_id = {str(a.get("assessment_id", "")): a for a in trace.assessments}
    for assessment_id, said in by_id.items():
        source = said.get("source", {})
        is_ours = source.get("source_id") == SOURCE_ID and source.get("source_type") == "CODE"
        value = said.get("feedback", said.get("expectation", {})).get("value")
        if is_ours:
            # overridden ones speak through the assessment that overrides them
            is_edited = "feedback" in said and is_touched(said, ()) and value is not False
            if not is_edited or any(a.get("overrides") == assessment_id for a in trace.assessments):
                continue
        elif source.get("source_type") != "HUMAN" or said.get("valid") is False or "issue" in said:
            continue
        contradicted = said if is_ours else by_id.get(str(said.get("overrides", "")), {})
        yield Feedback(
            feedback_id=assessment_id,
            trace_id=trace.trace_id.removeprefix("tr-"),
            routing_key=routing_key,
            kind="expectation" if "expectation" in said else "feedback",
            name=str(said.get("assessment_name", ""))[:_TEXT_CHARS],
            value=msgspec.json.encode(value).decode()[:_TEXT_CHARS],
            is_negative="feedback" in said and is_negative(value),
            rationale=str(said.get("rationale", ""))[:_TEXT_CHARS],
            author="" if is_ours else str(source.get("source_id", ""))[:250],
            span_id=str(said.get("span_id", "")),
            session_id=trace.session_id,
            contradicts=str(contradicted.get("metadata", {}).get("clears.issue_id", "")),
            changed_at=str(said.get("last_update_time", "")),
            at_s=now_s,
        )


def is_negative(value: object) -> bool:
    """Return whether a rating is clearly negative: false, or a word for it. Of a number nobody knows the scale."""
    return value is False or (isinstance(value, str) and value.strip().lower() in _NEGATIVE)
