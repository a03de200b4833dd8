"""Spans of a trace never came: its root, or the parent of spans that cannot be without one here."""

from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanKind
from core.model.trace import CloseReason, Trace
from detector.checks.finding import finding
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found

# closed by time alone, or by silence after the root: nothing more was expected. A trace that was cut by size or age had
# more to send
_COMPLETE: Final = frozenset({CloseReason.ROOT, CloseReason.IDLE, CloseReason.LATE})
# these are made inside a program by its own instrumentation, never as the entry of a request from another one: their
# parent was made in the same process and should have been exported by it
_INNER_KINDS: Final = frozenset(
    {
        SpanKind.LLM,
        SpanKind.TOOL,
        SpanKind.EMBEDDING,
        SpanKind.RETRIEVER,
        SpanKind.RERANKER,
        SpanKind.GUARDRAIL,
        SpanKind.PROMPT,
    }
)
# scopes whose exporter sends what tells of models and nothing else: what is above them was never meant to come
_SENT_ALONE: Final = frozenset({"langfuse-sdk"})
# its client loses the root of every trace whose tags are set (3.17 with OpenTelemetry 1.45: "Cannot mutate immutable
# BoundedAttributes"): a fault of the client, the same on every trace, of which the application knows nothing
_LOSES_ROOTS: Final = "mlflow"


class MissingRootConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class MissingRoot:
    """Found where all of these hold:

    - the trace is closed and whole: neither provisional nor a fragment, and not cut by size or age;
    - it has spans whose parent never came (orphans);
    - one of them had its parent in its own process: it is an inner span (an LLM or tool call, a retrieval, …), or it is
      of the service that the root, which did come, belongs to.

    Severity: low; it tells of telemetry, not of the application: MLflow shows such a trace without its request and
    response. One issue for each service, not for each kind of orphan.

    Unknown where the trace has no root and its orphans are agents, chains or unknown spans: their parent may be an
    upstream service that reports elsewhere, or the span that a crash took.

    Not findings: entry spans (HTTP, RPC) with a remote parent, which is how a request from an instrumented browser or
    gateway looks; another service below a root, with a proxy between them that exports nothing; several roots; spans of
    Langfuse's SDK, whose exporter leaves out the requests that they were made in; spans of MLflow's client without any
    root, which it loses where an application sets a trace's tags.
    """

    name = "missing_root"
    dimension = Dimension.EXECUTION
    needs: tuple[Need, ...] = ()

    def __init__(self, config: MissingRootConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one pattern for a trace."""
        orphans = trace.orphans
        if not orphans:
            return CLEAR
        if not trace.is_final or trace.is_fragment or trace.close_reason not in _COMPLETE:
            return UNKNOWN
        root = trace.root
        lost = [
            span
            for span in orphans
            if (span.kind in _INNER_KINDS or (root and span.service == root.service))
            and span.scope not in _SENT_ALONE
            and (span.dialect != _LOSES_ROOTS or root is not None)
        ]
        if not lost:
            entries_only = root is not None or all(span.kind in (SpanKind.HTTP, SpanKind.RPC) for span in orphans)
            return CLEAR if entries_only else UNKNOWN
        return found([self._finding(trace, lost, root)])

    def _finding(self, trace: Trace, lost: list[Span], root: Span | None) -> Finding:
        missing = len({span.parent_span_id for span in lost})
        what = "The root never came" if root is None else "The root came"
        return finding(
            trace,
            self,
            culprit=lost[0],
            others=lost[1:],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title="Traces arrive without their root" if root is None else "Traces arrive with spans missing",
            rationale=f"{what}: {len(lost)} of {len(trace.spans)} spans name {missing} parent span(s) that were not "
            "received before the trace was closed.",
            target="root" if root is None else "parent",
            publish_at_once=False,
        )
