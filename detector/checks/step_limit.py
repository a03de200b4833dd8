"""An agent was stopped by its limit of steps, and its framework said so in the answer."""

import re
from typing import Final

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import ContentState, ErrorClass, FinishReason, Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, quoted
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_STEP_LIMIT: Final = ErrorClass.STEP_LIMIT
_STEPS: Final = FinishReason.STEP_LIMIT
_AGENT: Final = SpanKind.AGENT
# the sentences of LangGraph, LangChain and CrewAI, smolagents, AutoGen, LlamaIndex, Semantic Kernel: at the start of a
# text, or of a message in it
_SENTENCE: Final = re.compile(
    r"""(?:\A|["'>\n])\s{0,4}(
        sorry,\ need\ more\ steps\ to\ process\ this\ request
      | agent\ stopped\ due\ to\ (?:max(?:imum)?[ _]iterations|(?:an?\ )?iteration\ limit|a?\ ?time\ limit)
      | (?:maximum|max)\ (?:number\ of\ )?(?:iterations|steps|turns)(?:\ of)?(?:\ \(?\d+\)?)?\ (?:was\ |were\ )?
        (?:reached|exceeded)
      | reached\ (?:the\ )?max(?:imum)?\ (?:number\ of\ )?(?:iterations|steps|turns)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# an answer that is such a sentence is short; messages within JSON may be anywhere
_SENTENCE_CHARACTERS: Final = 400
_READ_CHARACTERS: Final = 200_000


class StepLimitConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class StepLimit:
    """Found where all of these hold:

    - the output of an agent, a root, or the last LLM call was sent, and is, or holds as a message, the sentence by
      which a framework says that its limit of steps ended the run ("Agent stopped due to max iterations."); or its
      finish reason says so (smolagents by OpenTelemetry: "max_steps");
    - no span of the trace failed for a step limit: `failed_span` reports those (`GraphRecursionError`,
      `MaxTurnsExceeded`, `UsageLimitExceeded`).

    Severity: medium; the user got a sentence about steps for an answer. One finding a trace, on the deepest such span.

    Unknown where no agent, root or LLM call sent its output.

    Not findings: text that speaks of iterations in the middle of a sentence, or at length.
    """

    name = "step_limit"
    dimension = Dimension.EXECUTION
    needs = (Need.CONTENT,)

    def __init__(self, config: StepLimitConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one fault for a trace."""
        ends = [*rarer_spans(trace).agents, *trace.llm_spans[-1:]]
        ends += [root for root in trace.roots if root.kind is not _AGENT]
        is_sent = False
        said: list[tuple[Span, str]] = []
        for span in ends:
            output = span.output
            if span.finish_reason is _STEPS:
                is_sent = True
                said.append((span, "its finish reason, the limit of steps"))
            elif output.state is _PRESENT:
                is_sent, text = True, output.text
                if len(text) > _SENTENCE_CHARACTERS and text[0] not in "[{":
                    continue
                # one of these words stands in each of the sentences; no loop, which would cost more than the search
                if "steps" in text or "iteration" in text or "turns" in text:
                    found_in = _SENTENCE.search(text, max(0, len(text) - _READ_CHARACTERS))
                    said += [(span, found_in[1])] if found_in else []
        if not said:
            return CLEAR if is_sent or not ends else UNKNOWN
        if any(span.error is not None and span.error.error_class is _STEP_LIMIT for span in trace.failed_spans):
            return CLEAR
        culprit, sentence = max(said, key=lambda pair: _depth_key(pair[0]))
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=culprit,
                    kind=FindingKind.FAULT,
                    severity=Severity.MEDIUM,
                    title=f"{label_of(culprit)} is stopped by its limit of steps",
                    rationale=f"The run ended after {len(trace.llm_spans)} LLM calls with: {quoted(sentence)}.",
                )
            ]
        )


def _depth_key(span: Span) -> tuple[int, int]:
    """Order by depth, roughly: what starts later and ends earlier stands further in."""
    return span.start_ns, -span.end_ns
