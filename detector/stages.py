"""The detector's stages, made from its configuration."""

import time
from collections.abc import Sequence

from core.dialects import decoder
from core.prices import PriceTable
from core.stage import Stage
from core.telemetry import Telemetry
from detector.assemble.stage import AssembleStage
from detector.baselines.measures import DIMENSIONS
from detector.baselines.stage import BaselinesStage
from detector.checks.negative_feedback import NegativeFeedback
from detector.checks.plugin import Plugin
from detector.checks.port import Check
from detector.checks.registry import Checks
from detector.checks.timed import TimedCheck
from detector.config import DetectorConfig
from detector.issues.stage import IssuesStage
from detector.rules.budgets import OverBudget
from detector.rules.limits import parted_by
from detector.rules.limits_stage import LimitsStage
from detector.rules.rule import rule_checks
from detector.sessions.session import Sessions
from detector.sessions.stage import SessionsStage


def stages(
    config: DetectorConfig,
    telemetry: Telemetry,
    *,
    plugins: Sequence[Plugin] = (),
    prices: PriceTable | None = None,
) -> dict[str, Stage]:
    """Return the stages by name, in the order in which records pass through them.

    `plugins` are asked as well as the checks that ship; `prices` tell what calls cost whose client has not said so.
    Without a dimension that they speak of there are no baselines, unless limits are set, which are watched beside them.
    """
    timed = [TimedCheck(check, telemetry, time.perf_counter) for plugin in plugins for check in plugin.trace_check]
    extra: list[Check] = [*timed, *rule_checks(config.rules)]
    if config.budgets:
        extra.append(OverBudget(config.budgets))
    asked = [key for rule in config.rules if rule.enabled for key in rule.attributes]
    checks = Checks(config.checks, telemetry, extra=extra, dimensions=config.dimensions)
    sessions = Sessions(stitch=config.sessions.stitch, not_users=config.sessions.not_users)
    baselines = BaselinesStage(config=config.baselines, telemetry=telemetry, dimensions=config.dimensions)
    limits = [limit for limit in config.limits if limit.enabled and limit.category in config.dimensions]
    made: tuple[Stage, ...] = (
        AssembleStage(
            checks,
            config.assemble,
            telemetry,
            prices=prices,
            decode=decoder(asked),
            name_session=sessions.named,
            parted_by=parted_by(limits),
        ),
        SessionsStage(
            config=config.sessions,
            telemetry=telemetry,
            dimensions=config.dimensions,
            extra=[
                TimedCheck(check, telemetry, time.perf_counter) for plugin in plugins for check in plugin.session_check
            ],
        ),
        # also without limits: what was kept for those of an earlier configuration is let go
        LimitsStage(baselines, limits, telemetry),
        IssuesStage(
            config=config.issues,
            max_age_s=config.max_age_s,
            telemetry=telemetry,
            suppressions=config.suppressions,
            reads_ratings=NegativeFeedback.name in checks.names,
        ),
    )
    without = set() if limits or DIMENSIONS & frozenset(config.dimensions) else {"baselines"}
    return {stage.name: stage for stage in made if stage.name not in without}
