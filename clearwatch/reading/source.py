"""Where a command's answers come from: the ops API of a running process, or the records themselves."""

import contextlib
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol, TypeVar

import httpx
import msgspec

from clearwatch.config import Config
from clearwatch.ops.shapes import IssueDetailShape, IssueShape, detail_shape, issue_shape
from clearwatch.ops.status import Status, compose
from core.errors import ClearwatchError, PermanentError
from sinks.records.config import FILE_NAME
from sinks.records.store import RecordStore
from sinks.records.views import FindingRow

_TIMEOUT_S: Final = 30.0
_Answer = TypeVar("_Answer")


class ReadingError(PermanentError):
    """The question cannot be answered; the message says what to do."""


class _IssueList(msgspec.Struct, frozen=True):
    issues: tuple[IssueShape, ...]


class Source(Protocol):
    """What the commands ask. Every method raises ReadingError."""

    @property
    def is_live(self) -> bool:
        """Return whether a running process answers."""
        ...

    def status(self) -> Status:
        """Return the status; without a running process `lag` is empty, for nobody knows it."""
        ...

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status ("" for all), the last seen first."""
        ...

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        ...

    def findings(self) -> Iterator[FindingRow]:
        """Yield every finding that stands, the oldest first."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


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

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status, the last seen first."""
        return self._get("/api/v1/issues", _IssueList, **({"status": status} if status else {})).issues

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        if not all(c.isalnum() or c == "-" for c in given):
            raise ReadingError(f"no issue has the id {given!r}")
        return self._get(f"/api/v1/issues/{given}", IssueDetailShape)

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

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(self, path: str, shape: type[_Answer], **query: str) -> _Answer:
        try:
            answer = self._client.get(path, params=query)
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
    """Reads the records of a process that does not run."""

    is_live = False

    def __init__(self, store: RecordStore, *, session_gap_s: float) -> None:
        self._store = store
        self._session_gap_s = session_gap_s

    def status(self) -> Status:
        """Return what the records tell; nothing is open where nothing runs."""
        with _readable():
            return compose(
                version=version("clearwatch"),
                uptime_s=0.0,
                numbers=self._store.numbers(now_s=time.time(), session_gap_s=self._session_gap_s),
                series=self._store.series(),
                open_traces=0,
                lag={},
            )

    def issues(self, status: str) -> tuple[IssueShape, ...]:
        """Return issues of a status, the last seen first."""
        now_s = time.time()
        with _readable():
            return tuple(issue_shape(row, now_s=now_s) for row in self._store.issues(status=status))

    def issue(self, given: str) -> IssueDetailShape:
        """Return one issue by any of its ids."""
        with _readable():
            return detail_shape(self._store.issue(given), now_s=time.time())

    def findings(self) -> Iterator[FindingRow]:
        """Yield every finding that stands."""
        with _readable():
            yield from self._store.findings()

    def close(self) -> None:
        """Close the database."""
        self._store.close()


def open_source(*, config: Config, ops_url: str | None, data_dir: Path) -> Source:
    """Return the running process, else the records.

    Where `ops_url` is named, only that is asked. Raises ReadingError where there is neither.
    """
    token = config.ops.token.get_secret_value() if config.ops.token else ""
    live = OpsSource(ops_url or config.ops.url, token)
    if ops_url or live.answers():
        return live
    live.close()
    records = config.sinks.records
    if not records.url.get_secret_value() and not (data_dir / FILE_NAME).exists():
        raise ReadingError(
            f"nothing runs at {config.ops.url} and there are no records in {data_dir}: start `clearwatch up`, "
            "or name the process with --ops or its folder with --data-dir"
        )
    store = RecordStore(records.url_in(data_dir))
    with _readable():
        store.check()
    return RecordsSource(store, session_gap_s=config.detector.sessions.gap_s)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn what the store raises into what a person reads."""
    try:
        yield
    except ClearwatchError as exc:
        raise ReadingError(str(exc)) from exc
