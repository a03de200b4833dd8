"""Findings that somebody asked not to hear of for a time: `detector.suppressions`.

A suppressed finding stays in the records and in `export`; it makes no issue and adds to none, and is counted with the
reason. Whether one is suppressed depends on when it was observed and on nothing else: what is replayed later is
suppressed again, and what is observed after `until` is not.
"""

import datetime
import fnmatch
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Protocol, TypeAlias

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from core.model.finding import Dimension, Finding, Shift
from core.model.issue import Issue
from core.telemetry import Telemetry
from detector.issues.facts import dated

Patterns: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]

# fingerprints of which findings were held back
_REMEMBERED: Final = 10_000
_MATCHERS: Final = ("check", "service", "target", "error_type", "environment", "routing_key")


def _at_midnight(given: Any) -> Any:
    """Return a plain day, as YAML reads 2026-12-01, as its first moment in UTC."""
    if isinstance(given, datetime.date) and not isinstance(given, datetime.datetime):
        return datetime.datetime.combine(given, datetime.time(), datetime.UTC)
    if isinstance(given, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", given):
        return f"{given}T00:00:00Z"
    return given


class SuppressionConfig(BaseModel):
    """Which findings, until when, and why. Each matcher that is given must fit; `*` stands for anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: Patterns = ()
    """Names of checks."""
    service: Patterns = ()
    target: Patterns = ()
    """The component, as issues name it: a tool, `llm:gpt-4o`, an operation."""
    error_type: Patterns = ()
    environment: Patterns = ()
    routing_key: Patterns = ()
    """`experiment:<id>`, or the service that names the traces."""
    dimension: tuple[Dimension, ...] = ()
    title: str = ""
    """A regular expression, found anywhere in the title."""
    until: Annotated[AwareDatetime, BeforeValidator(_at_midnight)]
    """Findings observed from then on come through. With its time zone; a day alone is its first moment in UTC."""
    reason: str = Field(min_length=1, max_length=120)
    """Shown with the count."""

    @field_validator("dimension", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("title")
    @classmethod
    def _compiles(cls, title: str) -> str:
        try:
            re.compile(title)
        except re.error as exc:
            raise ValueError(f"is no regular expression: {exc}") from exc
        return title

    @model_validator(mode="after")
    def _matches_something(self) -> "SuppressionConfig":
        if not self.matchers:
            raise ValueError(
                f"one of {', '.join((*_MATCHERS, 'dimension', 'title'))} must be given: else all is hidden"
            )
        return self

    def __str__(self) -> str:
        return f"{self.until:%Y-%m-%d %H:%M %Z}: {self.reason}"

    def is_over(self, now_s: float) -> bool:
        """Return whether it holds nothing back any more."""
        return self.until.timestamp() <= now_s

    def holds_back(self, found: "Suppressible", *, observed_at_s: float) -> bool:
        """Return whether it holds back what was observed then."""
        return not self.is_over(observed_at_s) and self._fits(found)

    @functools.cached_property
    def _fits(self) -> "Callable[[Suppressible], bool]":
        return _matcher(self)

    @property
    def matchers(self) -> Mapping[str, tuple[str, ...]]:
        """Return what is matched, for people."""
        found = {name: getattr(self, name) for name in (*_MATCHERS, "dimension")}
        found["title"] = (self.title,) if self.title else ()
        return {name: tuple(map(str, values)) for name, values in found.items() if values}


class Suppressible(Protocol):
    """What matchers are held against, by the names of their keys: a finding in any form, or an issue."""

    @property
    def category(self) -> Dimension:
        """Return its dimension."""
        ...

    @property
    def title(self) -> str:
        """Return its title."""
        ...


def suppression_of(
    found: Suppressible, *, observed_at_s: float, configs: Sequence[SuppressionConfig]
) -> SuppressionConfig | None:
    """Return the first suppression that holds a finding back, None where none does."""
    return next((each for each in configs if each.holds_back(found, observed_at_s=observed_at_s)), None)


class Suppressions:
    """Decides, and counts what it decides."""

    def __init__(self, configs: Sequence[SuppressionConfig], telemetry: Telemetry) -> None:
        self._configs = configs
        self._telemetry = telemetry
        self._held_back: dict[tuple[str, str], None] = {}

    def hold_back(self, finding: Finding, *, at_s: float) -> bool:
        """Return whether a finding is suppressed; `at_s`, its log time, stands in for a time that cannot be.

        Counts it under the first that fits.
        """
        if not self._configs:
            return False
        observed_at_s = dated(finding, at_s).observed_at_ns / 1e9
        by = suppression_of(finding, observed_at_s=observed_at_s, configs=self._configs)
        if by is not None:
            self._telemetry.count("clearwatch.findings.suppressed", check=finding.check, reason=by.reason)
            self._remember(finding)
        return by is not None

    def hold_back_shift(self, shift: Shift, issue: Issue | None) -> bool:
        """Return whether an episode is suppressed: one that began before `until`, of an issue that a matcher fits.

        The end of an episode that was told of is told. Counted were its findings.
        """
        if not self._configs:
            return False
        if issue is None:
            return self.has_held_back(shift.routing_key, shift.fingerprint)
        if issue.episode_began_ns == shift.began_ns:
            return False
        return suppression_of(issue, observed_at_s=shift.began_ns / 1e9, configs=self._configs) is not None

    def has_held_back(self, routing_key: str, fingerprint: str) -> bool:
        """Return whether, as far as is remembered, a finding of this fingerprint was held back since the start."""
        return (routing_key, fingerprint) in self._held_back

    def _remember(self, finding: Finding) -> None:
        """Note whose findings were held back: what is told of an issue that was never made is no loss."""
        if len(self._held_back) >= _REMEMBERED:
            self._held_back.clear()
        self._held_back[finding.routing_key, finding.fingerprint] = None


def _matcher(config: SuppressionConfig) -> Callable[[Suppressible], bool]:
    patterns = [
        (name, re.compile("|".join(map(fnmatch.translate, getattr(config, name)))))
        for name in _MATCHERS
        if getattr(config, name)
    ]
    dimensions, title = frozenset(config.dimension), re.compile(config.title) if config.title else None

    def fits(finding: Suppressible) -> bool:
        return (
            # an issue is of all environments
            all(pattern.match(getattr(finding, name, "")) for name, pattern in patterns)
            and (not dimensions or finding.category in dimensions)
            and (title is None or title.search(finding.title) is not None)
        )

    return fits
