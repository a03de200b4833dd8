"""The database of the records: how it is reached, its two kinds of transaction, and what its failures mean.

A read is one snapshot. A write either happens whole or not at all, and writers never deadlock: each locks rows in the
order of their keys, and one that cannot says so and writes alone (`writing(alone=True)`). On SQLite every writer is
alone. On PostgreSQL writers share an advisory lock of the database, which the lone one takes for itself; a writer that
waits 20 s for a lock gives up and is tried again, and one that sleeps within a transaction loses it after a minute.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from core.errors import ClearwatchError, PermanentError, RetryableError

SUPPORTED: Final = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or postgresql+psycopg://…"

# advisory locks are numbers that all who use a database share: "clearwat" as eight bytes, and those behind it
WRITERS_LOCK: Final = 0x636C656172776174
MIGRATION_LOCK: Final = WRITERS_LOCK + 1
RETENTION_LOCK: Final = WRITERS_LOCK + 2

# what the driver is told where the URL does not say otherwise, in seconds (`tcp_user_timeout`: ms): a server that is
# gone without a word is noticed within half a minute instead of TCP's quarter of an hour
_CONNECT: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "clearwatch",
    "client_encoding": "utf8",
}
_WRITE_BEGINS: Final = (
    "SELECT {lock}({key}), set_config('lock_timeout', '20s', true), "
    "set_config('idle_in_transaction_session_timeout', '60s', true)"
)
_SHARED: Final = _WRITE_BEGINS.format(lock="pg_advisory_xact_lock_shared", key=WRITERS_LOCK)
_ALONE: Final = _WRITE_BEGINS.format(lock="pg_advisory_xact_lock", key=WRITERS_LOCK)
# SQLSTATE classes of what is wrong with the values: data exception, constraint violation, program limit exceeded
_REFUSED_CLASSES: Final = ("22", "23", "54")
# a failed connection has no SQLSTATE: the server's words tell what only a person can mend. In another language of the
# server they read as a server that is not there, which is waited for
_ACCESS_WORDS: Final = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "FATAL:  role ",
)


class RecordsUnavailableError(RetryableError):
    """The database of the records cannot be written or read now."""


class RecordsRefusedError(PermanentError):
    """The database takes no such values; others it takes."""


class RecordsAccessError(RecordsUnavailableError):
    """The server lets nobody in with this user, password and database, or not far enough.

    At a start this is for a person to mend. Later it is waited for as for a server that is away: what is in the log
    stays there.
    """


class RecordsUrlError(PermanentError):
    """`sinks.records.url` cannot be used."""


def parse_url(text: str) -> sa.URL:
    """Return the URL with its driver. Raises RecordsUrlError, without what may be secret in it."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise RecordsUrlError(f"`sinks.records.url` is no address of a database: write {SUPPORTED}") from None
    if url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise RecordsUrlError(f"`sinks.records.url` names {url.drivername}: write {SUPPORTED}")
    if url.drivername == "sqlite":
        return url
    if not url.database:
        raise RecordsUrlError(f"`sinks.records.url` names no database: write {SUPPORTED}")
    return url.set(drivername="postgresql+psycopg")


class Database:
    """An engine with its transactions. Blocking; thread-safe."""

    def __init__(self, url: str) -> None:
        """Raises RecordsUrlError."""
        self._url = parse_url(url)
        self.is_sqlite = self._url.drivername == "sqlite"
        self.is_in_memory = self.is_sqlite and self._url.database in (None, "", ":memory:")
        self.engine = _sqlite(self._url, in_memory=self.is_in_memory) if self.is_sqlite else _postgresql(self._url)
        self._reads = self.engine
        if not self.is_sqlite:
            self._reads = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # a database in memory has one connection, which threads must take in turn
        self._turn: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self.is_in_memory else contextlib.nullcontext()
        )

    @property
    def dialect(self) -> str:
        """Return the kind of database: sqlite or postgresql."""
        return self.engine.dialect.name

    def make_folder(self) -> None:
        """Make the folder of an SQLite file. Raises RecordsUnavailableError."""
        if not self.is_sqlite or self.is_in_memory:
            return
        folder = Path(str(self._url.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise RecordsUnavailableError(f"folder {folder} of the records cannot be made: {exc.strerror}") from exc

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read one snapshot. Raises RecordsUnavailableError, RecordsRefusedError."""
        try:
            with self._turn, self._reads.connect() as connection, connection.begin():
                yield connection
        except sa.exc.SQLAlchemyError as exc:
            raise self._translated(exc, "read") from exc

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[sa.Connection]:
        """Write in one transaction; `alone` where rows cannot be locked in the order of their keys.

        Raises RecordsUnavailableError, RecordsRefusedError; then nothing has changed, but where a
        connection was lost at the commit, which may have happened: what is written must bear to be written again.
        """
        with self._transaction(_ALONE if alone else _SHARED, "written") as connection:
            yield connection

    @contextlib.contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        """Hold the one transaction in which tables change: whoever comes second waits, without a limit."""
        with self._transaction(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", "opened") as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, lock: str, doing: str) -> Iterator[sa.Connection]:
        """Write in one transaction under PostgreSQL's `lock`; an SQLite file is locked whole."""
        try:
            with (
                self._turn,
                self.engine.connect().execution_options(writes=True) as connection,
                connection.begin(),
            ):
                if not self.is_sqlite:
                    connection.exec_driver_sql(lock)
                yield connection
        except sa.exc.SQLAlchemyError as exc:
            raise self._translated(exc, doing) from exc

    def _translated(self, exc: sa.exc.SQLAlchemyError, doing: str) -> ClearwatchError:
        """Return what it means; the message is one line without secrets, and names the server."""
        orig = exc.orig if isinstance(exc, sa.exc.DBAPIError) else None
        why = self._without_secrets(" ".join(str(orig or exc).split()))
        where = "" if self.is_sqlite else f" ({self._url.host or 'local'}/{self._url.database})"
        message = f"records{where} cannot be {doing}: {why}"
        if isinstance(exc, sa.exc.DataError | sa.exc.IntegrityError) or _state(orig).startswith(_REFUSED_CLASSES):
            return RecordsRefusedError(message)
        if orig is not None and _is_access(orig):
            return RecordsAccessError(f"{message}: check `sinks.records.url`")
        return RecordsUnavailableError(message)

    def _without_secrets(self, text: str) -> str:
        secrets = (self._url.password, self._url.query.get("password"), self._url.query.get("sslpassword"))
        for secret in secrets:
            for each in (secret,) if isinstance(secret, str) else secret or ():
                text = text.replace(each, "***") if each else text
        return text


def _state(orig: BaseException | None) -> str:
    return getattr(orig, "sqlstate", None) or ""


def _is_access(orig: BaseException) -> bool:
    if _state(orig) == "42501":  # insufficient_privilege
        return True
    text = str(orig)
    is_unknown_database = "FATAL:  database " in text and "does not exist" in text
    return is_unknown_database or any(words in text for words in _ACCESS_WORDS)


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url.update_query_dict({k: v for k, v in _CONNECT.items() if k not in url.query}),
        isolation_level="READ COMMITTED",  # upserts decide on the row as it is now; the server's default may differ
        pool_pre_ping=True,  # after a restart of the server: a new connection instead of an error
        pool_size=4,  # writes, retention, counters and a reader; more come and go
        hide_parameters=True,  # what spans hold stays out of logs
    )


def _sqlite(url: sa.URL, *, in_memory: bool) -> sa.Engine:
    if in_memory:
        engine = sa.create_engine(
            url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True
        )
    else:
        engine = sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": 30.0}, hide_parameters=True)
    sa.event.listen(engine, "connect", _tune_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver would begin late and commit early; we begin ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # a writer takes its lock at once: upgrading a read transaction fails where another has written meanwhile
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
