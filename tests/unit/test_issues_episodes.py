"""Episodes of an issue: begun and ended once, told in figures, never twice."""

import msgspec

from core.model.finding import Shift
from core.model.issue import Issue, IssueEvent, IssueEventKind
from sinks.records.views import IssueRow
from tests.unit.test_issues_registry import NOW_S, Issues, finding, word

BEGAN_NS = int((NOW_S - 60) * 1e9)
TEXT = "search took 205 ms (median) instead of 0.9 ms"


def shift(*, ended: bool = False, number: int = 0, **fields: object) -> Shift:
    began_ns = BEGAN_NS + number
    made = Shift(
        fingerprint="f1", routing_key="shop", began_ns=began_ns, ended_ns=began_ns + 10**9 if ended else 0, text=TEXT
    )
    return msgspec.structs.replace(made, **fields)


def opened(**config: object) -> Issues:
    """An issue that stands since an hour."""
    issues = Issues(**config)
    issues.take(finding(1), at_s=NOW_S - 3_600)
    return issues


def test_an_episode_is_told_once_with_its_figures() -> None:
    issues = opened()
    (began,) = issues.take(shift())
    assert (began.kind, began.muted) == (IssueEventKind.SHIFTED, False)
    assert began.reason == f"worse since 2027-01-15 07:59:00 UTC: {TEXT}"
    assert f"Worse since 2027-01-15 07:59:00 UTC: {TEXT}." in began.issue.description
    assert (began.issue.episodes, began.issue.episode_ended_ns) == (1, 0)
    assert issues.take(shift()) == []


def test_recovery_is_told_once_and_stays_in_the_issue() -> None:
    issues = opened()
    issues.take(shift())
    (ended,) = issues.take(shift(ended=True))
    assert (ended.kind, ended.muted) == (IssueEventKind.RECOVERED, False)
    assert ended.reason == f"recovered at 2027-01-15 07:59:01 UTC; from 2027-01-15 07:59:00 UTC: {TEXT}"
    assert ended.issue.episode_ended_ns == BEGAN_NS + 10**9
    assert issues.take(shift(), shift(ended=True)) == []
    (seen,) = issues.take(finding(2))
    assert seen.kind is IssueEventKind.SEEN
    assert "Recovered at 2027-01-15 07:59:01 UTC" in seen.issue.description


def test_what_stays_is_called_the_usual() -> None:
    issues = opened()
    issues.take(shift())
    (ended,) = issues.take(shift(ended=True, is_usual_now=True))
    assert ended.kind is IssueEventKind.SHIFTED
    assert "by now this is the usual" in ended.reason


def test_a_second_episode_counts_and_is_told_and_a_late_first_one_is_not() -> None:
    issues = opened()
    issues.take(shift(), shift(ended=True))
    (again,) = issues.take(shift(number=5 * 10**9))
    assert (again.kind, again.issue.episodes) == (IssueEventKind.SHIFTED, 2)
    assert "It is episode 2." in again.issue.description
    assert issues.take(shift(ended=True)) == []


def test_an_episode_that_opens_its_issue_makes_one_alert_only() -> None:
    events = Issues().take(finding(1), finding(2), shift())
    assert [(event.kind, event.muted) for event in events] == [
        (IssueEventKind.OPENED, False),
        (IssueEventKind.SEEN, False),
        (IssueEventKind.SHIFTED, True),
    ]


def test_episodes_of_rejected_issues_of_replays_and_of_yesterday_raise_no_alert() -> None:
    issues = opened()
    (replayed,) = issues.take(shift(), origin="replay")
    (old,) = issues.take(shift(number=1), at_s=NOW_S + 2 * 86_400)
    issues.take(word(status="rejected"))
    (rejected,) = issues.take(shift(number=2))
    assert replayed.muted
    assert old.muted
    assert rejected.muted


def test_an_episode_of_an_issue_that_nobody_knows_is_counted() -> None:
    issues = Issues()
    assert issues.take(shift()) == []
    assert issues.telemetry.total("clearwatch.dropped", reason="shift_of_unknown_issue") == 1


def test_episodes_survive_a_restart() -> None:
    issues = opened()
    issues.take(shift())
    issues.restart()
    assert issues.take(shift()) == []
    (ended,) = issues.take(shift(ended=True))
    assert ended.kind is IssueEventKind.RECOVERED


def test_the_derived_state_follows_the_episode() -> None:
    def state(event: IssueEvent) -> str:
        row = IssueRow(issue=event.issue, last_event=event.kind, changed_at_s=event.at_s)
        return row.state(NOW_S + 7_200)

    issues = opened()
    (began,) = issues.take(shift())
    (ended,) = issues.take(shift(ended=True))
    (stayed,) = issues.take(shift(number=9), shift(number=9, ended=True, is_usual_now=True))[-1:]
    assert [state(event) for event in (began, ended, stayed)] == ["escalating", "recovered", "ongoing"]
    assert isinstance(stayed.issue, Issue)
