"""How long a refused client should wait while the log is away: the longer, the longer that lasts.

Exporters try a handful of times (the SDK for Python six) and then drop the batch, so a constant delay of two seconds
would lose what they hold within a quarter of a minute. With these, six attempts last for more than two minutes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from core.clock import Clock
from core.errors import LogUnavailableError

# how long after the log is back the last client may come back
_LONGEST_S: Final = 30.0


class Outage:
    """Knows since when the log refuses. One event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run an append; a LogUnavailableError of it asks for as long a pause as the outage has lasted, or longer."""
        began_s = self._clock.monotonic_s()
        try:
            yield
        except LogUnavailableError as exc:
            if self._since_s is None:
                self._since_s = began_s
            lasted_s = self._clock.monotonic_s() - self._since_s
            exc.retry_after_s = max(exc.retry_after_s, min(_LONGEST_S, lasted_s))
            raise
        self._since_s = None
