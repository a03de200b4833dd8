"""Fixed limits over windows of log time: `detector.limits`."""

import enum
import fnmatch
import re
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.model.finding import Dimension, Severity
from core.model.measurement import Measurement
from core.model.span import SpanKind
from detector.assemble.measuring import PartedBy
from detector.checks.port import Need
from detector.rules.config import NAME_PATTERN, Strings, as_list

# kinds whose spans carry tokens and cost of their own; agents and chains repeat those of the calls below them
TOKEN_USERS: Final = (SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER)


class Metric(enum.StrEnum):
    """What is measured over a window."""

    ERROR_RATE = "error_rate"
    """Failed ones among all, 0 to 1."""
    ERRORS = "errors"
    CALLS = "calls"
    P50_MS = "p50_ms"
    """Quantiles are of durations that did not fail, within 1 %."""
    P95_MS = "p95_ms"
    P99_MS = "p99_ms"
    TOKENS = "tokens"
    """Input and output, summed."""
    COST_USD = "cost_usd"


class Of(enum.StrEnum):
    """Whose figures are taken."""

    CALLS = "calls"
    TRACES = "traces"


class By(enum.StrEnum):
    """What has a window of its own, always within a routing key."""

    SERVICE = "service"
    OPERATION = "operation"
    """Of its service."""
    MODEL = "model"


QUANTILES: Final = {Metric.P50_MS: 0.5, Metric.P95_MS: 0.95, Metric.P99_MS: 0.99}
_FAILURES: Final = frozenset({Metric.ERROR_RATE, Metric.ERRORS})
_SUMS: Final = frozenset({Metric.ERRORS, Metric.CALLS, Metric.TOKENS, Metric.COST_USD})
_DIMENSION: Final = {
    Metric.ERROR_RATE: Dimension.EXECUTION,
    Metric.ERRORS: Dimension.EXECUTION,
    Metric.CALLS: Dimension.COST,
    Metric.TOKENS: Dimension.COST,
    Metric.COST_USD: Dimension.COST,
}
_WORDS: Final = {
    Metric.ERROR_RATE: "Error rate",
    Metric.ERRORS: "Number of errors",
    Metric.CALLS: "Number of calls",
    Metric.P50_MS: "Median duration",
    Metric.P95_MS: "95th percentile of durations",
    Metric.P99_MS: "99th percentile of durations",
    Metric.TOKENS: "Number of tokens",
    Metric.COST_USD: "Cost",
}
# a rate or a quantile of fewer says little: one failure of nineteen is above 5 %
_MIN_CALLS: Final = 20
# where nothing is said: five minutes for how calls are, an hour for what adds up
_WINDOW_S: Final = 300.0
_WINDOW_OF_SUMS_S: Final = 3_600.0


class LimitConfig(BaseModel):
    """A figure over a window that must not be exceeded. An excess is an episode of one issue, with its recovery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    """Of the check that it makes: part of every fingerprint, so never renamed."""
    enabled: bool = True
    title: str = Field(default="", max_length=100)
    """What its issues are called; by default made of the metric and of what it is of."""
    metric: Metric
    max: float = Field(ge=0)
    """More is a finding: 0.05 of error_rate, 2000 of p95_ms, 10 of cost_usd."""
    window_s: float | None = Field(default=None, ge=10, le=86_400)
    """Log time that is looked at; 300 for rates and durations, 3600 (`cost_usd` per hour) for what adds up."""
    by: Annotated[tuple[By, ...], BeforeValidator(as_list)] = (By.SERVICE,)
    """service, operation (a tool, `llm:gpt-4o`, …; of traces their root's name), model: each has windows of its own."""
    of: Of | None = None
    """calls, or traces (whole, with a root). By default traces where `by` is service alone, and no kind is named."""
    kind: Annotated[tuple[SpanKind, ...], BeforeValidator(as_list)] = ()
    """Of calls: which kinds. Empty: any; for tokens and cost those that use them (llm, embedding, reranker)."""
    service: Strings = ()
    """`*` stands for anything; empty: any."""
    operation: Strings = ()
    model: Strings = ()
    environment: Strings = ()
    min_calls: int | None = Field(default=None, ge=1)
    """Fewer in the window say nothing; 20 for rates and durations, else 1."""
    repeat_s: float = Field(default=3_600.0, ge=60)
    """While an excess lasts, a trace of it is linked again this often."""
    dimension: Dimension | None = None
    """By default execution for errors, latency for durations, cost for the rest."""
    severity: Severity = Severity.MEDIUM
    max_keys: int = Field(default=1_000, ge=1)
    """Windows kept over all partitions; the longest unused go first, and are counted."""

    @property
    def of_traces(self) -> bool:
        """Return whether whole traces are measured."""
        if self.of is not None:
            return self.of is Of.TRACES
        return self.by == (By.SERVICE,) and not (self.kind or self.operation or self.model)

    @property
    def counts_faults(self) -> bool:
        """Return whether only deepest failures count: among all calls of a service, callers repeat what failed."""
        return self.metric in _FAILURES and not self.of_traces and By.OPERATION not in self.by

    @property
    def kinds(self) -> frozenset[SpanKind]:
        """Return the kinds of calls that count; empty: any."""
        if self.kind or self.metric not in (Metric.TOKENS, Metric.COST_USD):
            return frozenset(self.kind)
        return frozenset(TOKEN_USERS)

    @property
    def length_s(self) -> float:
        """Return the length of the window."""
        return self.window_s or (_WINDOW_OF_SUMS_S if self.metric in _SUMS else _WINDOW_S)

    @property
    def least_calls(self) -> int:
        """Return how many calls must be in the window."""
        return self.min_calls or (1 if self.metric in _SUMS else _MIN_CALLS)

    @property
    def category(self) -> Dimension:
        """Return the dimension of its findings."""
        return self.dimension or _DIMENSION.get(self.metric, Dimension.LATENCY)

    @property
    def words(self) -> str:
        """Return the metric for a title: `Error rate`."""
        return _WORDS[self.metric]

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return what it reads beyond times, kinds and outcomes."""
        if self.metric is Metric.TOKENS:
            return (Need.USAGE,)
        return (Need.COST,) if self.metric is Metric.COST_USD else ()

    @model_validator(mode="after")
    def _can_be(self) -> "LimitConfig":
        if self.metric is Metric.ERROR_RATE and self.max >= 1:
            raise ValueError(f"`max` ({self.max:g}) must be below 1 for error_rate: 0.05 is 5 %")
        if self.of_traces and self.kind:
            raise ValueError("`kind` is of calls, and `of` says traces")
        if self.of_traces and (self.model or By.MODEL in self.by):
            raise ValueError("a model is of calls, and `of` says traces: a trace may call several")
        return self


def parted_by(limits: Iterable[LimitConfig]) -> PartedBy:
    """Return what must stand in one partition, so that every window of these limits sees all that it is of."""
    wanted = PartedBy.OPERATION
    for limit in limits:
        if By.OPERATION not in limit.by:
            wanted = max(wanted, PartedBy.SERVICE if By.SERVICE in limit.by else PartedBy.ROUTING_KEY)
    return wanted


def thresholds_of_limit(limit: LimitConfig) -> dict[str, str | float | tuple[str, ...]]:
    """Return what `clearwatch checks` shows of it."""
    shown: dict[str, str | float | tuple[str, ...]] = {
        str(limit.metric): f"> {limit.max:g}",
        "window_s": limit.length_s,
        "by": tuple(limit.by) or ("routing_key",),
        "of": "traces" if limit.of_traces else "calls",
        "min_calls": limit.least_calls,
    }
    if limit.kinds:
        shown["kind"] = tuple(sorted(limit.kinds))
    shown |= {
        name: values for name in ("service", "operation", "model", "environment") if (values := getattr(limit, name))
    }
    return shown


class Selection:
    """Which measurements a limit is about."""

    def __init__(self, config: LimitConfig) -> None:
        self._of_traces = config.of_traces
        self._kinds = config.kinds
        self._patterns = [
            (name, re.compile("|".join(map(fnmatch.translate, patterns))))
            for name, patterns in (
                ("service", config.service),
                ("operation", config.operation),
                ("model", config.model),
                ("environment", config.environment),
            )
            if patterns
        ]

    def takes(self, measurement: Measurement) -> bool:
        """Return whether a measurement counts."""
        if measurement.is_trace is not self._of_traces:
            return False
        if self._kinds and not self._of_traces and measurement.kind not in self._kinds:
            return False
        return not self._patterns or all(p.match(getattr(measurement, name)) for name, p in self._patterns)
