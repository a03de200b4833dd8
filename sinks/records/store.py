"""The read side's writer: traces, findings, issues and counters in SQL.

Guarantees. Every write is one transaction. Upserts converge: any order and repetition of the same records, within what
the log allows, leaves the same rows, also where several processes write at once. A trace keeps its largest version
(`rank_of`); a trace that left its key loses its rank, not its row, so that it is never missing while its new version is
on the way. A finding stands while it was found after it was last withdrawn. A finding belongs to the issue that claimed
it last.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from core.telemetry import CATALOGUE, Labels, Telemetry
from sinks.records import schema
from sinks.records.engine import RETENTION_LOCK, Database
from sinks.records.letters import LetterBook
from sinks.records.migrating import check, migrate
from sinks.records.queries import Queries, labels_json
from sinks.records.rows import Change, Rows, Upserts

__all__ = ["Change", "RecordStore"]

_DELETE_AT_ONCE: Final = 2_000  # rows a transaction of retention deletes, so that writers wait milliseconds
_FOLD_AFTER_S: Final = 86_400.0  # counters of processes gone this long are added up into one row each
_FOLDED: Final = "retired"


class RecordStore(Queries):
    """The records in one database. Blocking; thread-safe; any number of processes may write at once."""

    def __init__(self, url: str, *, telemetry: Telemetry | None = None) -> None:
        """`telemetry` counts what had to be changed to be stored. Raises RecordsUrlError."""
        super().__init__(Database(url))
        self._telemetry = telemetry or Telemetry()
        self.letters = LetterBook(
            self._database.dialect, reading=self._database.reading, writing=self._database.writing
        )
        """The dead letters."""

    @functools.cached_property
    def _upserts(self) -> Upserts:
        return Upserts(self._database.engine.dialect)  # 15 ms that who only reads is spared

    @property
    def is_sqlite(self) -> bool:
        """Return whether the records are a file of this machine (or in memory), not a server's."""
        return self._database.is_sqlite

    def open(self) -> None:
        """Make the tables, or bring those of an older release to this one's; several processes may do it at once.

        Raises RecordsSchemaError, RecordsAccessError, RecordsUnavailableError.
        """
        self._database.make_folder()
        migrate(self._database)

    def check(self) -> None:
        """Check that these are records this release can read. Raises RecordsSchemaError, RecordsUnavailableError."""
        check(self._database)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def apply(self, changes: Sequence[Change]) -> None:
        """Take records in log order, in one transaction.

        Raises RecordsUnavailableError, RecordsRefusedError, having changed nothing.
        """
        rows = Rows()
        for change in changes:
            rows.take(change)
        with self._database.writing(alone=rows.alone) as connection:
            for statement, parameters in rows.statements(self._upserts):
                statement.run(connection, parameters)
        if rows.replaced:
            self._telemetry.count("clearwatch.dropped", rows.replaced, reason="text_unfit_for_key")

    def save_counters(self, instance: str, snapshot: Mapping[tuple[str, Labels], float], *, now_s: float) -> None:
        """Store what a process has counted so far, under its name of this start, and that it lives.

        Series that have not changed may be left out.
        """
        rows = [
            {"instance": instance, "name": n, "labels": labels_json(labels), "value": v, "updated_at_s": now_s}
            for (n, labels), v in snapshot.items()
        ]
        rows.sort(key=lambda row: (row["name"], row["labels"]))
        with self._database.writing() as connection:
            if rows:
                self._upserts.counter.run(connection, rows)
            self._upserts.process.run(connection, [{"instance": instance, "seen_s": now_s}])

    def leave(self, instance: str) -> None:
        """Say that a process has ended: its counters go on counting, its gauges do not."""
        with self._database.writing() as connection:
            gone = schema.processes.update().where(schema.processes.c.instance == instance)
            connection.execute(gone.values(seen_s=0.0))

    def retain(self, *, now_s: float, retention_s: float) -> int:
        """Delete some of what was last written longer ago than `retention_s`; return how many rows.

        Call again while it returns more than 0. What status counts for ever (traces, sessions, findings) is added to
        the totals in the same transaction. Where another process is at it, nothing is done.
        """
        before_s = now_s - retention_s
        deleted = 0
        with self._database.writing() as connection:
            if not self._is_mine(connection):
                return 0
            for table, seen, kept in _RETAINED:
                deleted += self._delete(connection, table, seen < before_s, kept)
        return deleted

    def fold_counters(self, *, now_s: float, except_of: str = "") -> int:
        """Add the counters of processes that are long gone into one row for each series; return how many rows went.

        `except_of` names the process that asks: it lives, whatever a pause of the machine made of its last sign.
        """
        table, processes = schema.counters, schema.processes
        gone_s = now_s - _FOLD_AFTER_S
        living = sa.select(processes.c.instance).where(processes.c.seen_s >= gone_s)
        gone = (
            sa.select(table.c.instance)
            .where(table.c.instance.not_in([_FOLDED, except_of]), table.c.instance.not_in(living))
            .group_by(table.c.instance)
            .having(sa.func.max(table.c.updated_at_s) < gone_s)
        )
        with self._database.writing() as connection:
            if not self._is_mine(connection):
                return 0
            old = connection.execute(table.delete().where(table.c.instance.in_(gone)).returning(*table.c)).all()
            kept = [row._asdict() | {"instance": _FOLDED} for row in old if _is_counter(row.name)]
            if kept:
                self._upserts.counter_added.run(connection, kept)
            connection.execute(processes.delete().where(processes.c.seen_s < gone_s, processes.c.instance != except_of))
            return len(old)

    def _is_mine(self, connection: sa.Connection) -> bool:
        """Return whether no other process deletes at the moment; it is so until the transaction ends."""
        if self._database.is_sqlite:
            return True
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(RETENTION_LOCK))))

    def _delete(self, connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], kept: Any) -> int:
        keys = table.primary_key.columns
        chosen = sa.select(*keys).where(where).limit(_DELETE_AT_ONCE)
        if not self._database.is_sqlite:
            # rows that a writer has locked are left for the next time: who waits for nobody is in no circle
            chosen = chosen.with_for_update(skip_locked=True)
        # chosen once: without the CTE a planner may choose again for each row
        once = chosen.cte("chosen")
        mine = sa.tuple_(*keys).in_(sa.select(*once.c))
        rows = connection.execute(table.delete().where(mine).returning(kept)).scalars().all()
        counted = sum(map(bool, rows))
        if counted:
            self._upserts.total_added.run(connection, [{"name": f"deleted.{table.name}", "value": counted}])
        return len(rows)


# what is deleted when it was last seen, and which of its rows go on being counted
_RETAINED: Final[tuple[tuple[sa.Table, sa.Column[float], Any], ...]] = (
    (schema.traces, schema.traces.c.seen_at_s, schema.traces.c.provisional == 0),
    (schema.findings, schema.findings.c.seen_at_s, schema.findings.c.found_at > schema.findings.c.withdrawn_at),
    (schema.sessions, schema.sessions.c.last_s, sa.true()),
    (schema.links, schema.links.c.seen_at_s, sa.false()),
    (schema.feedback, schema.feedback.c.seen_at_s, sa.false()),
)


def _is_counter(name: str) -> bool:
    return name in CATALOGUE and CATALOGUE[name].kind == "counter"
