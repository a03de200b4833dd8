"""What the MLflow sink remembers of an issue, and the effects that wait in its outbox."""

import hashlib
import re
import uuid
from typing import Final, TypeAlias

import msgspec

from core.model.finding import NAMESPACE, Dimension, Severity
from core.model.issue import Issue, IssueLink, IssueStatus

ISSUE_PREFIX: Final = b"i/"
# MLflow's columns: issues.name 250, created_by 255; description is unbounded text, shown whole on a card
NAME_CHARS: Final = 250
DESCRIPTION_CHARS: Final = 4000
RATIONALE_CHARS: Final = 4000
# root causes are free text; one line of the card's popup
CAUSE_CHARS: Final = 250
_MARKER: Final = "clearwatch/"
# `status_to_write` of a regression: pending, but only where MLflow says resolved
REOPEN: Final = "reopen"
_DIGEST: Final = "sha256:"


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an MLflow issue that may change."""

    name: str
    description: str
    severity: str
    status: str


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """A trace that is linked to the issue, and which findings say so."""

    trace_id: str
    category: Dimension
    findings: tuple[str, ...]
    link: IssueLink
    is_written: bool = False
    """MLflow has the link and the feedback, or had them: what is no longer there then, a person took away."""


class FiledIssue(msgspec.Struct, frozen=True, kw_only=True):
    """An issue of ours and what stands in MLflow for it.

    `written` is what we last wrote or read there; `writing` is what was about to be written when it was not yet known
    whether that worked. Whatever else is found there, a person wrote: the field's name goes to `edited` and we leave
    it alone from then on (a status may be reopened by a regression).
    """

    issue: Issue
    sequence: int = 0
    mlflow_issue_id: str = ""
    experiment_id: str = ""
    run_id: str = ""
    is_refused: bool = False
    """MLflow would not create it; its next event tries again."""
    written: Fields | None = None
    writing: Fields | None = None
    edited: tuple[str, ...] = ()
    status_to_write: str = ""
    reported: tuple[str, ...] = ()
    """Statuses of people that were reported and not yet echoed by an event."""
    link_count: int = 0
    """Traces that were to be linked so far, capped ones included."""
    links: tuple[Linked, ...] = ()
    latest_from: int = 0
    """Index in `links` from which on they are the rotating latest ones."""
    rotated_at_s: float = 0.0
    is_slim: bool = False
    """Its links and description were forgotten to save memory; its next event brings the description back."""


class File(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    """Create the issue in MLflow, or find it there."""

    issue_id: str


class Link(msgspec.Struct, frozen=True, kw_only=True, tag="link"):
    """Link a trace to the issue, with a feedback that its page shows."""

    issue_id: str
    link: IssueLink
    is_again: bool = False
    """Written before, for a run that was deleted since: MLflow hides what it wrote then, and keeps its ids taken."""


class Unlink(msgspec.Struct, frozen=True, kw_only=True, tag="unlink"):
    """Take the link back."""

    issue_id: str
    trace_id: str
    category: Dimension


class Forward(msgspec.Struct, frozen=True, kw_only=True, tag="forward"):
    """See to it that MLflow gets this trace: a finding names it."""

    trace_id: str


Effect: TypeAlias = File | Link | Unlink | Forward


def lane_of(effect: Effect) -> str:
    """Return what orders an effect: an issue's filing, or one (issue, trace)."""
    match effect:
        case File():
            return effect.issue_id
        case Forward():
            return f"/{effect.trace_id}"
        case Link():
            return f"{effect.issue_id}/{effect.link.trace_id}"
        case Unlink():
            return f"{effect.issue_id}/{effect.trace_id}"


def mlflow_trace_id(trace_id: str) -> str:
    """Return the id under which MLflow stores a trace that came by OTLP."""
    return "tr-" + trace_id.removeprefix("tr-")


def marker_of(issue: Issue) -> str:
    """Return what `created_by` carries: MLflow's issues have no other field to find them again by."""
    if re.fullmatch(r"[0-9a-f]{16,}", issue.fingerprint):
        return _MARKER + issue.fingerprint[:16]
    return _MARKER + hashlib.sha256(issue.fingerprint.encode()).hexdigest()[:16]


def link_id_of(*, mlflow_issue_id: str, trace_id: str) -> str:
    """Return the assessment id of a link: the same for each attempt, at most 50 characters."""
    return "a-" + uuid.uuid5(NAMESPACE, f"link|{mlflow_issue_id}|{trace_id}").hex


def feedback_id_of(*, trace_id: str, category: Dimension, run_id: str = "") -> str:
    """Return the assessment id of the feedback on one dimension of a trace; `run_id` where its first run is gone."""
    return (
        "a-" + uuid.uuid5(NAMESPACE, "|".join(("feedback", trace_id, str(category), *([run_id] if run_id else [])))).hex
    )


def fields_of(issue: Issue, *, linked: int) -> Fields:
    """Return what the issue should read in MLflow. MLflow answers an unknown severity or status with a bare 500."""
    return Fields(
        name=cut(issue.title.strip() or issue.check, NAME_CHARS),
        description=cut(describe(issue, linked=linked), DESCRIPTION_CHARS),
        severity=str(Severity(issue.severity)),
        status=str(IssueStatus(issue.status)),
    )


def changes_of(filed: FiledIssue) -> dict[str, str]:
    """Return what should be written: severity and description unless a person edited them; status where asked to."""
    if filed.written is None:
        return {}
    wanted = fields_of(filed.issue, linked=len(filed.links))
    changes = {
        field: getattr(wanted, field)
        for field in ("severity", "description")
        if field not in filed.edited and not is_same(getattr(wanted, field), getattr(filed.written, field))
    }
    if filed.status_to_write == REOPEN:
        # a regression reopens what was resolved; what a person rejected stays rejected
        if filed.written.status == "resolved":
            changes["status"] = "pending"
    elif filed.status_to_write and filed.status_to_write != filed.written.status:
        changes["status"] = filed.status_to_write
    return changes


def is_due(filed: FiledIssue) -> bool:
    """Return whether MLflow has to be read or written for this issue."""
    if not filed.mlflow_issue_id or filed.is_slim:
        return False
    return bool(filed.written is None or filed.status_to_write or changes_of(filed))


def digest_of(text: str) -> str:
    """Return what stands for a text that was forgotten; of a digest, the digest itself."""
    return text if text.startswith(_DIGEST) else _DIGEST + hashlib.sha256(text.encode()).hexdigest()


def is_same(text: str, known: str) -> bool:
    """Return whether a text is the one that is known, maybe by its digest alone."""
    return text == known or (known.startswith(_DIGEST) and digest_of(text) == known)


def describe(issue: Issue, *, linked: int) -> str:
    """Return the description: its own text on one line, since the card shows no markup, with the true count in it."""
    text = " ".join(issue.description.split())
    traces = "1 trace" if issue.trace_count == 1 else f"{issue.trace_count} traces"
    if traces not in text:
        text = f"Seen in {traces}. {text}".rstrip()
    if issue.trace_count > linked > 0:
        text += f" {linked} of them are linked: the first ones, a thinning sample, and the latest."
    return text


def cut(text: str, limit: int) -> str:
    """Return the text, at most `limit` characters long, with an ellipsis where it was cut; NUL is no text for SQL."""
    text = text.replace("\0", "")
    return text if len(text) <= limit else text[: limit - 1] + "…"
