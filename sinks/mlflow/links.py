"""Which of an issue's traces get a link: MLflow's issue page slows down with every one (2.7 s at 100,000)."""

from typing import Final

import msgspec

from core.model.issue import IssueEvent, IssueLink
from sinks.mlflow.state import FiledIssue, Linked, Unlink

# each sampled link stands for 1.25 times as many traces as the one before: 10,000 traces make some 24 more links
_GROWTH: Final = 1.25
# the latest few are exchanged at most this often: an exchange costs four calls
_LATEST: Final = 5
_ROTATE_S: Final = 60.0
_FINDINGS_OF_ONE_TRACE: Final = 8
# of a rationale, for the day when the run has to be made again
_KEPT_CHARS: Final = 160


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The issue after an event's links were looked at, and what is to be done in MLflow."""

    filed: FiledIssue
    links: tuple[IssueLink, ...] = ()
    unlinks: tuple[Unlink, ...] = ()
    capped: int = 0
    without_trace: int = 0


def is_sampled(ordinal: int, first: int) -> bool:
    """Return whether the trace with this number (from 1) is linked for good: the first ones, then ever fewer."""
    if ordinal <= first:
        return True
    step = float(first)
    while int(step) < ordinal:
        step = max(step * _GROWTH, step + 1)
    return int(step) == ordinal


def choose(filed: FiledIssue, event: IssueEvent, *, first: int) -> Choice:
    """Apply an event's links and withdrawals."""
    issue_id = filed.issue.issue_id
    kept = {linked.trace_id: linked for linked in filed.links}
    latest = [linked.trace_id for linked in filed.links[filed.latest_from :]]
    ordinal, rotated_at_s = filed.link_count, filed.rotated_at_s
    links: list[IssueLink] = []
    unlinks: list[Unlink] = []
    capped = without_trace = 0
    for link in event.links:
        if not link.trace_id:
            without_trace += 1
        elif link.trace_id in kept:
            known = kept[link.trace_id]
            if link.finding_id not in known.findings:
                findings = (*known.findings, link.finding_id)[-_FINDINGS_OF_ONE_TRACE:]
                kept[link.trace_id] = msgspec.structs.replace(known, findings=findings)
        else:
            ordinal += 1
            is_for_good = is_sampled(ordinal, first)
            if not is_for_good and event.at_s - rotated_at_s < _ROTATE_S and len(latest) >= _LATEST:
                capped += 1
                continue
            kept[link.trace_id] = Linked(
                trace_id=link.trace_id, category=link.category, findings=(link.finding_id,), link=_short(link)
            )
            links.append(link)
            if not is_for_good:
                rotated_at_s = event.at_s
                latest.append(link.trace_id)
                if len(latest) > _LATEST:
                    gone = kept.pop(latest.pop(0))
                    unlinks.append(Unlink(issue_id=issue_id, trace_id=gone.trace_id, category=gone.category))
    withdrawn = set(event.withdrawn)
    for linked in list(kept.values()) if withdrawn else ():
        left = tuple(finding for finding in linked.findings if finding not in withdrawn)
        if left == linked.findings:
            continue
        kept[linked.trace_id] = msgspec.structs.replace(linked, findings=left)
        if not left:
            del kept[linked.trace_id]
            latest = [trace_id for trace_id in latest if trace_id != linked.trace_id]
            unlinks.append(Unlink(issue_id=issue_id, trace_id=linked.trace_id, category=linked.category))
    for_good = [linked for linked in kept.values() if linked.trace_id not in latest]
    after = msgspec.structs.replace(
        filed,
        links=(*for_good, *(kept[trace_id] for trace_id in latest)),
        latest_from=len(for_good),
        link_count=ordinal,
        rotated_at_s=rotated_at_s,
    )
    return Choice(filed=after, links=tuple(links), unlinks=tuple(unlinks), capped=capped, without_trace=without_trace)


def _short(link: IssueLink) -> IssueLink:
    """Return the link as it is kept in the state of its issue."""
    return msgspec.structs.replace(link, rationale=link.rationale[:_KEPT_CHARS])
