"""Calls in threads, watched: nobody can end one that does not return, but whoever runs it can be told where it is."""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

_LINES: Final = 12

logger = logging.getLogger(__name__)

T = TypeVar("T")

_in_threads: Final[set["_Watch"]] = set()


async def in_thread(call: Callable[[], T], *, what: str, told_every_s: float = 60.0) -> T:
    """Return what `call` returns, run in a thread, or raise what it raises; where it takes long, log its stack."""
    watch = _Watch(what, told_every_s)

    def noted() -> T:
        watch.thread = threading.get_ident()
        _in_threads.add(watch)
        try:
            return call()
        finally:
            _in_threads.discard(watch)

    try:
        return await asyncio.to_thread(noted)
    finally:
        watch.end()


def unreturned() -> Sequence[str]:
    """Return what is still running in threads, also where nobody waits for it: no process ends before they do."""
    return sorted(watch.what for watch in tuple(_in_threads))


class _Watch:
    """Tells where a thread is, again and again until it ends."""

    def __init__(self, what: str, every_s: float) -> None:
        self.thread: int | None = None
        self.what = what
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._timer = self._loop.call_later(every_s, self._tell)

    def end(self) -> None:
        self._timer.cancel()

    def _tell(self) -> None:
        self._timer = self._loop.call_later(self._every_s, self._tell)
        took_s = self._loop.time() - self._began_s
        frame = sys._current_frames().get(self.thread or 0)  # noqa: SLF001 - documented, for debuggers
        # what called it is ours, and always the same
        stack = "".join(traceback.format_stack(frame)[-_LINES:]) if frame is not None else "no thread is free for it"
        logger.warning("%s has not returned for %.0f s: %s", self.what, took_s, stack)
