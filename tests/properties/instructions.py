"""Counts instructions of Python: what some work costs, the same on every machine and under any load, unlike time."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def instructions_of(work: Callable[[], object]) -> int:
    """Return how many instructions of Python some work takes; what C code does in one of them is not seen."""
    count = 0

    def each(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return each

    before = sys.gettrace()
    sys.settrace(each)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
