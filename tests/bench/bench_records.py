"""What the read side costs: records of `traces`, `findings` and `issues` stored, for each CPU-second of this process.

Of each five traces one has a finding, of each ten one an issue event with its link; half of them belong to sessions.
PostgreSQL is measured where its binaries are installed; its server's own CPU is not counted.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sinks.records.config import sqlite_url
from sinks.records.store import Change, RecordStore
from tests.integration.postgres_server import PostgresMissingError, RunningPostgres, database_in
from tests.unit.records_kit import NOW_S, change, event, finding, issue, link, trace

_BATCHES = 20
_TRACES = 1_000  # of a batch: some MB of records, as the sink fetches them


def _id(*parts: object) -> str:
    return hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()


def _batch(first: int) -> Iterator[Change]:
    for number in range(first, first + _TRACES):
        id_, session = _id(number), f"s{number // 4}" if number % 2 else ""
        yield change(trace(trace_id=id_, version=id_[:16], session_id=session, last_append_s=NOW_S), offset=number)
        if number % 5 == 0:
            yield change(finding(_id("f", number), trace_id=id_, observed_at_ns=number), offset=number)
        if number % 10 == 0:
            yield change(event(issue(sequence=number), link(_id("f", number))), offset=number)


def _measure(url: str, batches: list[list[Change]]) -> tuple[float, float]:
    """Return (records for each CPU-second, records a second)."""
    store = RecordStore(url)
    store.open()
    began_cpu_s, began_s = time.process_time(), time.monotonic()
    for batch in batches:
        store.apply(batch)
    spent_s, took_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
    store.close()
    stored = sum(map(len, batches))
    return stored / spent_s, stored / took_s


def _best(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    found = [measure() for _ in range(3)]
    return max(cpu for cpu, _ in found), max(wall for _, wall in found)


def run() -> list[tuple[str, float, str]]:
    """Return (name, value, unit) of each figure; the best of three rounds counts."""
    batches = [list(_batch(number * _TRACES)) for number in range(_BATCHES)]

    def sqlite() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(sqlite_url(Path(folder) / "records.sqlite3"), batches)

    results = {"SQLite": _best(sqlite)}
    try:
        server = RunningPostgres()
    except PostgresMissingError as exc:
        print(f"NO POSTGRESQL: {exc}")
    else:
        try:
            server.start()

            def postgresql() -> tuple[float, float]:
                with database_in(server.url) as url:
                    return _measure(url, batches)

            results["PostgreSQL (fsync off)"] = _best(postgresql)
        finally:
            server.remove()
    return [
        (f"records stored, {name}", value, unit)
        for name, (cpu, wall) in results.items()
        for value, unit in ((cpu, "records/cpu-s"), (wall, "records/s"))
    ]
