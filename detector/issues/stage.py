"""The issues stage: `findings` in, `issues` out, one registry for each partition.

A bad rating in MLflow is written to `findings` as a finding, and read again with the next records.

Routing keys are the partition key of both topics, so an issue event goes to the partition of its finding.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record, StoredRecord, Work
from core.model.finding import Feedback, Finding, FindingRecord, Shift, Withdrawal
from core.model.issue import Issue
from core.stage import Processor, Recall
from core.telemetry import Telemetry
from detector.issues.config import IssuesConfig
from detector.issues.feedback import finding_of, withdrawal_of
from detector.issues.registry import Registry
from detector.issues.suppressions import SuppressionConfig, Suppressions

STORE: Final = "state.issues"

# forgetting what is past `remember_s` is housekeeping: a few at a time, not more often than this
_EXPIRE_EVERY_S: Final = 60.0
_EXPIRE_AT_ONCE: Final = 1_000


class IssuesProcessor:
    """Groups the findings of one partition into issues."""

    def __init__(
        self,
        *,
        partition: int,
        config: IssuesConfig,
        max_age_s: float,
        telemetry: Telemetry,
        suppressions: Sequence[SuppressionConfig] = (),
        reads_ratings: bool = True,
    ) -> None:
        self._partition = partition
        self._reads_ratings = reads_ratings
        self._rated: list[Record] = []
        self._suppressions = Suppressions(suppressions, telemetry)
        self._telemetry = telemetry
        self._registry = Registry(config=config, max_age_s=max_age_s, telemetry=telemetry)
        self._decoder = msgspec.msgpack.Decoder(FindingRecord)
        self._next_expiry_s: float | None = None

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Return every issue known, published or not."""
        return self._registry.issues

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take committed state; nothing needs to be read again."""
        self._registry.restore(entries)
        if entries:
            self._next_expiry_s = 0.0
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take nothing: this stage never asks."""

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Group findings; raises msgspec.DecodeError or ValidationError for a record that is none."""
        for record in records:
            found = self._decoder.decode(record.value)
            origin = record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE)
            muted = origin != topics.ORIGIN_LIVE or (isinstance(found, Finding) and found.origin != topics.ORIGIN_LIVE)
            at_s = record.log_time_ms / 1000
            if self._is_suppressed(found, at_s):
                continue
            self._registry.apply(found, at_s=at_s, muted=muted)
            if isinstance(found, Feedback) and self._reads_ratings:
                self._rate(found, origin)
        self._forget(records[-1].log_time_ms / 1000)
        return self._work({records[-1].topic: records[-1].offset + 1})

    def _is_suppressed(self, found: FindingRecord, at_s: float) -> bool:
        if isinstance(found, Finding):
            return self._suppressions.hold_back(found, at_s=at_s)
        if isinstance(found, Shift):
            issue = self._registry.issue_named(found.routing_key, found.fingerprint)
            return self._suppressions.hold_back_shift(found, issue)
        if isinstance(found, Withdrawal) and not self._registry.knows(found.finding_id):
            return self._suppressions.has_held_back(found.routing_key, found.fingerprint)
        return False

    def tick(self, now_s: float) -> Work:
        """Forget findings that cannot be repeated any more, some at a time."""
        self._forget(now_s)
        return self._work({})

    def next_wake_s(self) -> float | None:
        """Return when the next housekeeping is due."""
        return self._next_expiry_s

    def _forget(self, now_s: float) -> None:
        if self._next_expiry_s is not None and now_s < self._next_expiry_s:
            return
        forgotten = self._registry.expire(now_s, limit=_EXPIRE_AT_ONCE)
        self._next_expiry_s = now_s if forgotten >= _EXPIRE_AT_ONCE else now_s + _EXPIRE_EVERY_S

    def _rate(self, said: Feedback, origin: str) -> None:
        """Write a bad rating as a finding; where an earlier state of it was one, and this is none, take that back."""
        finding: Finding | Withdrawal | None = finding_of(said)
        if finding is None:
            gone = withdrawal_of(said)
            finding = gone if self._registry.knows(gone.finding_id) else None
        if finding is not None:
            if isinstance(finding, Finding):
                self._telemetry.count("clearwatch.findings", check=finding.check)
            self._rated.append(
                Record(
                    topic=topics.FINDINGS,
                    partition=self._partition,
                    key=said.routing_key.encode(),
                    value=msgspec.msgpack.encode(finding),
                    headers=topics.headers(origin=origin),
                )
            )

    def _work(self, next_offsets: Mapping[str, int]) -> Work:
        produce = tuple(
            Record(
                topic=topics.ISSUES,
                partition=self._partition,
                key=event.issue.routing_key.encode(),
                value=msgspec.msgpack.encode(event),
                headers=topics.headers(),
            )
            for event in self._registry.take_events()
        )
        produce += tuple(self._rated)
        self._rated.clear()
        return Work(produce=produce, store=STORE, state=self._registry.take_changes(), next_offsets=next_offsets)


class IssuesStage:
    """Finding -> issue, as `detector.issues.registry` decides."""

    def __init__(
        self,
        *,
        config: IssuesConfig,
        max_age_s: float,
        telemetry: Telemetry,
        suppressions: Sequence[SuppressionConfig] = (),
        reads_ratings: bool = True,
    ) -> None:
        self._reads_ratings = reads_ratings
        self._config = config
        self._suppressions = suppressions
        self._max_age_s = max_age_s
        self._telemetry = telemetry

    @property
    def name(self) -> str:
        """Return `issues`."""
        return "issues"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the one topic it reads."""
        return (topics.FINDINGS,)

    @property
    def store(self) -> str:
        """Return `state.issues`."""
        return STORE

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        """Make the processor of a partition."""
        return IssuesProcessor(
            partition=partition,
            config=self._config,
            max_age_s=self._max_age_s,
            telemetry=self._telemetry,
            suppressions=self._suppressions,
            reads_ratings=self._reads_ratings,
        )
