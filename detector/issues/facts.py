"""What one finding adds to what is known of its issue: pure functions, no state."""

from typing import Final

import msgspec

from core.model.finding import Finding
from core.model.issue import Issue, IssueLink
from core.model.measurement import CLOCK_SKEW_S
from detector.issues.describe import RANK
from detector.issues.known import Known

# a link's rationale is read in a trace drawer; the whole one stands in the finding
_MAX_RATIONALE: Final = 2_000


def first_issue(finding: Finding, *, issue_id: str) -> Issue:
    """Return an issue that has no finding yet, named by its first."""
    return Issue(
        issue_id=issue_id,
        routing_key=finding.routing_key,
        title=finding.title,
        description="",
        category=finding.category,
        severity=finding.severity,
        kind=finding.kind,
        source=finding.source,
        check=finding.check,
        fingerprint=finding.fingerprint,
        service=finding.service,
        target=finding.target,
        error_type=finding.error_type,
    )


def counted(known: Known, finding: Finding, at_s: float, new_traces: int, new_sessions: int) -> Known:
    """Return what is known with this new finding counted in."""
    issue = known.issue
    is_first = not issue.first_seen_ns or finding.observed_at_ns < issue.first_seen_ns
    is_last = finding.observed_at_ns >= issue.last_seen_ns
    return msgspec.structs.replace(
        known,
        base=max(known.base, finding.severity, key=RANK.__getitem__),
        seen_at_s=at_s,
        example=finding.rationale[:_MAX_RATIONALE] if is_last else known.example,
        issue=msgspec.structs.replace(
            issue,
            finding_count=issue.finding_count + 1,
            trace_count=issue.trace_count + new_traces,
            session_count=issue.session_count + new_sessions,
            first_seen_ns=finding.observed_at_ns if is_first else issue.first_seen_ns,
            last_seen_ns=max(issue.last_seen_ns, finding.observed_at_ns),
            first_release=(finding.release or issue.first_release) if is_first else issue.first_release,
            last_release=(finding.release or issue.last_release) if is_last else issue.last_release,
            sequence=issue.sequence + 1,
        ),
    )


def dated(finding: Finding, at_s: float) -> Finding:
    """Return it with a time that can be: log time, where the client's clock says nothing or lies far ahead."""
    if 0 < finding.observed_at_ns <= (at_s + CLOCK_SKEW_S) * 1e9:
        return finding
    return msgspec.structs.replace(finding, observed_at_ns=int(at_s * 1e9))


def link_of(finding: Finding) -> IssueLink:
    """Return what an event says of a finding."""
    return IssueLink(
        finding_id=finding.finding_id,
        trace_id=finding.trace_id,
        session_id=finding.session_id,
        span_id=finding.span_ids[0] if finding.span_ids else "",
        check=finding.check,
        category=finding.category,
        severity=finding.severity,
        rationale=finding.rationale[:_MAX_RATIONALE],
        observed_at_ns=finding.observed_at_ns,
    )


def started_s(finding: Finding) -> float:
    """Return when its trace started, as far as known."""
    return (finding.trace_started_ns or finding.observed_at_ns) / 1e9
