"""OTLP/HTTP: what each request is answered with; `http_connection` is what speaks HTTP.

| request | answer |
|---|---|
| anything but POST | 405 with Allow |
| another path | 404 |
| content type neither `application/x-protobuf` nor `application/json` | 415 |
| unknown content encoding | 415 |
| body, or what it inflates to, above the limit | 413 |
| body that is damaged, cut off or not OTLP | 400 |
| a request that does not arrive in time | 408 |
| too many bytes in flight | 429 with Retry-After |
| log cannot store | 503 with Retry-After |
| a fault of ours | 500 |

413 for a decompression bomb: RFC 9110 15.5.14 speaks of content "larger than the server is willing to process", and
OTLP does not list it among the retryable codes, which is right, as the same bytes will never be taken.
Bodies of failures are `google.rpc.Status` in the request's encoding (JSON where that is neither).
"""

import asyncio
import logging
import math
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import httptools

from collector import answers
from collector.config import CollectorConfig
from collector.http_messages import BadHttpError, HttpAnswer, HttpRequest, SlowRequestError
from collector.inflate import IDENTITY, CorruptBodyError, InflatedTooLargeError, UnknownEncodingError, inflate
from collector.otlp_json import logs_from_json, traces_from_json
from collector.receiver import Accepted, InvalidExperimentError, OverloadedError, Receiver, RequestTooLargeError
from core.errors import ClearwatchError, RetryableError, SpanDecodeError
from core.telemetry import Telemetry

logger = logging.getLogger(__name__)

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

# above this size JSON is converted in a thread: about 5 ms of work
_JSON_INLINE_BYTES: Final = 32 * 1024
_HEADERS: Final = {False: b"content-type: application/x-protobuf\r\n", True: b"content-type: application/json\r\n"}
_OK: Final = {False: HttpAnswer(200, _HEADERS[False], b""), True: HttpAnswer(200, _HEADERS[True], b"{}")}


class _HttpError(Exception):
    def __init__(self, status: int, code: int, message: str, headers: bytes = b"", *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.close = close


class OtlpHttpService:
    """`POST /v1/traces` and `POST /v1/logs`; see `http_messages.HttpService`."""

    def __init__(self, *, receiver: Receiver, config: CollectorConfig, telemetry: Telemetry) -> None:
        self._receiver = receiver
        self.max_body_bytes = config.max_request_bytes
        self._telemetry = telemetry
        self._routes = {
            b"/v1/traces": (receiver.take_traces, traces_from_json),
            b"/v1/logs": (receiver.take_logs, logs_from_json),
        }

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer to one request, counted; what the request holds is given back."""
        content_type = _content_type(request.headers.get(b"content-type", b""))
        as_json = content_type != PROTOBUF
        try:
            if request.failure is not None:
                raise request.failure
            accepted = await self._take(request, content_type)
            answer = _OK[as_json] if not accepted.rejected else _partial_success(accepted, as_json)
        except ClearwatchError as exc:
            answer = _failed(_http_error(exc), as_json)
        except _HttpError as exc:
            answer = _failed(exc, as_json)
        except Exception:
            logger.exception("a request failed, by no fault of its own")
            answer = _failed(_HttpError(500, answers.INTERNAL, "internal error", close=True), as_json)
        finally:
            self.release(request)
        self._telemetry.count("clearwatch.collector.requests", transport="http", status=str(answer.status))
        return answer

    def hold(self, request: HttpRequest, size: int) -> None:
        """Reserve bytes. Raises OverloadedError."""
        self._receiver.reserve(size)
        request.held_bytes += size

    def release(self, request: HttpRequest) -> None:
        """Give back what the request holds."""
        self._receiver.release(request.held_bytes)
        request.held_bytes = 0

    def refuse_size(self) -> Exception:
        """Return the failure of a body above `max_body_bytes`."""
        return RequestTooLargeError(max_request_bytes=self.max_body_bytes)

    def abandoned(self) -> None:
        """Count a request that never arrived."""
        self._telemetry.count("clearwatch.collector.requests", transport="http", status="disconnected")

    async def _take(self, request: HttpRequest, content_type: str) -> Accepted:
        route = self._routes.get(request.url) or self._routes.get(_path(request.url))
        if route is None:
            raise _HttpError(404, answers.NOT_FOUND, "no such path: this is an OTLP receiver, /v1/traces and /v1/logs")
        if request.method != b"POST":
            raise _HttpError(405, answers.UNIMPLEMENTED, "only POST is allowed here", b"allow: POST\r\n")
        if content_type not in (PROTOBUF, JSON):
            raise _HttpError(
                415,
                answers.INVALID_ARGUMENT,
                f"content-type is neither {PROTOBUF} nor {JSON}",
                b"accept: application/x-protobuf, application/json\r\n",
            )
        take, from_json = route
        data, headers = request.body, request.headers
        encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if encoding not in IDENTITY:
            data = inflate(data, encoding=encoding, max_bytes=self.max_body_bytes)
            self.hold(request, len(data))
        if content_type == JSON:
            inline = len(data) <= _JSON_INLINE_BYTES
            data = from_json(data) if inline else await asyncio.to_thread(from_json, data)
        return await take(data, headers.get(b"x-mlflow-experiment-id", b"").decode("latin-1").strip())


@lru_cache(maxsize=64)
def _content_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()


def _path(url: bytes) -> bytes:
    """Return the path of a request target that is not simply one: with a query, escapes, or in absolute form."""
    try:
        return unquote(httptools.parse_url(url).path or b"").encode()
    except httptools.HttpParserInvalidURLError:
        return b""


def _partial_success(accepted: Accepted, as_json: bool) -> HttpAnswer:
    build = answers.partial_success_json if as_json else answers.partial_success_proto
    return HttpAnswer(200, _HEADERS[as_json], build(accepted.rejected, accepted.reason))


def _failed(exc: _HttpError, as_json: bool) -> HttpAnswer:
    build = answers.status_json if as_json else answers.status_proto
    return HttpAnswer(exc.status, _HEADERS[as_json] + exc.headers, build(exc.code, exc.message), exc.close)


def _http_error(exc: ClearwatchError) -> _HttpError:
    """Translate what a request failed with."""
    message = str(exc)
    if isinstance(exc, RequestTooLargeError | InflatedTooLargeError):
        return _HttpError(413, answers.RESOURCE_EXHAUSTED, message, close=True)
    if isinstance(exc, UnknownEncodingError):
        return _HttpError(415, answers.INVALID_ARGUMENT, message, b"accept-encoding: gzip, deflate\r\n")
    if isinstance(exc, SlowRequestError):
        return _HttpError(408, answers.INVALID_ARGUMENT, message, close=True)
    if isinstance(exc, BadHttpError):
        return _HttpError(400, answers.INVALID_ARGUMENT, message, close=True)
    if isinstance(exc, SpanDecodeError | CorruptBodyError | InvalidExperimentError):
        return _HttpError(400, answers.INVALID_ARGUMENT, message)
    if isinstance(exc, RetryableError):
        delay = b"retry-after: %d\r\n" % max(1, math.ceil(exc.retry_after_s))
        if isinstance(exc, OverloadedError):
            return _HttpError(429, answers.RESOURCE_EXHAUSTED, message, delay)
        return _HttpError(503, answers.UNAVAILABLE, message, delay)
    return _HttpError(500, answers.INTERNAL, message, close=True)
