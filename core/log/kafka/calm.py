"""A filter for loggers that say the same thing many times a second."""

import logging
import time

_MOST_KINDS = 1_000


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
