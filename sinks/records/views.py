"""What the read side answers: values for the ops API, the commands and the reports."""

from collections.abc import Mapping

import msgspec

from core.model.finding import Dimension, Feedback, FindingKind, Severity, Source
from core.model.issue import Issue, IssueEventKind, IssueFiled, IssueLink
from core.model.trace import TraceVersion


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
