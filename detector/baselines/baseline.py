"""The usual duration of one kind of call: a rolling quantile over the last durations, in logarithms.

Logarithms because durations have heavy tails (on raw ones drift detectors fire by themselves); a quantile is the same
in both. **What is learned**: every duration that did not fail, slow ones capped at `factor` times the quantile before
them. So one spike of a minute moves nothing, while a lasting shift raises the limit by `factor` each time that a
hundredth of the window is slow: a shift is reported a few times, then it is the new usual.

The window is kept as float32, and what is learned is rounded to it first: feeding a stored window gives exactly the
quantile of the one that was stored.
"""

import array
import math
from collections import deque
from typing import Final

from river.stats import RollingQuantile

# shorter than any clock of a client resolves; a logarithm needs more than 0
_SHORTEST_MS: Final = 1e-3


class Baseline:
    """Durations of one key."""

    def __init__(self, *, quantile: float, window: int, learned: bytes = b"") -> None:
        self._window: deque[float] = deque(maxlen=window)
        self._quantile = RollingQuantile(quantile, window)
        stored = array.array("f")
        stored.frombytes(learned)
        for value in stored:
            self._take(value)

    def __len__(self) -> int:
        return len(self._window)

    @property
    def usual_ms(self) -> float:
        """Return the quantile of the window, in milliseconds; 0 while it is empty."""
        value = self._quantile.get()
        return math.exp(value) if value is not None else 0.0

    def learn(self, duration_ms: float) -> None:
        """Take a duration into the window."""
        self._take(array.array("f", [math.log(max(duration_ms, _SHORTEST_MS))])[0])

    def learned(self) -> bytes:
        """Return the window, oldest first, as float32 logarithms."""
        return array.array("f", self._window).tobytes()

    def _take(self, value: float) -> None:
        self._window.append(value)
        self._quantile.update(value)
