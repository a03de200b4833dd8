"""The checks with what they have answered so far: `/api/v1/checks` and `clearwatch checks`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from detector.catalogue import CheckInfo, Group, Threshold
from detector.issues.suppressions import SuppressionConfig
from sinks.records.views import Series

SUPPRESSED: Final = "clearwatch.findings.suppressed"
INHIBITED: Final = "clearwatch.findings.inhibited"
FAILURES: Final = "clearwatch.check.failures"


class CheckShape(msgspec.Struct, frozen=True, kw_only=True):
    """One check as it is configured, with its counts over all processes."""

    name: str
    group: Group
    dimension: str
    summary: str
    needs: tuple[str, ...]
    enabled: bool
    thresholds: Mapping[str, Threshold]
    answers: Mapping[str, int] = {}
    """Answers given: found, clear, suspicious, unknown, failed. One for each version of a trace that was inspected, and
    of a session one with each trace of it. Empty for checks of measurements."""
    findings: int = 0
    suppressed: int = 0
    """Findings held back; counted where they would have become an issue."""
    inhibited: int = 0
    """Findings told with another one, whose consequences they are; part of `findings`."""
    mean_ms: float | None = None
    """What one answer took, of checks of third parties; None for others."""
    origin: str = ""
    """Where a plug-in came from; empty for what ships."""


class SuppressionShape(msgspec.Struct, frozen=True, kw_only=True):
    """One suppression as it is configured, with what it has held back over all processes."""

    reason: str
    matches: Mapping[str, tuple[str, ...]]
    until: str
    """RFC 3339."""
    is_over: bool
    suppressed: int


class ChecksShape(msgspec.Struct, frozen=True, kw_only=True):
    """`/api/v1/checks`."""

    checks: tuple[CheckShape, ...]
    suppressions: tuple[SuppressionShape, ...] = ()


def checks_shape(
    catalogue: Sequence[CheckInfo],
    suppressions: Sequence[SuppressionConfig],
    series: Iterable[Series],
    *,
    now_s: float,
) -> ChecksShape:
    """Return checks and suppressions with their counts."""
    series = tuple(series)
    counts: dict[str, int] = defaultdict(int)
    for each in series:
        if each.name == SUPPRESSED:
            counts[each.labels.get("reason", "")] += int(each.value)
    return ChecksShape(
        checks=check_shapes(catalogue, series),
        suppressions=tuple(
            SuppressionShape(
                reason=each.reason,
                matches=each.matchers,
                until=each.until.isoformat(),
                is_over=each.is_over(now_s),
                suppressed=counts[each.reason],
            )
            for each in suppressions
        ),
    )


def check_shapes(catalogue: Sequence[CheckInfo], series: Iterable[Series]) -> tuple[CheckShape, ...]:
    """Return the checks with their counts; those that only the counts know of stand at the end."""
    answers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    findings: dict[str, int] = defaultdict(int)
    suppressed: dict[str, int] = defaultdict(int)
    inhibited: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for each in series:
        check = each.labels.get("check", "")
        if each.name == "clearwatch.check.answers":
            answers[check][each.labels.get("outcome", "")] += int(each.value)
        elif each.name == "clearwatch.findings":
            findings[check] += int(each.value)
        elif each.name == SUPPRESSED:
            suppressed[check] += int(each.value)
        elif each.name == INHIBITED:
            inhibited[check] += int(each.value)
        elif each.name == "clearwatch.check.seconds":
            seconds[check] += each.value

    def counted(name: str) -> dict[str, Any]:
        asked = answers[name]
        return {
            "name": name,
            "answers": dict(sorted(asked.items())),
            "findings": findings[name],
            "suppressed": suppressed[name],
            "inhibited": inhibited[name],
            "mean_ms": seconds[name] * 1e3 / max(1, sum(asked.values())) if name in seconds else None,
        }

    known = [
        CheckShape(
            **counted(check.name),
            group=check.group,
            dimension=check.dimension,
            summary=check.summary,
            needs=check.needs,
            enabled=check.enabled,
            thresholds=check.thresholds,
            origin=check.origin,
        )
        for check in catalogue
    ]
    others = sorted({*answers, *findings, *suppressed, *inhibited} - {check.name for check in catalogue})
    return (
        *known,
        *(
            CheckShape(
                **counted(name),
                group=Group.ELSEWHERE,
                dimension="",
                summary="",
                needs=(),
                enabled=True,
                thresholds={},
            )
            for name in others
        ),
    )
