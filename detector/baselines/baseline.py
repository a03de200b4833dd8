"""What is usual for one key and measure: quantiles of a rolling window, and whether their level has shifted.

All in logarithms, because durations, tokens and costs have heavy tails (on raw ones drift detectors fire by
themselves); a quantile is the same in both. **What is learned** is every value, the high ones capped by the caller: one
spike of a minute moves nothing.

**Exactly restored.** The window is kept as float32, and what is learned is rounded to that first; ADWIN has been fed
the last `fed` values of it and nothing else, because it is begun anew, from the last half, each time that it has seen
as many as the window holds. So feeding a stored window gives exactly the state of the one that was stored.
"""

import array
import math
from collections import deque
from typing import Final

import msgspec
from river.stats import RollingQuantile

from detector.baselines.drift import ADWIN

# less than any client resolves (a microsecond, a thousandth of a token); a logarithm needs more than 0
_LEAST: Final = 1e-3
# values after a shift that tell its new level: their mean is within a tenth at a spread of half
_SETTLED: Final = 30


class Drift(msgspec.Struct, frozen=True, gc=False):
    """A shift of the level: geometric means before and since."""

    before: float
    after: float


class Baseline:
    """Values of one key."""

    def __init__(
        self,
        *,
        quantile: float,
        shift_quantile: float,
        window: int,
        drift_delta: float,
        learned: bytes = b"",
        fed: int = 0,
        held: bytes = b"",
    ) -> None:
        self._window: deque[float] = deque(maxlen=window)
        self._quantile = RollingQuantile(quantile, window)
        self._shift_quantile = RollingQuantile(shift_quantile, window)
        self._drift_delta = drift_delta
        self._adwin = ADWIN(delta=drift_delta)
        self._fed = 0
        self._before: float | None = None
        self._settled = min(_SETTLED, window // 4)
        self._held: deque[float] = deque(_floats(held), maxlen=window)
        stored = _floats(learned)
        for value in stored:
            self._remember(value)
        for value in stored[len(stored) - fed :] if fed else ():
            self._feed(value)

    def __len__(self) -> int:
        return len(self._window)

    @property
    def usual(self) -> float:
        """Return the quantile that single values are compared with; 0 while nothing is learned."""
        value = self._quantile.get()
        return math.exp(value) if value is not None else 0.0

    @property
    def limit(self) -> float:
        """Return the quantile that a run of values is compared with; 0 while nothing is learned."""
        value = self._shift_quantile.get()
        return math.exp(value) if value is not None else 0.0

    @property
    def median(self) -> float:
        """Return the median: worked out each time, for figures that people read."""
        ordered = sorted(self._window)
        return math.exp(ordered[len(ordered) // 2]) if ordered else 0.0

    def learn(self, value: float) -> Drift | None:
        """Take a value into the window; return the shift that it completes."""
        logged = _logged(value)
        self._remember(logged)
        found = self._feed(logged)
        window = self._window.maxlen or 0
        # a shift that waits for its after goes on, as long as what ADWIN has seen fits in the window
        if self._fed >= window or (self._before is None and self._fed >= window - self._settled):
            self._begin_anew()
        return found

    def hold(self, value: float) -> None:
        """Keep a value of a run or an episode aside, until it is known what it was."""
        self._held.append(_logged(value))

    def settle(self, factor: float) -> None:
        """Learn what was held, each value at most `factor` times the usual one: it was no episode."""
        if not self._held:
            return
        held = tuple(self._held)
        self._held.clear()
        for value in held:
            self.learn(min(math.exp(value), factor * self.usual) if self._window else math.exp(value))

    def release(self, *, learn: bool) -> None:
        """End an episode: what was held is from now on what is usual, or nothing."""
        held = tuple(self._held)
        self._held.clear()
        if learn and held:
            for value in (held * (1 + (self._window.maxlen or 0) // len(held)))[: self._window.maxlen]:
                self._remember(value)
            self._begin_anew()

    def learned(self) -> tuple[bytes, int, bytes]:
        """Return the window, oldest first, as float32 logarithms, how many of it ADWIN has seen, and what is held."""
        return array.array("f", self._window).tobytes(), self._fed, array.array("f", self._held).tobytes()

    def _remember(self, value: float) -> None:
        self._window.append(value)
        self._quantile.update(value)
        self._shift_quantile.update(value)

    def _feed(self, logged: float) -> Drift | None:
        adwin = self._adwin
        total, width = adwin.total + logged, adwin.width + 1
        adwin.update(logged)
        self._fed += 1
        if adwin.drift_detected and width > adwin.width:
            # ADWIN has dropped what was before, so that is the difference; with the next value it begins anew, and
            # what it has by then is what came after
            self._before = (total - adwin.total) / (width - adwin.width)
        elif self._before is not None and adwin.width >= self._settled:
            found = Drift(math.exp(self._before), math.exp(adwin.estimation))
            self._before = None
            return found
        return None

    def _begin_anew(self) -> None:
        self._adwin = ADWIN(delta=self._drift_delta)
        self._before = None
        self._fed = 0
        window = tuple(self._window)
        for value in window[max(0, len(window) - (self._window.maxlen or 0) // 2) :]:
            self._feed(value)


def _logged(value: float) -> float:
    return array.array("f", [math.log(max(value, _LEAST))])[0]


def _floats(stored: bytes) -> list[float]:
    values = array.array("f")
    values.frombytes(stored)
    return values.tolist()
