"""The ops server: starlette routes on uvicorn, inside the process it tells about."""

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from clearwatch.letters import Replay, Replayed
from clearwatch.ops.checks import checks_shape
from clearwatch.ops.config import OpsConfig
from clearwatch.ops.letters import BadRequestError, ForbiddenError, LettersApi, Replaying
from clearwatch.ops.metrics import Metrics
from clearwatch.ops.page import PAGE_HEADERS, page_html
from clearwatch.ops.shapes import TrendShape, detail_shape, issue_shape
from clearwatch.ops.status import Lag, StatusReader
from clearwatch.ops.trace_shapes import marked
from clearwatch.ops.trace_spans import ReadsAt, shape_of
from core.clock import Clock, SystemClock
from core.errors import LogUnavailableError, RetryableError
from core.model.issue import IssueStatus
from core.prices import PriceTable
from core.telemetry import Telemetry
from detector.catalogue import CheckInfo
from detector.issues.suppressions import SuppressionConfig
from sinks.records.queries import AmbiguousIdError, FindingsPage, UnknownIdError
from sinks.records.store import RecordStore

_log = logging.getLogger(__name__)

_STOP_S: Final = 3.0
_LATEST: Final = 50
_LATEST_LETTERS: Final = 5
_MAX_PAGE: Final = 5_000

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


async def _replays_nothing(_: Replay) -> Replayed:
    raise LogUnavailableError("there is no log here to replay to")


class OpsServer:
    """Health, metrics, the API and the page.

    `readiness` returns why the process is not ready; nothing: it is, unless one of its partitions has stopped.
    """

    def __init__(
        self,
        *,
        config: OpsConfig,
        store: RecordStore,
        telemetry: Telemetry,
        version: str,
        lag: Lag,
        instance: str = "",
        clock: Clock | None = None,
        mlflow_url: Callable[[], str] = lambda: "",
        otlp_http_url: str = "",
        otlp_grpc_url: str = "",
        session_gap_s: float = 1800.0,
        readiness: Callable[[], Sequence[str]] = tuple,
        replay: Replaying = _replays_nothing,
        checks: Sequence[CheckInfo] = (),
        suppressions: Sequence[SuppressionConfig] = (),
        log: Callable[[], ReadsAt | None] = lambda: None,
        prices: PriceTable | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock or SystemClock()
        self._telemetry = telemetry
        self._metrics = Metrics(telemetry=telemetry, version=version)
        self._status = StatusReader(
            version=version,
            store=store,
            telemetry=telemetry,
            clock=self._clock,
            instance=instance,
            lag=lag,
            session_gap_s=session_gap_s,
        )
        self._mlflow_url = mlflow_url
        self._otlp = {"http": otlp_http_url, "grpc": otlp_grpc_url}
        self._readiness = readiness
        self._letters = LettersApi(store, replay)
        self._checks = checks
        self._suppressions = suppressions
        self._log = log
        self._prices = prices
        telemetry.gauge("clearwatch.ready", lambda: 0.0 if readiness() else 1.0)
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port that is bound; after `start`."""
        if self._socket is None:
            raise RuntimeError("ops server is not started")
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Return the address of the page; after `start`."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Bind and serve. Raises OSError where the address cannot be bound."""
        self._socket = _bind(self._config.host, self._config.port)
        self._server = _Server(
            uvicorn.Config(
                self._app(),
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                ws="none",
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="ops-http")
        up = asyncio.create_task(self._server.up.wait(), name="ops-http-start")
        await asyncio.wait({up, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            await self._serving
        _log.info("ops listens on %s", self.url)

    async def stop(self) -> None:
        """Finish the requests in hand within a deadline and close. Idempotent."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await asyncio.shield(self._serving)
        if not self._serving.done():
            self._server.force_exit = True
            await self._serving
        self._metrics.close()
        if self._socket is not None:
            self._socket.close()
        self._server = self._serving = None

    def _app(self) -> Starlette:
        guarded = {
            "/api/v1/status": self._get_status,
            "/api/v1/checks": self._get_checks,
            "/api/v1/live": self._get_live,
            "/api/v1/issues": self._get_issues,
            "/api/v1/issues/{given}": self._get_issue,
            "/api/v1/findings": self._get_findings,
            "/api/v1/traces/{given}": self._get_trace,
            "/api/v1/dead-letters": self._get_letters,
            "/api/v1/dead-letters/{given}": self._get_letter,
        }
        return Starlette(
            routes=[
                Route("/healthz", _healthy),
                Route("/readyz", self._ready),
                Route("/metrics", self._get_metrics),
                Route("/", self._page),
                Route("/api/v1/dead-letters/replay", self._guarded(self._replay_letters), methods=["POST"]),
                *(Route(path, self._guarded(handler)) for path, handler in guarded.items()),
            ]
        )

    def _guarded(self, handler: _Handler) -> _Handler:
        async def guarded(request: Request) -> Response:
            if not self._may_see(request):
                return _problem(401, "this address asks for `Authorization: Bearer <ops.token>`", bearer=True)
            try:
                return await handler(request)
            except BadRequestError as exc:
                return _problem(400, str(exc))
            except ForbiddenError as exc:
                return _problem(403, str(exc))
            except UnknownIdError as exc:
                return _problem(404, str(exc))
            except AmbiguousIdError as exc:
                return _problem(409, str(exc))
            except RetryableError as exc:
                return _problem(503, str(exc), retry_after_s=exc.retry_after_s)

        return guarded

    def _may_see(self, request: Request) -> bool:
        if self._config.token is None:
            return _names_this_machine(request) if self._config.is_loopback else False
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not given and request.method in ("GET", "HEAD"):  # a link with a token may be followed, and changes nothing
            given = request.query_params.get("token", "")
        return hmac.compare_digest(given.encode(), self._config.token.get_secret_value().encode())

    async def _ready(self, _: Request) -> Response:
        reasons = [*self._readiness(), *map(str, self._telemetry.stops.now())]
        return _json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _get_metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    async def _page(self, _: Request) -> Response:
        # the page itself shows nothing: it asks the API, with the token it was opened with
        return Response(page_html(), media_type="text/html", headers=PAGE_HEADERS)

    async def _get_status(self, _: Request) -> Response:
        return _json(await self._status.read())

    async def _get_checks(self, _: Request) -> Response:
        series = await self._status.series()
        return _json(checks_shape(self._checks, self._suppressions, series, now_s=self._clock.now_s()))

    async def _get_live(self, _: Request) -> Response:
        """All that the page shows, of one moment: not public, it changes with the page."""
        status = await self._status.read()
        now_s = self._clock.now_s()
        rows = await asyncio.to_thread(self._store.latest_issues, now_s=now_s, limit=_LATEST)
        letters = await asyncio.to_thread(lambda: self._store.letters.latest(limit=_LATEST_LETTERS))
        return _json(
            {
                "now_s": now_s,
                "status": status,
                "issues": [TrendShape(issue=issue_shape(row, now_s=now_s), recent=row.recent) for row in rows],
                "dead_letters": letters,
                "mlflow_url": self._mlflow_url(),
                "otlp": self._otlp,
            }
        )

    async def _get_issues(self, request: Request) -> Response:
        status = request.query_params.get("status", "")
        if status and status not in list(IssueStatus):
            raise BadRequestError(f"`status` ({status}) must be one of {', '.join(IssueStatus)}")
        rows = await asyncio.to_thread(self._store.issues, status=status)
        now_s = self._clock.now_s()
        return _json({"issues": [issue_shape(row, now_s=now_s) for row in rows]})

    async def _get_issue(self, request: Request) -> Response:
        detail = await asyncio.to_thread(self._store.issue, request.path_params["given"])
        return _json(detail_shape(detail, now_s=self._clock.now_s()))

    async def _get_trace(self, request: Request) -> Response:
        detail = await asyncio.to_thread(self._store.trace, request.path_params["given"])
        return _json(marked(await shape_of(detail, self._log(), self._prices), self._suppressions))

    async def _get_letters(self, request: Request) -> Response:
        return _json({"dead_letters": await self._letters.list_(request)})

    async def _get_letter(self, request: Request) -> Response:
        return _json(await self._letters.detail(request))

    async def _replay_letters(self, request: Request) -> Response:
        return _json(await self._letters.replay(request))

    async def _get_findings(self, request: Request) -> Response:
        """All findings as JSON lines with `Accept: application/x-ndjson`; else a page and the key of the next one."""
        if "application/x-ndjson" in request.headers.get("accept", ""):
            return StreamingResponse(self._finding_lines(), media_type="application/x-ndjson")
        try:
            limit = min(max(int(request.query_params.get("limit", "1000")), 1), _MAX_PAGE)
            after = _key_of(request.query_params.get("after", ""))
        except ValueError as exc:
            raise BadRequestError(f"`limit` must be a number, `after` the `next` of the page before: {exc}") from exc
        page = await asyncio.to_thread(self._store.findings_page, after=after, limit=limit)
        return _json({"findings": page.rows, "next": f"{page.after[0]}.{page.after[1]}" if page.after else None})

    async def _finding_lines(self) -> AsyncIterator[bytes]:
        encode = msgspec.json.Encoder().encode
        page = FindingsPage(rows=(), after=(-1, ""))
        while page.after is not None:
            page = await asyncio.to_thread(self._store.findings_page, after=page.after)
            yield b"".join(encode(row) + b"\n" for row in page.rows)


class _Server(uvicorn.Server):
    """uvicorn that says when it is up, without signal handlers: the application decides when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _names_this_machine(request: Request) -> bool:
    """Return whether Host is a loopback name: a foreign page that rebinds its name to 127.0.0.1 reads nothing."""
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]") in ("localhost", "::1") or name.startswith("127.")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _key_of(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    observed_at_ns, _, finding_id = text.partition(".")
    return int(observed_at_ns), finding_id


def _json(value: Any, *, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json", headers=headers)


def _problem(status: int, message: str, *, bearer: bool = False, retry_after_s: float = 0.0) -> Response:
    response = _json({"error": message}, status=status)
    if bearer:
        response.headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    return response
