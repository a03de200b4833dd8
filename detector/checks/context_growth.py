"""The prompt of an agent grows from call to call and is never cut back."""

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.checks.steps import owner_of


class ContextGrowthConfig(CheckConfig):
    """When growth is worth a word."""

    min_calls: int = pydantic.Field(default=5, ge=3)
    """Calls of one agent to one model."""
    growth_ratio: float = pydantic.Field(default=4, gt=1)
    """The last prompt, as a multiple of the first."""
    min_input_tokens: int = pydantic.Field(default=32_000, ge=1)
    """Tokens of the last prompt: a quarter of a window of 128,000, and where benchmarks of long contexts (RULER) find
    half of the models at their end. What it costs below this is small; models with smaller windows fail by error."""
    side_calls: int = pydantic.Field(default=3, ge=0)
    """Shorter prompts in a row that are let pass where the next one is as long as before: plans, summaries for another
    purpose, a router that asks the same model."""
    context_tokens: dict[str, int] = pydantic.Field(default_factory=dict)
    """The context windows of models, by the beginning of their names: a prompt that fills `context_share` of its window
    is found whatever it grew from."""
    context_share: float = pydantic.Field(default=0.8, gt=0, le=1)
    """Answers get worse, and the next result of a tool may not fit, well before the window is full."""


class ContextGrowth:
    """Found where all of these hold for the LLM calls of one agent to one model in a trace:

    - they number at least `min_calls`, sent their usage, and no LLM span stands below them;
    - each prompt is at least as long as the longest before (2 % are let pass), but for at most `side_calls` in a row:
      nothing was dropped or summed up;
    - the last is at least `growth_ratio` times the first and `min_input_tokens` long; or, where the model's window is
      configured, it fills `context_share` of it.

    Severity: low. One finding an agent and model, on the last call.

    Not findings: long prompts from the start (documents); conversations that are cut back on the way; a prompt that is
    too long (`failed_span` reports the error).
    """

    name = "context_growth"
    dimension = Dimension.COST
    needs = (Need.USAGE,)

    def __init__(self, config: ContextGrowthConfig) -> None:
        self._config = config
        self._least = min([config.min_input_tokens, *config.context_tokens.values()])
        if config.context_tokens:
            self._least = min(self._least, int(config.context_share * self._least))

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each agent and model whose prompts only grow."""
        if len(trace.llm_spans) < self._config.min_calls:
            return CLEAR
        if not any(span.usage is not None and span.usage.input_tokens >= self._least for span in trace.llm_spans):
            return CLEAR
        calls: dict[tuple[str, str], list[tuple[Span, int]]] = {}
        for span in trace.llm_spans:
            if span.usage is not None and span.usage.input_tokens and not is_wrapper(trace, span):
                key = owner_of(trace, span), span.model
                calls.setdefault(key, []).append((span, span.usage.input_tokens))
        grown = (self._growing(mine) for mine in calls.values())
        return found([self._finding(trace, mine) for mine in grown if self._only_grows(mine)])

    def _growing(self, calls: list[tuple[Span, int]]) -> list[tuple[Span, int]]:
        """Return the calls of the agent's own conversation since its last cut, without those beside it."""
        growing: list[tuple[Span, int]] = []
        at = last = 0
        while at < len(calls):
            if not growing or calls[at][1] >= 0.98 * growing[-1][1]:
                growing.append(calls[at])
                last = at
            elif at - last > self._config.side_calls:
                # cut back: the conversation goes on from the first of them
                growing, at = [], last
            at += 1
        return growing

    def _only_grows(self, calls: list[tuple[Span, int]]) -> bool:
        if len(calls) < self._config.min_calls:
            return False
        (_, first), (last, tokens) = calls[0], calls[-1]
        if tokens >= self._config.min_input_tokens and tokens >= self._config.growth_ratio * first:
            return True
        window = self._window_of(last.model)
        return window is not None and tokens > first and tokens >= self._config.context_share * window

    def _window_of(self, model: str) -> int | None:
        """Return the configured window of a model, by the longest beginning that fits."""
        fitting = [name for name in self._config.context_tokens if model.startswith(name)]
        return self._config.context_tokens[max(fitting, key=len)] if fitting else None

    def _finding(self, trace: Trace, calls: list[tuple[Span, int]]) -> Finding:
        (_, first), (last, tokens) = calls[0], calls[-1]
        window = self._window_of(last.model)
        share = f", {100 * tokens / window:.0f} % of the model's window" if window is not None else ""
        read = sum(each for _, each in calls)
        return finding(
            trace,
            self,
            culprit=last,
            others=[span for span, _ in calls[:-1]],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{label_of(last)}: the prompt only grows",
            rationale=f"Over {len(calls)} calls the prompt grew from {first} to {tokens} tokens{share}, and was never "
            f"cut back; {read} tokens were read in all.",
            publish_at_once=False,
        )
