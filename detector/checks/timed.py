"""A check of a third party, watched: how long it takes, and whether what it found can be written.

One that takes long holds up all that are asked after it; a finding that cannot be written would cost its whole trace.
"""

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from core.model.finding import Dimension, Finding
from core.telemetry import Telemetry
from detector.checks.port import Answer, answered

_written: Final = msgspec.msgpack.encode
_read: Final = msgspec.msgpack.Decoder(Finding).decode

AskedT = TypeVar("AskedT", contravariant=True)


class Asked(Protocol[AskedT]):
    """What checks of traces and of sessions have in common."""

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def dimension(self) -> Dimension:
        """Return the dimension of its findings."""
        ...

    def inspect(self, asked: AskedT, /) -> Answer:
        """Answer for one trace or session."""
        ...


class TimedCheck(Generic[AskedT]):
    """Asks a check and counts the time it took, in `clearwatch.check.seconds`, also where it raises."""

    def __init__(self, check: Asked[AskedT], telemetry: Telemetry, timer: Callable[[], float]) -> None:
        self.name = check.name
        self.dimension = check.dimension
        self._inspect = check.inspect
        self._telemetry = telemetry
        self._timer = timer

    def inspect(self, asked: AskedT, /) -> Answer:
        """Return the answer of the check. Raises what it raises, TypeError or ValueError for findings that are none."""
        started_s = self._timer()
        try:
            answer = self._inspect(asked)
            for found in answered(answer).findings:
                _read(_written(found))
            return answer
        finally:
            self._telemetry.count("clearwatch.check.seconds", self._timer() - started_s, check=self.name)
