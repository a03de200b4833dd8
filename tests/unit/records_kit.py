"""Values for tests of the read side."""

from typing import Any

import msgspec

from core.model.finding import Dimension, Finding, FindingKind, Severity, Source
from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueFiled, IssueLink, event_id_of, issue_id_of
from core.model.trace import CloseReason, TraceVersion
from sinks.records.store import Change, RecordStore
from sinks.records.views import FindingRow

NOW_S = 1_700_000_000.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
ISSUE = issue_id_of(routing_key="shop", fingerprint="v1:timeout")
MLFLOW_ISSUE = "iss-0123456789abcdef0123456789abcdef"


def store(url: str = "sqlite://") -> RecordStore:
    """Return an open store."""
    made = RecordStore(url)
    made.open()
    return made


def change(value: Any, *, at_s: float = NOW_S, offset: int = 0) -> Change:
    """Return a record as the sink hands it over."""
    return Change(log_time_ms=int(at_s * 1000), offset=offset, value=value)


def trace(**changes: Any) -> TraceVersion:
    """Return a trace version of three spans."""
    values: dict[str, Any] = {
        "trace_id": TRACE,
        "version": "a" * 16,
        "routing_key": "shop",
        "span_count": 3,
        "close_reason": CloseReason.ROOT,
        "service": "shop",
        "root_name": "checkout",
        "started_ns": 1_700_000_000_000_000_000,
        "ended_ns": 1_700_000_001_500_000_000,
        "last_append_s": NOW_S,
    }
    return TraceVersion(**values | changes)


def finding(name: str = "f1", **changes: Any) -> Finding:
    """Return a finding of the trace."""
    values: dict[str, Any] = {
        "finding_id": name,
        "check": "failed_span",
        "kind": FindingKind.FAULT,
        "source": Source.RULE,
        "category": Dimension.EXECUTION,
        "severity": Severity.HIGH,
        "fingerprint": "v1:timeout",
        "routing_key": "shop",
        "title": "timeout in search",
        "rationale": "the call took longer than its deadline",
        "trace_id": TRACE,
        "session_id": "s1",
        "span_ids": ("b7ad6b7169203331", "00f067aa0ba902b7"),
        "observed_at_ns": 1_700_000_000_123_456_789,
    }
    return Finding(**values | changes)


def row(**changes: Any) -> FindingRow:
    """Return that finding as people see it, in an issue."""
    values = msgspec.structs.asdict(finding()) | {"issue_id": "0123456789abcdef", "observed_at": "2026-01-01T00:00:00Z"}
    return FindingRow(**{name: values[name] for name in FindingRow.__struct_fields__} | changes)


def issue(**changes: Any) -> Issue:
    """Return the issue of that finding."""
    values: dict[str, Any] = {
        "issue_id": ISSUE,
        "routing_key": "shop",
        "title": "timeout in search",
        "description": "the search tool times out",
        "category": Dimension.EXECUTION,
        "severity": Severity.HIGH,
        "kind": FindingKind.FAULT,
        "source": Source.RULE,
        "check": "failed_span",
        "fingerprint": "v1:timeout",
        "service": "shop",
        "target": "search",
        "published": True,
        "finding_count": 1,
        "trace_count": 1,
        "session_count": 1,
        "first_seen_ns": 1_700_000_000_000_000_000,
        "last_seen_ns": 1_700_000_000_000_000_000,
        "opened_at_s": NOW_S,
        "sequence": 1,
    }
    return Issue(**values | changes)


def link(name: str = "f1") -> IssueLink:
    """Return the link of a finding."""
    return IssueLink(
        finding_id=name,
        trace_id=TRACE,
        span_id="b7ad6b7169203331",
        check="failed_span",
        category=Dimension.EXECUTION,
        severity=Severity.HIGH,
        rationale="the call took longer than its deadline",
        observed_at_ns=1_700_000_000_123_456_789,
    )


def event(of: Issue, *links: IssueLink, kind: IssueEventKind = IssueEventKind.SEEN, **changes: Any) -> IssueEvent:
    """Return an event of an issue."""
    values: dict[str, Any] = {
        "event_id": event_id_of(issue_id=of.issue_id, sequence=of.sequence),
        "kind": kind,
        "issue": of,
        "at_s": NOW_S,
        "links": links,
    }
    return IssueEvent(**values | changes)


def filed(**changes: Any) -> IssueFiled:
    """Return the word that the issue stands in MLflow."""
    values: dict[str, Any] = {
        "issue_id": ISSUE,
        "routing_key": "shop",
        "mlflow_issue_id": MLFLOW_ISSUE,
        "experiment_id": "7",
        "run_id": "r1",
        "url": "http://127.0.0.1:5000/#/experiments/7/runs/r1/issues?issue=iss-0123",
        "run_url": "http://127.0.0.1:5000/#/experiments/7/runs/r1/issues",
        "at_s": NOW_S,
    }
    return IssueFiled(**values | changes)
