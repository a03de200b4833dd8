"""Connections that read the embedded log, each used by one thread, beside the writer (WAL)."""

import asyncio
import concurrent.futures
import functools
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from core.errors import LogUnavailableError
from core.log.database import MEMORY, connect_reader, unavailable
from core.log.headers import HeaderCodec
from core.log.mirror import PartitionState
from core.log.port import StoredRecord

T = TypeVar("T")

# reads are short and their data is in the page cache: more threads would only fight for the interpreter lock
_READERS: Final = 2


class ReadPool:
    """Runs reads in a few threads. Of `:memory:` there is one connection: reads share it, under `lock`."""

    def __init__(self, path: str, *, writer: sqlite3.Connection, lock: threading.Lock) -> None:
        self._path = path
        self._lock = lock if path == MEMORY else None
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._connections: list[sqlite3.Connection] = []
        self._threads = concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="log-read")
        self._codecs = threading.local()
        if path == MEMORY:
            self._idle.put(writer)
        else:
            for _ in range(_READERS):
                connection = connect_reader(path)
                self._connections.append(connection)
                self._idle.put(connection)

    async def run(self, read: Callable[[sqlite3.Connection, HeaderCodec], T]) -> T:
        """Run one read. Raises LogUnavailableError."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, functools.partial(self._call, read))
        except sqlite3.Error as exc:
            raise unavailable(exc, self._path) from exc
        except RuntimeError as exc:
            raise LogUnavailableError(f"log {self._path} is stopped") from exc

    def close(self) -> None:
        """End the threads and close the connections."""
        self._threads.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _call(self, read: Callable[[sqlite3.Connection, HeaderCodec], T]) -> T:
        codec: HeaderCodec | None = getattr(self._codecs, "codec", None)
        if codec is None:
            codec = self._codecs.codec = HeaderCodec()
        connection = self._idle.get()
        try:
            if self._lock is None:
                return read(connection, codec)
            with self._lock:
                return read(connection, codec)
        finally:
            self._idle.put(connection)


def read_range(
    connection: sqlite3.Connection, codec: HeaderCodec, state: PartitionState, first: int, end: int, max_bytes: int
) -> list[StoredRecord]:
    """Return records from offset `first` to before `end`, stopping once `max_bytes` of values are exceeded."""
    topic, partition = state.topic_partition
    base = state.row_base
    found: list[StoredRecord] = []
    size = 0
    for row_id, log_time_ms, key, headers, value in connection.execute(
        "SELECT id, log_time_ms, key, headers, value FROM records WHERE id >= ? AND id < ? ORDER BY id",
        (base + first, base + end),
    ):
        found.append(
            StoredRecord(
                topic=topic,
                partition=partition,
                offset=row_id - base,
                log_time_ms=log_time_ms,
                value=value,
                key=key,
                headers=codec.decode(headers),
            )
        )
        size += len(value)
        if size >= max_bytes:
            break
    return found


def read_offsets(
    connection: sqlite3.Connection, codec: HeaderCodec, state: PartitionState, offsets: Sequence[int]
) -> list[StoredRecord]:
    """Return the records at these offsets that exist."""
    found: list[StoredRecord] = []
    for offset in offsets:
        found += read_range(connection, codec, state, offset, offset + 1, 1)
    return found
