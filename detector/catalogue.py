"""Every check of a configuration, described: what `clearwatch checks` lists.

Those of traces and plug-ins describe themselves; those of other stages are listed here, by the names of their findings.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import pydantic

from core.model.finding import Dimension
from detector.baselines.measures import COST, ERRORS, FIRST, OWN, REST, TOKENS, Measure
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.plugin import Plugin
from detector.checks.port import Need, needs_of
from detector.config import DetectorConfig
from detector.rules.budgets import OverBudget
from detector.rules.config import thresholds_of_rule
from detector.rules.limits import thresholds_of_limit
from detector.rules.rule import needs_of_rule
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS

Threshold: TypeAlias = str | int | float | bool | tuple[str, ...] | None


class Group(enum.StrEnum):
    """What a check speaks of, or where it comes from."""

    TRACES = "traces"
    SESSIONS = "sessions"
    BASELINES = "baselines"
    RULES = "rules"
    PLUGINS = "plug-ins"
    ELSEWHERE = "elsewhere"
    """Known by its answers alone: of another process, or of an earlier configuration."""


class CheckInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One check as it is configured."""

    name: str
    group: Group
    dimension: Dimension
    summary: str
    needs: tuple[Need, ...] = ()
    enabled: bool = True
    """False where it is switched off, or its dimension is not asked for."""
    thresholds: Mapping[str, Threshold] = {}
    """What it is configured with, `enabled` left out."""
    origin: str = ""
    """Where a plug-in came from; empty for what ships."""


class _OfBaselines(msgspec.Struct, frozen=True):
    measure: Measure
    summary: str
    needs: tuple[Need, ...] = ()


_BASELINES: Final = (
    _OfBaselines(OWN, "A call is slow compared with its own past"),
    _OfBaselines(REST, "A whole trace is slow compared with its own past, and no one group of calls explains it"),
    _OfBaselines(FIRST, "The first token of a model comes late compared with its own past", (Need.TIME_TO_FIRST,)),
    _OfBaselines(TOKENS, "A call or a trace uses far more tokens than before", (Need.USAGE,)),
    _OfBaselines(COST, "A call costs far more than before, and its tokens do not explain it", (Need.COST, Need.USAGE)),
    _OfBaselines(ERRORS, "A share of calls fails that is higher than before"),
)


def catalogue(config: DetectorConfig, *, plugins: Sequence[Plugin] = ()) -> tuple[CheckInfo, ...]:
    """Return every check that there is, switched off or not, in the order in which they are asked."""
    wanted = config.dimensions
    found = [
        CheckInfo(
            name=check.name,
            group=Group.TRACES,
            dimension=check.dimension,
            summary=first_line(check.summary),
            needs=check.needs,
            enabled=config.checks.section(check.name).enabled and check.dimension in wanted,
            thresholds=thresholds_of(config.checks.section(check.name)),
        )
        for check in DEFAULT_CHECKS
    ]
    found += [
        CheckInfo(
            name=check.name,
            group=Group.SESSIONS,
            dimension=check.dimension,
            summary=first_line(check.summary),
            needs=check.needs,
            enabled=config.sessions.checks.section(check.name).enabled and check.dimension in wanted,
            thresholds=thresholds_of(config.sessions.checks.section(check.name)),
        )
        for check in DEFAULT_SESSION_CHECKS
    ]
    found += [
        CheckInfo(
            name=each.measure.check,
            group=Group.BASELINES,
            dimension=each.measure.category,
            summary=each.summary,
            needs=each.needs,
            enabled=each.measure.category in wanted,
            thresholds=thresholds_of(config.baselines),
        )
        for each in _BASELINES
    ]
    found += [
        CheckInfo(
            name=rule.name,
            group=Group.RULES,
            dimension=rule.dimension,
            summary=rule.title,
            needs=needs_of_rule(rule),
            enabled=rule.enabled and rule.dimension in wanted,
            thresholds=thresholds_of_rule(rule),
        )
        for rule in config.rules
    ]
    found += [
        CheckInfo(
            name=limit.name,
            group=Group.RULES,
            dimension=limit.category,
            summary=limit.title or f"{limit.words} exceeds a fixed limit",
            needs=limit.needs,
            enabled=limit.enabled and limit.category in wanted,
            thresholds=thresholds_of_limit(limit),
        )
        for limit in config.limits
    ]
    if config.budgets:
        check = OverBudget(config.budgets)
        found.append(
            CheckInfo(
                name=check.name,
                group=Group.RULES,
                dimension=check.dimension,
                summary="A component takes longer than its time budget",
                needs=check.needs,
                enabled=check.dimension in wanted,
                thresholds={budget.label: f"{budget.max_ms:g} ms" for budget in config.budgets},
            )
        )
    found += [
        CheckInfo(
            name=plugin.check.name,
            group=Group.PLUGINS,
            dimension=plugin.check.dimension,
            summary=first_line(type(plugin.check).__doc__ or ""),
            needs=needs_of(plugin.check),
            enabled=plugin.check.dimension in wanted,
            thresholds=thresholds_of(plugin.config),
            origin=plugin.origin,
        )
        for plugin in plugins
    ]
    return tuple(found)


# settings of these names decide nothing that a check says
_HOUSEKEEPING: Final = ("max_keys", "snapshot_")


def first_line(text: str) -> str:
    """Return the first sentence line of a docstring, without its full stop."""
    return text.strip().split("\n", 1)[0].rstrip(".")


def thresholds_of(section: pydantic.BaseModel) -> dict[str, Threshold]:
    """Return the plain values of a section; what is no threshold (nested sections) is left out."""
    return {
        name: shown
        for name in type(section).model_fields
        if name != "enabled"
        and not name.startswith(_HOUSEKEEPING)
        and (shown := _shown(getattr(section, name))) is not None
    }


def _shown(value: object) -> Threshold:
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return tuple(sorted(map(str, value)))
    return None
