"""What records of the log become in SQL: the rows of a batch, and the statements that write them.

Rows are written in the order of tables and of keys, so that writers lock them in one order and never wait in a circle.
The exception are traces that leave their key: they must follow the log's order, and their batch is written alone.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from core.model.finding import Feedback, Finding, FindingRecord, HumanStatus, Withdrawal
from core.model.issue import IssueEvent, IssueFiled, IssueRecord
from core.model.trace import TraceChunk, TraceRecord, TraceVersion, TraceWithdrawal
from sinks.records import schema


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A record of `traces`, `findings` or `issues`, and where it stood in the log."""

    log_time_ms: int
    offset: int
    value: TraceRecord | FindingRecord | IssueRecord
    partition: int = -1

    @property
    def position(self) -> int:
        """Return what orders it among the records of its partition."""
        return schema.position_of(log_time_ms=self.log_time_ms, offset=self.offset)


_MAX_SPANS: Final = 1 << 37


def rank_of(trace: TraceVersion) -> int:
    """Return the superset rule as a number: the version with the largest rank is kept.

    A fragment replaces nothing but a smaller fragment; then more spans win; of the same spans the final version wins
    over a provisional one, and one that knows its session over one that does not.
    """
    return (
        (not trace.fragment) << 40
        | min(trace.span_count, _MAX_SPANS) << 2
        | (not trace.provisional) << 1
        | (1 if trace.session_id else 0)
    )


_WITHDRAWN_RANK_MASK: Final = 1 << 40  # what stays of the rank of a trace that left its key: fragment or not


_LEAVE_KEY: Final = (
    schema.traces.update()
    .where(
        schema.traces.c.trace_id == sa.bindparam("b_trace"),
        schema.traces.c.routing_key == sa.bindparam("b_key"),
        schema.traces.c.session_id == sa.bindparam("b_session"),
    )
    .values(rank=schema.traces.c.rank.bitwise_and(sa.literal_column(str(_WITHDRAWN_RANK_MASK))))
)


class Statement:
    """A statement compiled once and run for many rows: to compile and bind it anew took a third of a batch's CPU."""

    def __init__(self, statement: sa.sql.ClauseElement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._text = str(compiled)
        names = compiled.positiontup if isinstance(compiled, sa.sql.compiler.SQLCompiler) else None
        self._in_order = itemgetter(*names) if names else None

    def run(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        """Run it for each row, which names every column."""
        connection.exec_driver_sql(self._text, list(map(self._in_order, rows)) if self._in_order else rows)


class Upserts:
    """Every statement that writes, for one kind of database."""

    def __init__(self, dialect: sa.Dialect) -> None:
        def upsert(table: sa.Table, **how: Sequence[str]) -> Statement:
            return Statement(schema.upsert(table, dialect.name, **how), dialect)

        self.trace = upsert(schema.traces, newer=("rank", "version"))
        self.session = upsert(schema.sessions, keep_smaller=("first_s",), keep_larger=("last_s",))
        self.finding = upsert(schema.findings, newer=("found_at",), always_larger=("withdrawn_at", "seen_at_s"))
        self.issue = upsert(schema.issues, newer=("sequence",))
        self.link = upsert(schema.links, newer=("position",))
        self.filing = upsert(schema.filings, newer=("position",))
        self.feedback = upsert(schema.feedback, newer=("position",))
        self.counter = upsert(schema.counters)
        self.process = upsert(schema.processes, keep_larger=("seen_s",))
        self.counter_added = upsert(schema.counters, add=("value",), keep_larger=("updated_at_s",))
        self.total_added = upsert(schema.totals, add=("value",))
        self.leave_key = Statement(_LEAVE_KEY, dialect)


class Rows:
    """The parameters of each statement, gathered over a batch so that each runs once."""

    def __init__(self) -> None:
        self.replaced = 0
        """Texts that could not stand in a key as they are."""
        self.alone = False
        """Whether rows must be written in the order of the log, and so by one writer at a time."""
        self._encode = msgspec.msgpack.Encoder().encode
        # traces and withdrawals of traces alternate in log order; the rest does not depend on order
        self._traces: list[tuple[str, dict[str, Any]]] = []
        self._sessions: list[dict[str, Any]] = []
        self._findings: list[dict[str, Any]] = []
        self._issues: list[dict[str, Any]] = []
        self._links: list[dict[str, Any]] = []
        self._filings: list[dict[str, Any]] = []
        self._feedback: list[dict[str, Any]] = []

    def take(self, change: Change) -> None:
        """Add the rows of one record; records of one batch come in log order."""
        match change.value:
            case TraceVersion():
                self._trace(change, change.value)
            case TraceWithdrawal() as gone:
                parameters = {
                    "b_trace": gone.trace_id,
                    "b_key": self._key(gone.routing_key),
                    "b_session": self._key(gone.session_id),
                }
                self._traces.append(("withdraw", parameters))
                self.alone = True
            case Finding():
                self._finding(change, change.value)
            case Withdrawal() as gone:
                self._findings.append(
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
                        "feedback_id": self._key(said.feedback_id),
                        "trace_id": self._key(said.trace_id),
                        "is_negative": int(said.is_negative),
                        "position": change.position,
                        "seen_at_s": change.log_time_ms / 1000,
                        "body": self._encode(said),
                    }
                )
            case TraceChunk() | HumanStatus():
                pass  # chunks are for the sinks; what a person says comes back as an issue event

    def _key(self, text: str) -> str:
        """Return a text of somebody else's as it stands in a key; ids are ours, and made to stand there."""
        if len(text) <= schema.KEY_CHARACTERS and "\x00" not in text:
            return text
        self.replaced += 1
        return schema.key_text(text)

    def _trace(self, change: Change, trace: TraceVersion) -> None:
        routing_key, session_id = self._key(trace.routing_key), self._key(trace.session_id)
        row = {
            "trace_id": trace.trace_id,
            "rank": rank_of(trace),
            # of the same spans the version with more log records joined to them comes last in this order
            "version": f"{trace.version}+{trace.log_count:06}" if trace.log_count else trace.version,
            "routing_key": routing_key,
            "session_id": session_id,
            "provisional": int(trace.provisional),
            "seen_at_s": change.log_time_ms / 1000,
            "body": self._encode(_placed(trace, change)),
        }
        self._traces.append(("trace", row))
        if trace.session_id:
            last_s = trace.last_append_s or change.log_time_ms / 1000
            self._sessions.append(
                {"routing_key": routing_key, "session_id": session_id, "first_s": last_s, "last_s": last_s}
            )

    def _finding(self, change: Change, finding: Finding) -> None:
        self._findings.append(
            {
                "finding_id": finding.finding_id,
                "found_at": change.position,
                "withdrawn_at": 0,
                "trace_id": finding.trace_id,
                "observed_at_ns": schema.integer(finding.observed_at_ns),
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
                "sequence": schema.integer(issue.sequence),
                "status": str(issue.status),
                "last_seen_ns": schema.integer(issue.last_seen_ns),
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
                    "observed_at_ns": schema.integer(link.observed_at_ns),
                    "body": self._encode(link),
                    **common,
                }
            )
        for finding_id in event.withdrawn:
            self._links.append({"finding_id": finding_id, "standing": 0, "observed_at_ns": 0, "body": b"", **common})

    def statements(self, upserts: Upserts) -> Iterator[tuple[Statement, list[dict[str, Any]]]]:
        """Yield (statement, rows) in the order to run them."""
        yield from self._trace_statements(upserts)
        for statement, rows, keys in (
            (upserts.session, self._sessions, ("routing_key", "session_id")),
            (upserts.finding, self._findings, ("finding_id",)),
            (upserts.issue, self._issues, ("issue_id",)),
            (upserts.link, self._links, ("finding_id",)),
            (upserts.filing, self._filings, ("issue_id",)),
            (upserts.feedback, self._feedback, ("feedback_id",)),
        ):
            if rows:
                yield statement, sorted(rows, key=itemgetter(*keys))

    def _trace_statements(self, upserts: Upserts) -> Iterator[tuple[Statement, list[dict[str, Any]]]]:
        if not self.alone:
            if self._traces:
                yield upserts.trace, sorted((row for _, row in self._traces), key=itemgetter("trace_id"))
            return
        for kind, run in groupby(self._traces, key=itemgetter(0)):
            yield (upserts.trace if kind == "trace" else upserts.leave_key), [row for _, row in run]


def _placed(trace: TraceVersion, change: Change) -> TraceVersion:
    """Return a version with where it stands in the log, so that its spans can be read back from there."""
    if change.partition < 0:
        return trace
    return msgspec.structs.replace(trace, partition=change.partition, offset=change.offset)
