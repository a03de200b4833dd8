"""Errors of clients that could not use a model's answer because the token limit had cut it.

The call itself went well: what one would fix is the limit, so `output_cut` reports these, and `failed_span` does not.
"""

import re
from typing import Final

from core.model.span import ErrorClass, FinishReason, Span, SpanKind
from core.model.trace import Trace

# members of an enum cost 100 ns to look up in Python 3.11
_LLM, _TOOL = SpanKind.LLM, SpanKind.TOOL
_LENGTH: Final = FinishReason.LENGTH
_CLASSES: Final = frozenset({ErrorClass.PARSE, ErrorClass.OTHER, ErrorClass.STEP_LIMIT})
# OpenAI's `parse` and Agents SDK, Instructor, Pydantic AI
_CUT: Final = re.compile(
    r"LengthFinishReason|length limit was reached|incomplete.{0,80}max_(?:output_)?tokens"
    r"|max_tokens length limit|token limit .{0,20}exceeded before any response|IncompleteOutputException",
    re.IGNORECASE,
)
# OpenAI agents in JavaScript; a filter ends a response so, too
_INCOMPLETE: Final = "response.incomplete"
_READ_CHARACTERS: Final = 2_000


def is_cut_answer(span: Span) -> bool:
    """Return whether a span failed because the answer of its model was cut by the token limit."""
    error = span.error
    if error is None or span.kind is _TOOL or error.error_class not in _CLASSES:
        return False
    if span.finish_reason is _LENGTH and _INCOMPLETE in error.message[:_READ_CHARACTERS]:
        return True
    return _CUT.search(error.error_type) is not None or _CUT.search(error.message[:_READ_CHARACTERS]) is not None


def writer_of(trace: Trace, span: Span) -> Span:
    """Return the model call whose answer a failed span could not use: itself, or the last that had ended well."""
    if span.kind is _LLM:
        return span
    ended = [call for call in trace.llm_spans if call.error is None and call.end_ns <= span.end_ns]
    return max(ended, key=lambda call: call.end_ns, default=span)
