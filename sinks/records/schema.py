"""The tables of the read side, and the one place that knows how databases differ.

Everything is written by upserts that converge: whatever the order and the repeats of what arrives, the last state is
the same. Where time decides, it is a *position*: the log time of the record, then its offset (see `position_of`).
Each row keeps the value it came from as msgpack in `body`; the other columns exist to be searched.

Text compares by its bytes (PostgreSQL's collation "C", SQLite's default): ids are looked up by ranges of prefixes and
paged through in their order, whatever language the server speaks. Text that is part of a key goes through `key_text`.

A change here is a new file in `migrations/versions` and a larger SCHEMA_VERSION; a test compares the two.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

SCHEMA_VERSION: Final = 4

# PostgreSQL indexes rows up to 2,704 bytes: two keys of 300 characters, of four bytes each, fit
KEY_CHARACTERS: Final = 300
_MAX_INTEGER: Final = 2**63 - 1
_TEXT: Final = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")

metadata = sa.MetaData()

# key -> number: the schema version, and what retention has deleted
totals = sa.Table(
    "totals",
    metadata,
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("trace_id", _TEXT, primary_key=True),
    sa.Column("rank", sa.BigInteger, nullable=False),  # the superset rule as a number, see `store.rank_of`
    sa.Column("version", _TEXT, nullable=False),
    sa.Column("routing_key", _TEXT, nullable=False),
    sa.Column("session_id", _TEXT, nullable=False),
    sa.Column("provisional", sa.Integer, nullable=False),
    sa.Column("seen_at_s", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("traces_session", "routing_key", "session_id"),
    sa.Index("traces_provisional", "provisional"),
    sa.Index("traces_seen", "seen_at_s"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("routing_key", _TEXT, primary_key=True),
    sa.Column("session_id", _TEXT, primary_key=True),
    sa.Column("first_s", sa.Double, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
    sa.Index("sessions_last", "last_s"),
)

# a finding stands while it was found after it was last withdrawn; body is empty where only the withdrawal has come yet
findings = sa.Table(
    "findings",
    metadata,
    sa.Column("finding_id", _TEXT, primary_key=True),
    sa.Column("found_at", sa.BigInteger, nullable=False),
    sa.Column("withdrawn_at", sa.BigInteger, nullable=False),
    sa.Column("trace_id", _TEXT, nullable=False),
    sa.Column("observed_at_ns", sa.BigInteger, nullable=False),
    sa.Column("seen_at_s", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("findings_order", "observed_at_ns", "finding_id"),
    sa.Index("findings_trace", "trace_id"),
    sa.Index("findings_standing", "found_at", "withdrawn_at"),
    sa.Index("findings_seen", "seen_at_s"),
)

issues = sa.Table(
    "issues",
    metadata,
    sa.Column("issue_id", _TEXT, primary_key=True),
    sa.Column("hex", _TEXT, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("status", _TEXT, nullable=False),
    sa.Column("last_seen_ns", sa.BigInteger, nullable=False),
    sa.Column("changed_at_s", sa.Double, nullable=False),
    sa.Column("kind", _TEXT, nullable=False),  # of the last event
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("issues_hex", "hex"),
    sa.Index("issues_last_seen", "status", "last_seen_ns"),
)

# which issue a finding belongs to; its own table because links may come before the finding, and move
links = sa.Table(
    "links",
    metadata,
    sa.Column("finding_id", _TEXT, primary_key=True),
    sa.Column("issue_id", _TEXT, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("standing", sa.Integer, nullable=False),
    sa.Column("observed_at_ns", sa.BigInteger, nullable=False),
    sa.Column("seen_at_s", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("links_issue", "issue_id", "observed_at_ns"),
    sa.Index("links_seen", "seen_at_s"),
)

# where the MLflow sink has created an issue
filings = sa.Table(
    "filings",
    metadata,
    sa.Column("issue_id", _TEXT, primary_key=True),
    sa.Column("mlflow_issue_id", _TEXT, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("filings_mlflow", "mlflow_issue_id"),
)

# what people said of traces in MLflow
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", _TEXT, primary_key=True),
    sa.Column("trace_id", _TEXT, nullable=False),
    sa.Column("is_negative", sa.Integer, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("seen_at_s", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("feedback_trace", "trace_id"),
    sa.Index("feedback_seen", "seen_at_s"),
)

# one row for each series of each process start; `labels` is JSON with sorted keys
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("instance", _TEXT, primary_key=True),
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("labels", _TEXT, primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("updated_at_s", sa.Double, nullable=False),
)

# when each process start was last heard of: 0 after it has said that it ends; processes of schema 1 have no row
processes = sa.Table(
    "processes",
    metadata,
    sa.Column("instance", _TEXT, primary_key=True),
    sa.Column("seen_s", sa.Double, nullable=False),
)


def key_text(text: str) -> str:
    """Return text as every database takes it in a key.

    NUL, which PostgreSQL has not, reads U+FFFD; of more than 300 characters a SHA-256 stands for the end, so that
    different texts stay different.
    """
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if len(text) > KEY_CHARACTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()
        text = f"{text[: KEY_CHARACTERS - len(digest) - 1]}…{digest}"
    return text


def integer(value: int) -> int:
    """Return a number as a column can hold it: OTLP's are unsigned 64 bits, SQL's integers signed."""
    return max(-_MAX_INTEGER, min(value, _MAX_INTEGER))


def position_of(*, log_time_ms: int, offset: int) -> int:
    """Return a number that grows along a partition, also across a log that was begun anew.

    Log time in the high 43 bits (good beyond the year 2200), the low 20 bits of the offset to order one millisecond.
    """
    return integer((log_time_ms << 20) | (offset & 0xFFFFF))


def upsert(
    table: sa.Table,
    dialect: str,
    *,
    newer: Sequence[str] = (),
    keep_larger: Sequence[str] = (),
    keep_smaller: Sequence[str] = (),
    add: Sequence[str] = (),
    always_larger: Sequence[str] = (),
) -> sa.sql.dml.Insert:
    """Return `INSERT … ON CONFLICT (primary key) DO UPDATE`, the same for SQLite and PostgreSQL.

    A row is replaced where its columns `newer` (compared one after the other) are not behind those stored.
    `keep_larger`, `keep_smaller` and `add` name columns that are merged instead of replaced; `always_larger` names such
    that are merged even where the row is behind. Raises ValueError for a database that has no such statement.
    """
    if dialect not in ("sqlite", "postgresql"):
        raise ValueError(f"`sinks.records.url` names {dialect}: sqlite and postgresql are supported")
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    keys = [c.name for c in table.primary_key.columns]
    new = insert.excluded
    where = _not_behind(table, new, newer)
    changes: dict[str, Any] = {}
    for column in table.c:
        name = column.name
        if name in keys:
            continue
        if name in keep_larger or name in always_larger:
            changes[name] = sa.case((new[name] > column, new[name]), else_=column)
        elif name in keep_smaller:
            changes[name] = sa.case((new[name] < column, new[name]), else_=column)
        elif name in add:
            changes[name] = column + new[name]
        elif always_larger and where is not None:
            changes[name] = sa.case((where, new[name]), else_=column)
        else:
            changes[name] = new[name]
    return insert.on_conflict_do_update(index_elements=keys, set_=changes, where=None if always_larger else where)


def _not_behind(table: sa.Table, new: Any, names: Sequence[str]) -> sa.ColumnElement[bool] | None:
    if not names:
        return None
    name, *rest = names
    below = _not_behind(table, new, rest)
    if below is None:
        return new[name] >= table.c[name]  # type: ignore[no-any-return]
    return sa.or_(new[name] > table.c[name], sa.and_(new[name] == table.c[name], below))
