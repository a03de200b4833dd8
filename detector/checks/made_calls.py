"""Tool calls with their arguments and results, from whichever spans tell of them, and the turns they take."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.asked_calls import AskedCall, arguments_of, asked_calls, canonical
from detector.checks.finding import target_of
from detector.checks.tool_messages import told_of_calls
from detector.checks.tool_text import error_text, plain_result

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
# a call without arguments says nothing by itself: "next page" is one; its results have to be known, and the same
NO_ARGUMENTS: Final = frozenset({"{}", "[]", "null", '""'})

# two tools in turns, or three
_PERIODS: Final = (2, 3)
# as often as one call has to be repeated to be a loop
MIN_ROUNDS: Final = 3


# a loop that is none until it goes on and on: published loop guards warn of these at ten
MANY_ROUNDS: Final = 10
# tools, and actions of tools for screens and browsers, that are made to be called again: they act, wait, or look anew
_ACTS_ANEW: Final = re.compile(
    r"(?:^|_)(?:sleep|wait|pause|delay|poll|scroll|click|doubleclick|tap|press|keypress|swipe|screenshot|snapshot|next|previous"
    r"|prev|roll|undo|redo|zoom|flip|toss|spin|increment|decrement|tick|ping|heartbeat|random|refresh|reload|page_?(?:down|up))"
    r"(?:_|$)"
)
_ACTION: Final = re.compile(r"""["'](?:action|command|cmd|type|operation)["']\s*:\s*["'](\w{1,40})["']""")
_ACTION_WITHIN: Final = 500
# what a poll is told while there is nothing to tell: as the state of something, or in a few words
_PENDING_WORDS: Final = (
    r"(?:running|pending|queued|in[ _-]?progress|processing|not[ _](?:yet[ _])?ready|waiting|scheduled|initiali[sz]ing"
    r"|building|deploying|starting|provisioning|in_queue|submitted|still\b)"
)
_PENDING: Final = re.compile(
    rf"""["'](?:\w*(?:state|status|phase|stage))["']\s*:\s*["']{_PENDING_WORDS}""", re.IGNORECASE
)
_PENDING_SHORT: Final = re.compile(rf"\b{_PENDING_WORDS}\b", re.IGNORECASE)
_PENDING_WITHIN: Final = 1_000
_SHORT_CHARACTERS: Final = 80
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class MadeCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool; `result` is None where it was not sent."""

    span: Span
    tool: str
    arguments: str
    result: str | None


def may_repeat(call: MadeCall) -> bool:
    """Return whether a call is sound when it is made again as it was: it acts anew (a click, a wait), or it polls."""
    action = _ACTION.search(call.arguments, 0, _ACTION_WITHIN)
    names = (call.tool, action[1]) if action is not None else (call.tool,)
    if any(_ACTS_ANEW.search(_CAMEL.sub("_", name).replace("-", "_").replace(".", "_").lower()) for name in names):
        return True
    if call.result is None:
        return False
    if len(call.result) <= _SHORT_CHARACTERS and _PENDING_SHORT.search(call.result):
        return True
    return _PENDING.search(call.result, 0, _PENDING_WITHIN) is not None


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that take turns: the first `period` of them, again and again, with equal arguments and results."""

    calls: tuple[MadeCall, ...]
    period: int

    @property
    def rounds(self) -> int:
        """Return how many whole rounds there are."""
        return len(self.calls) // self.period


def calls_of_tools(tools: Iterable[Span]) -> list[MadeCall]:
    """Return the calls that tool spans made, the failed ones left out."""
    return [
        MadeCall(
            span=span,
            tool=target_of(span),
            arguments=arguments_of(span),
            result=span.output.text if span.output.state is _PRESENT else None,
        )
        for span in tools
        if span.error is None
    ]


def calls_of_models(trace: Trace, asked: Iterable[AskedCall]) -> list[MadeCall]:
    """Return the calls that models asked for, their results as the next LLM call was told them."""
    results = told_of_calls(trace)
    return [
        MadeCall(
            span=span,
            tool=call.name,
            arguments=call.arguments,
            result=told.text if (told := results.get(call.call_id)) is not None else None,
        )
        for span, call in asked
    ]


def cycles_of(trace: Trace) -> Sequence[Cycle]:
    """Return the cycles of two or three calls in a trace: at least `MIN_ROUNDS` rounds, one after the other.

    Calls are tool spans that did not fail; where a trace has none, the calls that LLM outputs ask for. Arguments were
    sent and are equal in each round (JSON by value), and no two results of one call that were sent differ; a call
    without arguments needs its results.
    """
    found: Sequence[Cycle] | None = trace.derived.get("cycles")
    if found is None:
        found = trace.derived["cycles"] = _cycles_of(trace)
    return found


def _cycles_of(trace: Trace) -> Sequence[Cycle]:
    tools = trace.tool_spans
    asked = () if tools else asked_calls(trace)
    if max(len(tools), len(asked)) < _PERIODS[0] * MIN_ROUNDS:
        return ()
    names = [target_of(span) for span in tools] if tools else [call.name for _, call in asked]
    if not any(runs_of(names, period) for period in _PERIODS):
        return ()
    calls = calls_of_tools(tools) if tools else calls_of_models(trace, asked)
    keys = [(call.tool, canonical(call.arguments)) if call.arguments else None for call in calls]
    cycles: list[Cycle] = []
    for period in _PERIODS:
        for start, end in runs_of(keys, period):
            cycle = Cycle(calls=tuple(calls[start:end]), period=period)
            if _is_known(cycle) and not any(cycle.calls[0] in known.calls for known in cycles):
                cycles.append(cycle)
    return cycles


def runs_of(keys: Sequence[object], period: int) -> list[tuple[int, int]]:
    """Return (start, end) of each longest stretch of at least `MIN_ROUNDS` rounds that repeats after `period` keys.

    None repeats nothing; stretches of one key over and over are left out.
    """
    runs: list[tuple[int, int]] = []
    start = 0
    for at in range(period, len(keys) + 1):
        if at < len(keys) and keys[at] is not None and keys[at] == keys[at - period]:
            continue
        if at - start >= period * MIN_ROUNDS and len(set(keys[start : start + period])) > 1:
            runs.append((start, at))
        start = at - period + 1
    return runs


def _is_known(cycle: Cycle) -> bool:
    """Return whether each call of a cycle had but one result, as far as results were sent, and none was an error.

    Calls that may well repeat (`may_repeat`) have to go on for `MANY_ROUNDS`.
    """
    if cycle.rounds < MANY_ROUNDS and any(may_repeat(call) for call in cycle.calls[: cycle.period]):
        return False
    for at in range(cycle.period):
        same = cycle.calls[at :: cycle.period]
        known = {plain_result(call.result)[0] for call in same if call.result is not None}
        if len(known) > 1 or any(error_text(result) is not None for result in known):
            return False
        if not known and canonical(same[0].arguments) in NO_ARGUMENTS:
            return False
    return True
