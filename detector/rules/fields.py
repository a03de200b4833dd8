"""The fields of the model that a rule may name, and how each is read.

A reader returns None where the client did not send it: the rule then answers "unknown", never "clear".
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from core.model.span import Content, ContentState, Span, SpanKind
from core.model.trace import Trace
from core.model.usage import deepest, usage_spans
from detector.checks.port import Need

Scalar: TypeAlias = str | int | float | bool
FieldType: TypeAlias = Literal["number", "text", "flag"]

_MODEL_CALLS: Final = frozenset({SpanKind.LLM})
_TOKEN_USERS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING})
_TOOLS: Final = frozenset({SpanKind.TOOL})
_SPEAKERS: Final = frozenset({SpanKind.LLM, SpanKind.TOOL, SpanKind.AGENT})


class SpanField(msgspec.Struct, frozen=True):
    """One field of a span."""

    read: Callable[[Span], Scalar | None]
    type: FieldType
    needs: tuple[Need, ...] = ()
    expected_of: frozenset[SpanKind] = frozenset()
    """Kinds of spans on which its absence means that it was not sent; on others there is as a rule none."""


class TraceField(msgspec.Struct, frozen=True):
    """One field of a whole trace; rules that name one are asked once for each trace."""

    read: Callable[[Trace], Scalar | None]
    type: FieldType
    needs: tuple[Need, ...] = ()


def _text(content: Content) -> str | None:
    return content.text if content.state is ContentState.PRESENT else None


def _total_tokens(span: Span) -> int | None:
    return None if span.usage is None else span.usage.input_tokens + span.usage.output_tokens


def _of_usage(name: str) -> SpanField:
    def read(span: Span) -> int | None:
        tokens: int | None = None if span.usage is None else getattr(span.usage, name)
        return tokens

    return SpanField(read, "number", (Need.USAGE,), _TOKEN_USERS)


def _of_details(name: str, kind: FieldType) -> SpanField:
    def read(span: Span) -> Scalar | None:
        value: Scalar | None = getattr(span.details, name)
        return None if value == "" else value

    return SpanField(read, kind)


def _of_error(name: str) -> SpanField:
    def read(span: Span) -> str:
        return "" if span.error is None else str(getattr(span.error, name))

    return SpanField(read, "text")


SPAN_FIELDS: Final[Mapping[str, SpanField]] = {
    "duration_ms": SpanField(
        lambda span: (span.end_ns - span.start_ns) / 1e6 if span.end_ns > span.start_ns else 0.0, "number"
    ),
    "name": SpanField(lambda span: span.name, "text"),
    "kind": SpanField(lambda span: span.kind.value, "text"),
    "target": SpanField(lambda span: span.target, "text"),
    "service": SpanField(lambda span: span.service, "text"),
    "release": SpanField(lambda span: span.release, "text"),
    "environment": SpanField(lambda span: span.environment, "text"),
    "scope": SpanField(lambda span: span.scope, "text"),
    "dialect": SpanField(lambda span: span.dialect, "text"),
    "agent": SpanField(lambda span: span.agent, "text"),
    "model": SpanField(lambda span: span.model, "text"),
    "provider": SpanField(lambda span: span.provider, "text"),
    "data_source": SpanField(lambda span: span.data_source, "text"),
    "session_id": SpanField(lambda span: span.session_id, "text"),
    "user_id": SpanField(lambda span: span.user_id, "text"),
    "tool": SpanField(lambda span: "" if span.tool is None else span.tool.name, "text", (Need.TOOLS,)),
    "tool_arguments": SpanField(
        lambda span: None if span.tool is None else span.tool.arguments or None,
        "text",
        (Need.TOOLS, Need.CONTENT),
        _TOOLS,
    ),
    "input": SpanField(lambda span: _text(span.input), "text", (Need.CONTENT,), _SPEAKERS),
    "output": SpanField(lambda span: _text(span.output), "text", (Need.CONTENT,), _SPEAKERS),
    "finish_reason": SpanField(
        lambda span: span.finish_reason.value or None, "text", (Need.FINISH_REASON,), _MODEL_CALLS
    ),
    "failed": SpanField(lambda span: span.error is not None, "flag"),
    "error_class": _of_error("error_class"),
    "error_type": _of_error("error_type"),
    "error_message": _of_error("message"),
    "status_code": SpanField(lambda span: 0 if span.error is None else span.error.status_code, "number"),
    "input_tokens": _of_usage("input_tokens"),
    "output_tokens": _of_usage("output_tokens"),
    "cached_tokens": _of_usage("cached_tokens"),
    "reasoning_tokens": _of_usage("reasoning_tokens"),
    "total_tokens": SpanField(_total_tokens, "number", (Need.USAGE,), _TOKEN_USERS),
    "cost_usd": SpanField(lambda span: span.cost_usd, "number", (Need.COST,), _MODEL_CALLS),
    "time_to_first_token_s": SpanField(
        lambda span: span.time_to_first_token_s, "number", (Need.TIME_TO_FIRST,), _MODEL_CALLS
    ),
    "documents": SpanField(
        lambda span: None if span.details.documents is None else len(span.details.documents),
        "number",
        (Need.DOCUMENTS,),
        frozenset({SpanKind.RETRIEVER}),
    ),
    "attempt": _of_details("attempt", "number"),
    "temperature": _of_details("temperature", "number"),
    "max_tokens": _of_details("max_tokens", "number"),
    "is_stream": _of_details("is_stream", "flag"),
    "output_type": _of_details("output_type", "text"),
    "prompt_name": _of_details("prompt_name", "text"),
    "prompt_version": _of_details("prompt_version", "text"),
    "server": _of_details("server", "text"),
}


def _tokens(trace: Trace) -> int | None:
    usages = [span.usage for span in usage_spans(trace) if span.usage is not None]
    return sum(usage.input_tokens + usage.output_tokens for usage in usages) if usages else None


def _cost(trace: Trace) -> float | None:
    priced = deepest(trace, [span for span in trace.spans if span.cost_usd is not None])
    return sum(span.cost_usd for span in priced if span.cost_usd is not None) if priced else None


def duration_ms_of(trace: Trace) -> float:
    """Return the time from the first start of a trace to its last end, in milliseconds."""
    spans = trace.spans
    # in the order of their starts
    return max(0, max([span.end_ns for span in spans]) - spans[0].start_ns) / 1e6 if spans else 0.0


TRACE_FIELDS: Final[Mapping[str, TraceField]] = {
    "trace.duration_ms": TraceField(duration_ms_of, "number"),
    "trace.spans": TraceField(lambda trace: len(trace.spans), "number"),
    "trace.llm_calls": TraceField(lambda trace: len(trace.llm_spans), "number"),
    "trace.tool_calls": TraceField(lambda trace: len(trace.tool_spans), "number", (Need.TOOLS,)),
    "trace.errors": TraceField(lambda trace: len(trace.leaf_faults), "number"),
    "trace.total_tokens": TraceField(_tokens, "number", (Need.USAGE,)),
    "trace.cost_usd": TraceField(_cost, "number", (Need.COST,)),
    "trace.session_id": TraceField(lambda trace: trace.session_id, "text"),
    "trace.user_id": TraceField(lambda trace: trace.user_id, "text"),
}
