"""The steps of an agent: its LLM calls in order, with what was done between each and the next."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.asked_calls import askers

_DERIVED: Final = "steps"
# members of an enum cost 100 ns to look up in Python 3.11
_AGENT, _LLM = SpanKind.AGENT, SpanKind.LLM
_WORK: Final = frozenset(
    {SpanKind.TOOL, SpanKind.AGENT, SpanKind.RETRIEVER, SpanKind.HTTP, SpanKind.RPC, SpanKind.DB, SpanKind.EMBEDDING}
)


class Step(msgspec.Struct, frozen=True):
    """One LLM call of an agent, and what the agent did from then until its next one, in start order."""

    llm: Span
    work: tuple[Span, ...]


def steps_of(trace: Trace) -> Mapping[str, Sequence[Step]]:
    """Return the steps by the agent span that they belong to (the nearest above; "" where there is none).

    What an agent that was called does belongs to that agent, not to the one that called it, which sees one AGENT span.
    """
    found: Mapping[str, Sequence[Step]] | None = trace.derived.get(_DERIVED)
    if found is None:
        found = trace.derived[_DERIVED] = _steps_of(trace)
    return found


def owner_of(trace: Trace, span: Span) -> str:
    """Return the id of the nearest AGENT span above, "" where there is none."""
    return _owner_of(trace, span, trace.derived.setdefault("owners", {}))


def asker_of(trace: Trace, span: Span) -> Span | None:
    """Return the LLM call that asked for what a span did.

    That is the one whose answer holds the call's id, else the agent's last one before it; None where nothing tells.
    """
    call_id = span.tool.call_id if span.tool is not None else ""
    asker = askers(trace).get(call_id) if call_id else None
    if asker is not None:
        return asker
    before: dict[str, Span] | None = trace.derived.get("asked_before")
    if before is None:
        steps = (step for mine in steps_of(trace).values() for step in mine)
        before = trace.derived["asked_before"] = {done.span_id: step.llm for step in steps for done in step.work}
    return before.get(span.span_id)


def _steps_of(trace: Trace) -> Mapping[str, Sequence[Step]]:
    owners: dict[str, str] = {}
    steps: dict[str, list[tuple[Span, list[Span]]]] = {}
    for span in trace.spans:
        kind = span.kind
        if kind is _LLM:
            steps.setdefault(_owner_of(trace, span, owners), []).append((span, []))
        elif kind in _WORK:
            mine = steps.get(_owner_of(trace, span, owners))
            if mine:
                mine[-1][1].append(span)
    return {owner: [Step(llm, tuple(work)) for llm, work in mine] for owner, mine in steps.items()}


def _owner_of(trace: Trace, span: Span, owners: dict[str, str]) -> str:
    """Return the id of the nearest AGENT above; parents that are missing, or stand in a circle, end the way."""
    passed: list[str] = []
    at = span.parent_span_id
    while at and at not in owners:
        passed.append(at)
        owners[at] = ""  # a circle ends here
        parent = trace.by_id.get(at)
        if parent is None or parent.kind is _AGENT:
            owners[at] = at if parent is not None else ""
            break
        at = parent.parent_span_id
    owner = owners.get(at, "")
    for each in passed:
        owners[each] = owner
    return owner
