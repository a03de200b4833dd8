"""Adds delay to one service of recorded traces for a few minutes: what a slow dependency looks like.

A delayed span works for longer before it ends. Whoever waited for it ends later by as much, and what began after it
begins later; calls that ran beside it stay where they were. So a trace stays consistent: children lie in their parents.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from core.model.span import Span
from core.model.trace import Trace

WINDOW_NS: Final = 180 * 10**9
# a service that one trace in eight asks is slow in two or three traces of a window; of rarer ones nothing can be said
_LEAST_SHARE: Final = 0.125
# a window in which hardly anybody asked anything tells nothing
_LEAST_TRACES: Final = 6


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """By how much calls are slower. `by_operation`: those of one operation; else the calls that enter the service."""

    ms: float = 0.0
    times: float = 1.0
    by_operation: bool = False
    spread: float = 0.0
    """A delay is anything from as much of it less to as much of it more."""
    is_moved: bool = True
    """Whether what began after a delayed span begins later; else only it and all above it end later."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When which service is slow by how much. `operation` narrows it to one; else the calls that enter the service."""

    start_ns: int
    service: str
    operation: str = ""
    delay: Delay

    def has(self, time_ns: int) -> bool:
        """Return whether it holds at this time."""
        return self.start_ns <= time_ns < self.start_ns + WINDOW_NS

    def delay_of(self, span: Span, trace: Trace) -> int:
        """Return by how many nanoseconds a span is slower."""
        if span.service != self.service or not self.has(span.start_ns):
            return 0
        if self.operation and span.name != self.operation:
            return 0
        parent = trace.by_id.get(span.parent_span_id)
        if not self.operation and parent is not None and parent.service == span.service:
            return 0
        delay = self.delay
        part = random.Random(span.span_id).uniform(1 - delay.spread, 1 + delay.spread) if delay.spread else 1.0
        return int(part * delay.ms * 1e6) + int((delay.times - 1) * (span.end_ns - span.start_ns))


def windows_of(traces: Sequence[Trace], *, seed: int, count: int, delay: Delay) -> tuple[Window, ...]:
    """Return windows in the later half of the traces, which are in start order: no two overlap."""
    chance = random.Random(seed)
    services = _asked(traces)
    later = traces[len(traces) // 2 :]
    found: list[Window] = []
    for trace in chance.sample(later, len(later)):
        start_ns = trace.started_ns
        inside = [other for other in later if start_ns <= other.started_ns < start_ns + WINDOW_NS]
        if len(inside) < _LEAST_TRACES or any(abs(w.start_ns - start_ns) < 2 * WINDOW_NS for w in found):
            continue
        service = chance.choice(services)
        names = Counter(span.name for other in inside for span in other.spans if span.service == service)
        if not names:
            continue
        operation = chance.choice([name for name, _ in names.most_common(4)]) if delay.by_operation else ""
        found.append(Window(start_ns=start_ns, service=service, operation=operation, delay=delay))
        if len(found) == count:
            break
    return tuple(sorted(found, key=lambda w: w.start_ns))


def stretches_of(traces: Sequence[Trace], *, seed: int, delay: Delay, one_service: bool) -> tuple[Window, ...]:
    """Return a window over every other stretch of three minutes that was recorded in the later half."""
    chance = random.Random(seed)
    services = _asked(traces)
    only = chance.choice(services)
    starts: list[int] = []
    for trace in traces[len(traces) // 2 :]:
        if not starts or trace.started_ns >= starts[-1] + WINDOW_NS:
            starts.append(trace.started_ns)
    return tuple(
        Window(start_ns=start_ns, service=only if one_service else chance.choice(services), delay=delay)
        for start_ns in starts[seed % 2 :: 2]
    )


def _asked(traces: Sequence[Trace]) -> list[str]:
    """Return the services that are asked often enough, in order."""
    asked = Counter(service for trace in traces for service in {span.service for span in trace.spans})
    return sorted(service for service, number in asked.items() if number >= _LEAST_SHARE * len(traces))


def delayed(trace: Trace, windows: Sequence[Window]) -> tuple[Trace, frozenset[str]]:
    """Return the trace with the delays of the windows, and the ids of the spans that were delayed."""
    own: dict[str, int] = {}
    is_moved = True
    for span in trace.spans:
        delays_ns = [(window.delay_of(span, trace), window.delay) for window in windows]
        if (delay_ns := sum(ns for ns, _ in delays_ns)) > 0:
            own[span.span_id] = delay_ns
            is_moved = all(delay.is_moved for ns, delay in delays_ns if ns)
    if not own:
        return trace, frozenset()
    if not is_moved:
        return _lengthened(trace, own), frozenset(own)
    placed: dict[str, Span] = {}
    for span in trace.spans:
        if span.parent_span_id not in trace.by_id:
            _place(span, 0, trace, own, placed)
    spans = [placed.get(span.span_id, span) for span in trace.spans]
    return Trace(trace_id=trace.trace_id, spans=spans, routing_key=trace.routing_key), frozenset(own)


def _lengthened(trace: Trace, own: Mapping[str, int]) -> Trace:
    """Let spans and all above them end later, each by its delay or the longest below it; nothing else moves."""
    longer = dict(own)
    for span_id, delay_ns in own.items():
        above = trace.by_id.get(trace.by_id[span_id].parent_span_id)
        seen: set[str] = set()
        while above is not None and above.span_id not in seen:
            seen.add(above.span_id)
            longer[above.span_id] = max(longer.get(above.span_id, 0), delay_ns)
            above = trace.by_id.get(above.parent_span_id)
    spans = [msgspec.structs.replace(span, end_ns=span.end_ns + longer.get(span.span_id, 0)) for span in trace.spans]
    return Trace(trace_id=trace.trace_id, spans=spans, routing_key=trace.routing_key)


def _place(span: Span, shift_ns: int, trace: Trace, own: Mapping[str, int], placed: dict[str, Span]) -> int:
    """Place a span and all below it, begun `shift_ns` later than recorded; return by how much longer it takes."""
    finished: list[tuple[int, int]] = []  # recorded end of a child, how much later it is
    children = trace.children.get(span.span_id, ())
    grown: dict[str, int] = {}
    for child in children:
        later_ns = max((late for end_ns, late in finished if end_ns <= child.start_ns), default=0)
        grown[child.span_id] = _place(child, shift_ns + later_ns, trace, own, placed)
        finished.append((child.end_ns, later_ns + grown[child.span_id]))
    _stretch_waits(children, grown, trace, placed)
    # a call whose client notes its end a moment after the caller's own was waited for all the same
    waited_ns = span.end_ns + (span.end_ns - span.start_ns) // 20
    growth_ns = max((late for end_ns, late in finished if end_ns <= waited_ns), default=0) + own.get(span.span_id, 0)
    placed[span.span_id] = msgspec.structs.replace(
        span, start_ns=span.start_ns + shift_ns, end_ns=span.end_ns + shift_ns + growth_ns
    )
    return growth_ns


def _stretch_waits(children: Sequence[Span], grown: Mapping[str, int], trace: Trace, placed: dict[str, Span]) -> None:
    """Let childless siblings that were waiting for a slower one wait for longer: they ended with it, within 5 %."""
    for waiting in children:
        if waiting.span_id in trace.children:
            continue
        for other in children:
            length_ns = other.end_ns - other.start_ns
            ends_with_it = abs(waiting.end_ns - other.end_ns) <= 0.05 * length_ns
            if grown[other.span_id] and waiting.start_ns <= other.start_ns and ends_with_it and other is not waiting:
                at = placed[waiting.span_id]
                placed[waiting.span_id] = msgspec.structs.replace(at, end_ns=at.end_ns + grown[other.span_id])
                break
