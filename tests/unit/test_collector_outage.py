"""Delays for refused clients."""

import pytest

from collector.outage import Outage
from core.clock import ManualClock
from core.errors import LogUnavailableError


def append(outage: Outage, clock: ManualClock, after_s: float) -> None:
    with outage.watched():
        clock.advance(after_s)
        raise LogUnavailableError("away", retry_after_s=2.0)


def refused(outage: Outage, clock: ManualClock, *, after_s: float) -> float:
    with pytest.raises(LogUnavailableError) as caught:
        append(outage, clock, after_s)
    return caught.value.retry_after_s


def test_six_attempts_of_an_exporter_outlast_two_minutes_without_the_log() -> None:
    clock = ManualClock()
    outage = Outage(clock)
    began_s = clock.monotonic_s()
    clock.advance(refused(outage, clock, after_s=10.0))
    for _ in range(4):
        clock.advance(refused(outage, clock, after_s=0.0))
    assert clock.monotonic_s() - began_s > 120


def test_a_short_refusal_asks_for_the_pause_of_the_log_and_an_append_ends_the_outage() -> None:
    clock = ManualClock()
    outage = Outage(clock)
    assert refused(outage, clock, after_s=0.0) == 2.0
    clock.advance(3600.0)
    assert refused(outage, clock, after_s=0.0) == 30.0
    with outage.watched():
        pass
    assert refused(outage, clock, after_s=0.0) == 2.0
