"""HTTP/1.1 for small answers to POSTs: httptools' parser, whole bodies, one write for an answer.

An OTLP request is answered with next to nothing, so what a general server does around it is most of its cost: see
docs/adr/005. A connection gathers one request after the other; complete ones wait in a queue (pipelining) and are
answered one at a time, in order. Reading pauses while more than one waits or the client does not read its answers.
A request that cannot be answered as asked (bad HTTP, too large, too slow) goes through the same queue with `failure`
set, so that whatever stands before it is answered first. RFC 9110 and 9112 are the rules.
"""

import asyncio
import collections
import logging
from typing import Final, Protocol, cast

import httptools

from collector.http_messages import (
    BadHttpError,
    HttpAnswer,
    HttpRequest,
    HttpService,
    HttpTimeouts,
    SlowRequestError,
    encode_answer,
    head_without_upgrade,
)

logger = logging.getLogger(__name__)

# request line and headers; what common servers take
_MAX_HEAD_BYTES: Final = 64 * 1024
# how much of a body that is too large is read before the answer, so that ordinary clients get to see the answer
_DRAIN_FACTOR: Final = 4
_TASK: Final = "collector-http-answer"


class Host(Protocol):
    """What a connection belongs to; `date` is the header line of the moment."""

    service: HttpService
    timeouts: HttpTimeouts
    loop: asyncio.AbstractEventLoop
    connections: "set[Connection]"
    date: bytes
    is_stopping: bool

    def forget(self, connection: "Connection") -> None:
        """Take note that a connection has ended."""
        ...


class Connection(asyncio.Protocol):
    """One connection; httptools calls `on_...`."""

    def __init__(self, server: Host) -> None:
        self._server = server
        self._service = server.service
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: collections.deque[HttpRequest] = collections.deque()
        self._coming: HttpRequest | None = None
        # a request that offers to go on in another protocol, until its headers are parsed again
        self._offered: HttpRequest | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._in_head = False
        self._answering: asyncio.Task[None] | None = None
        self._answered: HttpRequest | None = None
        # nothing more is taken: after a fatal failure, the end of input or a request that closes
        self._deaf = False
        self._stopping = False
        self._paused = False
        self._write_blocked = False
        self._lingering = False
        self._since_s = 0.0

    @property
    def is_paused(self) -> bool:
        """Return whether input is left with the system for now."""
        return self._paused

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's
        self._transport = cast(asyncio.Transport, transport)
        self._since_s = self._loop.time()
        self._server.connections.add(self)
        if self._server.is_stopping:
            self.shut_down()  # accepted before the listening socket was closed

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        coming, size = self._coming, self._size
        try:
            self._feed(data)
        except httptools.HttpParserError as exc:
            self._refuse(BadHttpError(f"not HTTP: {exc}"))
        if coming is not None and self._coming is coming:
            # whatever brings no body is held by the parser: headers, trailers, extensions of chunks
            self._head_size = self._head_size + len(data) if self._size == size else 0
            if self._head_size > _MAX_HEAD_BYTES:
                self._refuse(BadHttpError(f"headers or trailers exceed {_MAX_HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:
        self._deaf = True
        self._drop_coming()
        if self._lingering:
            return False
        # a client may close its sending half and still wait for the answer
        return self._answering is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self._drop_coming()
        while self._waiting:
            self._service.release(self._waiting.popleft())
        if self._answering is None:
            self._server.forget(self)
        else:
            self._answering.add_done_callback(self._answered_nobody)

    def pause_writing(self) -> None:
        self._write_blocked = True
        self._adjust_reading()

    def resume_writing(self) -> None:
        self._write_blocked = False
        self._adjust_reading()

    # httptools

    def on_message_begin(self) -> None:
        if self._deaf:
            return
        self._coming = HttpRequest()
        self._chunks = []
        self._size = self._head_size = 0
        self._in_head = True
        self._since_s = self._loop.time()
        if self._answering is not None:
            self._adjust_reading()

    def on_url(self, url: bytes) -> None:
        if self._coming is not None:
            self._coming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # trailers are dropped: they must not pass for headers (RFC 9110 6.5.1)
        if self._in_head and self._coming is not None:
            self._coming.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        request, parser = self._coming, self._parser
        self._in_head = False
        if request is None:
            return
        request.method = parser.get_method()
        headers = request.headers
        if parser.should_upgrade() and request.method != b"CONNECT":
            self._offered, self._coming = request, None
            return
        is_1_0 = parser.get_http_version() == "1.0"
        request.keep_alive = parser.should_keep_alive() and not parser.should_upgrade() and not is_1_0
        if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._refuse(BadHttpError("transfer-encoding is not chunked alone"))
            return
        limit = self._service.max_body_bytes
        # httptools has refused what is not a number
        declared = int(headers.get(b"content-length", b"0"))
        expects = headers.get(b"expect", b"").lower() == b"100-continue"
        if declared > (limit if expects else limit * _DRAIN_FACTOR):
            self._refuse(self._service.refuse_size())
        elif expects and self._answering is None and not is_1_0:
            # behind another request the client waits for its own patience, as RFC 9110 10.1.1 allows
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        request = self._coming
        if request is None:
            return
        self._size += len(body)
        if self._size > self._service.max_body_bytes:
            self._fail_coming(request, self._service.refuse_size())
            if self._size > self._service.max_body_bytes * _DRAIN_FACTOR:
                self._refuse(self._service.refuse_size())
        elif request.failure is None:
            try:
                self._service.hold(request, len(body))
            except Exception as exc:  # noqa: BLE001 - answered, whatever it is
                self._fail_coming(request, exc)
            else:
                self._chunks.append(body)

    def on_message_complete(self) -> None:
        request = self._coming
        if request is None:
            return
        chunks = self._chunks
        request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._coming, self._chunks = None, []
        self._enqueue(request)

    # ours

    def _feed(self, data: bytes) -> None:
        """Parse; raises HttpParserError. An upgrade is declined, its request is one as any other (RFC 9110 7.8).

        httptools takes everything behind the headers of such a request for the other protocol, its body too (Java's
        client offers h2c with each first POST): it is shown the headers again without the offer.
        """
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as exc:
                offered, self._offered = self._offered, None
                if offered is None:
                    self._deaf = True  # CONNECT: answered, and nothing behind it is HTTP
                    return
                version = self._parser.get_http_version()
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(head_without_upgrade(offered, version))
                data = data[exc.args[0] :]

    def _answered_nobody(self, _: "asyncio.Task[None]") -> None:
        # not in the task itself: one that is cancelled before it began runs nothing of it
        if self._answered is not None:
            self._service.release(self._answered)
        self._server.forget(self)

    def _fail_coming(self, request: HttpRequest, failure: Exception) -> None:
        request.failure = failure
        self._chunks.clear()
        self._service.release(request)

    def _drop_coming(self) -> None:
        if self._coming is not None:
            self._service.release(self._coming)
            self._service.abandoned()
            self._coming = None
            self._chunks = []

    def _refuse(self, failure: Exception) -> None:
        """Answer with a failure after what waits, then close; nothing more is read."""
        if self._deaf:
            return
        self._deaf = True
        request = self._coming or HttpRequest()
        self._fail_coming(request, failure)
        request.keep_alive = False
        self._coming, self._in_head = None, False
        self._enqueue(request)

    def _enqueue(self, request: HttpRequest) -> None:
        if self._answering is None:
            self._start_on(request)
        else:
            self._waiting.append(request)
            self._adjust_reading()

    def _start_on(self, request: HttpRequest) -> None:
        self._answered = request
        self._answering = self._loop.create_task(self._answer(request), name=_TASK)

    def _adjust_reading(self) -> None:
        ahead = self._answering is not None and (bool(self._waiting) or self._coming is not None)
        pause = self._write_blocked or ahead
        if pause != self._paused and not self._transport.is_closing():
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._since_s = self._loop.time()
                self._transport.resume_reading()

    async def _answer(self, request: HttpRequest) -> None:
        """Answer this request; the next one that waits gets a task of its own."""
        try:
            answer = await self._service.answer(request)
        except Exception:
            logger.exception("answering a request failed")
            answer = HttpAnswer(500, b"", b"", close=True)
        finally:
            self._answering = None
        if self._transport.is_closing():
            return
        following = bool(self._waiting) or self._coming is not None
        close = answer.close or not request.keep_alive or ((self._stopping or self._deaf) and not following)
        self._transport.write(encode_answer(answer, self._server.date, close=close, bodiless=request.method == b"HEAD"))
        self._since_s = self._loop.time()
        if close:
            self._close(linger=request.failure is not None)
            return
        if self._waiting:
            self._start_on(self._waiting.popleft())
        if self._paused:
            self._adjust_reading()

    def _close(self, *, linger: bool) -> None:
        """Close once the answer is sent; after a failure the rest of the input is thrown away for a while.

        Closing with input unread resets the connection, and the client might lose the answer (RFC 9112 9.6).
        """
        self._deaf = True
        if linger and not self._stopping and self._transport.can_write_eof():
            self._lingering = True
            self._transport.write_eof()
            self._adjust_reading()
        else:
            self._transport.close()

    def sweep(self, now_s: float) -> None:
        """Close an idle connection, refuse a request that takes too long to arrive."""
        if self._answering is not None:
            return
        quiet_s, limits = now_s - self._since_s, self._server.timeouts
        if self._lingering:
            if quiet_s > limits.linger_s:
                self._transport.abort()
        elif self._transport.is_closing():
            if quiet_s > limits.request_s:
                self._transport.abort()
        elif self._coming is not None:
            if quiet_s > limits.request_s:
                self._refuse(SlowRequestError(limits.request_s))
        elif quiet_s > limits.keep_alive_s:
            self._transport.close()

    def shut_down(self) -> None:
        """Close after what has begun is answered."""
        self._stopping = True
        if self._answering is None and self._coming is None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._answering is not None:
            self._answering.cancel()
        self._transport.abort()
