"""Filters for loggers that say the same thing many times a second, or what nobody waits for any more."""

import logging
import time

_MOST_KINDS = 1_000
_COMMIT = "GroupCoordinator._do_commit_offsets()"


class Calm(logging.Filter):
    """Lets a message of one place in the code pass once in `every_s`, with how often it was said in between."""

    def __init__(self, *, every_s: float) -> None:
        super().__init__()
        self._every_s = every_s
        self._said: dict[tuple[str, int], tuple[float, int]] = {}

    def attach(self, name: str) -> None:
        """Filter what is logged under this name and, since filters are not inherited, under each that it leads."""
        names = [known for known in logging.root.manager.loggerDict if known == name or known.startswith(f"{name}.")]
        for each in names:
            logging.getLogger(each).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether it is time to say this again."""
        place = (record.pathname, record.lineno)
        now_s = time.monotonic()
        said_s, unsaid = self._said.get(place, (float("-inf"), 0))
        if now_s - said_s < self._every_s:
            self._said[place] = (said_s, unsaid + 1)
            return False
        if len(self._said) >= _MOST_KINDS:
            self._said.clear()
        self._said[place] = (now_s, 0)
        if unsaid:
            record.msg, record.args = f"{record.getMessage()} (and {unsaid} more like it)", ()
        return True


class GivenUp(logging.Filter):
    """Keeps from the log what became of a commit that nobody waits for any more.

    aiokafka shields the request of a commit; where the commit is cancelled, `asyncio.shield` of Python 3.11 lets go of
    the request, and a refusal that the broker sends later is logged by the event loop as an error of a lost task. Who
    cancelled has told already that nothing was committed.
    """

    def __init__(self, *, errors: type[Exception]) -> None:
        super().__init__()
        self._errors = errors

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is about anything else."""
        if record.exc_info is None or not isinstance(record.exc_info[1], self._errors):
            return True
        return _COMMIT not in record.getMessage()
