"""Which databases a URL may name, and that no message tells its password."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from clearwatch.config import ConfigError, load
from sinks.records import schema
from sinks.records.engine import Database, RecordsUrlError, parse_url

SECRET = "hunter2"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg_however_it_is_named(scheme: str) -> None:
    parsed = parse_url(f"{scheme}://watch:p%40ss@db:5433/records?sslmode=require")
    assert (parsed.drivername, parsed.password, parsed.port) == ("postgresql+psycopg", "p@ss", 5433)
    assert parsed.query["sslmode"] == "require"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"mysql://u:{SECRET}@h/d", "names mysql"),
        (f"postgresql+asyncpg://u:{SECRET}@h/d", "names postgresql"),
        (f"postgresql://u:{SECRET}@h", "names no database"),
        (f"postgresql//u:{SECRET}@h/d", "is no address"),
        (f"postgresql://u:{SECRET}@h:port/d", "is no address"),
    ],
)
def test_another_database_is_refused_with_what_is_supported_and_without_its_password(url: str, why: str) -> None:
    with pytest.raises(RecordsUrlError, match=why) as caught:
        parse_url(url)
    with pytest.raises(ConfigError, match=rf"sinks\.records\.url: {why}.*CLEARWATCH__SINKS__RECORDS__URL") as refused:
        load(environ={"CLEARWATCH__SINKS__RECORDS__URL": url})
    assert "postgresql+psycopg://" in str(caught.value)
    for exc in (caught.value, refused.value):
        assert SECRET not in "".join(traceback.format_exception(exc))


def test_what_the_url_says_of_the_connection_goes_before_our_defaults() -> None:
    database = Database("postgresql://u@h/d?connect_timeout=3")
    assert database.engine.url.query["connect_timeout"] == "3"
    assert database.engine.url.query["application_name"] == "clearwatch"


def test_an_upsert_for_another_database_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="names mysql"):
        schema.upsert(schema.traces, "mysql")


@pytest.mark.parametrize("text", ["", "ordinary", "ß" * 300, "a" * 300])
def test_ordinary_text_is_a_key_as_it_is(text: str) -> None:
    assert schema.key_text(text) is text


def test_text_that_no_key_can_hold_stays_distinct() -> None:
    long = [schema.key_text("ß" * 5000 + end) for end in ("a", "b")]
    assert long[0] != long[1]
    assert max(len(key.encode()) for key in long) < 1_300
    assert schema.key_text("a\x00b") == "a\ufffdb"


def test_numbers_beyond_64_bits_read_as_the_largest() -> None:
    assert schema.position_of(log_time_ms=2**60, offset=1) == 2**63 - 1
    assert schema.integer(2**64 - 1) == 2**63 - 1


def test_an_sqlite_file_needs_no_driver_of_a_server_and_an_upgraded_one_no_migrations(tmp_path: Path) -> None:
    code = """
import sys
from clearwatch.config import load
from sinks.records.store import RecordStore
store = RecordStore(load().sinks.records.url_in(__import__("pathlib").Path(sys.argv[1])))
store.open()
store.close()
print(*sorted({"psycopg", "alembic"} & set(sys.modules)))
"""
    for loaded in ("alembic", ""):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout.strip()) == (0, loaded), done.stderr
