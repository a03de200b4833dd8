"""The checks with what they have answered so far: `/api/v1/checks` and `clearwatch checks`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from detector.catalogue import CheckInfo, Group, Threshold
from sinks.records.views import Series


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
    """Traces (or sessions) by answer: found, clear, suspicious, unknown, failed. Empty for checks of measurements."""
    findings: int = 0
    origin: str = ""
    """Where a plug-in came from; empty for what ships."""


def check_shapes(catalogue: Sequence[CheckInfo], series: Iterable[Series]) -> tuple[CheckShape, ...]:
    """Return the checks with their counts; those that only the counts know of stand at the end."""
    answers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    findings: dict[str, int] = defaultdict(int)
    for each in series:
        check = each.labels.get("check", "")
        if each.name == "clearwatch.check.answers":
            answers[check][each.labels.get("outcome", "")] += int(each.value)
        elif each.name == "clearwatch.findings":
            findings[check] += int(each.value)
    known = [
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
            origin=check.origin,
        )
        for check in catalogue
    ]
    others = sorted({*answers, *findings} - {check.name for check in catalogue})
    return (
        *known,
        *(
            CheckShape(
                name=name,
                group=Group.ELSEWHERE,
                dimension="",
                summary="",
                needs=(),
                enabled=True,
                thresholds={},
                answers=dict(sorted(answers[name].items())),
                findings=findings[name],
            )
            for name in others
        ),
    )
