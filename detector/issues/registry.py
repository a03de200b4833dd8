"""The registry of issues of one partition: which finding belongs to which issue, and what is known of each.

**State** (one compacted entry each): `i` + issue -> `Known`, `a` + hash of (routing key, fingerprint) -> issue,
`m` + hash of a finding id -> its packed `Member`.

**Sequence.** Each change of an issue (a finding, a withdrawal, a person's word) has the next number; an event carries
the number of the last change in it. OPENED, REGRESSED, ESCALATED and STATUS_CHANGED hold exactly one change, so a step
that is repeated after a crash writes them again under the same ids, however its records are batched; SEEN and CORRECTED
hold all changes of one kind in a row. The first event under an id covers every change since the committed state, so
whoever has taken it may ignore a second one.

**Mute.** Findings of backfill or replay, and those older than `max_age_s`, are stored and counted, never alerted; so
is everything of a rejected issue, and what a resolved one gets from traces that had started before the resolution.

**Order.** Ids and counts do not depend on the order of findings. Title, service and target are those of the first one.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from core.log.port import StateChange
from core.model.finding import Finding, FindingRecord, HumanStatus, Severity, Withdrawal
from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueLink, IssueStatus, event_id_of, issue_id_of
from core.telemetry import Telemetry
from detector.issues.config import IssuesConfig
from detector.issues.describe import RANK, description_of, severity_of
from detector.issues.members import Member, Members, hash8, hash16, unpack

_ISSUE: Final = b"i"
_ALIAS: Final = b"a"
_MEMBER: Final = b"m"
_STATUSES: Final = frozenset(status.value for status in IssueStatus)
_SEVERITIES: Final = frozenset(severity.value for severity in Severity)
# events whose changes may be told together
_RUNS: Final = frozenset({IssueEventKind.SEEN, IssueEventKind.CORRECTED})
# clocks of clients that nobody sets are off by minutes; one bad clock must not be "last seen" for ever
_CLOCK_SKEW_S: Final = 3_600.0
# a link's rationale is read in a trace drawer; the whole one stands in the finding
_MAX_RATIONALE: Final = 2_000


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an issue beside its members."""

    issue: Issue
    base: Severity
    """Severity of its gravest finding."""
    seen_at_s: float
    """Log time of its last change."""
    pending: tuple[IssueLink, ...] = ()
    """Links that wait until it is published."""
    example: str = ""
    is_named_by_human: bool = False
    is_graded_by_human: bool = False
    is_approximate: bool = False


class _Event(msgspec.Struct, kw_only=True):
    """An event in hand: the issue is filled in when it is written."""

    kind: IssueEventKind
    key: bytes
    issue: Issue
    at_s: float
    muted: bool
    reason: str = ""
    links: list[IssueLink] = []
    withdrawn: list[str] = []


class Registry:
    """Issues of one partition. `apply` takes records in order; `take_events` and `take_changes` end a step."""

    def __init__(self, *, config: IssuesConfig, max_age_s: float, telemetry: Telemetry) -> None:
        self._config = config
        self._max_age_s = max_age_s
        self._telemetry = telemetry
        self._known: dict[bytes, Known] = {}
        self._members: dict[bytes, Members] = {}
        self._aliases: dict[bytes, bytes] = {}
        self._issue_of: dict[bytes, bytes] = {}
        self._events: list[_Event] = []
        self._open_event: dict[bytes, _Event] = {}
        self._dirty: set[bytes] = set()
        self._changes: dict[bytes, bytes | None] = {}

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Return every issue known, published or not."""
        return tuple(known.issue for known in self._known.values())

    # -- state

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state, in any order."""
        members: list[tuple[bytes, Member]] = []
        for key, value in entries:
            kind, rest = key[:1], key[1:]
            if kind == _ISSUE:
                self._known[rest] = msgspec.msgpack.decode(value, type=Known)
                self._members.setdefault(rest, Members())
            elif kind == _ALIAS:
                self._aliases[rest] = value
            elif kind == _MEMBER:
                members.append((rest, unpack(value)))
        for finding, member in sorted(members, key=lambda m: m[1].number):
            if member.issue in self._members:
                self._members[member.issue].add(finding, member)
                self._issue_of[finding] = member.issue

    def take_changes(self) -> tuple[StateChange, ...]:
        """Return what has changed since the last call, one entry for each key."""
        for key in sorted(self._dirty):
            known = self._known.get(key)
            self._changes[_ISSUE + key] = None if known is None else msgspec.msgpack.encode(known)
        self._dirty.clear()
        changes = tuple(StateChange(key=key, value=value) for key, value in self._changes.items())
        self._changes.clear()
        return changes

    def take_events(self) -> tuple[IssueEvent, ...]:
        """Return the events since the last call, in order."""
        events = tuple(self._written(event) for event in self._events)
        self._events.clear()
        self._open_event.clear()
        return events

    # -- records

    def apply(self, record: FindingRecord, *, at_s: float, muted: bool = False) -> None:
        """Take one record at its log time; `muted` where its origin is not live."""
        match record:
            case Finding():
                self._take_finding(record, at_s, muted)
            case Withdrawal():
                self._withdraw(record, at_s, muted)
            case HumanStatus():
                self._obey(record, at_s)

    def _take_finding(self, finding: Finding, at_s: float, muted: bool) -> None:
        finding = _dated(finding, at_s)
        member_key = hash16(finding.finding_id)
        before = self._issue_of.get(member_key)
        if before is not None:
            self._forget_old(before, at_s)
            if member_key in self._issue_of:
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
        new_traces, new_sessions = self._members[key].add(member_key, member)
        self._issue_of[member_key] = key
        self._changes[_MEMBER + member_key] = member.pack()
        counted = _counted(known, finding, at_s, new_traces, new_sessions)
        self._known[key] = counted
        self._tell(key, known, finding, at_s, muted or self._is_old(finding, at_s))
        self._keep_within_bounds(key)

    def _tell(self, key: bytes, before: Known, finding: Finding, at_s: float, muted: bool) -> None:
        """Decide what a counted finding means for its issue, and put its link into an event or aside."""
        known = self._known[key]
        issue = known.issue
        link = _link_of(finding)
        has_regressed = issue.status is IssueStatus.RESOLVED and _started_s(finding) > issue.resolved_at_s
        if has_regressed:
            issue = msgspec.structs.replace(issue, status=IssueStatus.PENDING, regressed_at_s=at_s)
        issue = self._graded(key, msgspec.structs.replace(known, issue=issue))
        if not issue.published:
            pending = (*known.pending, link)[: self._config.publish_findings]
            if not self._is_due(key, issue, finding):
                self._put(key, msgspec.structs.replace(known, issue=issue, pending=pending))
                return
            issue = msgspec.structs.replace(issue, published=True, opened_at_s=at_s)
            self._put(key, msgspec.structs.replace(known, issue=issue, pending=()))
            # the finding that publishes it always goes along, whatever was put aside
            links = pending if pending[-1] is link else (*pending[:-1], link)
            self._note(key, IssueEventKind.OPENED, at_s, muted=muted, links=links)
            return
        self._put(key, msgspec.structs.replace(known, issue=issue))
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
        key = self._issue_of.get(member_key)
        if key is not None:
            self._forget_old(key, at_s)
        if key is None or member_key not in self._issue_of:
            self._telemetry.count("clearwatch.dropped", reason="withdrawal_of_unknown_finding")
            return
        gone_traces, gone_sessions = self._members[key].remove(member_key)
        self._unlist(member_key)
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
        self._put(key, msgspec.structs.replace(known, issue=issue, pending=pending, seen_at_s=at_s))
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
        self._put(key, changed)
        if issue.published:
            reason = f"{issue.status} -> {status}" if status is not issue.status else "edited by a person"
            self._note(key, IssueEventKind.STATUS_CHANGED, at_s, muted=False, reason=reason)

    # -- deciding

    def _issue_for(self, finding: Finding, at_s: float) -> bytes | None:
        """Return the issue of a finding's fingerprint, made if need be; None where no more fit."""
        alias = hash16(f"{finding.routing_key}\0{finding.fingerprint}")
        key = self._aliases.get(alias)
        if key is not None:
            self._forget_old(key, at_s)
            if not self._has_faded(key, at_s):
                return key
            self._drop_issue(key)
        if len(self._known) >= self._config.max_issues and not self._forget_an_issue():
            self._telemetry.count("clearwatch.dropped", reason="issues_full")
            return None
        issue_id = issue_id_of(routing_key=finding.routing_key, fingerprint=finding.fingerprint)
        key = _issue_key(issue_id)
        self._aliases[alias] = key
        self._changes[_ALIAS + alias] = key
        self._members[key] = Members()
        self._known[key] = Known(
            base=finding.severity,
            seen_at_s=at_s,
            issue=Issue(
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
            ),
        )
        return key

    def _is_due(self, key: bytes, issue: Issue, finding: Finding) -> bool:
        return (
            finding.publish_at_once
            or issue.finding_count >= self._config.publish_findings
            or self._members[key].session_count >= self._config.publish_sessions
        )

    def _graded(self, key: bytes, known: Known) -> Issue:
        """Return the issue with the severity that it has reached: it rises, and never sinks by itself."""
        if known.is_graded_by_human:
            return known.issue
        members = self._members[key]
        reached = severity_of(
            known.base, traces=members.trace_count, sessions=members.session_count, config=self._config
        )
        severity = max(known.issue.severity, reached, key=RANK.__getitem__)
        return msgspec.structs.replace(known.issue, severity=severity)

    def _is_old(self, finding: Finding, at_s: float) -> bool:
        latest_ns = max(finding.observed_at_ns, finding.trace_started_ns)
        return 0 < latest_ns < (at_s - self._max_age_s) * 1e9

    # -- events

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
        """Add to the event in hand where kind and mute are the same and it has room, else begin one."""
        event = self._open_event.get(key)
        if event is None or kind not in _RUNS or (event.kind, event.muted) != (kind, muted) or self._is_full(event):
            event = _Event(kind=kind, key=key, issue=self._known[key].issue, at_s=at_s, muted=muted, reason=reason)
            self._events.append(event)
            self._open_event[key] = event
        event.issue = self._known[key].issue
        event.at_s = at_s
        event.links.extend(links)
        if withdrawn:
            event.withdrawn.append(withdrawn)

    def _is_full(self, event: _Event) -> bool:
        return len(event.links) + len(event.withdrawn) >= self._config.max_links_per_event

    def _written(self, event: _Event) -> IssueEvent:
        known = self._known[event.key]
        description = description_of(event.issue, example=known.example, approximate=known.is_approximate)
        self._telemetry.count("clearwatch.issue.events", kind=str(event.kind))
        return IssueEvent(
            event_id=event_id_of(issue_id=event.issue.issue_id, sequence=event.issue.sequence),
            kind=event.kind,
            issue=msgspec.structs.replace(event.issue, description=description),
            at_s=event.at_s,
            reason=event.reason,
            links=tuple(event.links),
            withdrawn=tuple(event.withdrawn),
            muted=event.muted,
        )

    # -- bounds

    def expire(self, now_s: float, *, limit: int) -> int:
        """Forget findings past `remember_s` and unpublished issues as old: at most `limit`; say how many."""
        left = limit
        for key in list(self._known):
            left -= self._forget_old(key, now_s, limit=left)
            if left > 0 and self._has_faded(key, now_s):
                self._drop_issue(key)
                self._telemetry.count("clearwatch.dropped", reason="unpublished_issue_expired")
                left -= 1
            if left <= 0:
                break
        return limit - left

    def _has_faded(self, key: bytes, now_s: float) -> bool:
        """Return whether it was never published and nothing of it is remembered: as good as unknown."""
        known = self._known[key]
        is_unseen = known.seen_at_s < now_s - self._config.remember_s
        return is_unseen and not known.issue.published and not len(self._members[key])

    def _forget_old(self, key: bytes, now_s: float, *, limit: int | None = None) -> int:
        cutoff_s = now_s - self._config.remember_s
        forgotten = 0
        while limit is None or forgotten < limit:
            oldest = self._members[key].oldest()
            if oldest is None or oldest[1] >= cutoff_s:
                break
            self._forget_member(key, oldest[0])
            forgotten += 1
        return forgotten

    def _keep_within_bounds(self, key: bytes) -> None:
        over = len(self._members[key]) - self._config.max_findings_per_issue
        if over > 0:
            self._forget_early(key, over)
        if len(self._issue_of) > self._config.max_findings:
            # a hundredth at a time, from the largest issue: finding the largest costs a look at all of them
            largest = max(self._members, key=lambda k: (len(self._members[k]), k))
            self._forget_early(largest, min(len(self._members[largest]), max(1, self._config.max_findings // 100)))

    def _forget_early(self, key: bytes, count: int) -> None:
        for _ in range(count):
            oldest = self._members[key].oldest()
            if oldest is not None:
                self._forget_member(key, oldest[0])
        self._put(key, msgspec.structs.replace(self._known[key], is_approximate=True))
        self._telemetry.count("clearwatch.dropped", count, reason="issue_finding_forgotten")

    def _forget_member(self, key: bytes, member_key: bytes) -> None:
        self._members[key].remove(member_key)
        self._unlist(member_key)

    def _unlist(self, member_key: bytes) -> None:
        del self._issue_of[member_key]
        self._changes[_MEMBER + member_key] = None

    def _forget_an_issue(self) -> bool:
        """Drop the unpublished issue unseen for longest; a published one is never dropped: its events exist."""
        unpublished = [(known.seen_at_s, key) for key, known in self._known.items() if not known.issue.published]
        if not unpublished:
            return False
        self._drop_issue(min(unpublished)[1])
        self._telemetry.count("clearwatch.dropped", reason="unpublished_issue_evicted")
        return True

    def _drop_issue(self, key: bytes) -> None:
        for member_key in list(self._members.pop(key)):
            self._unlist(member_key)
        issue = self._known.pop(key).issue
        alias = hash16(f"{issue.routing_key}\0{issue.fingerprint}")
        self._aliases.pop(alias, None)
        self._changes[_ALIAS + alias] = None
        self._dirty.add(key)

    def _put(self, key: bytes, known: Known) -> None:
        self._known[key] = known
        self._dirty.add(key)


def _counted(known: Known, finding: Finding, at_s: float, new_traces: int, new_sessions: int) -> Known:
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


def _dated(finding: Finding, at_s: float) -> Finding:
    """Return it with a time that can be: log time, where the client's clock says nothing or lies far ahead."""
    if 0 < finding.observed_at_ns <= (at_s + _CLOCK_SKEW_S) * 1e9:
        return finding
    return msgspec.structs.replace(finding, observed_at_ns=int(at_s * 1e9))


def _link_of(finding: Finding) -> IssueLink:
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


def _started_s(finding: Finding) -> float:
    return (finding.trace_started_ns or finding.observed_at_ns) / 1e9


def _issue_key(issue_id: str) -> bytes:
    return hash16(issue_id)
