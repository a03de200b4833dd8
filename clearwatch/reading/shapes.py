"""The JSON shapes of issues and traces, the same from the ops API and from the records."""

from typing import Any

from sinks.records.queries import rfc3339
from sinks.records.views import Evidence, IssueRow, TraceDetail


def issue_shape(row: IssueRow, *, now_s: float) -> dict[str, Any]:
    """Return an issue as the API and `export issues` give it; MLflow's ids are null until it is filed there."""
    issue, filed = row.issue, row.filed
    return {
        "issue_id": issue.issue_id,
        "title": issue.title,
        "description": issue.description,
        "status": issue.status,
        "state": row.state(now_s),
        "category": issue.category,
        "severity": issue.severity,
        "kind": issue.kind,
        "source": issue.source,
        "check": issue.check,
        "fingerprint": issue.fingerprint,
        "routing_key": issue.routing_key,
        "service": issue.service,
        "target": issue.target,
        "error_type": issue.error_type,
        "finding_count": issue.finding_count,
        "trace_count": issue.trace_count,
        "session_count": issue.session_count,
        "first_seen": rfc3339(issue.first_seen_ns),
        "last_seen": rfc3339(issue.last_seen_ns),
        "first_release": issue.first_release,
        "last_release": issue.last_release,
        "mlflow_issue_id": filed.mlflow_issue_id if filed else None,
        "mlflow_experiment_id": filed.experiment_id if filed else None,
        "mlflow_run_id": filed.run_id if filed else None,
        "url": filed.url if filed else None,
        "run_url": filed.run_url if filed else None,
        "recent": row.recent,
    }


def evidence_shape(evidence: Evidence) -> dict[str, Any]:
    """Return one finding of an issue with its trace; `trace` is null where that is no longer kept."""
    link, trace = evidence.link, evidence.trace
    return {
        "finding_id": link.finding_id,
        "trace_id": link.trace_id,
        "session_id": link.session_id,
        "span_id": link.span_id,
        "check": link.check,
        "category": link.category,
        "severity": link.severity,
        "rationale": link.rationale,
        "observed_at": rfc3339(link.observed_at_ns),
        "trace": None
        if trace is None
        else {
            "root_name": trace.root_name,
            "service": trace.service,
            "started_at": rfc3339(trace.started_ns),
            "duration_s": max(0, trace.ended_ns - trace.started_ns) / 1e9,
            "span_count": trace.span_count,
            "error_count": trace.error_count,
        },
    }


def trace_shape(detail: TraceDetail) -> dict[str, Any]:
    """Return a trace's summary and its findings."""
    return {"trace": detail.trace, "findings": detail.findings}
