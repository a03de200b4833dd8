"""Calls that do not depend on each other were made one after the other."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, Span, SpanKind
from core.model.trace import Trace
from detector.checks.asked_calls import tool_spans_by_call
from detector.checks.finding import finding, label_of, target_of
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.checks.steps import Step, steps_of

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_EMBEDDING: Final = SpanKind.EMBEDDING
_INDEPENDENT_KINDS: Final = frozenset({SpanKind.LLM, SpanKind.RETRIEVER, SpanKind.EMBEDDING})
_NS: Final = 1e9
# a stretch of plain words: long enough to be no coincidence, and without what JSON would write otherwise
_STRETCH: Final = re.compile(r"[A-Za-z0-9 ,.:;-]{24}")
_MAX_STRETCHES: Final = 20
# calls in a row that are compared, each with all before it: a batch may have thousands
_MAX_COMPARED: Final = 30
# texts are searched up to this size; longer ones are taken as dependent
_READ_CHARACTERS: Final = 200_000


class SequentialCallsConfig(CheckConfig):
    """When waiting is worth a word."""

    min_waste_s: float = pydantic.Field(default=2.0, gt=0)
    """Seconds that running them side by side would have saved: all of them less the longest."""
    min_share: float = pydantic.Field(default=0.25, gt=0, le=1)
    """The same, as a share of the trace's time."""
    min_siblings: int = pydantic.Field(default=3, ge=2)
    """Calls in a row below one span, none of which reads what another wrote."""


class SequentialCalls:
    """Found where one of these holds, and side by side the calls would have saved `min_waste_s` and `min_share` of the
    trace's time:

    - one answer of an LLM asked for several tool calls at once, and their spans, found by the calls' ids, or, where
      spans have none, by the tools' names before the agent's next LLM call, ran one after the other without overlap: a
      model that asks for calls at once does not need one's result for the next;
    - at least `min_siblings` LLM calls, retrievals or embeddings of one kind and target follow each other directly
      below one span, nothing else between them, their inputs and outputs were sent, and no input holds a stretch of
      words of an earlier output.

    None of the calls failed. Severity: low. It is advice: an order may be meant where tools change things.

    Not findings: calls of one agent's steps (the next prompt holds the last answer); calls whose content was not sent.
    """

    name = "sequential_calls"
    dimension = Dimension.LATENCY
    needs = (Need.TOOLS, Need.CONTENT)

    def __init__(self, config: SequentialCallsConfig) -> None:
        self._config = config
        self._min_waste_ns = config.min_waste_s * _NS

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each group of calls that could have run side by side."""
        spans = trace.spans
        if len(spans) < self._config.min_siblings:
            return CLEAR
        # calls that waste so much start at least so far apart, less the longest of them
        if spans[-1].start_ns - spans[0].start_ns < self._min_waste_ns / 2:
            return CLEAR
        groups = [*self._asked_at_once(trace), *self._siblings(trace)]
        patterns: dict[str, Finding] = {}
        for group in groups:
            patterns.setdefault(target_of(group[0]), self._finding(trace, group))
        return found(list(patterns.values())) if patterns else CLEAR

    def _asked_at_once(self, trace: Trace) -> Iterator[list[Span]]:
        for llm in trace.llm_spans:
            if len(llm.output.tool_calls) < 2:
                continue
            by_call = tool_spans_by_call(trace)
            ids = {call.call_id for call in llm.output.tool_calls}
            ran = sorted((by_call[i] for i in ids if i in by_call), key=lambda span: (span.start_ns, span.span_id))
            ran = ran or _made_next(trace, llm)
            if self._is_waste(trace, ran):
                yield ran

    def _siblings(self, trace: Trace) -> Iterator[list[Span]]:
        for children in trace.children.values():
            if len(children) < self._config.min_siblings:
                continue
            for _, run in itertools.groupby(children, key=lambda span: (span.kind, target_of(span))):
                group = list(itertools.islice(run, _MAX_COMPARED))
                if group[0].kind not in _INDEPENDENT_KINDS or len(group) < self._config.min_siblings:
                    continue
                if self._is_waste(trace, group) and _are_independent(group):
                    yield group

    def _is_waste(self, trace: Trace, group: Sequence[Span]) -> bool:
        """Return whether calls ran one after the other, none failed, and enough time would have been saved."""
        if len(group) < 2 or any(span.error is not None for span in group):
            return False
        if any(later.start_ns < earlier.end_ns for earlier, later in itertools.pairwise(group)):
            return False
        waste_ns = _waste_ns(group)
        if waste_ns < self._min_waste_ns:
            return False
        return waste_ns >= self._config.min_share * (trace.ended_ns - trace.started_ns)

    def _finding(self, trace: Trace, group: Sequence[Span]) -> Finding:
        names = ", ".join(sorted({label_of(span) for span in group}))
        took_s = sum(span.end_ns - span.start_ns for span in group) / _NS
        return finding(
            trace,
            self,
            culprit=group[0],
            others=group[1:],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{label_of(group[0])}: independent calls run one after the other",
            rationale=f"{len(group)} calls ({names}) took {took_s:.1f} s one after the other; side by side they would "
            f"have taken {took_s - _waste_ns(group) / _NS:.1f} s.",
            publish_at_once=False,
        )


def _made_next(trace: Trace, llm: Span) -> list[Span]:
    """Return the spans of all the tools that an answer asked for, where they have no ids: those of its step."""
    steps: dict[str, Step] | None = trace.derived.get("step_of_llm")
    if steps is None:
        found = (step for mine in steps_of(trace).values() for step in mine)
        steps = trace.derived["step_of_llm"] = {step.llm.span_id: step for step in found}
    step = steps.get(llm.span_id)
    tools = [span for span in step.work if span.tool is not None and not span.tool.call_id] if step is not None else []
    asked = sorted(call.name for call in llm.output.tool_calls)
    return tools if asked == sorted(span.tool.name for span in tools if span.tool is not None) else []


def _waste_ns(group: Sequence[Span]) -> int:
    took = [span.end_ns - span.start_ns for span in group]
    return sum(took) - max(took)


def _are_independent(group: Sequence[Span]) -> bool:
    """Return whether no call was given words of an earlier one's answer; False where that is not known."""
    stretches: list[str] = []
    for span in group:
        given, said = span.input, span.output
        if given.state is not _PRESENT or said.state is not _PRESENT or not given.text:
            return False
        if len(given.text) > _READ_CHARACTERS or any(stretch in given.text for stretch in stretches):
            return False
        mine = _STRETCH.findall(said.text[:_READ_CHARACTERS])
        # words too few to be found again; of an embedding nothing is read further on
        if not mine and span is not group[-1] and span.kind is not _EMBEDDING:
            return False
        stretches += mine[:: max(1, len(mine) // _MAX_STRETCHES)][:_MAX_STRETCHES]
    return True
