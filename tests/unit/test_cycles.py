"""The collector of cycles runs more rarely, and still runs."""

import gc
import weakref

from core.cycles import YOUNG_OBJECTS, tune_cycles


class _Node:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_in_cycles_is_still_freed_without_being_asked_for() -> None:
    before = gc.get_threshold()
    try:
        tune_cycles()
        first = weakref.ref(_Node())
        made = [_Node() for _ in range(YOUNG_OBJECTS + 1)]
        assert made
        assert first() is None
    finally:
        gc.set_threshold(*before)
