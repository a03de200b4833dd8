"""The tables through the releases: made once, upgraded with all they hold, a newer or a foreign one refused."""

import asyncio
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from sinks.records import schema
from sinks.records.config import sqlite_url
from sinks.records.engine import Database, RecordsUnavailableError
from sinks.records.migrating import VERSION_TABLE, RecordsSchemaError, version_of
from sinks.records.store import RecordStore
from tests.unit.records_kit import (
    ISSUE,
    NOW_S,
    TRACE,
    change,
    event,
    filed,
    finding,
    issue,
    link,
    store,
    trace,
)

# what the first release made, word for word
FIRST_RELEASE = """
CREATE TABLE counters (instance VARCHAR NOT NULL, name VARCHAR NOT NULL, labels VARCHAR NOT NULL,
    value DOUBLE NOT NULL, updated_at_s DOUBLE NOT NULL, PRIMARY KEY (instance, name, labels));
CREATE TABLE filings (issue_id VARCHAR NOT NULL, mlflow_issue_id VARCHAR NOT NULL, position BIGINT NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (issue_id));
CREATE TABLE findings (finding_id VARCHAR NOT NULL, found_at BIGINT NOT NULL, withdrawn_at BIGINT NOT NULL,
    trace_id VARCHAR NOT NULL, observed_at_ns BIGINT NOT NULL, seen_at_s DOUBLE NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (finding_id));
CREATE TABLE issues (issue_id VARCHAR NOT NULL, hex VARCHAR NOT NULL, sequence BIGINT NOT NULL,
    status VARCHAR NOT NULL, last_seen_ns BIGINT NOT NULL, changed_at_s DOUBLE NOT NULL, kind VARCHAR NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (issue_id));
CREATE TABLE links (finding_id VARCHAR NOT NULL, issue_id VARCHAR NOT NULL, position BIGINT NOT NULL,
    standing INTEGER NOT NULL, observed_at_ns BIGINT NOT NULL, seen_at_s DOUBLE NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (finding_id));
CREATE TABLE sessions (routing_key VARCHAR NOT NULL, session_id VARCHAR NOT NULL, first_s DOUBLE NOT NULL,
    last_s DOUBLE NOT NULL, PRIMARY KEY (routing_key, session_id));
CREATE TABLE totals (name VARCHAR NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (name));
CREATE TABLE traces (trace_id VARCHAR NOT NULL, rank BIGINT NOT NULL, version VARCHAR NOT NULL,
    routing_key VARCHAR NOT NULL, session_id VARCHAR NOT NULL, provisional INTEGER NOT NULL,
    seen_at_s DOUBLE NOT NULL, body BLOB NOT NULL, PRIMARY KEY (trace_id));
CREATE INDEX filings_mlflow ON filings (mlflow_issue_id);
CREATE INDEX findings_order ON findings (observed_at_ns, finding_id);
CREATE INDEX findings_seen ON findings (seen_at_s);
CREATE INDEX findings_standing ON findings (found_at, withdrawn_at);
CREATE INDEX findings_trace ON findings (trace_id);
CREATE INDEX issues_hex ON issues (hex);
CREATE INDEX issues_last_seen ON issues (status, last_seen_ns);
CREATE INDEX links_issue ON links (issue_id, observed_at_ns);
CREATE INDEX links_seen ON links (seen_at_s);
CREATE INDEX sessions_last ON sessions (last_s);
CREATE INDEX traces_provisional ON traces (provisional);
CREATE INDEX traces_seen ON traces (seen_at_s);
CREATE INDEX traces_session ON traces (routing_key, session_id);
INSERT INTO totals VALUES ('schema', 1), ('deleted.traces', 41);
INSERT INTO counters VALUES ('old', 'clearwatch.collector.spans.received', '{}', 7.0, 1700000000.0);
"""


@pytest.fixture
def url(records_url: str, tmp_path: Path) -> str:
    """Return a database that several processes can open: a file instead of one in memory."""
    return sqlite_url(tmp_path / "records.sqlite3") if records_url == "sqlite://" else records_url


@pytest.fixture
def old_file(tmp_path: Path) -> str:
    """Return an SQLite file as the first release left it, with a trace, a finding and an issue in it."""
    url = sqlite_url(tmp_path / "old.sqlite3")
    full = store(sqlite_url(tmp_path / "full.sqlite3"))
    full.apply([change(trace(session_id="s1")), change(finding()), change(event(issue(), link("f1"))), change(filed())])
    database = Database(url)
    with database.writing() as connection:
        for statement in FIRST_RELEASE.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    with full._database.reading() as source, database.writing() as target:
        for table in schema.metadata.sorted_tables:
            if table.name not in ("counters", "totals", "processes", "feedback", "dead_letters"):
                target.execute(table.insert(), [row._asdict() for row in source.execute(sa.select(table))])
    full.close()
    database.close()
    return url


def version(records: RecordStore) -> int:
    with records._database.reading() as connection:
        return version_of(connection)


def differences(records: RecordStore) -> list[object]:
    with records._database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        return list(compare_metadata(context, schema.metadata))


def test_the_steps_make_the_tables_that_the_code_describes(url: str) -> None:
    records = store(url)
    assert (differences(records), version(records)) == ([], schema.SCHEMA_VERSION)
    records.open()
    records.check()
    records.close()


def test_a_file_of_the_first_release_is_upgraded_and_loses_nothing(old_file: str) -> None:
    records = RecordStore(old_file)
    assert version(records) == 1
    records.open()
    assert (version(records), differences(records)) == (schema.SCHEMA_VERSION, [])
    numbers = records.numbers(now_s=NOW_S, session_gap_s=1800)
    assert (numbers.traces_closed, numbers.findings, numbers.sessions_open) == (42, 1, 1)
    assert records.trace(TRACE).findings[0].issue_id == ISSUE
    assert records.issue(ISSUE).row.filed == filed()
    assert [(s.instance, s.value, s.updated_at_s) for s in records.series()] == [("old", 7.0, NOW_S)]
    records.close()


def test_a_file_of_a_build_that_made_feedback_without_a_version_is_upgraded(old_file: str) -> None:
    records = RecordStore(old_file)
    with records._database.writing() as connection:
        schema.feedback.create(connection)
    records.open()
    assert (version(records), differences(records)) == (schema.SCHEMA_VERSION, [])
    records.close()


def test_reading_a_file_of_the_first_release_upgrades_it(old_file: str) -> None:
    records = RecordStore(old_file)
    records.check()
    assert records.trace(TRACE)
    assert [s.value for s in records.series()] == [7.0]
    records.close()


def test_the_first_release_refuses_the_upgraded_file_by_the_number_it_knows(old_file: str) -> None:
    records = RecordStore(old_file)
    records.open()
    with records._database.reading() as connection:
        assert connection.scalar(sa.select(schema.totals.c.value).where(schema.totals.c.name == "schema")) == 4
    records.close()


def test_a_newer_schema_is_refused_with_what_to_do_and_left_as_it_is(url: str) -> None:
    records = store(url)
    with records._database.writing() as connection:
        connection.execute(sa.update(sa.table(VERSION_TABLE, sa.column("version_num"))).values(version_num="0007"))
    for act in (records.open, records.check):
        with pytest.raises(RecordsSchemaError, match=r"have schema 7, this release reads up to 4: upgrade, or name"):
            act()
    assert version(records) == 7
    records.close()


def test_tables_of_somebody_else_are_not_touched(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE issues (id INTEGER)"))
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR)"))
    database.close()
    records = RecordStore(url)
    with pytest.raises(RecordsSchemaError, match=r"tables of somebody else \(issues\)"):
        records.open()
    with records._database.reading() as connection:
        assert sorted(sa.inspect(connection).get_table_names()) == ["alembic_version", "issues"]
    records.close()


def test_a_database_that_holds_another_application_takes_ours_beside_it(url: str) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('c0ffee')"))
    database.close()
    records = store(url)
    assert version(records) == schema.SCHEMA_VERSION
    with records._database.reading() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "c0ffee"
    records.close()


def test_an_empty_database_has_no_records_to_read(url: str) -> None:
    records = RecordStore(url)
    with pytest.raises(RecordsSchemaError, match="no records yet: start"):
        records.check()
    records.close()


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    records = RecordStore(url)
    with records._database.writing() as connection:
        connection.execute(sa.text("CREATE VIEW counters AS SELECT 1 AS one"))  # in the way of the last table
    with pytest.raises(RecordsUnavailableError, match="counters"):
        records.open()
    with records._database.reading() as connection:
        assert sa.inspect(connection).get_table_names() == []
    records.close()


@pytest.mark.needs_postgres
def test_a_database_that_cannot_hold_every_text_is_refused(postgres: str) -> None:
    name = f"ascii_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        provider = "LOCALE_PROVIDER libc" if admin.info.server_version >= 150_000 else ""
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' {provider} LOCALE 'C'".encode())
        records = RecordStore(sa.make_url(postgres).set(database=name).render_as_string(hide_password=False))
        with pytest.raises(RecordsSchemaError, match="has encoding SQL_ASCII: create one with ENCODING 'UTF8'"):
            records.open()
        records.close()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


OPENER = """
import sys, time
from sinks.records.store import RecordStore
store = RecordStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
store.open()
store.save_counters(sys.argv[2], {("clearwatch.dropped", ()): 1.0}, now_s=1.0)
store.close()
"""


async def open_at_once(url: str) -> None:
    """Let processes open a database at the same moment; all must get it, whole."""
    pipe = asyncio.subprocess.PIPE
    names = [f"p{number}" for number in range(4)]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPENER, url, name, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [errors.decode() for _, errors in said] == [""] * len(names)
    assert [process.returncode for process in processes] == [0] * len(names)
    records = RecordStore(url)
    records.check()
    assert differences(records) == []
    assert {s.instance for s in records.series()} >= set(names)
    records.close()


async def test_processes_that_start_at_once_make_the_tables_once(url: str) -> None:
    await open_at_once(url)


async def test_processes_that_start_at_once_upgrade_once(old_file: str) -> None:
    await open_at_once(old_file)
