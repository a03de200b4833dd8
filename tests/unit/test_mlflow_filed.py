"""What the MLflow sink remembers of issues stays within its bounds."""

import msgspec

from core.model.finding import Dimension, FindingKind, Severity, Source
from core.model.issue import Issue
from core.telemetry import Telemetry
from sinks.mlflow.filed import FiledIssues
from sinks.mlflow.state import Fields, FiledIssue, fields_of, is_due, is_same

BOUND = 10


def filed(number: int, **changes: object) -> FiledIssue:
    issue = Issue(
        issue_id=f"i{number}",
        routing_key="shop",
        title=f"issue {number}",
        description="The tool timed out.",
        category=Dimension.EXECUTION,
        severity=Severity.HIGH,
        kind=FindingKind.FAULT,
        source=Source.RULE,
        check="tool_failure",
        fingerprint=f"{number:032x}",
        trace_count=3,
    )
    return msgspec.structs.replace(
        FiledIssue(issue=issue, mlflow_issue_id=f"iss-{number}", written=fields_of(issue, linked=0)), **changes
    )


def kept(telemetry: Telemetry, count: int) -> FiledIssues:
    found = FiledIssues(max_issues=BOUND, telemetry=telemetry)
    found.restore(0, ())
    for number in range(count):
        found.keep(0, filed(number))
        if found.is_over(0):
            found.trim(0, busy=set())
    return found


def test_issues_over_the_bound_are_kept_slim_and_still_tell_a_persons_edit_from_our_words() -> None:
    telemetry = Telemetry()
    found = kept(telemetry, BOUND + 5)
    slim = found.get("i0")
    assert slim is not None
    assert slim.is_slim
    assert not is_due(slim)
    assert slim.written is not None
    assert is_same(fields_of(filed(0).issue, linked=0).description, slim.written.description)
    assert not is_same("known, see the runbook", slim.written.description)
    assert telemetry.total("clearwatch.dropped", reason="mlflow_issue_links_forgotten") == 5


def test_memory_of_issues_is_bounded_and_what_is_forgotten_is_deleted_and_counted() -> None:
    telemetry = Telemetry()
    found = kept(telemetry, BOUND * 20)
    assert len(found) == BOUND * 11
    assert found.get("i0") is None
    assert telemetry.total("clearwatch.dropped", reason="mlflow_issue_forgotten") == BOUND * 9


def test_an_issue_with_effects_under_way_or_words_to_write_is_not_forgotten() -> None:
    found = FiledIssues(max_issues=BOUND, telemetry=Telemetry())
    found.restore(0, ())
    busy, due = filed(0), filed(1, written=Fields(name="n", description="d", severity="low", status="pending"))
    for one in (busy, due, *(filed(number) for number in range(2, BOUND + 2))):
        found.keep(0, one)
    assert found.trim(0, busy={"i0"}) == ()
    assert [one.is_slim for one in found] == [False] * (BOUND + 2)


def test_issues_survive_a_restart_as_they_were_kept() -> None:
    found = kept(Telemetry(), BOUND)
    entries = [(change.key, change.value or b"") for change in (found.keep(0, one) for one in found)]
    again = FiledIssues(max_issues=BOUND, telemetry=Telemetry())
    again.restore(0, entries)
    assert sorted(one.issue.issue_id for one in again) == sorted(one.issue.issue_id for one in found)
