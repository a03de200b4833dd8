"""A tool failed: by the status of its span, or by what its result says."""

import re
from typing import Final

import msgspec

from core.dialects.errors import classify, code_in
from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Content, ContentState, ErrorClass, Span, SpanError, SpanKind
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of
from detector.checks.error_phrases import prepare
from detector.checks.errors import (
    blames_arguments,
    consequence,
    failure_words,
    identity_of,
    message_of,
    recovery_of,
    severity_of,
    tool_around,
)
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.fingerprint import split_error
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.steps import asker_of
from detector.checks.tool_messages import are_untold, tool_messages
from detector.checks.tool_text import error_text, is_about_errors

# an error stands at the start of a result, so a result that was cut at its end can still be read
_READABLE: Final = (ContentState.PRESENT, ContentState.TRUNCATED)
_ACCESS_CHARACTERS: Final = 2_000
# a shorter message was not cut by its client
_LEAST_CUT_CHARACTERS: Final = 64
# the tool itself is broken, whatever it was asked
_GRAVE: Final = frozenset({ErrorClass.SERVER, ErrorClass.TIMEOUT, ErrorClass.CONNECTION, ErrorClass.RATE_LIMIT})
# so it is where its own access is refused; "not authorized to change this order", "credit balance too low" are a no to
# the user
_ACCESS: Final = frozenset({ErrorClass.AUTH, ErrorClass.QUOTA})
_OF_ACCESS: Final = re.compile(r"\bkeys?\b|api_?key|token|credential|quota|oauth|\biam\b|authenticat", re.IGNORECASE)


class ToolFailureConfig(CheckConfig):
    """What counts as a failed tool."""

    read_results: bool = True
    """False: only the status of spans counts, results are not read."""


class ToolFailure:
    """Found where one of these holds:

    - a tool span failed, and none of its children did (a failed child is what one would fix);
    - the step below it that ran it failed, and the tool's span says neither a failure nor a result (Claude Code);
    - a tool span ended OK, its result was sent, and that result *is* an error message (`tool_text.error_text`);
    - the trace has no tool spans, and a tool's result inside the input of an LLM call is an error message: clients
      without tool spans. The first LLM call that was told of it is the culprit; later ones repeat the conversation.

    Severity of a failed span: low where the agent called the tool again and it worked, high where the failure reached
    the root, else medium. Of error text in an OK span: medium where it names an exception, or an error of a server, the
    network or a limit, or of the tool's own access, and no later call worked; else low: "not enough seats" is a tool's
    way to say no, and on recorded agents it stands in sound sessions nearly as often as in failed ones; such a no
    becomes an issue where it repeats.

    Where the arguments are to blame, the LLM span that wrote them stands beside the tool's.

    Unknown where nothing was found and a tool's result was not sent (content off, redacted, in log records), or stands
    in a prompt that is longer than is read.

    Not findings: results that speak of errors without being one (documents, logs, search hits); what a tool for logs,
    errors, tests or validation brings, unless it is marked as a failure; a numeric field named `error`, a record whose
    `status` is "failed"; an empty result (`[]`, "no flights") as such: nothing failed; a failure of an earlier turn
    that the prompt still holds.
    """

    name = "tool_failure"
    dimension = Dimension.EXECUTION
    needs = (Need.TOOLS, Need.CONTENT)

    def __init__(self, config: ToolFailureConfig) -> None:
        self._config = config
        prepare()

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each tool call that failed."""
        faults: list[Finding] = []
        for span in trace.leaf_faults:
            if span.error is None:
                continue
            if span.kind is SpanKind.TOOL:
                faults.append(self._failed(trace, span, whole_error(span, span.error)))
            elif (tool := tool_around(trace, span)) is not None:
                faults.append(self._failed(trace, tool, span.error))
        if not self._config.read_results:
            return found(faults)
        unread = False
        for span in trace.tool_spans:
            if span.error is None:
                if span.output.state in _READABLE:
                    faults += self._said_error(trace, span, span.output)
                else:
                    unread = True
        if not trace.tool_spans:
            faults += self._told_errors(trace)
            unread = not faults and are_untold(trace)
        return found(faults, otherwise=UNKNOWN) if unread else found(faults)

    def _failed(self, trace: Trace, span: Span, error: SpanError) -> Finding:
        recovery = recovery_of(trace, span)
        error_type, message = identity_of(error, of_model=False)
        asker = _blamed(trace, span, error)
        return finding(
            trace,
            self,
            culprit=span,
            others=[asker] if asker is not None else (),
            kind=FindingKind.FAULT,
            severity=severity_of(trace, span, error, recovered=recovery is not None),
            title=f"{label_of(span)} {failure_words(span, error)}",
            rationale=f"{label_of(span)} failed after {span.duration_ms:.0f} ms: {quoted(message_of(error))}. "
            f"{consequence(trace, span, recovery)}{_wrote(asker)}",
            error_type=error_type,
            message=message,
        )

    def _said_error(self, trace: Trace, span: Span, result: Content) -> list[Finding]:
        text = error_text(result.text)
        if text is None or is_about_errors(result.text, text, tool=target_of(span), arguments=arguments_of(span)):
            return []
        recovery = recovery_of(trace, span)
        return [self._from_text(trace, span, tool="", text=text, recovered=recovery is not None)]

    def _told_errors(self, trace: Trace) -> list[Finding]:
        errors = ((told, error_text(told.text)) for told in tool_messages(trace) if not told.is_past)
        return [
            self._from_text(trace, told.span, tool=told.name or "tool", text=text)
            for told, text in errors
            if text and not is_about_errors(told.text, text, tool=told.name, arguments=told.arguments)
        ]

    def _from_text(self, trace: Trace, span: Span, *, tool: str, text: str, recovered: bool = False) -> Finding:
        error = _error_of(text)
        error_type, message = identity_of(error, of_model=False)
        label = tool or label_of(span)
        asker = _blamed(trace, span, error) if span.kind is SpanKind.TOOL else None
        grave = bool(error.error_type) or _is_grave(error)
        return finding(
            trace,
            self,
            culprit=span,
            others=[asker] if asker is not None else (),
            kind=FindingKind.FAULT,
            severity=Severity.MEDIUM if grave and not recovered else Severity.LOW,
            title=f"{label} returns an error" + (f": {error.error_type}" if error.error_type else ""),
            rationale=f"The call of {label} ended without an error status, but its result is one: {quoted(text)}"
            f"{_wrote(asker)}",
            target=tool or None,
            error_type=error_type,
            message=message,
            # one no of a tool is no issue, the same no again and again is
            publish_at_once=grave,
        )


def _blamed(trace: Trace, span: Span, error: SpanError) -> Span | None:
    """Return the LLM span that wrote the call, where its arguments are what failed."""
    return asker_of(trace, span) if blames_arguments(error) else None


def _is_grave(error: SpanError) -> bool:
    if error.error_class in _ACCESS:
        return error.status_code > 0 or _OF_ACCESS.search(error.message[:_ACCESS_CHARACTERS]) is not None
    return error.error_class in _GRAVE


def _wrote(asker: Span | None) -> str:
    return f" The arguments were written by {label_of(asker)}." if asker is not None else ""


def whole_error(span: Span, error: SpanError) -> SpanError:
    """Return the error with its whole message, where the status has only the beginning of the result.

    Clients cut the description of a status, often in the middle of a traceback; the result has its end.
    """
    cut, result = error.message.removesuffix("...").removesuffix("…"), span.output
    if len(cut) < _LEAST_CUT_CHARACTERS or result.state not in _READABLE or not result.text.startswith(cut):
        return error
    return msgspec.structs.replace(error, message=result.text)


def _error_of(text: str) -> SpanError:
    """Return the error that a text tells of, as it would stand in a span that failed."""
    head = text.lstrip()
    error_type, message = split_error(head[6:] if head[:6].lower() == "error:" else head)
    code = code_in(message)
    error_class = classify(error_type=error_type, status_code=code, message=message)
    return SpanError(error_class=error_class, error_type=error_type, message=message, status_code=code)
