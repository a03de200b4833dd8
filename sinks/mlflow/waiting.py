"""Pauses that a stop cuts short."""

import asyncio


async def every(seconds: float, stop: asyncio.Event) -> bool:
    """Wait; return False as soon as `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return True
    return False
