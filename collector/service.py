"""The collector as one service: both receivers over one log."""

import asyncio
import socket

from collector.config import CollectorConfig, split_address
from collector.grpc_server import OtlpGrpcServer
from collector.http_listener import BACKLOG, HttpServer
from collector.http_server import OtlpHttpService
from collector.receiver import Receiver
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Log
from core.telemetry import Telemetry


class AddressInUseError(PermanentError):
    """A listen address cannot be bound; `key` and `address` say which, `reason` is the system's."""

    def __init__(self, *, key: str, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address} (`{key}`): {reason}")
        self.key = key
        self.address = address
        self.reason = reason


class Collector:
    """Receives OTLP over gRPC and HTTP into the `spans` topic of a started log."""

    def __init__(self, *, log: Log, config: CollectorConfig, telemetry: Telemetry, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        receiver = Receiver(log=log, config=config, telemetry=telemetry, clock=clock)
        self._http = HttpServer(OtlpHttpService(receiver=receiver, config=config, telemetry=telemetry))
        self._grpc = OtlpGrpcServer(receiver=receiver, config=config, telemetry=telemetry)
        self.grpc_port = 0
        self.http_port = 0

    async def start(self) -> None:
        """Bind both addresses and serve. Raises AddressInUseError, and then serves neither."""
        http = self._config.http.listen
        try:
            listening = bind(*split_address(http))
        except OSError as exc:
            raise AddressInUseError(key="collector.http.listen", address=http, reason=exc.strerror or str(exc)) from exc
        try:
            await self._start_grpc()
        except AddressInUseError:
            listening.close()
            raise
        self.http_port = listening.getsockname()[1]
        await self._http.start(listening)

    async def _start_grpc(self) -> None:
        listen = self._config.grpc.listen
        host, port = split_address(listen)
        key = "collector.grpc.listen"
        try:
            # gRPC's own answer to a taken port names no cause: ask the system first
            bind(host, port).close()
            self.grpc_port = await self._grpc.start(listen)
        except OSError as exc:
            raise AddressInUseError(key=key, address=listen, reason=exc.strerror or str(exc)) from exc

    async def stop(self, deadline_s: float) -> None:
        """Refuse new requests and finish those in hand within `deadline_s` seconds, then close. Idempotent."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._grpc.stop(deadline_s), name="collector-grpc-stop")
            tasks.create_task(self._http.stop(deadline_s), name="collector-http-stop")


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
