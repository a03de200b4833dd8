"""Pauses that a stop cuts short."""

import asyncio
import contextlib


async def stopped_within(seconds: float, stop: asyncio.Event) -> bool:
    """Wait, at most until `stop` is set; return whether it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
