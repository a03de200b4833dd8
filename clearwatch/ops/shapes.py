"""The JSON shapes of issues and their evidence: the same from the ops API, the commands and `export issues`."""

import msgspec

from core.model.finding import Dimension, FindingKind, Severity, Source
from core.model.issue import IssueStatus
from sinks.records.views import Evidence, IssueDetail, IssueRow, rfc3339


class IssueShape(msgspec.Struct, frozen=True, kw_only=True):
    """An issue; what concerns MLflow is empty until it is filed there. Times are RFC 3339."""

    issue_id: str
    title: str
    description: str
    status: IssueStatus
    state: str
    """regressed, escalating, recovered, new, quiet or ongoing."""
    category: Dimension
    severity: Severity
    kind: FindingKind
    source: Source
    check: str
    fingerprint: str
    routing_key: str
    service: str
    target: str
    error_type: str
    finding_count: int
    trace_count: int
    session_count: int
    first_seen: str
    last_seen: str
    first_release: str
    last_release: str
    mlflow_issue_id: str = ""
    mlflow_experiment_id: str = ""
    mlflow_run_id: str = ""
    url: str = ""
    run_url: str = ""


class TrendShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of an issue: it, and its findings in each 5 minutes of the last hour."""

    issue: IssueShape
    recent: tuple[int, ...]


class TraceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an issue's evidence tells of a trace."""

    root_name: str
    service: str
    started_at: str
    duration_s: float
    span_count: int
    error_count: int


class EvidenceShape(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of an issue; `trace` is null where it is no longer kept."""

    finding_id: str
    trace_id: str
    session_id: str
    span_id: str
    check: str
    category: Dimension
    severity: Severity
    rationale: str
    observed_at: str
    trace: TraceSummary | None = None


class FeedbackShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of a trace in MLflow; `contradicts` names MLflow's issue whose feedback it overrides."""

    trace_id: str
    kind: str
    name: str
    value: str
    is_negative: bool
    rationale: str
    author: str
    contradicts: str
    changed_at: str


class IssueDetailShape(IssueShape, frozen=True, kw_only=True):
    """An issue with its newest evidence; `evidence_total` counts all of it."""

    evidence: tuple[EvidenceShape, ...]
    evidence_total: int
    feedback: tuple[FeedbackShape, ...] = ()


def issue_shape(row: IssueRow, *, now_s: float) -> IssueShape:
    """Return an issue as it stands at `now_s`."""
    issue, filed = row.issue, row.filed
    return IssueShape(
        issue_id=issue.issue_id,
        title=issue.title,
        description=issue.description,
        status=issue.status,
        state=row.state(now_s),
        category=issue.category,
        severity=issue.severity,
        kind=issue.kind,
        source=issue.source,
        check=issue.check,
        fingerprint=issue.fingerprint,
        routing_key=issue.routing_key,
        service=issue.service,
        target=issue.target,
        error_type=issue.error_type,
        finding_count=issue.finding_count,
        trace_count=issue.trace_count,
        session_count=issue.session_count,
        first_seen=rfc3339(issue.first_seen_ns),
        last_seen=rfc3339(issue.last_seen_ns),
        first_release=issue.first_release,
        last_release=issue.last_release,
        mlflow_issue_id=filed.mlflow_issue_id if filed else "",
        mlflow_experiment_id=filed.experiment_id if filed else "",
        mlflow_run_id=filed.run_id if filed else "",
        url=filed.url if filed else "",
        run_url=filed.run_url if filed else "",
    )


def detail_shape(detail: IssueDetail, *, now_s: float) -> IssueDetailShape:
    """Return an issue with its evidence."""
    return IssueDetailShape(
        **msgspec.structs.asdict(issue_shape(detail.row, now_s=now_s)),
        evidence=tuple(_evidence(each) for each in detail.evidence),
        evidence_total=detail.evidence_total,
        feedback=tuple(
            FeedbackShape(**{name: getattr(said, name) for name in FeedbackShape.__struct_fields__})
            for said in detail.feedback
        ),
    )


def _evidence(evidence: Evidence) -> EvidenceShape:
    link, trace = evidence.link, evidence.trace
    summary = None
    if trace is not None:
        summary = TraceSummary(
            root_name=trace.root_name,
            service=trace.service,
            started_at=rfc3339(trace.started_ns),
            duration_s=max(0, trace.ended_ns - trace.started_ns) / 1e9,
            span_count=trace.span_count,
            error_count=trace.error_count,
        )
    return EvidenceShape(
        finding_id=link.finding_id,
        trace_id=link.trace_id,
        session_id=link.session_id,
        span_id=link.span_id,
        check=link.check,
        category=link.category,
        severity=link.severity,
        rationale=link.rationale,
        observed_at=rfc3339(link.observed_at_ns),
        trace=summary,
    )
