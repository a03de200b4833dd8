"""How a check words what it found: one constructor, so that fingerprints, ids and bounds are the same everywhere."""

from collections.abc import Iterable
from typing import Final

from core.model.finding import Finding, FindingKind, Severity, Source, finding_id_of
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.fingerprint import fingerprint_of, masked_name
from detector.checks.port import Check

# what a person reads in a rationale; the span holds the rest
QUOTED_CHARACTERS: Final = 300
# a finding names the spans that a person would open, not every one of a long loop
_MAX_SPAN_IDS: Final = 20
_MAX_TITLE_CHARACTERS: Final = 120
# a name of a tool, a model or an error is shorter; what a client sends instead of one may be a whole document
MAX_NAME_CHARACTERS: Final = 200
_MAX_RATIONALE_CHARACTERS: Final = 4_000


def _writable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON may hold and nothing can store."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def finding(
    trace: Trace,
    check: Check,
    *,
    culprit: Span,
    kind: FindingKind,
    severity: Severity,
    title: str,
    rationale: str,
    target: str | None = None,
    error_type: str = "",
    message: str = "",
    others: Iterable[Span] = (),
    publish_at_once: bool = True,
) -> Finding:
    """Return the finding of a check about one culprit span.

    `title` is stable and holds neither user text nor ids: it names the issue for ever. `rationale` tells what
    happened in this trace. `error_type`, `message` (both as sent) and `target` (the culprit's own by default) make
    the fingerprint.
    """
    target = target_of(culprit) if target is None else target
    fingerprint = fingerprint_of(
        routing_key=trace.routing_key,
        service=culprit.service,
        check=check.name,
        target=target,
        error_type=error_type,
        message=message,
    )
    spans = dict.fromkeys((culprit.span_id, *(span.span_id for span in others)))
    return Finding(
        finding_id=finding_id_of(
            unit=trace.trace_id, check=check.name, culprit=culprit.span_id, fingerprint=fingerprint
        ),
        check=check.name,
        kind=kind,
        source=Source.RULE,
        category=check.dimension,
        severity=severity,
        fingerprint=fingerprint,
        routing_key=trace.routing_key,
        title=_writable(title[:_MAX_TITLE_CHARACTERS]),
        rationale=_writable(rationale[:_MAX_RATIONALE_CHARACTERS]),
        trace_id=trace.trace_id,
        session_id=trace.session_id,
        span_ids=tuple(spans)[:_MAX_SPAN_IDS],
        service=culprit.service,
        target=_writable(target[:MAX_NAME_CHARACTERS]),
        error_type=_writable(error_type[:MAX_NAME_CHARACTERS]),
        release=culprit.release,
        environment=culprit.environment,
        observed_at_ns=culprit.end_ns,
        trace_started_ns=trace.started_ns,
        publish_at_once=publish_at_once,
    )


def target_of(span: Span) -> str:
    """Return what one would fix; a raw span name, the last resort, with its ids masked."""
    return masked_name(span.name) if span.target == span.name and span.tool is None else span.target


def label_of(span: Span) -> str:
    """Return how a title names a span: stable and without ids."""
    if span.tool is not None and span.tool.name:
        return span.tool.name
    match span.kind:
        case SpanKind.LLM:
            return f"LLM call to {span.model}" if span.model else "LLM call"
        case SpanKind.EMBEDDING | SpanKind.RERANKER:
            return f"{span.kind.capitalize()} call to {span.model}" if span.model else f"{span.kind.capitalize()} call"
        case SpanKind.AGENT:
            return f"Agent {span.agent}" if span.agent else "Agent"
        case SpanKind.UNKNOWN | SpanKind.TOOL:
            return masked_name(span.name) or "Unnamed span"
        case SpanKind.RETRIEVER if span.data_source:
            return f"Retrieval from {span.data_source}"
        case SpanKind.HTTP | SpanKind.RPC | SpanKind.DB:
            call = f"{span.kind.upper()} call"
            return f"{call} to {span.data_source}" if span.kind is SpanKind.DB and span.data_source else call
        case _:
            return f"{span.kind.capitalize()} step of {span.agent}" if span.agent else f"{span.kind.capitalize()} step"


def quoted(text: str, *, limit: int = QUOTED_CHARACTERS) -> str:
    """Return text for a rationale: printable, on one line, at most `limit` characters (head and tail)."""
    # a few times the limit is read, so that a megabyte of output costs nothing
    bounded = text if len(text) <= 4 * limit else f"{text[: 2 * limit]} … {text[-2 * limit :]}"
    line = " ".join(bounded.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    if len(line) <= limit:
        return line
    tail = limit // 4
    return f"{line[: limit - tail - 3]} … {line[-tail:]}"
