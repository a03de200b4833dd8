"""What happened in the last minutes: counts, sums and durations in slices of log time.

A window has twelve slices, so what falls out of it does so within a twelfth of its length. Durations are counted in
classes whose bounds differ by 2 %, so a quantile is right within 1 %; they can be added up, and stored.
"""

import math
from collections import deque
from typing import Final

import msgspec

from core.model.measurement import Measurement
from detector.rules.limits import QUANTILES, Metric

SLICES: Final = 12

_WIDTH: Final = math.log(1.02)
# a microsecond: no client measures less, and a logarithm needs more than 0
_SHORTEST_MS: Final = 1e-3


class Slice(msgspec.Struct, array_like=True):
    """A twelfth of a window."""

    number: int
    """Its start, in lengths of a slice."""
    calls: int = 0
    failed: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    durations: dict[int, int] = {}
    """Class -> how many; kept where a quantile is asked for."""


class Window:
    """The slices of one key. Not thread-safe."""

    def __init__(self, metric: Metric, length_s: float, slices: list[Slice] | None = None) -> None:
        self._metric = metric
        self._slice_s = length_s / SLICES
        self._quantile = QUANTILES.get(metric)
        self.slices: deque[Slice] = deque(slices or ())

    def add(self, measurement: Measurement, now_s: float, *, failed: bool) -> None:
        """Count a measurement at its log time; `failed` where it counts as a failure."""
        number = int(now_s // self._slice_s)
        current = self.slices[-1] if self.slices else None
        if current is None or current.number < number:
            current = Slice(number=number)
            self.slices.append(current)
        current.calls += 1
        current.failed += failed
        current.tokens += measurement.input_tokens + measurement.output_tokens
        current.cost_usd += measurement.cost_usd or 0.0
        if self._quantile is not None and not measurement.failed:
            place = math.floor(math.log(max(measurement.duration_ms, _SHORTEST_MS)) / _WIDTH)
            current.durations[place] = current.durations.get(place, 0) + 1

    def forget(self, now_s: float) -> None:
        """Let go of what is older than the window."""
        oldest = int(now_s // self._slice_s) - SLICES + 1
        while self.slices and self.slices[0].number < oldest:
            self.slices.popleft()

    @property
    def calls(self) -> int:
        """Return how many there are in it that the metric is made of."""
        if self._quantile is None:
            return sum(each.calls for each in self.slices)
        return sum(each.calls - each.failed for each in self.slices)

    def value(self) -> float:
        """Return the metric over the window; 0 while it is empty."""
        match self._metric:
            case Metric.ERROR_RATE:
                calls = sum(each.calls for each in self.slices)
                return sum(each.failed for each in self.slices) / calls if calls else 0.0
            case Metric.ERRORS:
                return sum(each.failed for each in self.slices)
            case Metric.CALLS:
                return sum(each.calls for each in self.slices)
            case Metric.TOKENS:
                return sum(each.tokens for each in self.slices)
            case Metric.COST_USD:
                return math.fsum(each.cost_usd for each in self.slices)
            case _:
                return self._duration_ms()

    def _duration_ms(self) -> float:
        counts: dict[int, int] = {}
        for each in self.slices:
            for place, times in each.durations.items():
                counts[place] = counts.get(place, 0) + times
        # the smallest duration that so large a share does not exceed
        left = (self._quantile or 0.0) * sum(counts.values())
        for place in sorted(counts):
            left -= counts[place]
            if left <= 0:
                return math.exp((place + 0.5) * _WIDTH)
        return 0.0
