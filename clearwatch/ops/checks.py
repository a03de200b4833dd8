"""The checks with what they have answered so far: `/api/v1/checks` and `clearwatch checks`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from core.model.finding import Dimension
from detector.catalogue import CheckInfo, Group, Threshold
from sinks.records.views import Series


class CheckShape(msgspec.Struct, frozen=True, kw_only=True):
    """One check as it is configured, with its counts over all processes."""

    name: str
    group: Group
    dimension: Dimension
    summary: str
    needs: tuple[str, ...]
    enabled: bool
    thresholds: Mapping[str, Threshold]
    answers: Mapping[str, int] = {}
    """Traces (or sessions) by answer: found, clear, suspicious, unknown, failed. Empty for checks of measurements."""
    findings: int = 0


def check_shapes(catalogue: Sequence[CheckInfo], series: Iterable[Series]) -> tuple[CheckShape, ...]:
    """Return the checks with their counts."""
    answers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    findings: dict[str, int] = defaultdict(int)
    for each in series:
        check = each.labels.get("check", "")
        if each.name == "clearwatch.check.answers":
            answers[check][each.labels.get("outcome", "")] += int(each.value)
        elif each.name == "clearwatch.findings":
            findings[check] += int(each.value)
    return tuple(
        CheckShape(
            name=check.name,
            group=check.group,
            dimension=check.dimension,
            summary=check.summary,
            needs=check.needs,
            enabled=check.enabled,
            thresholds=check.thresholds,
            answers=dict(sorted(answers[check.name].items())),
            findings=findings[check.name],
        )
        for check in catalogue
    )
