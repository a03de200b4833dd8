"""OTLP/HTTP: a raw ASGI application on an embedded uvicorn.

| request | answer |
|---|---|
| anything but POST | 405 with Allow |
| another path | 404 |
| content type neither `application/x-protobuf` nor `application/json` | 415 |
| unknown content encoding | 415 |
| body, or what it inflates to, above the limit | 413 |
| body that is damaged, cut off or not OTLP | 400 |
| body that does not arrive in time | 408 |
| too many bytes in flight | 429 with Retry-After |
| log cannot store | 503 with Retry-After |

413 for a decompression bomb: RFC 9110 15.5.14 speaks of content "larger than the server is willing to process", and
OTLP does not list it among the retryable codes, which is right, as the same bytes will never be taken.
Bodies of failures are `google.rpc.Status` in the request's encoding (JSON where that is neither).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from collector import answers
from collector.config import CollectorConfig
from collector.inflate import IDENTITY, CorruptBodyError, InflatedTooLargeError, UnknownEncodingError, inflate
from collector.otlp_json import logs_from_json, traces_from_json
from collector.receiver import Accepted, InvalidExperimentError, OverloadedError, Receiver, RequestTooLargeError
from core.errors import ClearwatchError, RetryableError, SpanDecodeError
from core.telemetry import Telemetry

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

# a client that needs longer for one body holds bytes of the bound that others need
_BODY_TIMEOUT_S: Final = 30.0
# above this size JSON is converted in a thread: about 5 ms of work
_JSON_INLINE_BYTES: Final = 32 * 1024
# how much of a body that is too large is read before the answer, so that ordinary clients get to see the answer
_DRAIN_FACTOR: Final = 4
# above exporters' usual schedules (5 s to 60 s), so that their connections survive the pauses
_KEEP_ALIVE_S: Final = 75


class _HttpError(Exception):
    def __init__(self, status: int, code: int, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


class _DisconnectedError(Exception):
    pass


class _Request:
    """The headers that matter."""

    __slots__ = ("content_length", "content_type", "encoding", "experiment")

    def __init__(self, headers: Iterable[Header]) -> None:
        self.content_type = self.encoding = self.experiment = ""
        self.content_length = -1
        for name, value in headers:
            if name == b"content-type":
                self.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-encoding":
                self.encoding = value.decode("latin-1").strip().lower()
            elif name == b"content-length":
                self.content_length = int(value)
            elif name == b"x-mlflow-experiment-id":
                self.experiment = value.decode("latin-1").strip()


class OtlpHttpApp:
    """The ASGI application: `POST /v1/traces` and `POST /v1/logs`."""

    def __init__(self, *, receiver: Receiver, config: CollectorConfig, telemetry: Telemetry) -> None:
        self._receiver = receiver
        self._max_request_bytes = config.max_request_bytes
        self._telemetry = telemetry
        self._routes = {
            "/v1/traces": (receiver.take_traces, traces_from_json),
            "/v1/logs": (receiver.take_logs, logs_from_json),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = _Request(scope["headers"])
        as_json = request.content_type != PROTOBUF
        try:
            accepted = await self._answer(scope, request, receive)
        except _DisconnectedError:
            self._telemetry.count("clearwatch.collector.requests", transport="http", status="disconnected")
            return
        except _HttpError as exc:
            body = (
                answers.status_json(exc.code, exc.message) if as_json else answers.status_proto(exc.code, exc.message)
            )
            await self._send(send, exc.status, body, as_json, exc.headers)
            return
        if accepted.rejected:
            build = answers.partial_success_json if as_json else answers.partial_success_proto
            await self._send(send, 200, build(accepted.rejected, accepted.reason), as_json)
        else:
            await self._send(send, 200, b"{}" if as_json else b"", as_json)

    async def _answer(self, scope: Scope, request: _Request, receive: Receive) -> Accepted:
        route = self._routes.get(scope["path"])
        if route is None:
            raise _HttpError(404, answers.NOT_FOUND, "no such path: this is an OTLP receiver, /v1/traces and /v1/logs")
        if scope["method"] != "POST":
            raise _HttpError(405, answers.UNIMPLEMENTED, "only POST is allowed here", (b"allow", b"POST"))
        if request.content_type not in (PROTOBUF, JSON):
            raise _HttpError(
                415,
                answers.INVALID_ARGUMENT,
                f"content-type is neither {PROTOBUF} nor {JSON}",
                (b"accept", b"%b, %b" % (PROTOBUF.encode(), JSON.encode())),
            )
        take, from_json = route
        held = _Held(self._receiver)
        try:
            data = await self._body(request, receive, held)
            if request.encoding not in IDENTITY:
                data = inflate(data, encoding=request.encoding, max_bytes=self._max_request_bytes)
                held.grow(len(data))
            if request.content_type == JSON:
                inline = len(data) <= _JSON_INLINE_BYTES
                data = from_json(data) if inline else await asyncio.to_thread(from_json, data)
            return await take(data, request.experiment)
        except ClearwatchError as exc:
            raise _http_error(exc) from exc
        finally:
            held.release()

    async def _body(self, request: _Request, receive: Receive, held: "_Held") -> bytes:
        """Return the body, all of it reserved. Raises RequestTooLargeError, OverloadedError and _HttpError."""
        limit = self._max_request_bytes
        if request.content_length > limit * _DRAIN_FACTOR:
            raise RequestTooLargeError(max_request_bytes=limit)
        message = await receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise RequestTooLargeError(max_request_bytes=limit)
            held.grow(len(body))
            return body
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                return await self._chunks(message, receive, held)
        except TimeoutError as exc:
            raise _HttpError(
                408, answers.INVALID_ARGUMENT, f"body did not arrive within {_BODY_TIMEOUT_S:.0f} s", _CLOSE
            ) from exc

    async def _chunks(self, message: Message, receive: Receive, held: "_Held") -> bytes:
        limit = self._max_request_bytes
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise _DisconnectedError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                held.grow(len(chunk))
                chunks.append(chunk)
            else:
                chunks.clear()
            if size > limit * _DRAIN_FACTOR or (size > limit and not message.get("more_body", False)):
                raise RequestTooLargeError(max_request_bytes=limit)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    async def _send(self, send: Send, status: int, body: bytes, as_json: bool, extra: Iterable[Header] = ()) -> None:
        headers = [
            (b"content-type", b"application/json" if as_json else b"application/x-protobuf"),
            (b"content-length", b"%d" % len(body)),
            *extra,
        ]
        self._telemetry.count("clearwatch.collector.requests", transport="http", status=str(status))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Held:
    """Bytes that one request holds of the receiver's bound."""

    __slots__ = ("_receiver", "_size")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._size = 0

    def grow(self, size: int) -> None:
        self._receiver.reserve(size)
        self._size += size

    def release(self) -> None:
        self._receiver.release(self._size)
        self._size = 0


_CLOSE: Final[Header] = (b"connection", b"close")


def _http_error(exc: ClearwatchError) -> _HttpError:
    """Translate what a request failed with. Re-raises what is none of the request's business."""
    message = str(exc)
    if isinstance(exc, RequestTooLargeError | InflatedTooLargeError):
        return _HttpError(413, answers.RESOURCE_EXHAUSTED, message, _CLOSE)
    if isinstance(exc, UnknownEncodingError):
        return _HttpError(415, answers.INVALID_ARGUMENT, message, (b"accept-encoding", b"gzip, deflate"))
    if isinstance(exc, SpanDecodeError | CorruptBodyError | InvalidExperimentError):
        return _HttpError(400, answers.INVALID_ARGUMENT, message)
    if isinstance(exc, RetryableError):
        delay = (b"retry-after", b"%d" % max(1, math.ceil(exc.retry_after_s)))
        if isinstance(exc, OverloadedError):
            return _HttpError(429, answers.RESOURCE_EXHAUSTED, message, delay)
        return _HttpError(503, answers.UNAVAILABLE, message, delay)
    raise exc


def make_server(app: OtlpHttpApp) -> uvicorn.Server:
    """Return a uvicorn server that installs no signal handlers and no logging; the caller brings the socket."""
    config = uvicorn.Config(
        app,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server
