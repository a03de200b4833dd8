"""The read side's writer: traces, findings, issues and counters in SQL.

Guarantees. Every write is one transaction. Upserts converge: any order and repetition of the same records, within what
the log allows, leaves the same rows. A trace keeps its largest version (`rank_of`); a trace that left its key loses its
rank, not its row, so that it is never missing while its new version is on the way. A finding stands while it was found
after it was last withdrawn. A finding belongs to the issue that claimed it last.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from core.errors import PermanentError
from core.model.finding import Feedback, Finding, FindingRecord, HumanStatus, Withdrawal
from core.model.issue import IssueEvent, IssueFiled, IssueRecord
from core.model.trace import TraceChunk, TraceRecord, TraceVersion, TraceWithdrawal
from core.telemetry import CATALOGUE, Labels
from sinks.records import schema
from sinks.records.queries import Queries, RecordsUnavailableError

_DELETE_AT_ONCE: Final = 2_000  # rows a transaction of retention deletes, so that writers wait milliseconds
_FOLD_AFTER_S: Final = 86_400.0  # counters of processes gone this long are added up into one row each
_FOLDED: Final = "retired"


class RecordsSchemaError(PermanentError):
    """The records were written by a newer release."""

    def __init__(self, *, found: int) -> None:
        super().__init__(
            f"records have schema {found}, this release reads up to {schema.SCHEMA_VERSION}: upgrade, or name another "
            "`sinks.records.url`"
        )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A record of `traces`, `findings` or `issues`, and where it stood in the log."""

    log_time_ms: int
    offset: int
    value: TraceRecord | FindingRecord | IssueRecord

    @property
    def position(self) -> int:
        """Return what orders it among the records of its partition."""
        return schema.position_of(log_time_ms=self.log_time_ms, offset=self.offset)


def rank_of(trace: TraceVersion) -> int:
    """Return the superset rule as a number: the version with the largest rank is kept.

    A fragment replaces nothing but a smaller fragment; then more spans win; of the same spans the final version wins
    over a provisional one, and one that knows its session over one that does not.
    """
    return (
        (not trace.fragment) << 40
        | trace.span_count << 2
        | (not trace.provisional) << 1
        | (1 if trace.session_id else 0)
    )


_WITHDRAWN_RANK_MASK: Final = 1 << 40  # what stays of the rank of a trace that left its key: fragment or not


class RecordStore(Queries):
    """The records in one database. Blocking; thread-safe; the sink calls it in threads."""

    def __init__(self, url: str) -> None:
        super().__init__(_engine(url))
        self._upserts = _Upserts(self._engine.dialect.name)

    def open(self) -> None:
        """Create what is missing. Raises RecordsSchemaError, RecordsUnavailableError."""
        if self._engine.dialect.name == "sqlite" and self._engine.url.database not in (None, "", ":memory:"):
            Path(str(self._engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
        with self._write() as connection:
            schema.metadata.create_all(connection)
            found = connection.scalar(sa.select(schema.totals.c.value).where(schema.totals.c.name == "schema"))
            if found is None:
                connection.execute(self._upserts.total_kept, {"name": "schema", "value": schema.SCHEMA_VERSION})
            elif found > schema.SCHEMA_VERSION:
                raise RecordsSchemaError(found=found)

    def check(self) -> None:
        """Check that these are records this release can read. Raises RecordsSchemaError, RecordsUnavailableError."""
        with self._read() as connection:
            found = connection.scalar(sa.select(schema.totals.c.value).where(schema.totals.c.name == "schema")) or 0
        if found > schema.SCHEMA_VERSION:
            raise RecordsSchemaError(found=found)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def apply(self, changes: Sequence[Change]) -> None:
        """Take records in log order, in one transaction. Raises RecordsUnavailableError, having changed nothing."""
        rows = _Rows()
        for change in changes:
            rows.take(change)
        with self._write() as connection:
            for statement, parameters in rows.statements(self._upserts):
                connection.execute(statement, parameters)

    def save_counters(self, instance: str, snapshot: Mapping[tuple[str, Labels], float], *, now_s: float) -> None:
        """Store what a process has counted so far, under its name of this start."""
        rows = [
            {"instance": instance, "name": n, "labels": labels_json(labels), "value": v, "updated_at_s": now_s}
            for (n, labels), v in snapshot.items()
        ]
        if rows:
            with self._write() as connection:
                connection.execute(self._upserts.counter, rows)

    def retain(self, *, now_s: float, retention_s: float) -> int:
        """Delete some of what was last written longer ago than `retention_s`; return how many rows.

        Call again while it returns more than 0. What status counts for ever (traces, sessions, findings) is added to
        the totals in the same transaction.
        """
        before_s = now_s - retention_s
        with self._write() as connection:
            return (
                self._delete(connection, schema.traces, schema.traces.c.seen_at_s < before_s, total="traces")
                + self._delete(connection, schema.findings, schema.findings.c.seen_at_s < before_s, total="findings")
                + self._delete(connection, schema.sessions, schema.sessions.c.last_s < before_s, total="sessions")
                + self._delete(connection, schema.feedback, schema.feedback.c.seen_at_s < before_s, total="")
                + self._delete(connection, schema.links, schema.links.c.seen_at_s < before_s, total="")
            )

    def fold_counters(self, *, now_s: float) -> int:
        """Add the counters of processes that are long gone into one row for each series; return how many rows went."""
        table = schema.counters
        with self._write() as connection:
            old = connection.execute(
                sa.select(table).where(table.c.instance != _FOLDED, table.c.updated_at_s < now_s - _FOLD_AFTER_S)
            ).all()
            kept = [row._asdict() | {"instance": _FOLDED} for row in old if _is_counter(row.name)]
            if kept:
                connection.execute(self._upserts.counter_added, kept)
            for instance in {row.instance for row in old}:
                connection.execute(
                    table.delete().where(table.c.instance == instance, table.c.updated_at_s < now_s - _FOLD_AFTER_S)
                )
            return len(old)

    def _delete(self, connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], *, total: str) -> int:
        key = sa.tuple_(*table.primary_key.columns)
        chosen = sa.select(*table.primary_key.columns).where(where).limit(_DELETE_AT_ONCE)
        counted = 0
        if total:
            kept = _COUNTED[table.name]
            inner = sa.select(*table.c).where(where).limit(_DELETE_AT_ONCE).subquery()
            counted = connection.scalar(sa.select(sa.func.count()).select_from(inner).where(kept(inner.c))) or 0
        deleted = connection.execute(table.delete().where(key.in_(chosen))).rowcount
        if counted:
            connection.execute(self._upserts.total_added, {"name": f"deleted.{total}", "value": counted})
        return deleted

    @contextlib.contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        try:
            with (
                self._turn,
                self._engine.connect().execution_options(writes=True) as connection,
                connection.begin(),
            ):
                yield connection
        except sa.exc.DBAPIError as exc:
            raise RecordsUnavailableError(f"records cannot be written: {exc.orig}") from exc


# what of a deleted row goes on being counted
_COUNTED: Final[Mapping[str, Any]] = {
    "traces": lambda c: c.provisional == 0,
    "findings": lambda c: c.found_at > c.withdrawn_at,
    "sessions": lambda _: sa.true(),
}


def _is_counter(name: str) -> bool:
    return name in CATALOGUE and CATALOGUE[name].kind == "counter"


def labels_json(labels: Labels) -> str:
    """Return labels as JSON with sorted keys: the form that is a key."""
    return msgspec.json.encode(dict(sorted(labels))).decode()


class _Upserts:
    """Every statement that writes, for one kind of database."""

    def __init__(self, dialect: str) -> None:
        self.trace = schema.upsert(schema.traces, dialect, newer=("rank", "version"))
        self.session = schema.upsert(schema.sessions, dialect, keep_smaller=("first_s",), keep_larger=("last_s",))
        self.found = schema.upsert(
            schema.findings, dialect, newer=("found_at",), keep_larger=("withdrawn_at", "seen_at_s")
        )
        self.withdrawn = schema.upsert(schema.findings, dialect, keep_larger=("withdrawn_at",), only=("withdrawn_at",))
        self.issue = schema.upsert(schema.issues, dialect, newer=("sequence",))
        self.link = schema.upsert(schema.links, dialect, newer=("position",))
        self.filing = schema.upsert(schema.filings, dialect, newer=("position",))
        self.feedback = schema.upsert(schema.feedback, dialect, newer=("position",))
        self.counter = schema.upsert(schema.counters, dialect)
        self.counter_added = schema.upsert(schema.counters, dialect, add=("value",), keep_larger=("updated_at_s",))
        self.total_kept = schema.upsert(schema.totals, dialect)
        self.total_added = schema.upsert(schema.totals, dialect, add=("value",))


class _Rows:
    """The parameters of each statement, gathered over a batch so that each runs once."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        # traces and withdrawals of traces alternate in log order; the rest does not depend on order
        self._traces: list[tuple[str, dict[str, Any]]] = []
        self._sessions: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._withdrawn: list[dict[str, Any]] = []
        self._issues: list[dict[str, Any]] = []
        self._links: list[dict[str, Any]] = []
        self._filings: list[dict[str, Any]] = []
        self._feedback: list[dict[str, Any]] = []

    def take(self, change: Change) -> None:
        match change.value:
            case TraceVersion():
                self._trace(change, change.value)
            case TraceWithdrawal() as gone:
                parameters = {"b_trace": gone.trace_id, "b_key": gone.routing_key, "b_session": gone.session_id}
                self._traces.append(("withdraw", parameters))
            case Finding():
                self._finding(change, change.value)
            case Withdrawal() as gone:
                self._withdrawn.append(
                    {
                        "finding_id": gone.finding_id,
                        "found_at": 0,
                        "withdrawn_at": change.position,
                        "trace_id": gone.trace_id,
                        "observed_at_ns": 0,
                        "seen_at_s": change.log_time_ms / 1000,
                        "body": b"",
                    }
                )
            case IssueEvent():
                self._event(change, change.value)
            case IssueFiled() as filed:
                self._filings.append(
                    {
                        "issue_id": filed.issue_id,
                        "mlflow_issue_id": filed.mlflow_issue_id,
                        "position": change.position,
                        "body": self._encode(filed),
                    }
                )
            case Feedback() as said:
                self._feedback.append(
                    {
                        "feedback_id": said.feedback_id,
                        "trace_id": said.trace_id,
                        "is_negative": int(said.is_negative),
                        "position": change.position,
                        "seen_at_s": change.log_time_ms / 1000,
                        "body": self._encode(said),
                    }
                )
            case TraceChunk() | HumanStatus():
                pass  # chunks are for the sinks; what a person says comes back as an issue event

    def _trace(self, change: Change, trace: TraceVersion) -> None:
        row = {
            "trace_id": trace.trace_id,
            "rank": rank_of(trace),
            "version": trace.version,
            "routing_key": trace.routing_key,
            "session_id": trace.session_id,
            "provisional": int(trace.provisional),
            "seen_at_s": change.log_time_ms / 1000,
            "body": self._encode(trace),
        }
        self._traces.append(("trace", row))
        if trace.session_id:
            last_s = trace.last_append_s or change.log_time_ms / 1000
            self._sessions.append(
                {
                    "routing_key": trace.routing_key,
                    "session_id": trace.session_id,
                    "first_s": last_s,
                    "last_s": last_s,
                }
            )

    def _finding(self, change: Change, finding: Finding) -> None:
        self._found.append(
            {
                "finding_id": finding.finding_id,
                "found_at": change.position,
                "withdrawn_at": 0,
                "trace_id": finding.trace_id,
                "observed_at_ns": schema.time_of(finding.observed_at_ns),
                "seen_at_s": change.log_time_ms / 1000,
                "body": self._encode(finding),
            }
        )

    def _event(self, change: Change, event: IssueEvent) -> None:
        issue = event.issue
        self._issues.append(
            {
                "issue_id": issue.issue_id,
                "hex": issue.issue_id.replace("-", "").lower(),
                "sequence": issue.sequence,
                "status": str(issue.status),
                "last_seen_ns": schema.time_of(issue.last_seen_ns),
                "changed_at_s": event.at_s,
                "kind": str(event.kind),
                "body": self._encode(issue),
            }
        )
        common = {"issue_id": issue.issue_id, "position": change.position, "seen_at_s": change.log_time_ms / 1000}
        for link in event.links:
            self._links.append(
                {
                    "finding_id": link.finding_id,
                    "standing": 1,
                    "observed_at_ns": schema.time_of(link.observed_at_ns),
                    "body": self._encode(link),
                    **common,
                }
            )
        for finding_id in event.withdrawn:
            self._links.append({"finding_id": finding_id, "standing": 0, "observed_at_ns": 0, "body": b"", **common})

    def statements(self, upserts: _Upserts) -> Iterator[tuple[sa.sql.Executable, list[dict[str, Any]]]]:
        """Return (statement, rows) in the order to run them."""
        run: list[dict[str, Any]] = []
        kind = ""
        for each, row in self._traces:
            if each != kind and run:
                yield (upserts.trace if kind == "trace" else _LEAVE_KEY), run
                run = []
            kind = each
            run.append(row)
        if run:
            yield (upserts.trace if kind == "trace" else _LEAVE_KEY), run
        for statement, rows in (
            (upserts.session, self._sessions),
            (upserts.found, self._found),
            (upserts.withdrawn, self._withdrawn),
            (upserts.issue, self._issues),
            (upserts.link, self._links),
            (upserts.filing, self._filings),
            (upserts.feedback, self._feedback),
        ):
            if rows:
                yield statement, rows


_LEAVE_KEY: Final = (
    schema.traces.update()
    .where(
        schema.traces.c.trace_id == sa.bindparam("b_trace"),
        schema.traces.c.routing_key == sa.bindparam("b_key"),
        schema.traces.c.session_id == sa.bindparam("b_session"),
    )
    .values(rank=schema.traces.c.rank.bitwise_and(_WITHDRAWN_RANK_MASK))
)


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    in_memory = parsed.database in (None, "", ":memory:")
    engine = (
        sa.create_engine(parsed, poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
        if in_memory
        else sa.create_engine(parsed, connect_args={"check_same_thread": False, "timeout": 30.0})
    )
    sa.event.listen(engine, "connect", _tune_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver would begin late and commit early; we begin ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # a writer takes its lock at once: upgrading a read transaction fails where another has written meanwhile
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
