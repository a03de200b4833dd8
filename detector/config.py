"""The section `detector`, put together from the sections of its parts."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.model.finding import Dimension
from detector.assemble.config import AssembleConfig
from detector.baselines.config import BaselinesConfig
from detector.baselines.measures import CHECKS as BASELINE_CHECKS
from detector.checks.config import ChecksConfig
from detector.checks.defaults import DEFAULT_CHECKS
from detector.issues.config import IssuesConfig
from detector.issues.suppressions import SuppressionConfig
from detector.rules.budgets import OVER_BUDGET, BudgetConfig
from detector.rules.config import RuleConfig
from detector.rules.limits import LimitConfig
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS
from detector.sessions.config import SessionsConfig

RESERVED: Final = frozenset(
    {
        OVER_BUDGET,
        *BASELINE_CHECKS,
        *(check.name for check in DEFAULT_CHECKS),
        *(check.name for check in DEFAULT_SESSION_CHECKS),
    }
)
"""Names of checks that ship: those of one's own need others."""


class DetectorConfig(BaseModel):
    """What is looked for, in what, and how it is grouped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assemble: AssembleConfig = AssembleConfig()
    checks: ChecksConfig = ChecksConfig()
    sessions: SessionsConfig = SessionsConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    issues: IssuesConfig = IssuesConfig()
    rules: tuple[RuleConfig, ...] = ()
    """Checks by comparison: an attribute or a field of spans or traces against a value. See docs/extending.md."""
    limits: tuple[LimitConfig, ...] = ()
    """Figures over windows that must not be exceeded: error rate, durations, tokens, cost. See docs/extending.md."""
    budgets: tuple[BudgetConfig, ...] = ()
    """How long components may take: kinds of spans, tools, models, whole traces. See docs/extending.md."""
    suppressions: tuple[SuppressionConfig, ...] = ()
    """Findings that make no issue until a day, each with its reason; they are counted. See docs/extending.md."""
    checks_dir: str = ""
    """Folder of checks of one's own: every `*.py` in it that does not begin with `_` is run at start, so whoever may
    write there runs code here. Empty: none. Packages with entry points `clearwatch.checks` are found without it."""
    plugins: dict[str, dict[str, Any]] = {}
    """Settings of checks that do not ship, by the check's name; `enabled: false` leaves one out."""
    prices_file: str = ""
    """Prices of models, as JSON in the form of litellm's `model_prices_and_context_window.json`, read once at start.
    Empty: the copy that an installed litellm ships. Costs that clients send win."""
    dimensions: tuple[Dimension, ...] = tuple(Dimension)
    """The CLEARS dimensions that are judged; findings of others are not looked for."""
    purpose: str = Field(default="", max_length=4_000)
    """What the application is for, in the words of those who run it; told to the judge."""
    max_age_s: float = Field(default=86_400.0, gt=0)
    """Findings of older traces are stored and counted, and never raise an alert."""

    @model_validator(mode="after")
    def _names_differ(self) -> "DetectorConfig":
        names = [*RESERVED, *(rule.name for rule in self.rules), *(limit.name for limit in self.limits)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"`rules` and `limits` must have names of their own: {', '.join(twice)} is taken")
        return self

    @model_validator(mode="after")
    def _budgets_differ(self) -> "DetectorConfig":
        known = [(each.component, each.measure, sorted(each.name), sorted(each.service)) for each in self.budgets]
        for number, each in enumerate(known):
            if each in known[:number]:
                raise ValueError(f"`budgets` {known.index(each)} and {number} are of the same component")
        return self
