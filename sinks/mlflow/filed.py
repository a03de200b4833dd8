"""What the sink knows of issues in the partitions that it owns: bounded, and committed with the effects it belongs to.

An issue with its links takes some 15 KB. Of those changed longest ago only what is needed to recognise them is kept
(1 KB, *slim*: no links, the description as a digest); of ten times as many, nothing: such an issue is found again by
its marker in MLflow before anything is created.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence, Set
from typing import Final

import msgspec

from core.log.port import StateChange
from core.model.finding import Dimension
from core.telemetry import Telemetry
from sinks.mlflow.state import ISSUE_PREFIX, FiledIssue, digest_of, is_due

# slim ones are a tenth of the size
_SLIM_FOR_EACH: Final = 10
# at 100 bytes each; an issue has some 80 at most
_MOST_FEEDBACK: Final = 100_000


class FiledIssues:
    """Issues by their id. Lives on one event loop."""

    def __init__(self, *, max_issues: int, telemetry: Telemetry) -> None:
        self._max_issues = max_issues
        self._telemetry = telemetry
        self._found: dict[str, FiledIssue] = {}
        self._partition_of: dict[str, int] = {}
        # least recently kept first
        self._whole: dict[int, OrderedDict[str, None]] = {}
        self._slim: dict[int, OrderedDict[str, None]] = {}
        self._feedback: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.changed: set[str] = set()
        """Issues that may have to be written; `IssueUpdates` takes them out again."""

    def __iter__(self) -> Iterator[FiledIssue]:
        return iter(list(self._found.values()))

    def __len__(self) -> int:
        return len(self._found)

    def get(self, issue_id: str) -> FiledIssue | None:
        """Return what is known of an issue, or None."""
        return self._found.get(issue_id)

    def partition_of(self, issue_id: str) -> int | None:
        """Return the partition that the issue's events come from; None where it is not known or was given away."""
        return self._partition_of.get(issue_id)

    @property
    def partitions(self) -> Set[int]:
        """Return the partitions owned."""
        return self._whole.keys()

    def restore(self, partition: int, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take a partition's issues out of its stored state; other keys are ignored."""
        self._whole[partition], self._slim[partition] = OrderedDict(), OrderedDict()
        found = [msgspec.msgpack.decode(value, type=FiledIssue) for key, value in entries if key[:2] == ISSUE_PREFIX]
        for filed in sorted(found, key=lambda f: f.issue.last_seen_ns):
            self._put(partition, filed)
            for linked in filed.links:
                if linked.is_written:
                    self.add_feedback(linked.trace_id, linked.category)

    def forget(self, partitions: Sequence[int]) -> None:
        """Drop partitions that another member takes over."""
        for partition in partitions:
            for issue_id in (*self._whole.pop(partition, ()), *self._slim.pop(partition, ())):
                self._remove(issue_id)

    def keep(self, partition: int, filed: FiledIssue) -> StateChange:
        """Keep what is known of an issue and return the change to commit, before anything else is awaited."""
        self._put(partition, filed)
        return _change(filed)

    def has_feedback(self, trace_id: str, category: Dimension) -> bool:
        """Return whether our feedback on this dimension of a trace was written, as far as memory reaches."""
        return (trace_id, str(category)) in self._feedback

    def add_feedback(self, trace_id: str, category: Dimension) -> None:
        """Take note that it was written."""
        self._feedback[trace_id, str(category)] = None
        if len(self._feedback) > _MOST_FEEDBACK:
            self._feedback.popitem(last=False)

    def drop_feedback(self, trace_id: str, category: Dimension) -> None:
        """Take note that we took it back."""
        self._feedback.pop((trace_id, str(category)), None)

    def trim(self, partition: int, *, busy: Set[str]) -> tuple[StateChange, ...]:
        """Return the changes that keep a partition within its bounds; issues that are `busy` are left alone."""
        changes: list[StateChange] = []
        whole, slim = self._whole[partition], self._slim[partition]
        for issue_id in _first(whole, len(whole) - self._max_issues):
            filed = self._found[issue_id]
            if filed.mlflow_issue_id and issue_id not in busy and not is_due(filed):
                changes.append(self.keep(partition, slimmed(filed)))
                self._telemetry.count("clearwatch.dropped", reason="mlflow_issue_links_forgotten")
        for issue_id in _first(slim, len(slim) - self._max_issues * _SLIM_FOR_EACH):
            if issue_id not in busy:
                del slim[issue_id]
                self._remove(issue_id)
                changes.append(StateChange(key=ISSUE_PREFIX + issue_id.encode(), value=None))
                self._telemetry.count("clearwatch.dropped", reason="mlflow_issue_forgotten")
        return tuple(changes)

    def is_over(self, partition: int) -> bool:
        """Return whether `trim` has something to do."""
        whole, slim = self._whole[partition], self._slim[partition]
        return len(whole) > self._max_issues or len(slim) > self._max_issues * _SLIM_FOR_EACH

    def _put(self, partition: int, filed: FiledIssue) -> None:
        issue_id = filed.issue.issue_id
        self._found[issue_id] = filed
        self._partition_of[issue_id] = partition
        here, there = self._whole[partition], self._slim[partition]
        if filed.is_slim:
            here, there = there, here
        there.pop(issue_id, None)
        here[issue_id] = None
        here.move_to_end(issue_id)
        self.changed.add(issue_id)

    def _remove(self, issue_id: str) -> None:
        self.changed.discard(issue_id)
        del self._found[issue_id], self._partition_of[issue_id]


def slimmed(filed: FiledIssue) -> FiledIssue:
    """Return what recognises the issue and what people did to it."""
    written = filed.written
    return msgspec.structs.replace(
        filed,
        issue=msgspec.structs.replace(filed.issue, description=""),
        written=written and msgspec.structs.replace(written, description=digest_of(written.description)),
        writing=None,
        links=(),
        latest_from=0,
        is_slim=True,
    )


def _first(found: OrderedDict[str, None], count: int) -> list[str]:
    return [issue_id for issue_id, _ in zip(found, range(max(0, count)), strict=False)]


def _change(filed: FiledIssue) -> StateChange:
    return StateChange(key=ISSUE_PREFIX + filed.issue.issue_id.encode(), value=msgspec.msgpack.encode(filed))
