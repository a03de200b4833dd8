"""A check of a third party with a watch on it: one that takes long holds up all that are asked after it."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from core.model.finding import Dimension
from core.telemetry import Telemetry
from detector.checks.port import Answer

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
        """Return the answer of the check. Raises what it raises."""
        started_s = self._timer()
        try:
            return self._inspect(asked)
        finally:
            self._telemetry.count("clearwatch.check.seconds", self._timer() - started_s, check=self.name)
