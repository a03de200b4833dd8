"""A trace takes far more calls, depth or time than any sound run needs."""

from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, target_of
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.checks.steps import steps_of

# a member of an enum costs 100 ns to look up in Python 3.11
_TOOL: Final = SpanKind.TOOL
_GROWTH: Final = 1.5


class RunawayTraceConfig(CheckConfig):
    """What no sound run needs. Frameworks stop an agent at 10 to 50 steps of their own (OpenAI agents 10, LangGraph 25,
    pydantic-ai 50 requests); the defaults leave several times that."""

    max_steps: int = pydantic.Field(default=60, ge=1)
    """LLM calls of one agent that were followed by tools: more than any framework allows by itself, and three times
    what the longest of the recorded research agents took."""
    max_llm_calls: int = pydantic.Field(default=150, ge=1)
    """LLM spans in one trace."""
    max_tool_calls: int = pydantic.Field(default=300, ge=1)
    """Tool spans in one trace."""
    max_depth: int = pydantic.Field(default=150, ge=2)
    """Spans on the way from a root to the deepest one: agents that start themselves."""
    max_duration_s: float = pydantic.Field(default=7200, gt=0)
    """Seconds from the first start to the last end, of a trace with LLM calls."""


class RunawayTrace:
    """Found where one of these holds for a trace with LLM or tool calls:

    - one of its agents took more than `max_steps` steps (an LLM call, and tools after it), and its prompt grew by half
      or more from the first to the last: it kept what it had done;
    - it has more than `max_llm_calls` LLM spans or more than `max_tool_calls` tool spans;
    - its tree is deeper than `max_depth`;
    - it has LLM calls, and took longer than `max_duration_s`.

    Severity: low. One finding a trace, on its root: whether it is an agent that does not stop or a batch under one
    root, only its owner knows.

    Not findings: a batch under one root, each call with a prompt of its own; many spans of other kinds (HTTP,
    database); loops of equal calls, which have checks of their own (`repeated_tool_call`, `call_loop`) and need far
    fewer calls; limits of the framework that stopped it (`failed_span`, `step_limit`).
    """

    name = "runaway_trace"
    dimension = Dimension.EXECUTION
    needs: tuple[Need, ...] = ()

    def __init__(self, config: RunawayTraceConfig) -> None:
        self._config = config
        self._least = min(config.max_steps, config.max_llm_calls, config.max_tool_calls, config.max_depth)
        self._max_duration_ns = config.max_duration_s * 1e9

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one pattern for a trace."""
        if not trace.llm_spans and not trace.tool_spans:
            return CLEAR
        excess = self._excess(trace) if len(trace.spans) > self._least else []
        if trace.llm_spans:
            # spans stand in the order of their starts; the end of the last calls is the end of the trace, roughly
            took_ns = max(trace.llm_spans[-1].end_ns, trace.spans[0].end_ns) - trace.spans[0].start_ns
            if took_ns > self._max_duration_ns:
                excess.append((f"{took_ns / 1e9:.0f} s", f"{self._config.max_duration_s:.0f} s", "takes too long"))
        return found([self._finding(trace, excess)]) if excess else CLEAR

    def _excess(self, trace: Trace) -> list[tuple[str, str, str]]:
        """Return (what there is, what is allowed, words for a title) for each limit that is passed."""
        config = self._config
        excess = []
        for count, limit, of in (
            (len(trace.llm_spans), config.max_llm_calls, "LLM calls"),
            (len(trace.tool_spans), config.max_tool_calls, "tool calls"),
        ):
            if count > limit:
                excess.append((f"{count} {of}", str(limit), f"makes too many {of}"))
        if not excess and len(trace.llm_spans) > config.max_steps and (steps := _most_steps(trace)) > config.max_steps:
            excess.append((f"{steps} steps of one agent", str(config.max_steps), "takes too many steps"))
        if len(trace.spans) > config.max_depth and (depth := _depth(trace)) > config.max_depth:
            excess.append((f"a depth of {depth} spans", str(config.max_depth), "nests too deep"))
        return excess

    def _finding(self, trace: Trace, excess: list[tuple[str, str, str]]) -> Finding:
        top = trace.root or trace.spans[0]
        said = ", ".join(f"{has} where {allowed} are allowed" for has, allowed, _ in excess)
        return finding(
            trace,
            self,
            culprit=top,
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{label_of(top)} {excess[0][2]} in one trace",
            rationale=f"The trace has {said}.",
            target=target_of(top),
            publish_at_once=False,
        )


def _depth(trace: Trace) -> int:
    """Return the number of spans on the longest way down; a span that names a later one as its parent starts anew."""
    depths: dict[str, int] = {}
    for span in trace.spans:
        depths[span.span_id] = depths.get(span.parent_span_id, 0) + 1
    return max(depths.values(), default=0)


def _most_steps(trace: Trace) -> int:
    """Return the steps of the agent that took most of them, agents left out whose prompts did not grow."""
    shows_tools = bool(trace.tool_spans)
    most = 0
    for steps in steps_of(trace).values():
        acting = [
            step.llm
            for step in steps
            if (any(span.kind is _TOOL for span in step.work) if shows_tools else step.llm.output.tool_calls)
        ]
        if len(acting) > most and _has_grown(acting[0], acting[-1]):
            most = len(acting)
    return most


def _has_grown(first: Span, last: Span) -> bool:
    if first.usage is not None and last.usage is not None:
        return last.usage.input_tokens >= _GROWTH * first.usage.input_tokens
    return len(last.input.text) >= _GROWTH * len(first.input.text)
