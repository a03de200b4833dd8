"""OTLP/gRPC: generic handlers that take and give raw bytes, so that no message is built on the hot path.

| request | status |
|---|---|
| bytes that are not OTLP, an impossible experiment id | INVALID_ARGUMENT |
| message above the limit | RESOURCE_EXHAUSTED without RetryInfo: OTLP clients drop it, as they should |
| too many bytes in flight | RESOURCE_EXHAUSTED with RetryInfo |
| log cannot store | UNAVAILABLE with RetryInfo |
| a fault of ours | INTERNAL |

gRPC's own limit stands a quarter above ours, so that requests a little too large are counted; what exceeds that, or
inflates to more, is refused inside gRPC with the same status and reaches no counter.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeAlias

import grpc
from grpc import aio

from collector import answers
from collector.config import CollectorConfig
from collector.receiver import Accepted, OverloadedError, Receiver, RequestTooLargeError
from core.errors import ClearwatchError, RetryableError
from core.telemetry import Telemetry

logger = logging.getLogger(__name__)

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"
Take: TypeAlias = Callable[[bytes, str], Awaitable[Accepted]]

_TRACES: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_LOGS: Final = "opentelemetry.proto.collector.logs.v1.LogsService"
_DETAILS_KEY: Final = "grpc-status-details-bin"
# where the exporter of the SDK for Python looks for the delay, and nowhere else
_RETRY_INFO_KEY: Final = "google.rpc.retryinfo-bin"
_EXPERIMENT_KEY: Final = "x-mlflow-experiment-id"
# streams of one connection; an exporter uses one to a few
_MAX_STREAMS: Final = 128


class OtlpGrpcServer:
    """`TraceService/Export` and `LogsService/Export`."""

    def __init__(self, *, receiver: Receiver, config: CollectorConfig, telemetry: Telemetry) -> None:
        self._receiver = receiver
        self._telemetry = telemetry
        self._max_request_bytes = config.max_request_bytes
        self._server: aio.Server | None = None

    async def start(self, address: str) -> int:
        """Bind and serve; return the port. Raises OSError where the address cannot be bound."""
        limit = self._max_request_bytes + self._max_request_bytes // 4
        server = aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_concurrent_streams", _MAX_STREAMS),
                ("grpc.so_reuseport", 0),
            ]
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(_TRACES, {"Export": self._handler(self._receiver.take_traces)}),
                grpc.method_handlers_generic_handler(_LOGS, {"Export": self._handler(self._receiver.take_logs)}),
            )
        )
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as exc:
            raise OSError(f"cannot bind {address}") from exc
        await server.start()
        self._server = server
        return port

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, finish those in hand within `grace_s`, cancel the rest. Idempotent."""
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    def _handler(self, take: Take) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def export(request: bytes, context: Context) -> bytes:
            try:
                accepted = await self._take(take, request, context)
            except ClearwatchError as exc:
                await self._fail(context, exc)
            except Exception:
                logger.exception("a request failed, by no fault of its own")
                self._telemetry.count("clearwatch.collector.requests", transport="grpc", status="INTERNAL")
                await context.abort(grpc.StatusCode.INTERNAL, "internal error")
                raise AssertionError("abort returns never") from None
            self._telemetry.count("clearwatch.collector.requests", transport="grpc", status="OK")
            if accepted.rejected:
                return answers.partial_success_proto(accepted.rejected, accepted.reason)
            return b""

        return grpc.unary_unary_rpc_method_handler(export)

    async def _take(self, take: Take, request: bytes, context: Context) -> Accepted:
        if len(request) > self._max_request_bytes:
            raise RequestTooLargeError(max_request_bytes=self._max_request_bytes)
        experiment = ""
        for key, value in context.invocation_metadata() or ():
            if key == _EXPERIMENT_KEY:
                experiment = value.decode("latin-1") if isinstance(value, bytes) else value
        size = len(request)
        self._receiver.reserve(size)
        try:
            return await take(request, experiment)
        finally:
            self._receiver.release(size)

    async def _fail(self, context: Context, exc: ClearwatchError) -> NoReturn:
        status, retry_after_s = _status(exc)
        self._telemetry.count("clearwatch.collector.requests", transport="grpc", status=status.name)
        message = str(exc)
        trailing = [(_DETAILS_KEY, answers.status_proto(status.value[0], message, retry_after_s))]
        if retry_after_s is not None:
            trailing.append((_RETRY_INFO_KEY, answers.retry_info_proto(retry_after_s)))
        await context.abort(status, message, tuple(trailing))
        raise AssertionError("abort returns never")


def _status(exc: ClearwatchError) -> tuple[grpc.StatusCode, float | None]:
    if isinstance(exc, OverloadedError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, exc.retry_after_s
    if isinstance(exc, RetryableError):
        return grpc.StatusCode.UNAVAILABLE, exc.retry_after_s
    if isinstance(exc, RequestTooLargeError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, None
    return grpc.StatusCode.INVALID_ARGUMENT, None
