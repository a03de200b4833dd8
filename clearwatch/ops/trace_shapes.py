"""The JSON shape of one trace in the one model, whichever dialect it came in: from the ops API and `trace --json`.

Texts are cut, and say how long they were; so are lists of messages and of spans, which begin with what tells most.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core.dialects.messages import messages_of
from core.model.span import Content, Document, Evaluation, Span, ToolCall, Usage
from core.model.trace import Trace, TraceVersion
from detector.issues.suppressions import SuppressionConfig, suppression_of
from sinks.records.views import FindingRow, TraceDetail, rfc3339

MAX_TEXT: Final = 4_000
MAX_MESSAGES: Final = 50
MAX_SPANS: Final = 2_000
MAX_DOCUMENTS: Final = 50
# an answer of some megabytes, however many spans there are: characters and messages of all of them
_CHARS_OF_ALL: Final = 400_000
_MESSAGES_OF_ALL: Final = 2_000
_LEAST_CHARS, _LEAST_MESSAGES = 200, 3


class _Limits(msgspec.Struct, frozen=True):
    """How much is shown of each span."""

    chars: int
    messages: int


class MessageShape(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


class ContentShape(msgspec.Struct, frozen=True, kw_only=True):
    """Text of a span, in or out. `state` says where it stands: present, absent, redacted, truncated or in_logs."""

    state: str
    text: str = ""
    chars: int = 0
    """Length of the text before it was cut."""
    messages: tuple[MessageShape, ...] = ()
    """The newest, at most 50, of a conversation; empty where it is plain text. Fewer and shorter in large traces."""
    message_count: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str = ""


class ErrorShape(msgspec.Struct, frozen=True, kw_only=True):
    """Why a span failed."""

    error_class: str
    error_type: str
    message: str
    status_code: int


class SpanShape(msgspec.Struct, frozen=True, kw_only=True):
    """One span. Costs are in USD; the times of the start are RFC 3339 and milliseconds since the trace began."""

    span_id: str
    parent_span_id: str
    name: str
    kind: str
    dialect: str
    scope: str
    service: str
    agent: str
    started_at: str
    start_ms: float
    duration_ms: float
    time_to_first_token_s: float | None
    model: str
    provider: str
    usage: Usage | None
    cost_usd: float | None
    finish_reason: str
    error: ErrorShape | None
    tool: ToolCall | None
    input: ContentShape
    output: ContentShape
    session_id: str
    user_id: str
    data_source: str
    query: str
    documents: tuple[Document, ...] | None
    """The first, at most 50."""
    document_count: int = 0
    evaluations: tuple[Evaluation, ...]
    evaluation_count: int = 0
    attempt: int
    dropped_attributes: int
    finding_ids: tuple[str, ...]
    """Findings whose culprit it is."""


class TraceShape(msgspec.Struct, frozen=True, kw_only=True):
    """A trace, what was found in it, and its spans in the order of their start."""

    trace: TraceVersion
    findings: tuple[FindingRow, ...]
    spans: tuple[SpanShape, ...] = ()
    spans_note: str = ""
    """Why spans are missing, where they are."""
    suppressed: Mapping[str, str] = {}
    """Findings of no issue that a suppression holds back, as it is configured now: by their id, its reason and end."""


def trace_shape(detail: TraceDetail, trace: Trace | None, *, note: str = "") -> TraceShape:
    """Return a trace with what is known of its spans; `trace` is None where they cannot be read, `note` says why."""
    if trace is None:
        return TraceShape(trace=detail.trace, findings=detail.findings, spans_note=note)
    culprits: dict[str, list[str]] = {}
    for finding in detail.findings:
        if finding.span_ids:
            culprits.setdefault(finding.span_ids[0], []).append(finding.finding_id)
    shown = _shown(trace, culprits)
    limits = _Limits(
        chars=min(MAX_TEXT, max(_LEAST_CHARS, _CHARS_OF_ALL // max(len(shown), 1))),
        messages=min(MAX_MESSAGES, max(_LEAST_MESSAGES, _MESSAGES_OF_ALL // max(len(shown), 1))),
    )
    expected = detail.trace.span_count
    if len(trace.spans) < expected:
        note = f"{expected - len(trace.spans)} of {expected} spans are not kept any more"
        if detail.trace.provisional:
            note = f"the trace is still open: {expected - len(trace.spans)} of its {expected} spans were written before"
    if len(shown) < len(trace.spans):
        note = f"{note + '; ' if note else ''}{len(trace.spans) - len(shown)} spans are left out here"
    return TraceShape(
        trace=detail.trace,
        findings=detail.findings,
        spans=tuple(_span(span, trace.started_ns, culprits.get(span.span_id, ()), limits) for span in shown),
        spans_note=note,
    )


def marked(shape: TraceShape, suppressions: Sequence[SuppressionConfig]) -> TraceShape:
    """Return a trace with what suppressions hold back of it."""
    suppressed = {
        finding.finding_id: f"until {by}"
        for finding in shape.findings
        if finding.issue_id is None
        and (by := suppression_of(finding, observed_at_s=_seconds(finding.observed_at), configs=suppressions))
    }
    return msgspec.structs.replace(shape, suppressed=suppressed)


def _seconds(observed_at: str) -> float:
    return datetime.datetime.fromisoformat(observed_at).timestamp()


def _shown(trace: Trace, culprits: Mapping[str, Sequence[str]]) -> Sequence[Span]:
    """Return the spans that are shown: where there are too many, first those of findings and errors with their line."""
    if len(trace.spans) <= MAX_SPANS:
        return trace.spans
    wanted: dict[str, None] = {}

    def add(spans: Iterable[Span]) -> None:
        for span in spans:
            line: Span | None = span
            while line is not None and line.span_id not in wanted and len(wanted) < MAX_SPANS:
                wanted[line.span_id] = None
                line = trace.by_id.get(line.parent_span_id)

    add(span for span in trace.spans if span.span_id in culprits)
    add(trace.leaf_faults)
    add(trace.spans)
    return [span for span in trace.spans if span.span_id in wanted]


def _span(span: Span, started_ns: int, finding_ids: Sequence[str], limits: _Limits) -> SpanShape:
    error, details = span.error, span.details
    documents = details.documents
    return SpanShape(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        dialect=span.dialect,
        scope=span.scope,
        service=span.service,
        agent=span.agent,
        started_at=rfc3339(span.start_ns),
        start_ms=(span.start_ns - started_ns) / 1e6,
        duration_ms=span.duration_ms,
        time_to_first_token_s=span.time_to_first_token_s,
        model=span.model,
        provider=span.provider,
        usage=span.usage,
        cost_usd=span.cost_usd,
        finish_reason=span.finish_reason,
        error=None
        if error is None
        else ErrorShape(
            error_class=error.error_class,
            error_type=error.error_type,
            message=error.message[: limits.chars],
            status_code=error.status_code,
        ),
        tool=None if span.tool is None else _call(span.tool, limits),
        input=_content(span.input, limits, role="user"),
        output=_content(span.output, limits, role="assistant"),
        session_id=span.session_id,
        user_id=span.user_id,
        data_source=span.data_source,
        query=details.query[: limits.chars],
        documents=None if documents is None else tuple(_document(found, limits) for found in documents[:MAX_DOCUMENTS]),
        document_count=len(documents or ()),
        evaluations=details.evaluations[:MAX_DOCUMENTS],
        evaluation_count=len(details.evaluations),
        attempt=details.attempt,
        dropped_attributes=span.dropped_attributes,
        finding_ids=tuple(finding_ids),
    )


def _content(content: Content, limits: _Limits, *, role: str) -> ContentShape:
    messages = messages_of(content, role=role)
    # one message of the same text says nothing that the text does not
    is_plain = len(messages) == 1 and messages[0].text == content.text
    return ContentShape(
        state=content.state,
        text=content.text[: limits.chars],
        chars=len(content.text),
        messages=()
        if is_plain
        else tuple(
            MessageShape(
                role=message.role,
                text=message.text[: limits.chars],
                tool_calls=tuple(_call(call, limits) for call in message.tool_calls),
                tool_call_id=message.tool_call_id,
                name=message.name,
            )
            for message in messages[-limits.messages :]
        ),
        message_count=len(messages),
        tool_calls=tuple(_call(call, limits) for call in content.tool_calls),
        refusal=content.refusal[: limits.chars],
    )


def _call(call: ToolCall, limits: _Limits) -> ToolCall:
    if len(call.arguments) <= limits.chars:
        return call
    return ToolCall(name=call.name, call_id=call.call_id, arguments=call.arguments[: limits.chars])


def _document(found: Document, limits: _Limits) -> Document:
    if len(found.text) <= limits.chars:
        return found
    return Document(document_id=found.document_id, score=found.score, text=found.text[: limits.chars])
