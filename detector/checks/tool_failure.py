"""A tool failed: by the status of its span, or by what its result says."""

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Content, ContentState, Span, SpanError, SpanKind
from core.model.trace import Trace
from detector.checks.errors import consequence, failure_words, identity_of, message_of, recovery_of, severity_of
from detector.checks.finding import finding, label_of, quoted
from detector.checks.fingerprint import split_error
from detector.checks.port import UNKNOWN, Answer, CheckConfig, found
from detector.checks.tool_messages import tool_messages
from detector.checks.tool_text import error_text

# an error stands at the start of a result, so a result that was cut at its end can still be read
_READABLE = (ContentState.PRESENT, ContentState.TRUNCATED)


class ToolFailureConfig(CheckConfig):
    """What counts as a failed tool."""

    read_results: bool = True
    """False: only the status of spans counts, results are not read."""


class ToolFailure:
    """Found where one of these holds:

    - a tool span failed, and none of its children did (a failed child is what one would fix);
    - a tool span ended OK, its result was sent, and that result *is* an error message (`tool_text.error_text`);
    - the trace has no tool spans, and a tool's result inside the input of an LLM call is an error message: clients
      without tool spans. The first LLM call that was told of it is the culprit; later ones repeat the conversation.

    Severity: low where a later call of the tool under the same parent succeeded; high where the failure reached the
    root; else medium. Text in an OK span is medium, for the agent was told and could go on.

    Unknown where nothing was found and a tool's result was not sent (content off, redacted, in log records).

    Not findings: results that speak of errors without being one (documents, logs, search hits); a numeric field named
    `error`; an empty result (`[]`, "no flights") as such: nothing failed.
    """

    name = "tool_failure"
    dimension = Dimension.EXECUTION

    def __init__(self, config: ToolFailureConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each tool call that failed."""
        failed = ((span, span.error) for span in trace.leaf_faults if span.kind is SpanKind.TOOL)
        faults = [self._failed(trace, span, error) for span, error in failed if error is not None]
        if not self._config.read_results:
            return found(faults)
        unread = has_tools = False
        for span in trace.spans:
            if span.kind is not SpanKind.TOOL:
                continue
            has_tools = True
            if span.error is None:
                unread = unread or span.output.state not in _READABLE
                faults += self._said_error(trace, span, span.output)
        if not has_tools:
            faults += self._told_errors(trace)
        return found(faults, otherwise=UNKNOWN) if unread else found(faults)

    def _failed(self, trace: Trace, span: Span, error: SpanError) -> Finding:
        recovery = recovery_of(trace, span)
        error_type, message = identity_of(span, error)
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=severity_of(trace, span, error, recovered=recovery is not None),
            title=f"{label_of(span)} {failure_words(span, error)}",
            rationale=f"{label_of(span)} failed after {span.duration_ms:.0f} ms: {quoted(message_of(error))}. "
            f"{consequence(trace, span, recovery)}",
            error_type=error_type,
            message=message,
        )

    def _said_error(self, trace: Trace, span: Span, result: Content) -> list[Finding]:
        text = error_text(result.text) if result.state in _READABLE else None
        if text is None:
            return []
        recovery = recovery_of(trace, span)
        return [self._from_text(trace, span, tool="", text=text, recovered=recovery is not None)]

    def _told_errors(self, trace: Trace) -> list[Finding]:
        errors = ((told, error_text(told.text)) for told in tool_messages(trace))
        return [self._from_text(trace, told.span, tool=told.name or "tool", text=text) for told, text in errors if text]

    def _from_text(self, trace: Trace, span: Span, *, tool: str, text: str, recovered: bool = False) -> Finding:
        error_type, message = split_error(_without_word(text))
        label = tool or label_of(span)
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.LOW if recovered else Severity.MEDIUM,
            title=f"{label} returns an error" + (f": {error_type}" if error_type else ""),
            rationale=f"The call of {label} ended without an error status, but its result is one: {quoted(text)}",
            target=tool or None,
            error_type=error_type,
            message=message,
        )


def _without_word(text: str) -> str:
    """Return the message without the word "Error:" in front, so that it reads as in a span that failed."""
    head = text.lstrip()
    return head[6:].lstrip() if head[:6].lower() == "error:" else head
