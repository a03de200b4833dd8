"""Which assessments of people were reported, and in which state: bounded, kept in the store of the issues."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from core.log.port import StateChange

_PREFIX: Final = b"f/"
_MOST: Final = 20_000


class SeenFeedback:
    """Assessments of one partition by id, with the time of their last change as MLflow writes it."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._found: OrderedDict[str, str] = OrderedDict()

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take committed state; other keys are ignored."""
        found = [(key[2:].decode(), value.decode()) for key, value in entries if key[:2] == _PREFIX]
        self._found.update(sorted(found, key=lambda item: item[1]))

    def knows(self, assessment_id: str, changed_at: str) -> bool:
        """Return whether it was reported in this state."""
        return self._found.get(assessment_id) == changed_at

    def add(self, assessment_id: str, changed_at: str) -> list[StateChange]:
        """Remember it, and forget what was reported longest ago; return the changes to commit."""
        self._found[assessment_id] = changed_at
        self._found.move_to_end(assessment_id)
        changes = [StateChange(key=_PREFIX + assessment_id.encode(), value=changed_at.encode())]
        if len(self._found) > self._most:
            gone, _ = self._found.popitem(last=False)
            changes.append(StateChange(key=_PREFIX + gone.encode(), value=None))
        return changes
