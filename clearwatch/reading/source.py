"""Where a command's answers come from: the ops API of a running process, or the records themselves."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from clearwatch.config import Config
from clearwatch.letters import Replay, Replayed, replay
from clearwatch.ops.checks import ChecksShape, checks_shape
from clearwatch.ops.shapes import IssueDetailShape, IssueShape, detail_shape, issue_shape
from clearwatch.ops.status import Status, compose, living, open_traces, reported_lag
from clearwatch.ops.trace_shapes import TraceShape, marked, trace_shape
from clearwatch.ops.trace_spans import shape_of
from clearwatch.plugins import PluginError, load_plugins
from clearwatch.prices import PricesError, load_prices
from core.clock import SystemClock
from core.errors import ClearwatchError, PermanentError, RetryableError
from core.log.database import LogLockedError
from core.log.port import Log
from core.prices import PriceTable
from core.telemetry import Telemetry
from detector.catalogue import catalogue
from detector.config import DetectorConfig
from sinks.records.config import FILE_NAME
from sinks.records.views import FindingRow, LetterDetail, LetterRow, Series, TraceDetail

if TYPE_CHECKING:
    from sinks.records.store import RecordStore

_TIMEOUT_S: Final = 30.0
_REPLAY_S: Final = 600.0
_Answer = TypeVar("_Answer")


class ReadingError(PermanentError):
    """The question cannot be answered; the message says what to do."""


class NothingThereError(ReadingError):
    """Neither a running process nor records."""


class _LetterList(msgspec.Struct, frozen=True):
    dead_letters: tuple[LetterRow, ...]


class _IssueList(msgspec.Struct, frozen=True):
    issues: tuple[IssueShape, ...]


class ChecksSource(Protocol):
    """What can tell of the checks. Every method raises ReadingError."""

    def checks(self) -> ChecksShape:
        """Return every check as it is configured, with its counts as far as they are known."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Source(ChecksSource, Protocol):
    """What the commands ask. Every method raises ReadingError."""

    @property
    def is_live(self) -> bool:
        """Return whether a running process answers."""
        ...

    def status(self) -> Status:
        """Return the status; `lag` is empty where nobody reports it."""
        ...

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status ("" for all), the last seen first."""
        ...

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        ...

    def trace(self, given: str) -> TraceShape:
        """Return one trace with its spans, by any of its ids."""
        ...

    def findings(self) -> Iterator[FindingRow]:
        """Yield every finding that stands, the oldest first."""
        ...

    def letters(self, *, stage: str, since_s: float, limit: int) -> tuple[LetterRow, ...]:
        """Return dead letters, the newest first."""
        ...

    def letter(self, given: str) -> LetterDetail:
        """Return one dead letter with its bytes."""
        ...

    def replay(self, asked: Replay) -> Replayed:
        """Replay dead letters."""
        ...


def _may_be_id(given: str) -> bool:
    """Return whether text can stand in a path as an id."""
    return bool(given) and all(c.isalnum() or c == "-" for c in given)


class OpsSource:
    """Asks a running process."""

    is_live = True

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # without the environment's proxies: the process is near, and a proxy must not see the token
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    def answers(self) -> bool:
        """Return whether something listens there."""
        try:
            self._client.get("/healthz")
        except httpx.ConnectError:
            return False
        except httpx.HTTPError as exc:
            raise self._failed(exc) from exc
        return True

    def status(self) -> Status:
        """Return the status."""
        return self._get("/api/v1/status", Status)

    def checks(self) -> ChecksShape:
        """Return every check as the process has it configured."""
        return self._get("/api/v1/checks", ChecksShape)

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status, the last seen first."""
        return self._get("/api/v1/issues", _IssueList, **({"status": status} if status else {})).issues

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        if not _may_be_id(given):
            raise ReadingError(f"no issue has the id {given!r}")
        return self._get(f"/api/v1/issues/{given}", IssueDetailShape)

    def trace(self, given: str) -> TraceShape:
        """Return one trace by any of its ids."""
        if not _may_be_id(given):
            raise ReadingError(f"no trace has the id {given!r}")
        return self._get(f"/api/v1/traces/{given}", TraceShape)

    def findings(self) -> Iterator[FindingRow]:
        """Yield every finding that stands, as they come over the wire."""
        decoder = msgspec.json.Decoder(FindingRow)
        try:
            with self._client.stream("GET", "/api/v1/findings", headers={"Accept": "application/x-ndjson"}) as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refused(answer)
                for line in answer.iter_lines():
                    if line:
                        yield decoder.decode(line)
        except httpx.HTTPError as exc:
            raise self._failed(exc) from exc

    def letters(self, *, stage: str, since_s: float, limit: int) -> tuple[LetterRow, ...]:
        """Return dead letters, the newest first."""
        query = {"stage": stage, "since": str(since_s), "limit": str(limit)}
        return self._get("/api/v1/dead-letters", _LetterList, **query).dead_letters

    def letter(self, given: str) -> LetterDetail:
        """Return one dead letter with its bytes."""
        if not given:
            raise ReadingError("no dead letter has the id ''")
        return self._get(f"/api/v1/dead-letters/{quote(given, safe='')}", LetterDetail)

    def replay(self, asked: Replay) -> Replayed:
        """Have the process replay dead letters through its log."""
        path = "/api/v1/dead-letters/replay"
        body = msgspec.json.encode(asked)
        # many letters take their time, and giving up would only hide what is done all the same
        ask = functools.partial(
            self._client.post, path, content=body, headers={"Content-Type": "application/json"}, timeout=_REPLAY_S
        )
        return self._answered(ask, path, Replayed)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(self, path: str, shape: type[_Answer], **query: str) -> _Answer:
        return self._answered(functools.partial(self._client.get, path, params=query), path, shape)

    def _answered(self, ask: Callable[[], httpx.Response], path: str, shape: type[_Answer]) -> _Answer:
        try:
            answer = ask()
        except httpx.HTTPError as exc:
            raise self._failed(exc) from exc
        if answer.is_error:
            raise self._refused(answer)
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except (msgspec.DecodeError, msgspec.ValidationError) as exc:
            raise ReadingError(f"{self._url}{path} answered something else than Clearwatch would: {exc}") from exc

    def _failed(self, exc: httpx.HTTPError) -> ReadingError:
        why = str(exc) or type(exc).__name__
        return ReadingError(f"{self._url} does not answer ({why}): start `clearwatch up`, or name it with --ops")

    def _refused(self, answer: httpx.Response) -> ReadingError:
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return ReadingError(f"{self._url} asks for a token: set `ops.token` (CLEARWATCH__OPS__TOKEN)")
        try:
            reason = msgspec.json.decode(answer.content, type=dict[str, str]).get("error", "")
        except (msgspec.DecodeError, msgspec.ValidationError):
            reason = f"{self._url} answered {answer.status_code}: is that Clearwatch?"
        return ReadingError(reason)


class RecordsSource:
    """Reads the records, where no process can be asked."""

    is_live = False

    def __init__(self, store: "RecordStore", *, config: DetectorConfig, log: Callable[[], Log]) -> None:
        self._store = store
        self._log = log
        self._config = config

    def status(self) -> Status:
        """Return what the records tell: what is open and what lags is what living processes have reported."""
        now_s = time.time()
        with _readable():
            series = self._store.series()
            alive = living(series, now_s=now_s)
            return compose(
                version=version("clearwatch"),
                uptime_s=0.0,
                numbers=self._store.numbers(now_s=now_s, session_gap_s=self._config.sessions.gap_s),
                series=series,
                open_traces=open_traces(alive),
                lag=reported_lag(alive, measured={}),
            )

    def checks(self) -> ChecksShape:
        """Return every check as it is configured here, with the counts that processes have reported."""
        with _readable():
            return _checks(self._config, self._store.series())

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status, the last seen first."""
        now_s = time.time()
        with _readable():
            return tuple(issue_shape(row, now_s=now_s) for row in self._store.issues(status=status))

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        with _readable():
            return detail_shape(self._store.issue(given), now_s=time.time())

    def trace(self, given: str) -> TraceShape:
        """Return one trace by any of its ids; its spans are read from a log that is opened for it."""
        with _readable():
            return marked(asyncio.run(self._trace(self._store.trace(given))), self._config.suppressions)

    async def _trace(self, detail: TraceDetail) -> TraceShape:
        if detail.trace.offset < 0:
            return trace_shape(detail, None, note="a release before this one noted it: its spans are not found again")
        log = self._log()
        try:
            await log.start()
            return await shape_of(detail, log, _prices(self._config))
        except (LogLockedError, RetryableError) as exc:
            return trace_shape(detail, None, note=f"the log cannot be read: {exc}")
        finally:
            await log.stop()

    def findings(self) -> Iterator[FindingRow]:
        """Yield every finding that stands."""
        with _readable():
            yield from self._store.findings()

    def letters(self, *, stage: str, since_s: float, limit: int) -> tuple[LetterRow, ...]:
        """Return dead letters, the newest first."""
        with _readable():
            return self._store.letters.latest(stage=stage, since_s=since_s, limit=limit)

    def letter(self, given: str) -> LetterDetail:
        """Return one dead letter with its bytes."""
        with _readable():
            return self._store.letters.detail(given)

    def replay(self, asked: Replay) -> Replayed:
        """Replay dead letters through a log that is opened for it."""
        with _readable():
            return asyncio.run(self._replay(asked))

    async def _replay(self, asked: Replay) -> Replayed:
        log = self._log()
        try:
            try:
                await log.start()
            except LogLockedError as exc:
                raise ReadingError(f"{exc}: name it with --ops") from exc
            return await replay(asked, book=self._store.letters, log=log, clock=SystemClock())
        finally:
            await log.stop()

    def close(self) -> None:
        """Close the database."""
        self._store.close()


class ConfigSource:
    """Tells what the configuration alone can tell."""

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config

    def checks(self) -> ChecksShape:
        """Return every check as it is configured, without counts."""
        return _checks(self._config, ())

    def close(self) -> None:
        """Do nothing: nothing is open."""


def open_checks_source(*, config: Config, ops_url: str | None, data_dir: Path) -> ChecksSource:
    """Return the running process, else the records, else what the configuration tells. Raises ReadingError."""
    try:
        return open_source(config=config, ops_url=ops_url, data_dir=data_dir)
    except NothingThereError:
        return ConfigSource(config.detector)


def open_source(*, config: Config, ops_url: str | None, data_dir: Path) -> Source:
    """Return the running process, else the records.

    Where `ops_url` is named, only that is asked. Raises NothingThereError where there is neither.
    """
    token = config.ops.token.get_secret_value() if config.ops.token else ""
    live = OpsSource(ops_url or config.ops.url, token)
    if ops_url or live.answers():
        return live
    live.close()
    records = config.sinks.records
    if not records.url.get_secret_value() and not (data_dir / FILE_NAME).exists():
        raise NothingThereError(
            f"nothing runs at {config.ops.url} and there are no records in {data_dir}: start `clearwatch up`, "
            "or name the process with --ops or its folder with --data-dir"
        )
    # a third of a second, which a running process spares
    from sinks.records.store import RecordStore

    with _readable():
        store = RecordStore(records.url_in(data_dir))
        try:
            store.check()
        except ClearwatchError:
            store.close()
            raise
    return RecordsSource(store, config=config.detector, log=functools.partial(_log_of, config, data_dir))


def _prices(config: DetectorConfig) -> PriceTable | None:
    try:
        return load_prices(config.prices_file)
    except PricesError as exc:
        raise ReadingError(str(exc)) from exc


def _checks(config: DetectorConfig, series: Iterable[Series]) -> ChecksShape:
    """Return the checks, those of one's own included. Raises ReadingError where one of those cannot be loaded."""
    try:
        known = catalogue(config, plugins=load_plugins(config))
    except PluginError as exc:
        raise ReadingError(str(exc)) from exc
    return checks_shape(known, config.suppressions, series, now_s=time.time())


def _log_of(config: Config, data_dir: Path) -> Log:
    # a tenth of a second to import, which commands that only read are spared
    from clearwatch.roles import open_log

    return open_log(config, data_dir=data_dir, instance_id="", telemetry=Telemetry(), clock=SystemClock())


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn what the store raises into what a person reads."""
    try:
        yield
    except ClearwatchError as exc:
        raise ReadingError(str(exc)) from exc
