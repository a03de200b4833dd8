"""Calls in threads: their outcome, and where one is that does not return."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from core.threads import in_thread, unreturned


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def test_what_a_call_returns_or_raises_comes_through(caplog: pytest.LogCaptureFixture) -> None:
    assert await in_thread(lambda: 7, what="it") == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, what="it")
    assert caplog.records == []


async def test_where_a_call_is_that_does_not_return_is_told_until_it_does(caplog: pytest.LogCaptureFixture) -> None:
    may_return = threading.Event()

    def never_ready_check() -> str:
        may_return.wait()
        return "done"

    calling = asyncio.create_task(in_thread(never_ready_check, what="stage assemble", told_every_s=0.05))
    await until(lambda: len(caplog.records) >= 2)
    may_return.set()
    assert await calling == "done"
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "stage assemble has not returned" in told[0]
    assert "never_ready_check" in told[0]
    assert "may_return.wait()" in told[0]
    assert unreturned() == []
    caplog.clear()
    await asyncio.sleep(0.15)
    assert caplog.records == []


async def test_a_call_that_nobody_waits_for_any_more_is_still_known() -> None:
    may_return = threading.Event()
    calling = asyncio.create_task(in_thread(may_return.wait, what="stage assemble"))
    try:
        await until(lambda: bool(unreturned()))
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert unreturned() == ["stage assemble"]
    finally:
        may_return.set()
