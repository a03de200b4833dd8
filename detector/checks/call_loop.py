"""Tools or agents take turns and get nowhere: A, B, A, B, A, B, with the same arguments and the same results."""

from collections.abc import Sequence
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of, asked_calls, unsent_calls
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.made_calls import MIN_ROUNDS, Cycle, cycles_of, runs_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_PERIODS: Final = (2, 3)
_LEAST: Final = _PERIODS[0] * MIN_ROUNDS
# tokens of an answer below which equal numbers are no coincidence worth a word ("yes", a digit)
_TELLING_TOKENS: Final = 10
# by how many tokens the growth of the prompt may differ from round to round: ids are split into tokens unevenly
_GROWTH_TOKENS: Final = 2


class CallLoopConfig(CheckConfig):
    """When turns are a loop."""

    high_rounds: int = pydantic.Field(default=10, ge=MIN_ROUNDS)
    """From so many rounds on it costs more than it irritates: severity high."""
    min_blind_rounds: int = pydantic.Field(default=5, ge=3)
    """Calls of one model, content switched off, that look alike in all that is left of them."""


class CallLoop:
    """Found where one of these holds:

    - two or three different tool calls take turns at least three times (ten where one of them acts anew with each call
      or polls, as `repeated_tool_call` says), one after the other, each with equal arguments
      (JSON compared by value) in every round and, where results were sent, with equal results that are no errors;
    - two or three agents take turns at least three times, and what each was given, or what each answered, was sent and
      is the same in every round;
    - nothing of arguments and answers was sent, tools were called, and at least `min_blind_rounds` calls of one model
      in a row wrote exactly as many tokens (ten or more) while their prompts grew by the same number each time.

    Severity: medium; from `high_rounds` on high; low for the last, which is an inference. One finding for each set of
    tools or agents.

    Unknown where enough tools were called and no arguments were sent, unless the last condition holds.

    Not findings: one call repeated (`repeated_tool_call`); polling, where a result changes; pagination, where an
    argument does; agents that take turns in a conversation, each time with other words.
    """

    name = "call_loop"
    dimension = Dimension.EXECUTION
    needs = (Need.TOOLS, Need.CONTENT)

    def __init__(self, config: CallLoopConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each loop."""
        patterns: list[Finding] = []
        is_unknown = False
        if len(trace.tool_spans) >= _LEAST or len(trace.llm_spans) >= self._config.min_blind_rounds:
            patterns += [self._of_tools(trace, cycle) for cycle in _longest(cycles_of(trace))]
            if not patterns and not _are_arguments_sent(trace):
                patterns = self._blind(trace)
                is_unknown = not patterns and (len(trace.tool_spans) or unsent_calls(trace)) >= _LEAST
        agents = rarer_spans(trace).agents
        if len(agents) >= _LEAST:
            patterns += self._of_agents(trace, agents)
        return found(patterns, otherwise=UNKNOWN if is_unknown else CLEAR) if patterns or is_unknown else CLEAR

    def _of_tools(self, trace: Trace, cycle: Cycle) -> Finding:
        names = [call.tool for call in cycle.calls[: cycle.period]]
        given = ", then ".join(f"{call.tool} with {quoted(call.arguments)}" for call in cycle.calls[: cycle.period])
        return self._finding(trace, [call.span for call in cycle.calls], names, cycle.rounds, f": {given}")

    def _of_agents(self, trace: Trace, agents: Sequence[Span]) -> list[Finding]:
        names = [span.agent or None for span in agents]
        patterns: list[Finding] = []
        for period in _PERIODS:
            for start, end in runs_of(names, period):
                turns = agents[start:end]
                if not patterns and all(_is_same(turns[at::period]) for at in range(period)):
                    mine = [span.agent for span in turns[:period]]
                    patterns.append(self._finding(trace, turns, mine, len(turns) // period, ""))
        return patterns

    def _finding(self, trace: Trace, spans: Sequence[Span], names: Sequence[str], rounds: int, said: str) -> Finding:
        who = " and ".join(sorted(set(names)))
        took_s = max(0, spans[-1].end_ns - spans[0].start_ns) / 1e9
        return finding(
            trace,
            self,
            culprit=spans[0],
            others=spans[1:],
            kind=FindingKind.PATTERN,
            severity=Severity.HIGH if rounds >= self._config.high_rounds else Severity.MEDIUM,
            title=f"{who} take turns again and again with the same arguments"
            if len(set(names)) > 1
            else f"{who} is called in turns again and again with the same arguments",
            rationale=f"{rounds} rounds in {took_s:.1f} s{said}.",
            target=who,
            publish_at_once=False,
        )

    def _blind(self, trace: Trace) -> list[Finding]:
        """Return at most one pattern: calls that are alike in all that is left where content is off."""
        if not trace.tool_spans and not any(span.output.tool_calls for span in trace.llm_spans):
            return []
        calls = [span for span in trace.llm_spans if span.usage is not None and not is_wrapper(trace, span)]
        longest: list[Span] = []
        run: list[Span] = []
        for span in calls:
            if not _continues(run, span):
                run = run[-1:] if _continues(run[-1:], span) else []
            run.append(span)
            longest = run[:] if len(run) > len(longest) else longest
        if len(longest) < self._config.min_blind_rounds:
            return []
        first, tokens = longest[0], longest[0].usage.output_tokens if longest[0].usage is not None else 0
        return [
            finding(
                trace,
                self,
                culprit=first,
                others=longest[1:],
                kind=FindingKind.PATTERN,
                severity=Severity.LOW,
                title=f"{label_of(first)} seems to ask for the same again and again",
                rationale=f"{len(longest)} calls in a row wrote {tokens} tokens each, while the prompt grew by the "
                "same number of tokens each time. Their content was not sent.",
                target=target_of(first),
                error_type="blind",
                publish_at_once=False,
            )
        ]


def _longest(cycles: Sequence[Cycle]) -> list[Cycle]:
    """Return the longest cycle of each set of tools: one issue, one finding."""
    longest: dict[frozenset[str], Cycle] = {}
    for cycle in cycles:
        tools = frozenset(call.tool for call in cycle.calls[: cycle.period])
        if tools not in longest or len(cycle.calls) > len(longest[tools].calls):
            longest[tools] = cycle
    return list(longest.values())


def _are_arguments_sent(trace: Trace) -> bool:
    if any(call.arguments for _, call in asked_calls(trace)):
        return True
    return any(arguments_of(span) for span in trace.tool_spans)


def _is_same(turns: Sequence[Span]) -> bool:
    """Return whether an agent was given the same each time, or answered the same."""
    return any(
        all(content.state is _PRESENT and content.text for content in contents)
        and len({content.text for content in contents}) == 1
        for contents in ([span.input for span in turns], [span.output for span in turns])
    )


def _continues(run: Sequence[Span], span: Span) -> bool:
    """Return whether a call continues a run: as many tokens written, and a prompt that grew as it did before."""
    if not run:
        return True
    last, mine = run[-1].usage, span.usage
    if last is None or mine is None or span.model != run[-1].model or span.error is not None:
        return False
    growth = mine.input_tokens - last.input_tokens
    if mine.output_tokens != last.output_tokens or mine.output_tokens < _TELLING_TOKENS or growth <= 0:
        return False
    before = run[-2].usage if len(run) > 1 else None
    return before is None or abs(growth - (last.input_tokens - before.input_tokens)) <= _GROWTH_TOKENS
