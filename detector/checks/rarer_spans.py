"""Spans of the rarer kinds, sorted out in one pass for all checks of a trace."""

from typing import Final

import msgspec

from core.model.span import Span, SpanKind
from core.model.trace import Trace

# members of an enum cost 100 ns to look up in Python 3.11
_LLM, _TOOL, _AGENT = SpanKind.LLM, SpanKind.TOOL, SpanKind.AGENT
_RETRIEVER, _EMBEDDING, _GUARDRAIL = SpanKind.RETRIEVER, SpanKind.EMBEDDING, SpanKind.GUARDRAIL


class RarerSpans(msgspec.Struct, gc=False):
    """Spans of one kind each, in start order."""

    agents: list[Span] = []
    retrievers: list[Span] = []
    embeddings: list[Span] = []
    guardrails: list[Span] = []


_NONE: Final = RarerSpans()


def rarer_spans(trace: Trace) -> RarerSpans:
    """Return the agents, retrievers, embeddings and guardrails of a trace; read only."""
    found: RarerSpans | None = trace.derived.get("rarer_spans")
    if found is not None:
        return found
    if len(trace.llm_spans) + len(trace.tool_spans) == len(trace.spans):
        found = _NONE
    else:
        found = RarerSpans()
        for span in trace.spans:
            kind = span.kind
            if kind is _LLM or kind is _TOOL:
                continue
            if kind is _AGENT:
                found.agents.append(span)
            elif kind is _RETRIEVER:
                found.retrievers.append(span)
            elif kind is _EMBEDDING:
                found.embeddings.append(span)
            elif kind is _GUARDRAIL:
                found.guardrails.append(span)
    trace.derived["rarer_spans"] = found
    return found
