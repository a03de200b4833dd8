"""Own times: for how long a span worked by itself, which is what tells the span that was slow from those that waited.

The own time of a span is its duration less the union of its children's, cut to its own bounds. One wait does not show
in the tree: code that hands over and is called back stands *beside* the call that it waits for. So a span of unknown
kind without children also does not own the time of siblings of its service that began later and have children.
Parallel calls of a parent are each their own. Clocks of services that disagree make own times wrong by as much.

Code (spans of unknown kind, HTTP, RPC) that has its children overlap is given the time of each of them: what it does
beside several that take longer than usual cannot be told from waiting for them. That may miss code that is slow beside
parallel calls; it never blames a caller for those it calls.
"""

from collections.abc import Mapping
from typing import Final

from core.model.measurement import CODE_KINDS
from core.model.span import Span, SpanKind
from core.model.trace import Trace

_UNKNOWN: Final = SpanKind.UNKNOWN


def given_times_ns(trace: Trace) -> Mapping[str, int]:
    """Return the nanoseconds that are not a span's own, by its id; spans that own all of their time are left out."""
    given: dict[str, int] = {}
    twice: dict[str, int] = {}
    plain: list[Span] = []
    for parent_id, children in trace.children.items():
        parent = trace.by_id.get(parent_id)
        if parent is None:
            continue
        reached_ns, parent_end_ns = parent.start_ns, parent.end_ns
        covered_ns = overlap_ns = 0
        # children come in start order, so their union grows at its end only
        for span in children:
            if span is parent:
                continue
            start_ns, end_ns = span.start_ns, span.end_ns
            if end_ns > parent_end_ns:
                end_ns = parent_end_ns
            if start_ns < reached_ns:
                if covered_ns and end_ns > start_ns:
                    overlap_ns += (end_ns if end_ns < reached_ns else reached_ns) - start_ns
                start_ns = reached_ns
            if end_ns > start_ns:
                covered_ns += end_ns - start_ns
                reached_ns = end_ns
            if span.kind is _UNKNOWN:
                plain.append(span)
        if covered_ns:
            given[parent_id] = covered_ns
        if overlap_ns:
            twice[parent_id] = overlap_ns
    if plain:
        _leave_waits(plain, given, twice)
    for span_id, overlap_ns in twice.items():
        span = trace.by_id[span_id]
        if overlap_ns > 0 and span.kind in CODE_KINDS:
            given[span_id] = max(given[span_id], min(given[span_id] + overlap_ns, span.end_ns - span.start_ns))
    return given


def _leave_waits(plain: list[Span], given: dict[str, int], twice: dict[str, int]) -> None:
    """Take from childless spans the time of siblings that they wait for; `plain` is in start order beside each other.

    Of `twice`, in which children of a parent overlap, what is a wait is taken away.
    """
    holders: dict[str, list[Span]] = {}
    for span in plain:
        if span.span_id in given:
            holders.setdefault(span.parent_span_id, []).append(span)
    if not holders:
        return
    waits: dict[str, int] = {}
    for span in plain:
        if span.span_id in given or (beside := holders.get(span.parent_span_id)) is None:
            continue
        reached_ns = span.start_ns
        waited_ns = 0
        for other in beside:
            start_ns, end_ns = max(other.start_ns, reached_ns), min(other.end_ns, span.end_ns)
            if other.start_ns >= span.start_ns and other.service == span.service and end_ns > start_ns:
                waited_ns += end_ns - start_ns
                reached_ns = end_ns
        if waited_ns:
            waits[span.span_id] = waited_ns
            if span.parent_span_id in twice:
                twice[span.parent_span_id] -= waited_ns
    given.update(waits)
