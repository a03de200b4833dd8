"""The registry of issues of one partition: which finding belongs to which issue, and what it means for it.

What is known stands in `known`, what is told in `events`.

**Mute.** Findings of backfill or replay, and those older than `max_age_s`, are stored and counted, never alerted; so
is everything of a rejected issue, and what a resolved one gets from traces that had started before the resolution.

**Order.** Ids and counts do not depend on the order of findings. Title, service and target are those of the first one.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from core.log.port import StateChange
from core.model.finding import Feedback, Finding, FindingRecord, HumanStatus, Severity, Shift, Withdrawal
from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueLink, IssueStatus, issue_id_of
from core.telemetry import Telemetry
from detector.issues.config import IssuesConfig
from detector.issues.describe import RANK, severity_of, state_of
from detector.issues.events import Events
from detector.issues.facts import counted, dated, first_issue, link_of, started_s
from detector.issues.known import Known, KnownIssues
from detector.issues.members import Member, hash8, hash16

# an episode that opens its issue is told by the issue's own alert
_TOLD_BY_OPENING_S: Final = 60.0
_STATUSES: Final = frozenset(status.value for status in IssueStatus)
_SEVERITIES: Final = frozenset(severity.value for severity in Severity)


class Registry:
    """Issues of one partition. `apply` takes records in order; `take_events` and `take_changes` end a step."""

    def __init__(self, *, config: IssuesConfig, max_age_s: float, telemetry: Telemetry) -> None:
        self._config = config
        self._max_age_s = max_age_s
        self._telemetry = telemetry
        self._known = KnownIssues(config=config, telemetry=telemetry)
        self._events = Events(max_links=config.max_links_per_event, telemetry=telemetry)

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Return every issue known, published or not."""
        return tuple(known.issue for known in self._known.values())

    def issue_named(self, routing_key: str, fingerprint: str) -> Issue | None:
        """Return the issue of a fingerprint, if there is one."""
        key = self._known.named(routing_key, fingerprint)
        return None if key is None else self._known[key].issue

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state, in any order."""
        self._known.restore(entries)

    def take_changes(self) -> tuple[StateChange, ...]:
        """Return what has changed since the last call, one entry for each key."""
        return self._known.take_changes()

    def take_events(self) -> tuple[IssueEvent, ...]:
        """Return the events since the last call, in order."""
        return self._events.take(self._known)

    def expire(self, now_s: float, *, limit: int) -> int:
        """Forget findings past `remember_s` and unpublished issues as old: at most `limit`; say how many."""
        return self._known.expire(now_s, limit=limit)

    def knows(self, finding_id: str) -> bool:
        """Return whether a finding is counted in an issue."""
        return self._known.issue_of(hash16(finding_id)) is not None

    # -- records

    def apply(self, record: FindingRecord, *, at_s: float, muted: bool = False) -> None:
        """Take one record at its log time; `muted` where its origin is not live."""
        match record:
            case Finding():
                self._take_finding(record, at_s, muted)
            case Withdrawal():
                self._withdraw(record, at_s, muted)
            case Shift():
                self._shift(record, at_s, muted)
            case HumanStatus():
                self._obey(record, at_s)
            case Feedback():
                pass  # kept by the records; what is bad comes again as a finding of the stage's own

    def _take_finding(self, finding: Finding, at_s: float, muted: bool) -> None:
        finding = dated(finding, at_s)
        member_key = hash16(finding.finding_id)
        before = self._known.issue_of(member_key)
        if before is not None:
            self._known.forget_old(before, at_s)
            if self._known.issue_of(member_key) is not None:
                return  # said before: changes nothing
        key = self._issue_for(finding, at_s)
        if key is None:
            return
        known = self._known[key]
        member = Member(
            issue=key,
            trace=hash8(finding.trace_id),
            session=hash8(finding.session_id),
            at_s=at_s,
            number=known.issue.sequence + 1,
        )
        new_traces, new_sessions = self._known.add(member_key, member)
        with_it = counted(known, finding, at_s, new_traces, new_sessions)
        self._known.put(key, with_it)
        self._tell(key, known, finding, at_s, muted or self._is_old(finding, at_s))
        self._known.keep_within_bounds(key)

    def _tell(self, key: bytes, before: Known, finding: Finding, at_s: float, muted: bool) -> None:
        """Decide what a counted finding means for its issue, and put its link into an event or aside."""
        known = self._known[key]
        issue = known.issue
        link = link_of(finding)
        has_regressed = issue.status is IssueStatus.RESOLVED and started_s(finding) > issue.resolved_at_s
        if has_regressed:
            issue = msgspec.structs.replace(issue, status=IssueStatus.PENDING, regressed_at_s=at_s)
        issue = self._graded(key, msgspec.structs.replace(known, issue=issue))
        if not issue.published:
            pending = (*known.pending, link)[: self._config.publish_findings]
            if not self._is_due(key, issue, finding):
                self._known.put(key, msgspec.structs.replace(known, issue=issue, pending=pending))
                return
            issue = msgspec.structs.replace(issue, published=True, opened_at_s=at_s)
            self._known.put(key, msgspec.structs.replace(known, issue=issue, pending=()))
            # the finding that publishes it always goes along, whatever was put aside
            links = pending if pending[-1] is link else (*pending[:-1], link)
            self._note(key, IssueEventKind.OPENED, at_s, muted=muted, links=links)
            return
        self._known.put(key, msgspec.structs.replace(known, issue=issue))
        if has_regressed:
            reason = f"found again in release {finding.release}" if finding.release else "found again"
            self._note(key, IssueEventKind.REGRESSED, at_s, muted=muted, links=(link,), reason=reason)
        elif RANK[issue.severity] > RANK[before.issue.severity] and issue.status is IssueStatus.PENDING:
            reason = f"severity rose from {before.issue.severity} to {issue.severity}"
            self._note(key, IssueEventKind.ESCALATED, at_s, muted=muted, links=(link,), reason=reason)
        else:
            quiet = muted or issue.status is not IssueStatus.PENDING
            self._note(key, IssueEventKind.SEEN, at_s, muted=quiet, links=(link,))

    def _withdraw(self, withdrawal: Withdrawal, at_s: float, muted: bool) -> None:
        member_key = hash16(withdrawal.finding_id)
        key = self._known.issue_of(member_key)
        if key is not None:
            self._known.forget_old(key, at_s)
        if key is None or self._known.issue_of(member_key) is None:
            self._telemetry.count("clearwatch.dropped", reason="withdrawal_of_unknown_finding")
            return
        gone_traces, gone_sessions = self._known.remove(member_key)
        known = self._known[key]
        issue = known.issue
        issue = msgspec.structs.replace(
            issue,
            finding_count=max(0, issue.finding_count - 1),
            trace_count=max(0, issue.trace_count - gone_traces),
            session_count=max(0, issue.session_count - gone_sessions),
            sequence=issue.sequence + 1,
        )
        pending = tuple(link for link in known.pending if link.finding_id != withdrawal.finding_id)
        self._known.put(key, msgspec.structs.replace(known, issue=issue, pending=pending, seen_at_s=at_s))
        if issue.published:
            quiet = muted or issue.status is not IssueStatus.PENDING
            self._note(
                key,
                IssueEventKind.CORRECTED,
                at_s,
                muted=quiet,
                withdrawn=withdrawal.finding_id,
                reason=withdrawal.reason,
            )

    def _shift(self, shift: Shift, at_s: float, muted: bool) -> None:
        """Take the begin or the end of an episode; a repeat, or what is older than the last one, changes nothing."""
        key = self._known.named(shift.routing_key, shift.fingerprint)
        if key is None:
            self._telemetry.count("clearwatch.dropped", reason="shift_of_unknown_issue")
            return
        known = self._known[key]
        issue = known.issue
        is_new = shift.began_ns > issue.episode_began_ns
        is_end = shift.began_ns == issue.episode_began_ns and shift.ended_ns > 0 == issue.episode_ended_ns
        if not is_new and not is_end:
            return
        issue = msgspec.structs.replace(
            issue,
            episodes=issue.episodes + is_new,
            episode=shift.text,
            episode_began_ns=shift.began_ns,
            episode_ended_ns=shift.ended_ns,
            is_usual_now=shift.is_usual_now,
            sequence=issue.sequence + 1,
        )
        self._known.put(key, msgspec.structs.replace(known, issue=issue, seen_at_s=at_s))
        if issue.published:
            has_recovered = shift.ended_ns > 0 and not shift.is_usual_now
            is_told = is_new and at_s - issue.opened_at_s < _TOLD_BY_OPENING_S
            is_old = max(shift.began_ns, shift.ended_ns) < (at_s - self._max_age_s) * 1e9
            quiet = muted or is_told or is_old or issue.status is not IssueStatus.PENDING
            kind = IssueEventKind.RECOVERED if has_recovered else IssueEventKind.SHIFTED
            self._note(key, kind, at_s, muted=quiet, reason=state_of(issue))

    def _obey(self, word: HumanStatus, at_s: float) -> None:
        key = _issue_key(word.issue_id)
        known = self._known.get(key)
        if known is None:
            self._telemetry.count("clearwatch.dropped", reason="human_status_of_unknown_issue")
            return
        issue, status = known.issue, known.issue.status
        if word.status in _STATUSES:
            status = IssueStatus(word.status)
        elif word.status:
            self._telemetry.count("clearwatch.dropped", reason="human_status_unknown")
        resolved_at_s = issue.resolved_at_s
        if status is IssueStatus.RESOLVED and issue.status is not IssueStatus.RESOLVED:
            resolved_at_s = word.at_s
        changed = msgspec.structs.replace(
            known,
            issue=msgspec.structs.replace(
                issue,
                status=status,
                resolved_at_s=resolved_at_s,
                title=word.name or issue.title,
                severity=Severity(word.severity) if word.severity in _SEVERITIES else issue.severity,
            ),
            # a grade that is none of ours (MLflow's not_an_issue) is the person's all the same: never graded over
            is_graded_by_human=known.is_graded_by_human or bool(word.severity),
            is_named_by_human=known.is_named_by_human or bool(word.name),
        )
        if changed == known:
            return
        changed = msgspec.structs.replace(
            changed, issue=msgspec.structs.replace(changed.issue, sequence=issue.sequence + 1)
        )
        self._known.put(key, changed)
        if issue.published:
            reason = f"{issue.status} -> {status}" if status is not issue.status else "edited by a person"
            self._note(key, IssueEventKind.STATUS_CHANGED, at_s, muted=False, reason=reason)

    # -- deciding

    def _issue_for(self, finding: Finding, at_s: float) -> bytes | None:
        """Return the issue of a finding's fingerprint, made if need be; None where no more fit."""
        key = self._known.named(finding.routing_key, finding.fingerprint)
        if key is not None:
            self._known.forget_old(key, at_s)
            if not self._known.has_faded(key, at_s):
                return key
            self._known.drop(key)
        issue_id = issue_id_of(routing_key=finding.routing_key, fingerprint=finding.fingerprint)
        key = _issue_key(issue_id)
        known = Known(base=finding.severity, seen_at_s=at_s, issue=first_issue(finding, issue_id=issue_id))
        return key if self._known.open(key, known) else None

    def _is_due(self, key: bytes, issue: Issue, finding: Finding) -> bool:
        return (
            finding.publish_at_once
            or issue.finding_count >= self._config.publish_findings
            or self._known.members(key).session_count >= self._config.publish_sessions
        )

    def _graded(self, key: bytes, known: Known) -> Issue:
        """Return the issue with the severity that it has reached: it rises, and never sinks by itself."""
        if known.is_graded_by_human:
            return known.issue
        members = self._known.members(key)
        reached = severity_of(
            known.base, traces=members.trace_count, sessions=members.session_count, config=self._config
        )
        severity = max(known.issue.severity, reached, key=RANK.__getitem__)
        return msgspec.structs.replace(known.issue, severity=severity)

    def _is_old(self, finding: Finding, at_s: float) -> bool:
        latest_ns = max(finding.observed_at_ns, finding.trace_started_ns)
        return 0 < latest_ns < (at_s - self._max_age_s) * 1e9

    def _note(
        self,
        key: bytes,
        kind: IssueEventKind,
        at_s: float,
        *,
        muted: bool,
        links: tuple[IssueLink, ...] = (),
        withdrawn: str = "",
        reason: str = "",
    ) -> None:
        issue = self._known[key].issue
        self._events.note(key, issue, kind, at_s, muted=muted, links=links, withdrawn=withdrawn, reason=reason)


def _issue_key(issue_id: str) -> bytes:
    return hash16(issue_id)
