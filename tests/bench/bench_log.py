"""What durable appends cost: spans per CPU-second of storing what a collector stores of 512-span requests.

A request of 512 spans of 1.8 KB is 64 traces of 8 spans. The naive reference is what one would write first: a record
for each trace, a transaction for each request, an INSERT for each record, headers as JSON, SQLite's default pages and
journal. Ours stores a record for each of 4 partitions, as the collector makes them; the same 64 records are measured
too, so that the gain of slicing and that of the log can be told apart. The rollback journal of the naive one writes
new pages once where a WAL writes them twice: it is no easy reference in CPU, but its readers and writers exclude each
other.
"""

import asyncio
import json
import sqlite3
import tempfile
import time
from pathlib import Path

from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry

_REQUEST_BYTES = 64 * 14_600
_SPANS = 512
_REQUESTS = 120
_CALLERS = 8
_MAX_BYTES = 64 * 1024**2  # so that deletion is part of the cost


def _request(records: int) -> list[Record]:
    headers = topics.headers(signal=topics.SIGNAL_TRACES)
    value = bytes(range(256)) * (_REQUEST_BYTES // records // 256 + 1)
    return [
        Record(topic=topics.SPANS, partition=n % 4, value=value[: _REQUEST_BYTES // records], headers=headers)
        for n in range(records)
    ]


async def _append(path: Path, records: int, config: LogConfig) -> float:
    log = SqliteLog(str(path), config=config, telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    request = _request(records)

    async def caller() -> None:
        for _ in range(_REQUESTS // _CALLERS):
            await log.append(request)

    await log.append(request)
    began_s = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CALLERS):
            tasks.create_task(caller())
    spent_s = time.process_time() - began_s
    await log.stop()
    return _REQUESTS * _SPANS / spent_s


def _append_naively(path: Path) -> float:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (topic, part, off, ts, key, headers, value, PRIMARY KEY (topic, part, off))")
    request = _request(64)
    offset = 0
    began_s = time.process_time()
    for _ in range(_REQUESTS):
        with connection:
            for record in request:
                offset += 1
                connection.execute(
                    "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        record.topic,
                        record.partition,
                        offset,
                        time.time(),
                        record.key,
                        json.dumps(dict(record.headers)),
                        record.value,
                    ),
                )
    spent_s = time.process_time() - began_s
    connection.close()
    return _REQUESTS * _SPANS / spent_s


def run() -> list[tuple[str, float, str]]:
    """Return (name, value, unit) of each figure; naive and ours are run in turn, the best of three counts."""
    best: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        best[name] = max(best.get(name, 0.0), value)

    with tempfile.TemporaryDirectory() as folder:
        for turn in range(3):
            path = Path(folder)
            note("naive", _append_naively(path / f"naive{turn}.db"))
            note("64", asyncio.run(_append(path / f"many{turn}.db", 64, LogConfig())))
            note("4", asyncio.run(_append(path / f"few{turn}.db", 4, LogConfig())))
            note("trim", asyncio.run(_append(path / f"trim{turn}.db", 4, LogConfig(max_bytes=_MAX_BYTES))))
    return [
        ("log append, 4 records a request", best["4"], "spans/cpu-s"),
        ("log append, 4 records, deleting by size", best["trim"], "spans/cpu-s"),
        ("log append, 64 records of 14.6 KB", best["64"], "spans/cpu-s"),
        ("naive append, 64 records of 14.6 KB", best["naive"], "spans/cpu-s"),
        ("log append, 4 records / naive", best["4"] / best["naive"], "ratio"),
    ]


if __name__ == "__main__":
    for name, value, unit in run():
        print(f"{name:42} {value:12.1f} {unit}")
