"""Time as a dependency: services take a `Clock`, deciding code takes `now_s`."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for deadlines; both in seconds."""

    def now_s(self) -> float:
        """Return wall time, seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return monotonic time, seconds since an arbitrary origin."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_s(self) -> float:
        """Return wall time, seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return monotonic time, seconds since an arbitrary origin."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to; ships with the package so that every test uses the same one."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        """Return the wall time that was set."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._now_s += seconds
        self._monotonic_s += seconds
