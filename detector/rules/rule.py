"""Checks made of `detector.rules`: one attribute or field, one comparison."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from core.model.finding import FindingKind
from core.model.span import Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, quoted, target_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, Check, Need, found
from detector.rules.condition import SpanCondition, TraceCondition
from detector.rules.config import RuleConfig, comparison_of
from detector.rules.fields import SPAN_FIELDS, TRACE_FIELDS

_LLM, _TOOL = frozenset({SpanKind.LLM}), frozenset({SpanKind.TOOL})
_QUOTED_CHARACTERS: Final = 120


class SpanRule:
    """Found where all of these hold for a span:

    - it is of the kinds and services that the rule names, and all of its `where` hold;
    - the comparison holds for its field or attribute.

    One finding for each service and target of a trace: the first such span is the culprit, the others are named.

    Unknown where a span fits kind, service and `where`, and what is compared was not sent. Where the rule names no
    kind, that is expected of the spans that have the field by nature (tokens of LLM calls, documents of retrievals); an
    attribute only where kind or `where` say which spans should have it.
    """

    def __init__(self, config: RuleConfig) -> None:
        self.name = config.name
        self.dimension = config.dimension
        self.needs = needs_of_rule(config)
        self._config = config
        self._kinds = frozenset(config.kind)
        self._services = frozenset(config.service)
        self._where = tuple(SpanCondition(each) for each in config.where)
        self._condition = SpanCondition(config)
        self._is_of_absence = config.asks_for_absence
        self._expected_of = self._kinds or (
            (SPAN_FIELDS[config.field].expected_of if config.field else frozenset())
            or frozenset(SpanKind if config.where else ())
        )

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each service and target that the rule found."""
        violating: dict[tuple[str, str], list[Span]] = {}
        is_unknown = False
        services, where, is_of_absence = self._services, self._where, self._is_of_absence
        compare, read = self._condition.compare, self._condition.read
        for span in self._spans(trace):
            if services and span.service not in services:
                continue
            # a generator costs three times as much
            if where and not all([each.holds(span) for each in where]):  # noqa: C419
                continue
            if is_of_absence and span.kind not in self._expected_of:
                continue
            holds = compare(read(span))
            if holds:
                violating.setdefault((span.service, target_of(span)), []).append(span)
            elif holds is None and span.kind in self._expected_of:
                is_unknown = True
        if not violating:
            return UNKNOWN if is_unknown else CLEAR
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=spans[0],
                    others=spans[1:],
                    kind=FindingKind.PATTERN,
                    severity=self._config.severity,
                    title=self._config.title,
                    rationale=_rationale(self._config, self._condition.read(spans[0]), len(spans)),
                    publish_at_once=False,
                )
                for spans in violating.values()
            ]
        )

    def _spans(self, trace: Trace) -> Iterable[Span]:
        kinds = self._kinds
        if not kinds:
            return trace.spans
        if kinds == _LLM:
            return trace.llm_spans
        return trace.tool_spans if kinds == _TOOL else [span for span in trace.spans if span.kind in kinds]


class TraceRule:
    """Found where all of these hold for a trace:

    - its root is of the kinds and services that the rule names, and all of `where` hold for the root;
    - the comparison holds for the field of the trace.

    Fragments are unknown: what they lack may change the answer; so are traces without a root, where the rule asks for
    something of it. A provisional version may be found already: whatever counts upwards only grows.
    """

    def __init__(self, config: RuleConfig) -> None:
        self.name = config.name
        self.dimension = config.dimension
        self.needs = needs_of_rule(config)
        self._config = config
        self._kinds = frozenset(config.kind)
        self._services = frozenset(config.service)
        self._where = tuple(SpanCondition(each) for each in config.where)
        self._condition = TraceCondition(config)
        self._grows = config.op in (">", ">=", "exists")

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one pattern for a trace."""
        culprit = trace.root
        if culprit is None or trace.is_fragment or not (trace.is_final or self._grows):
            return UNKNOWN
        if (self._kinds and culprit.kind not in self._kinds) or (
            self._services and culprit.service not in self._services
        ):
            return CLEAR
        if not all(each.holds(culprit) for each in self._where):
            return CLEAR
        holds = self._condition.compare(self._condition.read(trace))
        if not holds:
            return UNKNOWN if holds is None else CLEAR
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=culprit,
                    kind=FindingKind.PATTERN,
                    severity=self._config.severity,
                    title=self._config.title,
                    rationale=_rationale(self._config, self._condition.read(trace), 1),
                    publish_at_once=False,
                )
            ]
        )


def rule_checks(rules: Sequence[RuleConfig]) -> tuple[Check, ...]:
    """Return the checks of the rules that are enabled."""
    return tuple(TraceRule(rule) if rule.is_of_trace else SpanRule(rule) for rule in rules if rule.enabled)


def needs_of_rule(config: RuleConfig) -> tuple[Need, ...]:
    """Return what the rule and its conditions read."""
    needs: dict[Need, None] = {}
    for each in (config, *config.where):
        known = SPAN_FIELDS.get(each.field) or TRACE_FIELDS.get(each.field)
        needs |= dict.fromkeys(known.needs if known else (Need.ATTRIBUTES,))
    return tuple(needs)


def _rationale(config: RuleConfig, value: Any, times: int) -> str:
    shown = f"{value:g}" if isinstance(value, float) else quoted(str(value), limit=_QUOTED_CHARACTERS)
    said = "was not sent" if value is None else f"is {shown}"
    more = f"; so it is on {times} spans of this trace" if times > 1 else ""
    return f"{config.subject} {said}; the rule finds {config.subject} {comparison_of(config)}{more}."
