"""What a webhook carries: the issue and why, small, with the link to look at. Span content never goes out."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from core.model.issue import Issue, IssueEvent, IssueEventKind

# the specification's limit for a payload is 20 kB; these fields are what could exceed it
MAX_BYTES: Final = 20_000
_TITLE_CHARS: Final = 250
_DESCRIPTION_CHARS: Final = 2000
_FIELD_CHARS: Final = 250
_LINKED_TRACES: Final = 3

WORTH_TELLING: Final = frozenset(
    {
        IssueEventKind.OPENED,
        IssueEventKind.REGRESSED,
        IssueEventKind.ESCALATED,
        IssueEventKind.SHIFTED,
        IssueEventKind.RECOVERED,
    }
)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in the outbox: everything of the payload but the link, which may become known later."""

    event_id: str
    type: str
    at_s: float
    why: str
    issue: Issue
    trace_ids: tuple[str, ...] = ()


def alert_of(event: IssueEvent) -> Alert:
    """Return the alert of an event."""
    return Alert(
        event_id=event.event_id,
        type=f"issue.{event.kind}",
        at_s=event.at_s,
        why=_why(event),
        issue=event.issue,
        trace_ids=tuple(link.trace_id for link in event.links if link.trace_id)[:_LINKED_TRACES],
    )


def body_of(alert: Alert, *, url: str) -> bytes:
    """Return the JSON body {type, timestamp, data}, always under `MAX_BYTES`."""
    # a character takes up to six bytes as JSON; without the description even that fits
    for chars in (_DESCRIPTION_CHARS, _DESCRIPTION_CHARS // 4):
        body = _body(alert, url=url, description=alert.issue.description[:chars])
        if len(body) < MAX_BYTES:
            return body
    return _body(alert, url=url, description="")


def _body(alert: Alert, *, url: str, description: str) -> bytes:
    issue = alert.issue
    data: dict[str, object] = {
        "why": alert.why[:_FIELD_CHARS],
        "url": url,
        "trace_ids": [trace_id[:_FIELD_CHARS] for trace_id in alert.trace_ids],
        "issue": {
            "id": issue.issue_id,
            "title": issue.title[:_TITLE_CHARS],
            "description": description,
            "category": str(issue.category),
            "severity": str(issue.severity),
            "status": str(issue.status),
            "check": issue.check[:_FIELD_CHARS],
            "service": (issue.service or issue.routing_key)[:_FIELD_CHARS],
            "target": issue.target[:_FIELD_CHARS],
            "error_type": issue.error_type[:_FIELD_CHARS],
            "trace_count": issue.trace_count,
            "session_count": issue.session_count,
            "finding_count": issue.finding_count,
            "first_seen": _time(issue.first_seen_ns / 1e9),
            "last_seen": _time(issue.last_seen_ns / 1e9),
            "first_release": issue.first_release[:_FIELD_CHARS],
            "last_release": issue.last_release[:_FIELD_CHARS],
        },
    }
    return msgspec.json.encode({"type": alert.type, "timestamp": _time(alert.at_s), "data": data})


def _why(event: IssueEvent) -> str:
    if event.reason:
        return event.reason
    if event.kind is IssueEventKind.REGRESSED:
        return "resolved, and found again in a trace that started after the resolution"
    if event.kind is IssueEventKind.ESCALATED:
        return f"its severity rose to {event.issue.severity}"
    return "a new issue"


def _time(seconds: float) -> str:
    # years past 9999 come from broken client clocks
    return datetime.fromtimestamp(min(max(0.0, seconds), 253_402_300_799.0), tz=UTC).isoformat().replace("+00:00", "Z")
