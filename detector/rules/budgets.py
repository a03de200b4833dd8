"""Time budgets by component: `detector.budgets`."""

import enum
import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, target_of
from detector.checks.fingerprint import masked_name
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, Need, found
from detector.rules.config import Strings
from detector.rules.fields import duration_ms_of

OVER_BUDGET: Final = "over_budget"
TRACE: Final = "trace"

_LLM: Final = SpanKind.LLM
_OF_MODELS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER})
_OF_DATA: Final = frozenset({SpanKind.RETRIEVER, SpanKind.DB})


class Timed(enum.StrEnum):
    """What is measured."""

    DURATION = "duration"
    FIRST_TOKEN = "first_token"  # noqa: S105 - of a model's answer


def _dashed(given: object) -> object:
    return given.replace(" ", "_") if isinstance(given, str) else given


class BudgetConfig(BaseModel):
    """How long a component may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    component: SpanKind | Literal["trace"]
    """A kind of span (llm, tool, retriever, …), or trace."""
    name: Strings = ()
    """Of tools, models, data sources, agents, else of the span; of a trace: of its root. `*` stands for anything."""
    service: Strings = ()
    measure: Annotated[Timed, BeforeValidator(_dashed)] = Timed.DURATION
    """duration, or first_token of LLM calls."""
    max_ms: float = Field(gt=0)
    """Longer is a finding."""
    severity: Severity = Severity.LOW

    @model_validator(mode="after")
    def _only_models_have_first_tokens(self) -> "BudgetConfig":
        if self.measure is Timed.FIRST_TOKEN and self.component is not _LLM:
            raise ValueError(f"`measure` ({self.measure}) is of component llm, not of {self.component}")
        return self

    @property
    def label(self) -> str:
        """Return it in short, for people: `tool:search`."""
        parts = [str(self.component), *self.name, *(() if self.measure is Timed.DURATION else (self.measure,))]
        return ":".join(parts) + (f" of {', '.join(self.service)}" if self.service else "")


class _Budget:
    def __init__(self, config: BudgetConfig) -> None:
        self.config = config
        self._name = re.compile("|".join(map(fnmatch.translate, config.name))) if config.name else None
        self._services = frozenset(config.service)

    def fits(self, span: Span, name: str) -> bool:
        return (not self._services or span.service in self._services) and (
            self._name is None or self._name.match(name) is not None
        )


class _Over(msgspec.Struct, frozen=True):
    """A span that took longer than it may."""

    span: Span
    took_ms: float
    budget: BudgetConfig

    @property
    def excess_ms(self) -> float:
        return self.took_ms - self.budget.max_ms


class OverBudget:
    """Found where all of these hold for a component that `detector.budgets` names:

    - it ended without an error (what failed has a finding of its own);
    - it took longer than the budget that says most of it: one by name before one by service before one by kind alone;
    - no call of the same kind below it did (wrappers repeat what they wrap);
    - of a trace: no one call in it was over a budget, or took and failed, by as much as the trace is over: that call is
      what one would fix.

    Severity: as the budget says. One finding for each service and component of a trace, on its slowest call.

    Unknown where a budget of first tokens meets LLM calls that do not say when theirs came.

    Not findings: calls that no budget names; what is slow compared with its own past (the baselines).
    """

    name = OVER_BUDGET
    dimension = Dimension.LATENCY
    needs: tuple[Need, ...] = ()

    def __init__(self, budgets: Sequence[BudgetConfig]) -> None:
        # the most specific first; of equals, the one listed first
        ranked = sorted(budgets, key=lambda budget: (not budget.name, not budget.service))
        self._of_kind: dict[SpanKind, list[_Budget]] = defaultdict(list)
        self._of_first_token = [_Budget(b) for b in ranked if b.measure is Timed.FIRST_TOKEN]
        self._of_trace = [_Budget(b) for b in ranked if b.component == TRACE]
        for budget in ranked:
            if isinstance(budget.component, SpanKind) and budget.measure is Timed.DURATION:
                self._of_kind[budget.component].append(_Budget(budget))
        self._least_ns = {
            kind: min(each.config.max_ms for each in known) * 1e6 for kind, known in self._of_kind.items()
        }
        self.needs = (Need.TIME_TO_FIRST,) if self._of_first_token else ()

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each service and component that was over its budget."""
        over = self._spans_over(trace) if self._of_kind else []
        late, is_unknown = self._first_tokens_over(trace) if self._of_first_token else ([], False)
        whole = self._trace_over(trace) if self._of_trace else None
        if not over and not late and whole is None:
            return UNKNOWN if is_unknown else CLEAR
        if whole is not None and any(each.excess_ms >= whole.excess_ms for each in (*over, *late)):
            whole = None
        findings = [
            *self._findings(trace, over, Timed.DURATION),
            *self._findings(trace, late, Timed.FIRST_TOKEN),
            *((self._of_whole(trace, whole),) if whole is not None else ()),
        ]
        return found(findings, otherwise=UNKNOWN if is_unknown else CLEAR)

    def _spans_over(self, trace: Trace) -> list[_Over]:
        over: list[_Over] = []
        least_ns = self._least_ns
        for span in trace.spans:
            least = least_ns.get(span.kind)
            if least is None or span.end_ns - span.start_ns <= least or span.error is not None:
                continue
            budget = _most_specific(self._of_kind[span.kind], span)
            if budget is not None and span.duration_ms > budget.max_ms:
                over.append(_Over(span, span.duration_ms, budget))
        if not over:
            return over
        above = {(parent.span_id, each.span.kind) for each in over for parent in _parents(trace, each.span)}
        return [each for each in over if (each.span.span_id, each.span.kind) not in above]

    def _first_tokens_over(self, trace: Trace) -> tuple[list[_Over], bool]:
        over: list[_Over] = []
        is_unknown = False
        echoes = [trace.by_id[span_id] for span_id in trace.echoes]
        for span in (*trace.llm_spans, *(echo for echo in echoes if echo.time_to_first_token_s is not None)):
            budget = _most_specific(self._of_first_token, span) if span.error is None else None
            if budget is None or is_wrapper(trace, span):
                continue
            if span.time_to_first_token_s is None:
                is_unknown = True
            elif span.time_to_first_token_s * 1e3 > budget.max_ms:
                over.append(_Over(span, span.time_to_first_token_s * 1e3, budget))
        return over, is_unknown

    def _trace_over(self, trace: Trace) -> _Over | None:
        root = trace.root
        if root is None or root.error is not None or trace.is_fragment:
            return None
        budget = next((each.config for each in self._of_trace if each.fits(root, root.name)), None)
        if budget is None or (took_ms := duration_ms_of(trace)) <= budget.max_ms:
            return None
        is_explained = any(fault.duration_ms >= took_ms - budget.max_ms for fault in trace.leaf_faults)
        return None if is_explained else _Over(root, took_ms, budget)

    def _findings(self, trace: Trace, over: Sequence[_Over], measure: Timed) -> Iterable[Finding]:
        groups: dict[tuple[str, str], list[_Over]] = defaultdict(list)
        for each in over:
            groups[each.span.service, target_of(each.span)].append(each)
        is_whole = measure is Timed.DURATION
        for group in groups.values():
            worst, *others = sorted(group, key=lambda each: -each.excess_ms)
            many = f"; {len(group)} calls of this trace were" if others else ""
            yield finding(
                trace,
                self,
                culprit=worst.span,
                others=[each.span for each in others],
                kind=FindingKind.PATTERN,
                severity=worst.budget.severity,
                title=f"{label_of(worst.span)} {'exceeds its' if is_whole else 'exceeds its first token'} time budget",
                rationale=f"{'Took' if is_whole else 'The first token took'} {_told(worst)}{many}.",
                error_type="" if is_whole else measure.value,
                publish_at_once=False,
            )

    def _of_whole(self, trace: Trace, whole: _Over) -> Finding:
        name = masked_name(whole.span.name)
        return finding(
            trace,
            self,
            culprit=whole.span,
            kind=FindingKind.PATTERN,
            severity=whole.budget.severity,
            title=f"Traces of {name or 'unnamed roots'} exceed their time budget",
            rationale=f"The trace took {_told(whole)}; no single call explains it.",
            target=name,
            error_type=TRACE,
            publish_at_once=False,
        )


def _most_specific(budgets: Iterable[_Budget], span: Span) -> BudgetConfig | None:
    name = _name_of(span)
    return next((each.config for each in budgets if each.fits(span, name)), None)


def _name_of(span: Span) -> str:
    """Return what a budget calls a span."""
    if span.tool is not None and span.tool.name:
        return span.tool.name
    if span.kind in _OF_MODELS:
        return span.model or span.name
    if span.kind in _OF_DATA:
        return span.data_source or span.name
    return (span.agent if span.kind is SpanKind.AGENT else "") or span.name


def _parents(trace: Trace, span: Span) -> Iterable[Span]:
    """Yield what stands above a span; a cycle of parents ends it."""
    seen = {span.span_id}
    parent = trace.by_id.get(span.parent_span_id)
    while parent is not None and parent.span_id not in seen:
        seen.add(parent.span_id)
        yield parent
        parent = trace.by_id.get(parent.parent_span_id)


def _told(over: _Over) -> str:
    return (
        f"{_duration(over.took_ms)}, {_duration(over.excess_ms)} over the budget of "
        f"{_duration(over.budget.max_ms)} ({over.budget.label})"
    )


def _duration(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1_000 else f"{ms / 1_000:.3g} s"
