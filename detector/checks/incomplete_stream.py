"""A streamed answer ended before its end: the stream broke, or its reader left."""

import re
from collections import deque
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Content, ContentState, FinishReason, Span, SpanKind, Usage
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, quoted
from detector.checks.model_calls import is_wrapper
from detector.checks.port import Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans

# members of an enum cost 100 ns to look up in Python 3.11
_NO_REASON, _ERROR = FinishReason.UNKNOWN, FinishReason.ERROR
_PRESENT: Final = ContentState.PRESENT
_AGENT, _LLM, _HTTP = SpanKind.AGENT, SpanKind.LLM, SpanKind.HTTP
# in the middle of a sentence stand these before what is missing, beside letters and digits
_GOES_ON: Final = frozenset(",;-–(/=+&")
# answers in a word, a name or a figure have no full stop; nor have items, headings, addresses and greetings
_FEW_CHARACTERS: Final = 40
_SENTENCE_END: Final = re.compile(r"[.!?] ")
_WITHOUT_STOP: Final = re.compile(r"\s*(?:[-*•#>|]|\d{1,3}[.)]\s|https?://)")
# a shorter span is a note that a stream was read (Logfire), not the stream
_LEAST_NS: Final = 1_000_000
# OpenTelemetry's instrumentations of generative AI
_LEFT: Final = ("abandoned stream", "stream abandoned")
# words are counted this far: more than any first event's usage
_READ_CHARACTERS: Final = 2_000


class IncompleteStreamConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class IncompleteStream:
    """Found where all of these hold for a span:

    - it is an LLM call that did not fail, and no LLM span stands below it; or an agent at the top of the trace whose
      client says that it streamed and did not end (the call's own span was never sent);
    - it streamed: the request says so, or the time to the first token was sent; or its finish reason is `error`;
    - it has no finish reason but `error`, and no usage: a stream sends both last; or usage of fewer output tokens than
      its text has words, which is that of its first event (Anthropic sends one first and one last);
    - its text, where it was sent and no finish reason says `error`, ends in the middle: behind a letter or a comma, in
      a line of prose, or in JSON that is still open.

    or where such a call, and no span below it, failed because its reader left (GeneratorExit, "abandoned stream");

    or where a client that writes one span as a stream opens and another once it was read (Logfire) wrote but the first,
    and the trace is closed and whole.

    Severity: low. A reader who closes the window leaves the same trace as a connection that broke.

    Not findings: streams without usage that give a finish reason (`include_usage` is off); a note of no length beside
    the call that streamed (Logfire); streams that end with an error (`failed_span`); text that ends as texts do, with a
    full stop, an item of a list, a greeting, a word alone (a client that sends neither usage nor finish reasons).
    """

    name = "incomplete_stream"
    dimension = Dimension.EXECUTION
    needs = (Need.FINISH_REASON, Need.USAGE)

    def __init__(self, config: IncompleteStreamConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each stream without an end."""
        faults = []
        cut = [span for span in trace.llm_spans if _is_cut(trace, span)]
        for span in cut or _left(trace) or _unread(trace):
            words = "ended with neither the usage nor a finish reason that tell of its end"
            faults.append(self._finding(trace, span, "was left by its reader" if was_left(span) else words))
        return found(faults)

    def _finding(self, trace: Trace, span: Span, words: str) -> Finding:
        text = span.output.text if span.output.state is _PRESENT else ""
        said = f"; its text ends in {quoted(text[-80:])!r}" if text.strip() else ""
        first = span.time_to_first_token_s
        began = f" The first token came after {first:.2f} s." if first is not None else ""
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.LOW,
            title=f"{label_of(span)} streams an answer that does not end",
            rationale=f"The stream {words} after {span.duration_ms:.0f} ms{said}.{began}",
            publish_at_once=False,
        )


def was_left(span: Span) -> bool:
    """Return whether an LLM call failed because whoever read its stream stopped reading."""
    error = span.error
    if error is None or span.kind is not _LLM:
        return False
    return error.error_type.rpartition(".")[2] == "GeneratorExit" or error.message.lower().startswith(_LEFT)


def _is_of_the_start(usage: Usage, output: Content) -> bool:
    """Return whether usage counts fewer tokens than the text has words, or none where the text was not sent."""
    words = len(output.text[:_READ_CHARACTERS].split()) if output.state is _PRESENT else 1
    return usage.output_tokens < words


def _is_cut(trace: Trace, span: Span) -> bool:
    if span.error is not None:
        return was_left(span) and span in trace.leaf_faults
    if not _may_be_cut(span) or is_wrapper(trace, span):
        return False
    if span.usage is not None and not _is_of_the_start(span.usage, span.output):
        return False
    return not any(_is_beside(span, fault) for fault in trace.leaf_faults)


def _is_beside(span: Span, fault: Span) -> bool:
    """Return whether a failed span is the client's own of this call, which says why it broke (Anthropic's SDK)."""
    return (
        fault.kind is _LLM
        and fault.parent_span_id == span.parent_span_id
        and fault.scope != span.scope
        and fault.model == span.model
        and span.start_ns <= fault.start_ns
        and fault.end_ns <= span.end_ns
    )


def _left(trace: Trace) -> list[Span]:
    """Return the agents at the top whose streamed call was never ended, so never sent (Vercel AI to version 6)."""
    roots = {root.span_id for root in trace.roots}
    return [
        span
        for span in rarer_spans(trace).agents
        if span.finish_reason is _ERROR
        and span.usage is None
        and span.error is None
        and (not span.parent_span_id or span.parent_span_id in roots)
    ]


def _unread(trace: Trace) -> list[Span]:
    """Return the spans of streams that opened, beside which none tells that they were read."""
    opened = [span for span in trace.spans if span.kind is _HTTP and span.details.is_stream and span.error is None]
    if not opened or not trace.is_final or trace.is_fragment:
        return []
    # both in the order of their starts: each takes the next note of its client
    notes: dict[str, deque[Span]] = {}
    for note in trace.llm_spans:
        notes.setdefault(note.scope, deque()).append(note)
    unread: list[Span] = []
    for span in opened:
        mine = notes.get(span.scope, deque())
        while mine and mine[0].start_ns < span.start_ns:
            mine.popleft()
        if mine:
            mine.popleft()
        else:
            unread.append(span)
    return unread


def _may_be_cut(span: Span) -> bool:
    if span.finish_reason is _ERROR:
        return True
    if span.finish_reason is not _NO_REASON or span.output.tool_calls or span.output.refusal:
        return False
    if span.time_to_first_token_s is None and not span.details.is_stream:
        return False
    if span.end_ns - span.start_ns < _LEAST_NS:
        return False
    return span.output.state is not _PRESENT or _goes_on(span.output.text)


def _goes_on(text: str) -> bool:
    """Return whether a text ends in the middle: behind a letter or a comma, in a line of prose or of JSON."""
    text = text.rstrip()
    if not text:
        return True
    if text[0] in "{[":
        return text[-1] not in "}]"
    if text[-1] in _GOES_ON or not text[-1].isalnum():
        return text[-1] in _GOES_ON
    before, _, last = text.rpartition("\n")
    if len(text) < _FEW_CHARACTERS:
        # an answer in sentences ends its last one too
        return " " in text and (text.rpartition(" ")[2].islower() or _SENTENCE_END.search(text) is not None)
    return not ((before and len(last) < _FEW_CHARACTERS) or _WITHOUT_STOP.match(last))
