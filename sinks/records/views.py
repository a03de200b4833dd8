"""What the read side answers: values for the ops API, the commands and the reports."""

import datetime
from collections.abc import Mapping
from typing import Final

import msgspec

from core.model.finding import Dimension, Feedback, FindingKind, Severity, Source
from core.model.issue import Issue, IssueEventKind, IssueFiled, IssueLink
from core.model.trace import TraceVersion
from core.topics import DeadLetter, LetterKind

ALIVE_S: Final = 15.0
"""A process reports every second; one that has been silent for this long is gone."""
LAG: Final = "clearwatch.stage.lag"
"""The gauge of how many records a consumer group has still to read."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Counts at one moment. Totals include what retention has deleted."""

    traces_closed: int
    traces_provisional: int
    sessions_open: int
    sessions_closed: int
    findings: int
    issues: Mapping[str, int]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A counter or gauge of one process."""

    instance: str
    name: str
    labels: Mapping[str, str]
    value: float
    updated_at_s: float
    """When its process was last heard of; 0 where that has said that it ends."""


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `export findings`; the names and their order are public."""

    finding_id: str
    trace_id: str
    session_id: str
    span_ids: tuple[str, ...]
    check: str
    kind: FindingKind
    source: Source
    category: Dimension
    severity: Severity
    fingerprint: str
    issue_id: str | None
    title: str
    rationale: str
    observed_at: str
    """RFC 3339, UTC, with microseconds."""
    routing_key: str
    service: str
    target: str
    error_type: str
    release: str
    environment: str


class IssueRow(msgspec.Struct, frozen=True, kw_only=True):
    """An issue as it stands, and where MLflow shows it."""

    issue: Issue
    last_event: IssueEventKind
    changed_at_s: float
    filed: IssueFiled | None = None
    recent: tuple[int, ...] = ()
    """Findings of each of the last `RECENT_BUCKETS` spans of `RECENT_BUCKET_S` seconds, the newest last."""

    def state(self, now_s: float) -> str:
        """Return the derived state: regressed, escalating, recovered, new, quiet or ongoing.

        New for its first hour, quiet after a day without a finding; the first three hold while no later event came.
        An episode that began is escalating, one that ended recovered.
        """
        if self.last_event is IssueEventKind.REGRESSED:
            return "regressed"
        if self.last_event in (IssueEventKind.ESCALATED, IssueEventKind.SHIFTED) and not self.issue.is_usual_now:
            return "escalating"
        if self.last_event is IssueEventKind.RECOVERED:
            return "recovered"
        if now_s - self.issue.opened_at_s < 3600.0:
            return "new"
        if now_s - self.changed_at_s > 86400.0:
            return "quiet"
        return "ongoing"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of an issue, with its trace where that is still kept."""

    link: IssueLink
    trace: TraceVersion | None = None


class IssueDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An issue with its newest evidence; `evidence_total` counts all of it."""

    row: IssueRow
    evidence: tuple[Evidence, ...]
    evidence_total: int
    feedback: tuple[Feedback, ...] = ()
    """What people said of its traces in MLflow, the latest first."""


class TraceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A trace's summary and what was found in it."""

    trace: TraceVersion
    findings: tuple[FindingRow, ...]


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as people see it; the names are public. Times are RFC 3339."""

    id: str
    at: str
    stage: str
    topic: str
    partition: int
    offset: int
    kind: LetterKind
    error_type: str
    error: str
    size_bytes: int
    schema: int
    build: str
    headers: dict[str, str]
    replays: int
    replayed_at: str | None = None


class LetterDetail(LetterRow, frozen=True, kw_only=True):
    """A dead letter with its bytes (base64 in JSON)."""

    key: bytes
    value: bytes


class StoredLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with all that is needed to replay it."""

    id: str
    letter: DeadLetter
    replays: int


def rfc3339(time_ns: int) -> str:
    """Return a time as RFC 3339 in UTC with microseconds; what a clock cannot show reads as its nearest bound."""
    last_ns = 253_402_300_799 * 10**9  # 9999-12-31T23:59:59Z, the largest year of RFC 3339
    seconds, rest_ns = divmod(min(max(time_ns, 0), last_ns), 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1000:06d}Z"
