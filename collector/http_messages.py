"""What passes between an HTTP connection and what answers it."""

import http
from typing import Final, Protocol

import msgspec

from core.errors import PermanentError


class BadHttpError(PermanentError):
    """What arrived is not HTTP."""


class SlowRequestError(PermanentError):
    """A request did not arrive in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"request did not arrive within {timeout_s:.0f} s")


class HttpTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """When a connection is given up; kept to `sweep_s`."""

    # a client that needs longer for one request holds bytes of the bound that others need
    request_s: float = 30.0
    # above exporters' usual schedules (5 s to 60 s), so that their connections survive the pauses
    keep_alive_s: float = 75.0
    # for a client to notice that it is refused; a round trip around the world is 0.4 s
    linger_s: float = 2.0
    # looked after for all connections at once: a timer for each request costs more than all else about it
    sweep_s: float = 1.0


class HttpAnswer(msgspec.Struct, frozen=True):
    """`headers` are those besides content-length, date and connection, each line ended by CRLF."""

    status: int
    headers: bytes
    body: bytes
    close: bool = False


class HttpRequest:
    """A request. Where `failure` is set nothing else need be; `held_bytes` is what it has reserved for its body."""

    __slots__ = ("body", "failure", "headers", "held_bytes", "keep_alive", "method", "url")

    def __init__(self) -> None:
        self.method = b""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.held_bytes = 0
        self.keep_alive = False
        self.failure: Exception | None = None


class HttpService(Protocol):
    """What answers, and accounts for the bytes of bodies."""

    max_body_bytes: int

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer, the request's bytes released. A request with `failure` gets that as its answer."""
        ...

    def hold(self, request: HttpRequest, size: int) -> None:
        """Account for `size` more bytes of the body. Whatever it raises becomes the request's `failure`."""
        ...

    def release(self, request: HttpRequest) -> None:
        """Give back what the request holds."""
        ...

    def refuse_size(self) -> Exception:
        """Return the failure of a body above `max_body_bytes`."""
        ...

    def abandoned(self) -> None:
        """Note that a client went away in the middle of a request."""
        ...


def head_without_upgrade(request: HttpRequest, version: str) -> bytes:
    """Return the head of a request (method, url, headers) as if it had not offered another protocol."""
    lines = [b"%b %b HTTP/%b" % (request.method, request.url, version.encode())]
    for name, value in request.headers.items():
        if name == b"connection":
            options = {option.strip().lower() for option in value.split(b",")}
            value = b", ".join(sorted(options & {b"close", b"keep-alive"}))
        if name not in (b"upgrade", b"http2-settings"):
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join((*lines, b"", b""))


_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}


def encode_answer(answer: HttpAnswer, date: bytes, *, close: bool, bodiless: bool) -> bytes:
    """Return the bytes of an answer; `date` is a whole header line, `bodiless` leaves the body out (HEAD)."""
    return b"%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
        _STATUS_LINES[answer.status],
        date,
        answer.headers,
        b"connection: close\r\n" if close else b"",
        len(answer.body),
        b"" if bodiless else answer.body,
    )
