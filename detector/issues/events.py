"""The issue events of one step: changes of one kind in a row are told together.

**Sequence.** Each change of an issue (a finding, a withdrawal, a person's word) has the next number; an event carries
the number of the last change in it. SEEN and CORRECTED hold all changes of one kind in a row; every other holds exactly
one change, so a step that is repeated after a crash writes them again under the same ids, however its records are
batched. The first event under an id covers every change since the committed state, so
whoever has taken it may ignore a second one.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueLink, event_id_of
from core.telemetry import Telemetry
from detector.issues.describe import description_of
from detector.issues.known import Known

# events whose changes may be told together
_RUNS: Final = frozenset({IssueEventKind.SEEN, IssueEventKind.CORRECTED})


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


class Events:
    """Events in hand, in the order of their first change."""

    def __init__(self, *, max_links: int, telemetry: Telemetry) -> None:
        self._max_links = max_links
        self._telemetry = telemetry
        self._events: list[_Event] = []
        self._open: dict[bytes, _Event] = {}

    def note(
        self,
        key: bytes,
        issue: Issue,
        kind: IssueEventKind,
        at_s: float,
        *,
        muted: bool,
        links: tuple[IssueLink, ...] = (),
        withdrawn: str = "",
        reason: str = "",
    ) -> None:
        """Add a change to the event in hand where kind and mute are the same and it has room, else begin one.

        `issue` is as the change left it.
        """
        event = self._open.get(key)
        if event is None or kind not in _RUNS or (event.kind, event.muted) != (kind, muted) or self._is_full(event):
            event = _Event(kind=kind, key=key, issue=issue, at_s=at_s, muted=muted, reason=reason)
            self._events.append(event)
            self._open[key] = event
        event.issue = issue
        event.at_s = at_s
        event.links.extend(links)
        if withdrawn:
            event.withdrawn.append(withdrawn)

    def take(self, known: Mapping[bytes, Known]) -> tuple[IssueEvent, ...]:
        """Return the events since the last call, described by what is known now."""
        events = tuple(self._written(event, known[event.key]) for event in self._events)
        self._events.clear()
        self._open.clear()
        return events

    def _is_full(self, event: _Event) -> bool:
        return len(event.links) + len(event.withdrawn) >= self._max_links

    def _written(self, event: _Event, known: Known) -> IssueEvent:
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
