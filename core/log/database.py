"""The SQLite file of the embedded log: layout, connections, version, and the lock of its one process.

Records are clustered by partition and offset: their rowid is `(partition's id << 40) + offset`, so that a read is one
range scan and a deletion one range. What has to survive when every record is gone (next offset, last log time) stands
in `topic_partitions`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from core.errors import LogUnavailableError, PermanentError

MEMORY: Final = ":memory:"
OFFSET_BITS: Final = 40
SCHEMA_VERSION: Final = 1
# "CLWL": tells our files from others, https://sqlite.org/pragma.html#pragma_application_id
APPLICATION_ID: Final = 0x434C574C

_TABLES: Final = """
CREATE TABLE topic_partitions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0,
    last_log_time_ms INTEGER NOT NULL DEFAULT 0,
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    units INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    log_time_ms INTEGER NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE consumer_groups (name TEXT PRIMARY KEY, essential INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE offsets (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) WITHOUT ROWID;
CREATE TABLE state (
    id INTEGER PRIMARY KEY,
    store TEXT NOT NULL,
    partition INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (store, partition, key)
);
"""


class LogLockedError(PermanentError):
    """Another process (or another log in this one) has the file open."""

    def __init__(self, path: str) -> None:
        super().__init__(f"log {path} is in use by another process")


class LogFormatError(PermanentError):
    """The file is not ours, was written by a newer release, or has another number of partitions."""


class FileLock:
    """An exclusive advisory lock (flock) beside the file; gone with the process, however it ends."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock. Raises LogLockedError, or LogUnavailableError where the folder cannot be written."""
        try:
            Path(self._path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds people's prompts
            descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise LogUnavailableError(f"cannot open log {self._path}: {exc}", retry_after_s=5.0) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            raise LogLockedError(self._path) from exc
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back. Idempotent. The file stays: removing it would let two processes lock two files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def connect_writer(path: str) -> sqlite3.Connection:
    """Open the connection that writes; its transactions are explicit."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        connection.execute("PRAGMA page_size = 16384")  # blobs of 10-100 KB: 1.2-2 times 4 KB pages, measured
        if path != MEMORY:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")  # OK means durable: the WAL is synced at each COMMIT
            # the writer moves the WAL into the file by itself, when nobody waits for it
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(f"PRAGMA journal_size_limit = {64 * 1024**2}")
        # some distributions overwrite what is deleted with zeros by default: retention would write everything again
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA cache_size = -16384")  # KiB
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: str) -> sqlite3.Connection:
    """Open a connection that only reads."""
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(
        "PRAGMA cache_size = -4096"
    )  # KiB; what is read was just written: the page cache of the OS has it
    return connection


def prepare(connection: sqlite3.Connection, path: str, partitions: Iterable[tuple[str, int]]) -> None:
    """Create the tables and topic partitions that are missing. Raises LogFormatError."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise LogFormatError(
            f"log {path} has format {version}, this release reads up to {SCHEMA_VERSION}: upgrade before using it"
        )
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    has_tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if has_tables and (application != APPLICATION_ID or not version):
        raise LogFormatError(f"{path} is an SQLite file, but not a log")
    wanted = set(partitions)
    if not has_tables:
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    columns = {row[1] for row in connection.execute("PRAGMA table_info(topic_partitions)")}
    if "units" not in columns:  # a file of before they were counted; whoever does not know the column ignores it
        connection.execute("ALTER TABLE topic_partitions ADD COLUMN units INTEGER NOT NULL DEFAULT 0")
    found = set(connection.execute("SELECT topic, partition FROM topic_partitions"))
    stored, asked = {t: 0 for t, _ in found}, {t: 0 for t, _ in wanted}
    for counts, pairs in ((stored, found), (asked, wanted)):
        for topic, _ in pairs:
            counts[topic] += 1
    for topic, count in stored.items():
        if asked.get(topic, count) != count:
            raise LogFormatError(
                f"log {path} has {count} partitions of {topic}, `log.partitions` asks for {asked[topic]}: "
                "a change would split open traces; use a new file"
            )
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO topic_partitions (topic, partition) VALUES (?, ?)", sorted(wanted - found))
    connection.execute("COMMIT")


def is_trouble_of_file(exc: Exception) -> bool:
    """Return whether an error is the file's or the disk's, and not of the values that were given to SQLite."""
    of_values = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    return isinstance(exc, sqlite3.Error) and not isinstance(exc, of_values)


def unavailable(exc: Exception, path: str) -> LogUnavailableError:
    """Translate an error of SQLite: a full disk takes a while to clear, others may pass at once."""
    full = (getattr(exc, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return LogUnavailableError(f"log {path}: {exc}", retry_after_s=5.0 if full else 1.0)
