"""What can be asked of the records. Each answer is read in one transaction: numbers of one moment."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from core.errors import PermanentError
from core.model.finding import Feedback, Finding
from core.model.issue import Issue, IssueEventKind, IssueFiled, IssueLink, IssueStatus
from core.model.trace import TraceVersion
from core.telemetry import Labels
from sinks.records import schema
from sinks.records.engine import Database
from sinks.records.views import (
    Evidence,
    FindingRow,
    IssueDetail,
    IssueRow,
    Numbers,
    Series,
    TraceDetail,
    rfc3339,
)

RECENT_BUCKETS: Final = 12
RECENT_BUCKET_S: Final = 300  # an hour of trend

_PAGE: Final = 500
_HEX: Final = re.compile(r"[0-9a-f]+")


class UnknownIdError(PermanentError):
    """No record has this id."""

    def __init__(self, *, what: str, given: str) -> None:
        super().__init__(f"no {what} has the id {given!r}")


class AmbiguousIdError(PermanentError):
    """A prefix fits more than one record."""

    def __init__(self, *, what: str, given: str, fitting: Sequence[str]) -> None:
        shown = ", ".join(fitting[:5]) + (", …" if len(fitting) > 5 else "")
        super().__init__(f"{given!r} fits more than one {what}: {shown}")


class Queries:
    """The reading half of the store. Blocking; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def numbers(self, *, now_s: float, session_gap_s: float) -> Numbers:
        """Return the counts; a session is open while a trace came within `session_gap_s` of `now_s`."""
        t, f, s, i = schema.traces, schema.findings, schema.sessions, schema.issues
        with self._database.reading() as connection:
            by_provisional = _counts(connection, sa.select(t.c.provisional, sa.func.count()).group_by(t.c.provisional))
            standing = sa.select(sa.func.count()).select_from(f).where(f.c.found_at > f.c.withdrawn_at)
            sessions = sa.select(sa.func.count()).select_from(s)
            deleted = _counts(connection, sa.select(schema.totals.c.name, schema.totals.c.value))
            statuses = _counts(connection, sa.select(i.c.status, sa.func.count()).group_by(i.c.status))
            opened = connection.scalar(sessions.where(s.c.last_s > now_s - session_gap_s)) or 0
            known = connection.scalar(sessions) or 0
            return Numbers(
                traces_closed=by_provisional.get(0, 0) + deleted.get("deleted.traces", 0),
                traces_provisional=by_provisional.get(1, 0),
                sessions_open=opened,
                sessions_closed=known - opened + deleted.get("deleted.sessions", 0),
                findings=(connection.scalar(standing) or 0) + deleted.get("deleted.findings", 0),
                issues={str(status): statuses.get(str(status), 0) for status in IssueStatus},
            )

    def series(self) -> tuple[Series, ...]:
        """Return every counter and gauge of every process that was ever seen."""
        counters, processes = schema.counters, schema.processes
        query = sa.select(counters, processes.c.seen_s).select_from(
            counters.outerjoin(processes, processes.c.instance == counters.c.instance)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Series(
                instance=row.instance,
                name=row.name,
                labels=msgspec.json.decode(row.labels, type=dict[str, str]),
                value=row.value,
                updated_at_s=row.updated_at_s if row.seen_s is None else row.seen_s,
            )
            for row in rows
        )

    def issues(self, *, status: str = "", limit: int | None = None) -> tuple[IssueRow, ...]:
        """Return issues, the last seen first; of one status where it is named."""
        query = _ISSUES.order_by(schema.issues.c.last_seen_ns.desc(), schema.issues.c.issue_id)
        if status:
            query = query.where(schema.issues.c.status == status)
        if limit is not None:
            query = query.limit(limit)
        with self._database.reading() as connection:
            return tuple(_issue_row(row) for row in connection.execute(query))

    def latest_issues(self, *, now_s: float, limit: int) -> tuple[IssueRow, ...]:
        """Return the issues seen last, each with its trend of the last hour (by log time)."""
        rows = self.issues(limit=limit)
        start_s = now_s - RECENT_BUCKETS * RECENT_BUCKET_S
        links = schema.links
        query = sa.select(links.c.issue_id, links.c.seen_at_s).where(
            links.c.issue_id.in_([row.issue.issue_id for row in rows]),
            links.c.standing == 1,
            links.c.seen_at_s > start_s,
        )
        counts: dict[str, list[int]] = {row.issue.issue_id: [0] * RECENT_BUCKETS for row in rows}
        with self._database.reading() as connection:
            for issue_id, seen_at_s in connection.execute(query):
                bucket = min(int((seen_at_s - start_s) / RECENT_BUCKET_S), RECENT_BUCKETS - 1)
                counts[issue_id][bucket] += 1
        return tuple(msgspec.structs.replace(row, recent=tuple(counts[row.issue.issue_id])) for row in rows)

    def issue(self, given: str, *, evidence: int = 50) -> IssueDetail:
        """Return one issue by our id, MLflow's (`iss-…`), either as hex, or a unique prefix of them.

        `evidence` limits the findings returned, the newest first. Raises UnknownIdError, AmbiguousIdError.
        """
        links, traces = schema.links, schema.traces
        with self._database.reading() as connection:
            issue_id = _resolve_issue(connection, given)
            row = connection.execute(_ISSUES.where(schema.issues.c.issue_id == issue_id)).one()
            mine = sa.and_(links.c.issue_id == issue_id, links.c.standing == 1)
            total = connection.scalar(sa.select(sa.func.count()).select_from(links).where(mine)) or 0
            newest = connection.execute(
                sa.select(links.c.body)
                .where(mine)
                .order_by(links.c.observed_at_ns.desc(), links.c.finding_id)
                .limit(evidence)
            ).scalars()
            found = [msgspec.msgpack.decode(body, type=IssueLink) for body in newest]
            wanted = {link.trace_id for link in found if link.trace_id}
            kept = connection.execute(sa.select(traces.c.trace_id, traces.c.body).where(traces.c.trace_id.in_(wanted)))
            said = connection.execute(
                sa.select(schema.feedback.c.body)
                .where(schema.feedback.c.trace_id.in_(wanted))
                .order_by(schema.feedback.c.position.desc())
                .limit(evidence)
            ).scalars()
            feedback = tuple(msgspec.msgpack.decode(body, type=Feedback) for body in said)
            by_id = {trace_id: msgspec.msgpack.decode(body, type=TraceVersion) for trace_id, body in kept}
        return IssueDetail(
            row=_issue_row(row),
            evidence=tuple(Evidence(link=link, trace=by_id.get(link.trace_id)) for link in found),
            evidence_total=total,
            feedback=feedback,
        )

    def trace(self, given: str) -> TraceDetail:
        """Return one trace by its id, also as MLflow writes it (`tr-…`), or a unique prefix.

        Raises UnknownIdError, AmbiguousIdError.
        """
        traces = schema.traces
        wanted = given.strip().lower().removeprefix("tr-").replace("-", "")
        if not _HEX.fullmatch(wanted):
            raise UnknownIdError(what="trace", given=given)
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(traces.c.trace_id, traces.c.body)
                .where(traces.c.trace_id >= wanted, traces.c.trace_id < wanted + "g")
                .limit(6)
            ).all()
            if not rows:
                raise UnknownIdError(what="trace", given=given)
            if len(rows) > 1:
                raise AmbiguousIdError(what="trace", given=given, fitting=[row.trace_id for row in rows])
            found = connection.execute(_FINDINGS.where(schema.findings.c.trace_id == rows[0].trace_id)).all()
        return TraceDetail(
            trace=msgspec.msgpack.decode(rows[0].body, type=TraceVersion),
            findings=tuple(_finding_row(row) for row in found),
        )

    def findings_page(self, *, after: tuple[int, str] | None = None, limit: int = _PAGE) -> "FindingsPage":
        """Return standing findings in order of (observed_at_ns, finding_id), those behind the key `after`."""
        f = schema.findings
        query = _FINDINGS.order_by(f.c.observed_at_ns, f.c.finding_id).limit(limit)
        if after is not None:
            key = (schema.integer(after[0]), schema.key_text(after[1]))
            query = query.where(sa.tuple_(f.c.observed_at_ns, f.c.finding_id) > sa.tuple_(*map(sa.literal, key)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        last = (rows[-1].observed_at_ns, rows[-1].finding_id) if len(rows) == limit else None
        return FindingsPage(rows=tuple(_finding_row(row) for row in rows), after=last)

    def findings(self) -> Iterator[FindingRow]:
        """Yield every standing finding, a page at a time: bounded memory, no transaction held between pages."""
        after: tuple[int, str] | None = None
        while True:
            page = self.findings_page(after=after)
            yield from page.rows
            if page.after is None:
                return
            after = page.after


class FindingsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some findings, and the key to go on after; None at the end."""

    rows: tuple[FindingRow, ...]
    after: tuple[int, str] | None


_ISSUES: Final = sa.select(
    schema.issues.c.body,
    schema.issues.c.kind,
    schema.issues.c.changed_at_s,
    schema.filings.c.body.label("filed"),
).select_from(schema.issues.outerjoin(schema.filings, schema.filings.c.issue_id == schema.issues.c.issue_id))

_FINDINGS: Final = (
    sa.select(
        schema.findings.c.finding_id,
        schema.findings.c.observed_at_ns,
        schema.findings.c.body,
        schema.links.c.issue_id,
    )
    .select_from(
        schema.findings.outerjoin(
            schema.links,
            sa.and_(schema.links.c.finding_id == schema.findings.c.finding_id, schema.links.c.standing == 1),
        )
    )
    .where(schema.findings.c.found_at > schema.findings.c.withdrawn_at)
)


def _counts(connection: sa.Connection, query: sa.Select[Any]) -> dict[object, int]:
    return {key: int(number) for key, number in connection.execute(query).all()}


def _issue_row(row: Any) -> IssueRow:
    return IssueRow(
        issue=msgspec.msgpack.decode(row.body, type=Issue),
        last_event=IssueEventKind(row.kind),
        changed_at_s=row.changed_at_s,
        filed=msgspec.msgpack.decode(row.filed, type=IssueFiled) if row.filed else None,
    )


def _finding_row(row: Any) -> FindingRow:
    finding = msgspec.msgpack.decode(row.body, type=Finding)
    return FindingRow(
        finding_id=finding.finding_id,
        trace_id=finding.trace_id,
        session_id=finding.session_id,
        span_ids=finding.span_ids,
        check=finding.check,
        kind=finding.kind,
        source=finding.source,
        category=finding.category,
        severity=finding.severity,
        fingerprint=finding.fingerprint,
        issue_id=row.issue_id,
        title=finding.title,
        rationale=finding.rationale,
        observed_at=rfc3339(finding.observed_at_ns),
        routing_key=finding.routing_key,
        service=finding.service,
        target=finding.target,
        error_type=finding.error_type,
        release=finding.release,
        environment=finding.environment,
    )


def labels_json(labels: Labels) -> str:
    """Return labels as JSON with sorted keys: the form that is a key."""
    return msgspec.json.encode(dict(sorted(labels))).decode()


def _resolve_issue(connection: sa.Connection, given: str) -> str:
    """Return our id of the issue that `given` names."""
    text = given.strip().lower()
    wanted = text.removeprefix("iss-").replace("-", "")
    if not _HEX.fullmatch(wanted):
        raise UnknownIdError(what="issue", given=given)
    issues, filings = schema.issues, schema.filings
    mlflow = f"iss-{wanted}"
    query = (
        sa.select(issues.c.issue_id)
        .join(filings, filings.c.issue_id == issues.c.issue_id)
        .where(filings.c.mlflow_issue_id >= mlflow, filings.c.mlflow_issue_id < mlflow + "g")
    )
    fitting: set[str] = set(connection.execute(query.limit(6)).scalars())
    if not text.startswith("iss-"):
        own = sa.select(issues.c.issue_id).where(issues.c.hex >= wanted, issues.c.hex < wanted + "g")
        fitting |= set(connection.execute(own.limit(6)).scalars())
    if not fitting:
        raise UnknownIdError(what="issue", given=given)
    if len(fitting) > 1:
        raise AmbiguousIdError(what="issue", given=given, fitting=sorted(fitting))
    return fitting.pop()
