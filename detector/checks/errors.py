"""What the checks know about failed spans: how bad, whether recovered, and which words name the failure."""

import bisect
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from core.dialects.errors import classify, code_in
from core.model.finding import Severity
from core.model.span import ContentState, ErrorClass, FinishReason, Span, SpanError, SpanKind
from core.model.trace import Trace
from core.otlp.stamp import is_scrubbed
from detector.checks.fingerprint import head_of, split_error
from detector.checks.steps import owner_of
from detector.checks.tool_text import error_text

MODEL_KINDS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER})

# failures that a provider words as it likes and each client library wraps in its own type: the class is the problem
PROVIDER_CLASSES: Final = frozenset(
    {
        ErrorClass.RATE_LIMIT,
        ErrorClass.QUOTA,
        ErrorClass.AUTH,
        ErrorClass.SERVER,
        ErrorClass.TIMEOUT,
        ErrorClass.CONNECTION,
        ErrorClass.CONTEXT_OVERFLOW,
    }
)
_WORDS: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.RATE_LIMIT: "hits a rate limit",
    ErrorClass.QUOTA: "has no quota left",
    ErrorClass.AUTH: "is refused: authentication",
    ErrorClass.SERVER: "fails with a server error",
    ErrorClass.TIMEOUT: "times out",
    ErrorClass.CONNECTION: "cannot connect",
    ErrorClass.CONTEXT_OVERFLOW: "exceeds the context window",
    ErrorClass.BAD_REQUEST: "is refused: bad request",
    ErrorClass.CONTENT_FILTER: "is blocked by a content filter",
    ErrorClass.STEP_LIMIT: "reaches its step limit",
    ErrorClass.PARSE: "cannot be parsed",
    ErrorClass.CANCELLED: "is cancelled",
}
# a person has to act before the next call can succeed
_NEEDS_A_PERSON: Final = frozenset({ErrorClass.AUTH, ErrorClass.QUOTA})

_ARGUMENTS: Final = re.compile(
    r"unexpected keyword argument|missing \d+ required|got multiple values for|required positional argument"
    r"|validation errors? for|invalid (?:tool )?(?:arguments?|parameters?|input)|is not of type|field required"
    r"|is a required property|additional properties are not allowed|(?:invalid|malformed) JSON|Expecting value"
    r"|Schema validation failed|unsupported (?:argument|parameter|operand)|no such (?:argument|parameter)",
    re.IGNORECASE,
)
_INVALID: Final = frozenset(
    {"ValidationError", "ZodError", "ToolInputError", "InvalidToolInputError", "AI_InvalidToolInputError"}
)
# Vercel AI; LangChain's parsers (Python, JavaScript)
_ANSWER: Final = re.compile(
    r"No ?Object ?Generated|did not match (?:the )?(?:expected )?schema|could not parse the response"
    r"|OutputParserException"
    r"|OUTPUT_PARSING_FAILURE|\AFailed to parse(?:\. Text:| \w+ from completion)|\AInvalid json output"
    # OpenAI agents, LangChain's agents, DSPy
    r"|Invalid JSON (?:when parsing|provided)|when parsing model output|StructuredOutput\w*(?:Error|Exception)"
    r"|Failed to parse structured output|AdapterParseError"
    # Mastra, Genkit
    r"|Structured output validation failed|Schema validation failed",
    re.IGNORECASE,
)
# validators of a model's answer within the call itself: zod's and pydantic's
_VALIDATORS: Final = frozenset({"ZodError", "ValidationError"})
# members of an enum cost 100 ns to look up in Python 3.11
_PARSE, _OTHER = ErrorClass.PARSE, ErrorClass.OTHER
_TOOL: Final = SpanKind.TOOL
# OpenAI agents, LangChain
_REFUSED: Final = re.compile(r"model refused to (?:produce|answer|generate|respond)|RefusalError\b", re.IGNORECASE)
# OpenAI agents, and all that record them
_WRAPPED: Final = re.compile(r"""['"]error['"]: (['"])(.+)\1\}""", re.DOTALL)
# a shorter text may stand in any other
_TELLING_CHARACTERS: Final = 12
# a run fails of one of its last tools
_TOOLS_LOOKED_AT: Final = 8
_MAX_READ: Final = 2_000
_BY_START: Final = operator.attrgetter("start_ns")

_Sort: TypeAlias = tuple[SpanKind, str]


def identity_of(error: SpanError, *, of_model: bool) -> tuple[str, str]:
    """Return (error type, message) for the fingerprint; the error class, where it is known, is part of them.

    For a model call with a provider's error class these are the class and nothing: "Rate limit reached for …" of one
    client and "Error code: 429 - {…}" of another are one problem.
    """
    if of_model and error.error_class in PROVIDER_CLASSES:
        return str(error.error_class), ""
    error_type, head = split_error(error.message, error.error_type)
    if error.error_class is ErrorClass.OTHER:
        return error_type, head
    # masking hides codes ("Error code: 429"): the class keeps what they mean
    return error_type or str(error.error_class), f"[{error.error_class}] {head}"


def failure_words(span: Span, error: SpanError) -> str:
    """Return the predicate of a title: "hits a rate limit", "fails with TypeError", "fails"."""
    named, _ = split_error(error.message, error.error_type)
    if error.error_class in _WORDS and (span.kind in MODEL_KINDS or not named):
        return _WORDS[error.error_class]
    # error.type may be an HTTP code or "_OTHER" (OpenTelemetry's word for unknown)
    if named and not named.startswith("_"):
        return f"fails with {named}" if not named.isdigit() else f"fails with status {named}"
    return "fails"


def blames_arguments(error: SpanError) -> bool:
    """Return whether a tool failed because of how it was called, which the model that wrote the call has to answer for.

    Words of Python's TypeError for calls, pydantic's and jsonschema's errors, and JSON decoders.
    """
    return _ARGUMENTS.search(error.message[:_MAX_READ]) is not None or error.error_type.rpartition(".")[2] in _INVALID


def blames_answer(span: Span, error: SpanError) -> bool:
    """Return whether a span failed because a model's answer was not the JSON, or not of the schema, that was asked for.

    A body that is no JSON (`Invalid JSON response`) is the provider's failure and does not.
    """
    if error.error_class is not _PARSE and error.error_class is not _OTHER:
        return False
    named = error.error_type.rpartition(".")[2]
    if span.kind is SpanKind.LLM and named in _VALIDATORS:
        return True
    return _ANSWER.search(named) is not None or _ANSWER.search(error.message[:_MAX_READ]) is not None


def was_filtered(span: Span, error: SpanError) -> bool:
    """Return whether a content filter stopped a call: its error says so, or the finish reason of a call that failed."""
    is_filter = span.kind is SpanKind.LLM and span.finish_reason is FinishReason.CONTENT_FILTER
    return error.error_class is ErrorClass.CONTENT_FILTER or is_filter


def was_refused(span: Span) -> bool:
    """Return whether a run failed because its model refused to answer: no filter, its own words."""
    error = span.error
    if error is None or error.error_class is not _OTHER or span.kind is SpanKind.TOOL:
        return False
    return _REFUSED.search(error.error_type) is not None or _REFUSED.search(error.message[:_MAX_READ]) is not None


def told_failure(span: Span) -> SpanError | None:
    """Return the failure of a call that an agent gives for its answer, where no span failed; None where it does not.

    Agno catches what its model throws: its span by OpenTelemetry has the text for an answer, and the reason "error".
    """
    if span.kind is not SpanKind.AGENT or span.error is not None or span.finish_reason is not FinishReason.ERROR:
        return None
    text = span.output.text[:_MAX_READ] if span.output.state is ContentState.PRESENT else ""
    code = code_in(text)
    found = classify(error_type="", status_code=code, message=text)
    return None if found is _OTHER else SpanError(error_class=found, message=text, status_code=code)


def tool_around(trace: Trace, span: Span) -> Span | None:
    """Return the tool call of which a failed step is the part that ran it, or None.

    Claude Code and Codex CLI mark the failure on that step alone (`claude_code.tool.execution`). The step is the tool's
    where the tool's span says neither a failure nor a result of its own.
    """
    if span.kind is not SpanKind.CHAIN:
        return None
    tool = trace.by_id.get(span.parent_span_id)
    is_silent = tool is not None and tool.error is None and tool.output.state is ContentState.ABSENT
    return tool if tool is not None and tool.kind is SpanKind.TOOL and is_silent else None


def message_of(error: SpanError) -> str:
    """Return what to quote of an error: its message, else its type, else its class."""
    return head_of(error.message) or error.error_type or str(error.error_class)


def recovery_of(trace: Trace, span: Span) -> Span | None:
    """Return the later call that did what this failed span could not, or None.

    It started after the failure and ended without an error. Of a tool it is a call of the same tool by the same agent
    (frameworks put each step of an agent under a parent of its own), whose result is no error either; else it stands
    under the same parent, for a model call any call of a model (a fallback counts).
    """
    if span.kind is _TOOL:
        alike = _sound_tools(trace).get((owner_of(trace, span), span.target), ())
    elif span.parent_span_id:
        alike = _sound_children(trace, span.parent_span_id).get(_sort_of(span), ())
    else:
        return None
    at = bisect.bisect_left(alike, span.end_ns, key=_BY_START)
    # a call without length starts at its own end
    return next((sibling for sibling in alike[at : at + 2] if sibling.span_id != span.span_id), None)


def _sound_tools(trace: Trace) -> Mapping[tuple[str, str], Sequence[Span]]:
    """Return the tool calls that did not fail, in start order, by agent and tool; worked out once."""
    found: dict[tuple[str, str], list[Span]] | None = trace.derived.get("sound_tools")
    if found is None:
        found = trace.derived["sound_tools"] = {}
        for span in trace.tool_spans:
            if span.error is None and error_text(span.output.text) is None:
                found.setdefault((owner_of(trace, span), span.target), []).append(span)
    return found


def _sound_children(trace: Trace, parent_id: str) -> Mapping[_Sort, Sequence[Span]]:
    """Return the children that did not fail, in start order, by what can take the place of what; worked out once."""
    known: dict[str, dict[_Sort, list[Span]]] = trace.derived.setdefault("sound_children", {})
    found = known.get(parent_id)
    if found is None:
        found = known[parent_id] = {}
        for child in trace.children.get(parent_id, ()):
            if child.error is None:
                found.setdefault(_sort_of(child), []).append(child)
    return found


def _sort_of(span: Span) -> _Sort:
    return span.kind, "" if span.kind in MODEL_KINDS else span.target


def source_of(trace: Trace, span: Span) -> Span:
    """Return the failed model call whose error this span repeats, or the span itself.

    Some instrumentations put the repeating span beside the call instead of above it (LangGraph's `call_model` and the
    `RunnableSequence` with the call), or above a step that ended well (OpenAI agents' turns). It covers the call's time
    and carries the same error: one failure, one issue.
    """
    if span.error is None or span.kind in MODEL_KINDS or span.kind is SpanKind.TOOL:
        return span
    calls = _failed_calls(trace)
    for at in range(bisect.bisect_left(calls, span.start_ns, key=_BY_START), len(calls)):
        other = calls[at]
        if other.start_ns > span.end_ns:
            break
        if other.error is None or other.end_ns > span.end_ns:
            continue
        # scrubbed by its client (Logfire), it says nothing of its own
        if not span.error.error_type and is_scrubbed(span.error.message):
            return other
        # wrapped in words of its own (OpenAI agents), it still is of the same class
        if (other.error.error_type, other.error.message) == (span.error.error_type, span.error.message) or (
            other.error.error_class is span.error.error_class is not ErrorClass.OTHER
        ):
            return other
        if _core(other.error.message) == _core(span.error.message) != "":
            return other
    return span


def repeats_tool(trace: Trace, span: Span) -> bool:
    """Return whether a failed agent or step fails of a tool's failure within it, and says it in the tool's words.

    OpenAI agents put a turn that ended well between the two.
    """
    error = span.error
    if error is None or (span.kind is not SpanKind.AGENT and span.kind is not SpanKind.CHAIN):
        return False
    tools = _failed_tools(trace)
    end = bisect.bisect_right(tools, span.end_ns, key=_BY_START)
    for tool in reversed(tools[max(0, end - _TOOLS_LOOKED_AT) : end]):
        said = _core(tool.error.message) if tool.error is not None and tool.end_ns <= span.end_ns else ""
        if span.start_ns <= tool.start_ns and len(said) >= _TELLING_CHARACTERS and said in error.message:
            return True
    return False


def _failed_tools(trace: Trace) -> Sequence[Span]:
    """Return the tool calls that failed, in start order; worked out once."""
    found: list[Span] | None = trace.derived.get("failed_tools")
    if found is None:
        found = trace.derived["failed_tools"] = [span for span in trace.tool_spans if span.error is not None]
    return found


def _core(message: str) -> str:
    """Return what a failure says, out of the words around it: "Error in agent run: {'error': '…'}"."""
    found = _WRAPPED.search(message[:_MAX_READ])
    return found[2] if found is not None else ""


def _failed_calls(trace: Trace) -> Sequence[Span]:
    """Return the deepest failed spans that are model calls, in start order; worked out once."""
    found: list[Span] | None = trace.derived.get("failed_calls")
    if found is None:
        found = trace.derived["failed_calls"] = [span for span in trace.leaf_faults if span.kind in MODEL_KINDS]
    return found


def is_echo(trace: Trace, span: Span, error: SpanError) -> bool:
    """Return whether a call that ended well bears the words of a failure before it.

    OpenInference's processor for Vercel AI gives the first error of a trace to spans that end after it: they say no
    type, and have an answer and a reason for its end.
    """
    if error.error_type or not span.finish_reason or span.output.state is not ContentState.PRESENT:
        return False
    ends_ns: dict[str, int] | None = trace.derived.get("typed_failures")
    if ends_ns is None:
        # the earliest end of those that say the same
        ends_ns = trace.derived["typed_failures"] = {}
        for other in trace.leaf_faults:
            if other.error is not None and other.error.error_type:
                said = other.error.message
                ends_ns[said] = min(other.end_ns, ends_ns.get(said, other.end_ns))
    return error.message in ends_ns and ends_ns[error.message] <= span.start_ns


def reached_root(trace: Trace, span: Span) -> bool:
    """Return whether every ancestor up to a root failed too: the whole request was lost."""
    seen = {span.span_id}
    while span.parent_span_id:
        parent = trace.by_id.get(span.parent_span_id)
        if parent is None or parent.error is None or parent.span_id in seen:
            return False
        seen.add(parent.span_id)
        span = parent
    return True


def severity_of(trace: Trace, span: Span, error: SpanError, *, recovered: bool) -> Severity:
    """Return low where recovered or cancelled, high where the request was lost or a person must act, else medium."""
    if recovered or error.error_class is ErrorClass.CANCELLED:
        return Severity.LOW
    if error.error_class in _NEEDS_A_PERSON or reached_root(trace, span):
        return Severity.HIGH
    return Severity.MEDIUM


def consequence(trace: Trace, span: Span, recovery: Span | None) -> str:
    """Return the sentence that says how it ended in this trace."""
    if recovery is not None:
        delay_s = max(0, recovery.start_ns - span.end_ns) / 1e9
        return f"A later call succeeded {delay_s:.1f} s afterwards."
    if reached_root(trace, span):
        return "The failure reached the root: the whole request failed."
    return "The request went on without it."
