"""Several write at once, on every database: the same rows as one writer leaves, no deadlock, nothing counted twice."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.model.finding import Withdrawal
from core.model.trace import TraceWithdrawal
from core.telemetry import Series
from sinks.records import schema
from sinks.records.config import sqlite_url
from sinks.records.store import Change, RecordStore
from tests.unit.records_kit import NOW_S, change, event, finding, issue, link, store, trace

WRITERS = 4


@pytest.fixture
def url(records_url: str, tmp_path: Path) -> str:
    """Return a database that several processes can open: a file instead of one in memory."""
    return sqlite_url(tmp_path / "records.sqlite3") if records_url == "sqlite://" else records_url


@pytest.fixture
def writers(url: str) -> Iterator[list[RecordStore]]:
    """Return stores with connections of their own, as processes have them."""
    made = [store(url) for _ in range(WRITERS)]
    yield made
    for each in made:
        each.close()


def rows_of(records: RecordStore) -> dict[str, list[tuple[object, ...]]]:
    tables = [t for t in schema.metadata.sorted_tables if t.name not in ("counters", "totals", "processes")]
    with records._database.reading() as connection:
        return {t.name: sorted(map(tuple, connection.execute(sa.select(t)))) for t in tables}


def trace_id(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def story(traces: int) -> list[Change]:
    """Return versions of traces that meet in sessions, findings that come and go, issues that grow."""
    changes: list[Change] = []
    for number in range(traces):
        id_, key = trace_id(number), f"svc{number % 3}"
        for spans in (1, 4, 2):
            session = f"s{number % 7}" if spans > 1 else ""
            version = f"{spans:016}"
            changes.append(
                change(
                    trace(trace_id=id_, span_count=spans, version=version, routing_key=key, session_id=session),
                    offset=len(changes),
                )
            )
        changes.append(change(finding(f"f{number}", trace_id=id_), offset=len(changes)))
        gone = Withdrawal(finding_id=f"f{number // 2}", fingerprint="x", routing_key=key, trace_id=id_, reason="late")
        changes.append(change(gone, offset=len(changes)))
        changes.append(change(event(issue(sequence=number, trace_count=number), link(f"f{number}")), offset=number))
    return changes


def apply_all(records: RecordStore, changes: Sequence[Change], *, size: int) -> None:
    for start in range(0, len(changes), size):
        records.apply(changes[start : start + size])


def test_writers_of_the_same_records_in_any_order_leave_what_one_leaves(writers: list[RecordStore]) -> None:
    changes = story(60)
    writers[0].apply(changes)
    expected = rows_of(writers[0])
    with writers[0]._database.writing() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name in expected:
                connection.execute(table.delete())
    with ThreadPoolExecutor(WRITERS) as pool:
        done = []
        for number, writer in enumerate(writers):
            shuffled = list(changes)
            random.Random(number).shuffle(shuffled)
            done.append(pool.submit(apply_all, writer, shuffled, size=37 + number))
        for each in done:
            each.result()  # a deadlock would be raised here
    assert rows_of(writers[0]) == expected


def test_traces_that_leave_their_key_meet_no_deadlock_with_other_writers(writers: list[RecordStore]) -> None:
    ids = [trace_id(number) for number in range(40)]

    def move(records: RecordStore, seed: int) -> None:
        mixed = list(ids)
        random.Random(seed).shuffle(mixed)
        for some in _batches(mixed, 8):
            records.apply(
                [
                    each
                    for id_ in some
                    for each in (
                        change(trace(trace_id=id_)),
                        change(TraceWithdrawal(trace_id=id_, routing_key="shop")),
                        change(trace(trace_id=id_, session_id="s", span_count=4, version="z" * 16)),
                    )
                ]
            )

    with ThreadPoolExecutor(WRITERS) as pool:
        for each in [pool.submit(move, writer, seed) for seed, writer in enumerate(writers * 2)]:
            each.result()
    assert {writers[0].trace(id_).trace.session_id for id_ in ids} == {"s"}


def _batches(values: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def test_retention_beside_writers_deletes_and_counts_each_row_once(writers: list[RecordStore]) -> None:
    old = [change(trace(trace_id=trace_id(n)), at_s=NOW_S - 1000, offset=n) for n in range(6_000)]
    old += [change(finding(f"f{n}"), at_s=NOW_S - 1000, offset=n) for n in range(1_000)]
    writers[0].apply(old)

    def retain(records: RecordStore) -> int:
        total = 0
        for _ in range(12):
            total += records.retain(now_s=NOW_S, retention_s=500)
        return total

    def write(records: RecordStore) -> int:
        fresh = [change(trace(trace_id=trace_id(10_000 + n)), offset=n) for n in range(600)]
        apply_all(records, fresh, size=50)
        return 0

    with ThreadPoolExecutor(WRITERS) as pool:
        done = [
            pool.submit(act, records) for act, records in zip((retain, retain, retain, write), writers, strict=True)
        ]
        deleted = sum(each.result() for each in done)
    while some := writers[0].retain(now_s=NOW_S, retention_s=500):
        deleted += some
    numbers = writers[0].numbers(now_s=NOW_S, session_gap_s=1800)
    assert deleted == 7_000
    assert (numbers.traces_closed, numbers.findings) == (6_600, 1_000)
    with writers[0]._database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.traces)) == 600


def test_a_row_that_is_written_again_while_retention_looks_is_kept(writers: list[RecordStore]) -> None:
    writers[0].apply([change(trace(trace_id=trace_id(n)), at_s=NOW_S - 1000) for n in range(500)])

    def renew(records: RecordStore) -> None:
        newer = [change(trace(trace_id=trace_id(n), span_count=9, version="n" * 16), at_s=NOW_S) for n in range(500)]
        apply_all(records, newer, size=20)

    def retain(records: RecordStore) -> None:
        while records.retain(now_s=NOW_S, retention_s=500):
            pass

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(renew, writers[0]), pool.submit(retain, writers[1])]:
            each.result()
    assert {writers[0].trace(trace_id(n)).trace.span_count for n in range(500)} == {9}


def test_processes_that_fold_counters_at_once_lose_and_double_nothing(writers: list[RecordStore]) -> None:
    for number in range(50):
        writers[0].save_counters(f"start-{number}", {("clearwatch.dropped", ()): 2.0}, now_s=NOW_S)

    def fold(records: RecordStore) -> int:
        return sum(records.fold_counters(now_s=NOW_S + 200_000) for _ in range(5))

    with ThreadPoolExecutor(WRITERS) as pool:
        folded = sum(pool.map(fold, writers))
    assert folded == 50
    assert [(s.instance, s.value) for s in writers[0].series()] == [("retired", 100.0)]


def test_many_processes_store_their_counters_at_once(writers: list[RecordStore]) -> None:
    names: list[Series] = [("clearwatch.dropped", (("reason", f"r{n}"),)) for n in range(20)]

    def count(number: int) -> None:
        for value in range(1, 11):
            mixed = random.Random(value).sample(names, len(names))
            snapshot = dict.fromkeys(mixed, float(value))
            writers[number].save_counters(f"p{number % 2}", snapshot, now_s=NOW_S)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(count, range(WRITERS)))
    assert sum(s.value for s in writers[0].series()) == 2 * 20 * 10


def test_a_reader_sees_one_moment_while_others_write(writers: list[RecordStore]) -> None:
    batch = [change(trace(trace_id=trace_id(n)), offset=n) for n in range(10)]
    writers[0].apply(batch)
    database = writers[1]._database
    counted = sa.select(sa.func.count()).select_from(schema.traces)
    with database.reading() as connection:
        before = connection.scalar(counted)
        writers[0].apply([change(trace(trace_id=trace_id(n)), offset=n) for n in range(10, 20)])
        assert connection.scalar(counted) == before == 10
    with database.reading() as connection:
        assert connection.scalar(counted) == 20
