"""Issues and the events that carry them on the `issues` topic."""

import enum
import uuid
from typing import TypeAlias

import msgspec

from core.model.finding import NAMESPACE, Dimension, FindingKind, Severity, Source


class IssueStatus(enum.StrEnum):
    """The lifecycle that people steer; MLflow's words."""

    PENDING = "pending"
    RESOLVED = "resolved"
    REJECTED = "rejected"


class IssueEventKind(enum.StrEnum):
    """What happened to an issue."""

    OPENED = "opened"
    SEEN = "seen"
    ESCALATED = "escalated"
    """Its severity rose."""
    REGRESSED = "regressed"
    """Resolved, and found again in a trace that started after the resolution."""
    STATUS_CHANGED = "status_changed"
    """A person resolved, rejected or reopened it."""
    CORRECTED = "corrected"
    """A finding was withdrawn."""
    SHIFTED = "shifted"
    """An episode began: it is worse than before, in figures; or an episode has become what is usual."""
    RECOVERED = "recovered"
    """An episode ended: it is as before."""


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A problem and its history. Counts are of distinct traces and sessions."""

    issue_id: str
    routing_key: str
    title: str
    description: str
    category: Dimension
    severity: Severity
    kind: FindingKind
    source: Source
    check: str
    fingerprint: str
    service: str = ""
    target: str = ""
    error_type: str = ""
    status: IssueStatus = IssueStatus.PENDING
    published: bool = False
    finding_count: int = 0
    trace_count: int = 0
    session_count: int = 0
    first_seen_ns: int = 0
    last_seen_ns: int = 0
    opened_at_s: float = 0.0
    resolved_at_s: float = 0.0
    regressed_at_s: float = 0.0
    first_release: str = ""
    last_release: str = ""
    episodes: int = 0
    """Times that it was, for a while, worse than before."""
    episode: str = ""
    """The last of them: figures before and since."""
    episode_began_ns: int = 0
    episode_ended_ns: int = 0
    """0 while it lasts."""
    is_usual_now: bool = False
    """Whether the last episode ended because it stayed, rather than by recovery."""
    sequence: int = 0
    """Number of its last change; grows with each event, by the changes in it, and never repeats."""


class IssueLink(msgspec.Struct, frozen=True, kw_only=True):
    """One finding that belongs to an issue: what a sink needs to link the trace and say why."""

    finding_id: str
    trace_id: str
    session_id: str = ""
    span_id: str = ""
    check: str = ""
    category: Dimension
    severity: Severity
    rationale: str
    observed_at_ns: int = 0


class IssueEvent(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """An event, carrying the whole issue; `links` are the findings that this event adds.

    `event_id` is deterministic (issue, sequence), so readers can ignore repeats. Events of unpublished issues are not
    written.
    """

    event_id: str
    kind: IssueEventKind
    issue: Issue
    at_s: float
    reason: str = ""
    links: tuple[IssueLink, ...] = ()
    withdrawn: tuple[str, ...] = ()
    """Finding ids that no longer belong to it."""
    muted: bool = False
    """True for backfill, replay and traces older than `max_age`: stored and counted, never alerted."""


class IssueFiled(msgspec.Struct, frozen=True, kw_only=True, tag="filed"):
    """The MLflow sink has created this issue there: what links need. Written once, after the first success."""

    issue_id: str
    routing_key: str
    mlflow_issue_id: str
    experiment_id: str
    run_id: str
    url: str
    """Deep link to the issue on its run's issues page."""
    run_url: str
    """The run's issues page: MLflow has no other list of issues."""
    at_s: float


class EffectAgain(msgspec.Struct, frozen=True, kw_only=True, tag="again"):
    """A person has an effect done again that a sink gave up: its outbox takes it back, under the same id.

    It stands in the partition of the outbox that gave it up.
    """

    sink: str
    entry_id: str
    lane: str
    body: bytes


IssueRecord: TypeAlias = IssueEvent | IssueFiled | EffectAgain


def issue_id_of(*, routing_key: str, fingerprint: str) -> str:
    """Return the id of an issue: uuid5 of its routing key and first fingerprint."""
    return str(uuid.uuid5(NAMESPACE, f"issue|{routing_key}|{fingerprint}"))


def event_id_of(*, issue_id: str, sequence: int) -> str:
    """Return the id of the event with this number."""
    return str(uuid.uuid5(NAMESPACE, f"event|{issue_id}|{sequence}"))
