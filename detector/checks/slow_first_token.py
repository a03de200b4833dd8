"""The first token of a streamed answer came late."""

from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import Answer, CheckConfig, Need, found

# instrumentation scopes of frameworks that make their client within the time that they measure: 2.9 s where later
# calls take 0.1 s
_STARTS_ITS_CLIENT: Final = ("strands",)
# by how many milliseconds two clocks of one process may differ
_CLOCKS_MS: Final = 500


class SlowFirstTokenConfig(CheckConfig):
    """What a reader waits for without a sign of life."""

    max_first_token_s: float = pydantic.Field(default=2.5, gt=0)
    """Seconds. Web Vitals call 2.5 s for the largest paint of a page the limit of good; MLPerf's server scenarios allow
    2 s for the first token of a 70B model."""
    extra_s_per_1000_input_tokens: float = pydantic.Field(default=0.05, ge=0)
    """Seconds more for every thousand input tokens that no cache held: a model reads its prompt before it speaks."""


class SlowFirstToken:
    """Found where all of these hold for a span:

    - it is an LLM call that did not fail, and no LLM span stands below it;
    - its client sent the time to the first token, and that exceeds `max_first_token_s`, and
      `extra_s_per_1000_input_tokens` for the length of its prompt;
    - that time lies within its own: what does not is in another unit, or of another call;
    - it reasoned with no tokens that its usage tells of: a model that thinks first speaks late.

    One finding a trace and model, on the slowest call. Severity: low; what is slow for one model is usual for another,
    which the baselines learn.

    Not findings: the first call in a trace of a framework that makes its client within the time that it measures
    (Strands: the start of a process looks like that); answers that are not streamed (they have no first token).
    """

    name = "slow_first_token"
    dimension = Dimension.LATENCY
    needs = (Need.TIME_TO_FIRST,)

    def __init__(self, config: SlowFirstTokenConfig) -> None:
        self._config = config
        self._max_s = config.max_first_token_s

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each model whose first token came late."""
        slowest: dict[str, Span] = {}
        spans = trace.llm_spans
        if trace.echoes:
            spans = [*spans, *(trace.by_id[span_id] for span_id in trace.echoes)]
        for span in spans:
            first_s = span.time_to_first_token_s
            if first_s is None or first_s <= self._max_s or not self._is_late(trace, span, first_s):
                continue
            known = slowest.get(span.model)
            if known is None or first_s > (known.time_to_first_token_s or 0):
                slowest[span.model] = span
        return found([self._finding(trace, span) for span in slowest.values()]) if slowest else found([])

    def _allowed_s(self, span: Span) -> float:
        usage = span.usage
        read = max(0, usage.input_tokens - usage.cached_tokens) if usage is not None else 0
        return self._max_s + self._config.extra_s_per_1000_input_tokens * read / 1000

    def _is_late(self, trace: Trace, span: Span, first_s: float) -> bool:
        if span.error is not None or first_s <= self._allowed_s(span):
            return False
        if first_s * 1e3 > span.duration_ms + _CLOCKS_MS:
            return False
        if span.usage is not None and span.usage.reasoning_tokens:
            return False
        if span.scope.startswith(_STARTS_ITS_CLIENT) and span is trace.llm_spans[0]:
            return False
        return span.span_id in trace.echoes or not is_wrapper(trace, span)

    def _finding(self, trace: Trace, span: Span) -> Finding:
        tokens = f" for {span.usage.input_tokens} input tokens" if span.usage is not None else ""
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.LOW,
            title=f"{label_of(span)} is slow to its first token",
            rationale=f"The first token came after {span.time_to_first_token_s:.2f} s of {span.duration_ms / 1e3:.2f} s"
            f"{tokens}; {self._allowed_s(span):.2f} s are allowed.",
            publish_at_once=False,
        )
