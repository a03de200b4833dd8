"""Accepts HTTP connections on a bound socket, looks after their timeouts, and ends them in good order."""

import asyncio
import email.utils
import logging
import socket
from typing import Final

from collector.http_connection import Connection
from collector.http_messages import HttpService, HttpTimeouts

logger = logging.getLogger(__name__)

# connections that wait to be accepted
BACKLOG: Final = 2048


class HttpServer:
    """Serves a bound socket. Constructed outside of the loop, used in one."""

    def __init__(self, service: HttpService, timeouts: HttpTimeouts | None = None) -> None:
        self.service = service
        self.timeouts = timeouts or HttpTimeouts()
        self.loop: asyncio.AbstractEventLoop
        self.connections: set[Connection] = set()
        self.date = b""
        self.is_stopping = False
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()

    async def start(self, listening: socket.socket) -> None:
        """Serve from now on; the socket is the server's, closed by `stop`."""
        self.loop = asyncio.get_running_loop()
        self._tick()
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG)

    async def stop(self, grace_s: float) -> None:
        """Take no connection, answer what has begun within `grace_s` seconds, cut off the rest. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        self.is_stopping = True
        server.close()
        for connection in list(self.connections):
            connection.shut_down()
        try:
            async with asyncio.timeout(grace_s):
                await self._wait_until_gone()
        except TimeoutError:
            logger.warning("cut off %d connections", len(self.connections))
            for connection in list(self.connections):
                connection.abort()
            await self._wait_until_gone()
        await server.wait_closed()
        if self._timer is not None:
            self._timer.cancel()

    def forget(self, connection: Connection) -> None:
        """Take note that a connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._gone.set()

    async def _wait_until_gone(self) -> None:
        while self.connections:
            self._gone.clear()
            await self._gone.wait()

    def _tick(self) -> None:
        self.date = b"date: %b\r\n" % email.utils.formatdate(usegmt=True).encode()
        now_s = self.loop.time()
        for connection in list(self.connections):
            connection.sweep(now_s)
        self._timer = self.loop.call_later(self.timeouts.sweep_s, self._tick)
