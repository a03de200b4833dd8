"""Time passed in which nothing that was traced happened."""

from collections.abc import Sequence
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found

# what has steps of its own; a gap inside a call is the call
_HAVE_STEPS: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN, SpanKind.UNKNOWN})
_STEPS: Final = frozenset(
    {SpanKind.LLM, SpanKind.TOOL, SpanKind.AGENT, SpanKind.CHAIN, SpanKind.RETRIEVER, SpanKind.EMBEDDING}
)
_NS: Final = 1e9


class TimelineGapConfig(CheckConfig):
    """How long nothing may happen."""

    min_gap_s: float = pydantic.Field(default=5.0, gt=0)
    """Seconds between two steps of one span in which none of its steps ran: half of what keeps a reader's attention
    (Nielsen's 10 s). No such gap is in the recorded agents."""
    min_share: float = pydantic.Field(default=0.3, gt=0, le=1)
    """The gap, as a share of its span's time."""
    min_children: int = pydantic.Field(default=3, ge=2)
    """Steps that a span must have to be called instrumented."""


class TimelineGap:
    """Found where all of these hold for an agent, a chain or a span of unknown kind, in a trace with LLM or tool calls:

    - at least `min_children` spans stand directly below it, and none of them is an HTTP, RPC or database call;
    - between the end of one and the start of the next none of them ran, for at least `min_gap_s` and at least
      `min_share` of its time;
    - the steps before and after did not fail;
    - the step before did not ask for a tool in a trace that shows no tools: what passed was the tool's time.

    Severity: low. Code that is not instrumented and a person who is asked look the same.

    Not findings: time before the first and after the last step (set-up, streaming the answer); spans with one or two
    steps; waiting after a failure (back-off, which `retries` and `failed_span` tell of).
    """

    name = "timeline_gap"
    dimension = Dimension.LATENCY
    needs: tuple[Need, ...] = ()

    def __init__(self, config: TimelineGapConfig) -> None:
        self._config = config
        self._min_gap_ns = config.min_gap_s * _NS

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each span with a gap."""
        spans = trace.spans
        if len(spans) <= self._config.min_children or not (trace.llm_spans or trace.tool_spans):
            return CLEAR
        if spans[-1].start_ns - spans[0].start_ns < self._min_gap_ns:
            return CLEAR
        faults = []
        for parent_id, children in trace.children.items():
            parent = trace.by_id.get(parent_id)
            if parent is None or len(children) < self._config.min_children or parent.kind not in _HAVE_STEPS:
                continue
            if any(child.kind not in _STEPS for child in children):
                continue
            gap = self._widest(parent, children, shows_tools=bool(trace.tool_spans))
            if gap is not None:
                faults.append(self._finding(trace, parent, *gap))
        return found(faults)

    def _widest(self, parent: Span, children: Sequence[Span], *, shows_tools: bool) -> tuple[Span, Span] | None:
        """Return the steps before and after the widest gap, where it passes both bounds and follows no failure."""
        least_ns = max(self._min_gap_ns, self._config.min_share * (parent.end_ns - parent.start_ns))
        widest: tuple[Span, Span] | None = None
        last = children[0]
        for child in children[1:]:
            is_sound = last.error is None and child.error is None
            # what passed was the time of tools that are not traced
            is_call = not shows_tools and bool(last.output.tool_calls)
            if child.start_ns - last.end_ns >= least_ns and is_sound and not is_call:
                least_ns = child.start_ns - last.end_ns
                widest = last, child
            last = max(last, child, key=lambda span: span.end_ns)
        return widest

    def _finding(self, trace: Trace, parent: Span, before: Span, after: Span) -> Finding:
        gap_s = (after.start_ns - before.end_ns) / _NS
        return finding(
            trace,
            self,
            culprit=parent,
            others=(before, after),
            kind=FindingKind.FAULT,
            severity=Severity.LOW,
            title=f"{label_of(parent)} spends time in which nothing traced happens",
            rationale=f"Between {label_of(before)} and {label_of(after)} {gap_s:.1f} s of "
            f"{parent.duration_ms / 1e3:.1f} s passed without a span: code without instrumentation, or waiting.",
            publish_at_once=False,
        )
