"""An agent repeats one tool call: the same tool, the same arguments, the same result, again and again."""

from collections.abc import Iterable, Iterator, Sequence, Set

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of, asked_calls, canonical, unsent_calls
from detector.checks.finding import finding, quoted
from detector.checks.made_calls import NO_ARGUMENTS, MadeCall, calls_of_models, calls_of_tools, cycles_of, may_repeat
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.steps import owner_of
from detector.checks.tool_text import error_text, plain_result


class RepeatedToolCallConfig(CheckConfig):
    """When a repetition is a loop."""

    min_repeats: int = pydantic.Field(default=3, ge=2)
    """Twice happens in sound runs; published loop guards stop at three."""
    high_repeats: int = pydantic.Field(default=10, ge=2)
    """From here on it costs more than it irritates: severity high."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "RepeatedToolCallConfig":
        if self.high_repeats < self.min_repeats:
            raise ValueError(
                f"`high_repeats` ({self.high_repeats}) must not be below `min_repeats` ({self.min_repeats})"
            )
        return self


class RepeatedToolCall:
    """Found where all of these hold for calls in one trace:

    - one agent called the same tool with the same arguments (JSON compared by value) at least `min_repeats` times; a
      tool that acts anew with each call (a click, a wait, a screenshot), or whose result says that something is still
      going on, `high_repeats` times;
    - the arguments were sent; calls without arguments count only where their results were sent too;
    - none of the counted calls failed;
    - no two of the results that were sent differ.

    Calls are tool spans; where a trace has none, the calls that LLM outputs ask for, their results taken from the next
    LLM call's input.

    Severity: medium, from `high_repeats` on high; low for calls that may well repeat. One finding for each tool and
    trace, its fingerprint on the tool and not on the arguments: those would make an issue of every question.

    Unknown where tools were called, or as many calls asked for, and no arguments were sent.

    Not findings: polling (the result changes, or says "running"); the same look-up by several agents; retries after an
    error (`tool_failure` tells of the error); pagination (the cursor changes the arguments); calls that take turns
    (`call_loop`); the same call by parallel branches fewer than `min_repeats` times.
    """

    name = "repeated_tool_call"
    dimension = Dimension.EXECUTION
    needs = (Need.TOOLS, Need.CONTENT)

    def __init__(self, config: RepeatedToolCallConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each tool that was called in a loop."""
        tools = trace.tool_spans
        if tools:
            names = {span.tool.name if span.tool is not None else span.name for span in tools}
            if len(tools) - len(names) < self._config.min_repeats - 1:
                return CLEAR
            arguments = [arguments_of(span) for span in tools]
            if not self._may_repeat(tools, arguments):
                return CLEAR if any(arguments) else UNKNOWN
            sent, calls = True, calls_of_tools(tools)
        else:
            asked = asked_calls(trace)
            if len(asked) - len({call.name for _, call in asked}) < self._config.min_repeats - 1:
                return UNKNOWN if unsent_calls(trace) >= self._config.min_repeats else CLEAR
            calls = calls_of_models(trace, asked)
            sent = any(call.arguments for _, call in asked)
        loops: dict[str, list[MadeCall]] = {}
        for group in self._groups(trace, calls):
            if self._is_loop(group) and len(group) > len(loops.get(group[0].tool, ())):
                loops[group[0].tool] = group
        if loops:
            # calls that take turns are one report, that of `call_loop`
            turns = {call.span.span_id for cycle in cycles_of(trace) for call in cycle.calls}
            loops = {tool: group for tool, group in loops.items() if not _mostly(group, turns)}
        return found([self._finding(trace, group) for group in loops.values()]) if sent else UNKNOWN

    def _may_repeat(self, tools: Iterable[Span], arguments: Iterable[str]) -> bool:
        """Return whether enough calls look alike to be read: most traces have none, and this costs a tenth."""
        alike: dict[tuple[str, int], int] = {}
        for span, text in zip(tools, arguments, strict=True):
            if text:
                key = (span.tool.name if span.tool is not None else "", _solid_length(text))
                alike[key] = alike.get(key, 0) + 1
        return max(alike.values(), default=0) >= self._config.min_repeats

    def _groups(self, trace: Trace, calls: Sequence[MadeCall]) -> Iterator[list[MadeCall]]:
        """Yield the calls of one tool by one agent with equal arguments, the failed ones left out."""
        alike: dict[tuple[str, int], list[MadeCall]] = {}
        for call in calls:
            if call.arguments:
                alike.setdefault((call.tool, _solid_length(call.arguments)), []).append(call)
        groups: dict[tuple[str, str, str], list[MadeCall]] = {}
        for candidates in alike.values():
            if len(candidates) >= self._config.min_repeats:
                for call in candidates:
                    key = (owner_of(trace, call.span), call.tool, canonical(call.arguments))
                    groups.setdefault(key, []).append(call)
        for group in groups.values():
            if len(group) >= self._config.min_repeats:
                sound = [call for call in group if call.result is None or error_text(call.result) is None]
                if sound:
                    yield sound

    def _is_loop(self, group: list[MadeCall]) -> bool:
        known = [plain_result(call.result)[0] for call in group if call.result is not None]
        if canonical(group[0].arguments) in NO_ARGUMENTS and len(known) < self._config.min_repeats:
            return False
        if len(group) < self._config.min_repeats or len(set(known)) > 1:
            return False
        return len(group) >= self._config.high_repeats or not may_repeat(group[0])

    def _finding(self, trace: Trace, group: list[MadeCall]) -> Finding:
        first, last = group[0], group[-1]
        elapsed_s = max(0, last.span.end_ns - first.span.start_ns) / 1e9
        severity = Severity.HIGH if len(group) >= self._config.high_repeats else Severity.MEDIUM
        same = "with the same result each time" if first.result is not None else "(results were not sent)"
        return finding(
            trace,
            self,
            culprit=first.span,
            others=[call.span for call in group[1:]],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW if may_repeat(first) else severity,
            title=f"{first.tool} is called again and again with the same arguments",
            rationale=f"{first.tool} was called {len(group)} times in {elapsed_s:.1f} s with the arguments "
            f"{quoted(first.arguments)} {same}.",
            target=first.tool,
            publish_at_once=False,
        )


def _mostly(group: Sequence[MadeCall], spans: Set[str]) -> bool:
    return 2 * sum(call.span.span_id in spans for call in group) > len(group)


def _solid_length(arguments: str) -> int:
    """Return the length without blanks: the same for equal JSON, however spaced and ordered (escapes may miss)."""
    return len(arguments) - arguments.count(" ") - arguments.count("\n")
