"""What is known of the issues of one partition, as it is committed, and its bounds.

**State** (one compacted entry each): `i` + issue -> `Known`, `a` + hash of (routing key, fingerprint) -> issue,
`m` + hash of a finding id -> its packed `Member`.

Findings are forgotten by age and by number, unpublished issues with them; a published issue never is: its events exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from core.log.port import StateChange
from core.model.finding import Severity
from core.model.issue import Issue, IssueLink
from core.telemetry import Telemetry
from detector.issues.config import IssuesConfig
from detector.issues.members import Member, Members, hash16, unpack

_ISSUE: Final = b"i"
_ALIAS: Final = b"a"
_MEMBER: Final = b"m"


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


class KnownIssues(Mapping[bytes, Known]):
    """Issues by key, each with its members. What changes is gathered for the next commit."""

    def __init__(self, *, config: IssuesConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._known: dict[bytes, Known] = {}
        self._members: dict[bytes, Members] = {}
        self._aliases: dict[bytes, bytes] = {}
        self._issue_of: dict[bytes, bytes] = {}
        self._dirty: set[bytes] = set()
        self._changes: dict[bytes, bytes | None] = {}

    def __getitem__(self, key: bytes) -> Known:
        return self._known[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def members(self, key: bytes) -> Members:
        """Return the findings remembered of an issue."""
        return self._members[key]

    def issue_of(self, member_key: bytes) -> bytes | None:
        """Return the issue of a finding that is remembered, by the hash of its id."""
        return self._issue_of.get(member_key)

    def named(self, routing_key: str, fingerprint: str) -> bytes | None:
        """Return the issue of a fingerprint."""
        return self._aliases.get(_alias(routing_key, fingerprint))

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

    # -- changes

    def open(self, key: bytes, known: Known) -> bool:
        """Take an issue that has no finding yet, unless there are too many; return whether it was taken."""
        if len(self._known) >= self._config.max_issues and not self._evict_one():
            self._telemetry.count("clearwatch.dropped", reason="issues_full")
            return False
        alias = _alias(known.issue.routing_key, known.issue.fingerprint)
        self._aliases[alias] = key
        self._changes[_ALIAS + alias] = key
        self._members[key] = Members()
        self.put(key, known)
        return True

    def put(self, key: bytes, known: Known) -> None:
        """Set what is known of an issue."""
        self._known[key] = known
        self._dirty.add(key)

    def add(self, member_key: bytes, member: Member) -> tuple[int, int]:
        """Remember a finding; return how many traces and sessions are new with it (0 or 1 each)."""
        new = self._members[member.issue].add(member_key, member)
        self._issue_of[member_key] = member.issue
        self._changes[_MEMBER + member_key] = member.pack()
        return new

    def remove(self, member_key: bytes) -> tuple[int, int]:
        """Drop a finding that is remembered; return how many traces and sessions are gone with it (0 or 1 each)."""
        gone = self._members[self._issue_of[member_key]].remove(member_key)
        self._unlist(member_key)
        return gone

    def drop(self, key: bytes) -> None:
        """Forget an issue and its findings."""
        for member_key in list(self._members.pop(key)):
            self._unlist(member_key)
        issue = self._known.pop(key).issue
        alias = _alias(issue.routing_key, issue.fingerprint)
        self._aliases.pop(alias, None)
        self._changes[_ALIAS + alias] = None
        self._dirty.add(key)

    # -- bounds

    def expire(self, now_s: float, *, limit: int) -> int:
        """Forget findings past `remember_s` and unpublished issues as old: at most `limit`; say how many."""
        left = limit
        for key in list(self._known):
            left -= self.forget_old(key, now_s, limit=left)
            if left > 0 and self.has_faded(key, now_s):
                self.drop(key)
                self._telemetry.count("clearwatch.dropped", reason="unpublished_issue_expired")
                left -= 1
            if left <= 0:
                break
        return limit - left

    def has_faded(self, key: bytes, now_s: float) -> bool:
        """Return whether it was never published and nothing of it is remembered: as good as unknown."""
        known = self._known[key]
        is_unseen = known.seen_at_s < now_s - self._config.remember_s
        return is_unseen and not known.issue.published and not len(self._members[key])

    def forget_old(self, key: bytes, now_s: float, *, limit: int | None = None) -> int:
        """Forget the findings of an issue past `remember_s`; return how many."""
        cutoff_s = now_s - self._config.remember_s
        forgotten = 0
        while limit is None or forgotten < limit:
            oldest = self._members[key].oldest()
            if oldest is None or oldest[1] >= cutoff_s:
                break
            self.remove(oldest[0])
            forgotten += 1
        return forgotten

    def keep_within_bounds(self, key: bytes) -> None:
        """Forget the oldest findings where an issue, or all of them together, have too many."""
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
                self.remove(oldest[0])
        self.put(key, msgspec.structs.replace(self._known[key], is_approximate=True))
        self._telemetry.count("clearwatch.dropped", count, reason="issue_finding_forgotten")

    def _evict_one(self) -> bool:
        """Drop the unpublished issue unseen for longest, if there is one."""
        unpublished = [(known.seen_at_s, key) for key, known in self._known.items() if not known.issue.published]
        if not unpublished:
            return False
        self.drop(min(unpublished)[1])
        self._telemetry.count("clearwatch.dropped", reason="unpublished_issue_evicted")
        return True

    def _unlist(self, member_key: bytes) -> None:
        del self._issue_of[member_key]
        self._changes[_MEMBER + member_key] = None


def _alias(routing_key: str, fingerprint: str) -> bytes:
    return hash16(f"{routing_key}\0{fingerprint}")
