"""The tables of the read side, and the one place that knows how databases differ.

Everything is written by upserts that converge: whatever the order and the repeats of what arrives, the last state is
the same. Where time decides, it is a *position*: the log time of the record, then its offset (see `position_of`).
Each row keeps the value it came from as msgpack in `body`; the other columns exist to be searched.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

SCHEMA_VERSION: Final = 1

metadata = sa.MetaData()

# key -> number: the schema version, and what retention has deleted
totals = sa.Table(
    "totals",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("trace_id", sa.String, primary_key=True),
    sa.Column("rank", sa.BigInteger, nullable=False),  # the superset rule as a number, see `store.rank_of`
    sa.Column("version", sa.String, nullable=False),
    sa.Column("routing_key", sa.String, nullable=False),
    sa.Column("session_id", sa.String, nullable=False),
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
    sa.Column("routing_key", sa.String, primary_key=True),
    sa.Column("session_id", sa.String, primary_key=True),
    sa.Column("first_s", sa.Double, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
    sa.Index("sessions_last", "last_s"),
)

# a finding stands while it was found after it was last withdrawn; body is empty where only the withdrawal has come yet
findings = sa.Table(
    "findings",
    metadata,
    sa.Column("finding_id", sa.String, primary_key=True),
    sa.Column("found_at", sa.BigInteger, nullable=False),
    sa.Column("withdrawn_at", sa.BigInteger, nullable=False),
    sa.Column("trace_id", sa.String, nullable=False),
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
    sa.Column("issue_id", sa.String, primary_key=True),
    sa.Column("hex", sa.String, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("last_seen_ns", sa.BigInteger, nullable=False),
    sa.Column("changed_at_s", sa.Double, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # of the last event
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("issues_hex", "hex"),
    sa.Index("issues_last_seen", "status", "last_seen_ns"),
)

# which issue a finding belongs to; its own table because links may come before the finding, and move
links = sa.Table(
    "links",
    metadata,
    sa.Column("finding_id", sa.String, primary_key=True),
    sa.Column("issue_id", sa.String, nullable=False),
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
    sa.Column("issue_id", sa.String, primary_key=True),
    sa.Column("mlflow_issue_id", sa.String, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("filings_mlflow", "mlflow_issue_id"),
)

# what people said of traces in MLflow
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("trace_id", sa.String, nullable=False),
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
    sa.Column("instance", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("labels", sa.String, primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("updated_at_s", sa.Double, nullable=False),
)


def time_of(time_ns: int) -> int:
    """Return a time as a column can hold it: OTLP's are unsigned 64 bits, SQL's integers signed."""
    return min(time_ns, 2**63 - 1)


def position_of(*, log_time_ms: int, offset: int) -> int:
    """Return a number that grows along a partition, also across a log that was begun anew.

    Log time in the high 43 bits (good beyond the year 2200), the low 20 bits of the offset to order one millisecond.
    """
    return (log_time_ms << 20) | (offset & 0xFFFFF)


def upsert(
    table: sa.Table,
    dialect: str,
    *,
    newer: Sequence[str] = (),
    keep_larger: Sequence[str] = (),
    keep_smaller: Sequence[str] = (),
    add: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> sa.sql.dml.Insert:
    """Return `INSERT … ON CONFLICT (primary key) DO UPDATE`, the same for SQLite and PostgreSQL.

    A row is replaced where its columns `newer` (compared one after the other) are not behind those stored.
    `keep_larger`, `keep_smaller` and `add` name columns that are merged instead of replaced; `only` limits what an
    update touches. Raises ValueError for a database that has no such statement.
    """
    if dialect not in ("sqlite", "postgresql"):
        raise ValueError(f"`sinks.records.url` names {dialect}: sqlite and postgresql are supported")
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    keys = [c.name for c in table.primary_key.columns]
    new = insert.excluded
    changes: dict[str, Any] = {}
    for column in table.c:
        name = column.name
        if name in keys or (only is not None and name not in only):
            continue
        if name in keep_larger:
            changes[name] = sa.case((new[name] > column, new[name]), else_=column)
        elif name in keep_smaller:
            changes[name] = sa.case((new[name] < column, new[name]), else_=column)
        elif name in add:
            changes[name] = column + new[name]
        else:
            changes[name] = new[name]
    return insert.on_conflict_do_update(index_elements=keys, set_=changes, where=_not_behind(table, new, newer))


def _not_behind(table: sa.Table, new: Any, names: Sequence[str]) -> sa.ColumnElement[bool] | None:
    if not names:
        return None
    name, *rest = names
    below = _not_behind(table, new, rest)
    if below is None:
        return new[name] >= table.c[name]  # type: ignore[no-any-return]
    return sa.or_(new[name] > table.c[name], sa.and_(new[name] == table.c[name], below))
