"""Stands between the sink and MLflow and breaks at one call of the test's choosing, before or after it took effect."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx


class LosingProxy:
    """Passes requests on until the `number`th that matches `pattern`; from that one on, nobody gets an answer.

    `takes_effect` says whether that one still reaches MLflow.
    """

    def __init__(self, target: str, *, pattern: str, number: int = 1, takes_effect: bool) -> None:
        self._target = target
        self._pattern = re.compile(pattern)
        self._left = number
        self._takes_effect = takes_effect
        self.is_failing = False
        """While true, every request is answered 500 and reaches nobody."""
        self.refused = ""
        """Requests that match this (METHOD /path) are answered 400 and reach nobody."""
        self.failed = 0
        self.lost = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LosingProxy"]:
        """Listen on a free port while the block runs."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as self._http:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                server.close()
                await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sink was cancelled in the middle of a call: that is what this is for
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if self.lost.is_set():
            return
        if self.is_failing:
            self.failed += 1
            writer.write(b"HTTP/1.1 500 Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            return
        if self.refused and re.fullmatch(self.refused, f"{method} {path.partition('?')[0]}") and body:
            writer.write(b"HTTP/1.1 400 Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            return
        # the empty request that only warms the workers up is not worth breaking
        is_match = bool(self._pattern.fullmatch(f"{method} {path.partition('?')[0]}")) and bool(body or method == "GET")
        self._left -= is_match
        is_last = is_match and self._left == 0
        if is_last and not self._takes_effect:
            self.lost.set()
            return
        passed = {
            k: v for k, v in headers.items() if k not in {"host", "connection", "content-length", "accept-encoding"}
        }
        reply = await self._http.request(method, self._target + path, headers=passed, content=body)
        if is_last:
            self.lost.set()
            return
        status = f"HTTP/1.1 {reply.status_code} {reply.reason_phrase}\r\n"
        kind = f"content-type: {reply.headers.get('content-type', 'text/plain')}\r\n"
        size = f"content-length: {len(reply.content)}\r\nconnection: close\r\n\r\n"
        writer.write((status + kind + size).encode() + reply.content)
        await writer.drain()
