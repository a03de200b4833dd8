"""What a finding, a withdrawal and a person's word do to an issue."""

import uuid

import msgspec
import pytest

from core.log.port import StoredRecord, Work
from core.model.finding import (
    Dimension,
    Finding,
    FindingKind,
    FindingRecord,
    HumanStatus,
    Severity,
    Source,
    Withdrawal,
)
from core.model.issue import IssueEvent, IssueEventKind, IssueStatus, event_id_of, issue_id_of
from core.telemetry import Telemetry
from core.topics import FINDINGS, ISSUES, headers
from detector.issues.config import IssuesConfig
from detector.issues.stage import IssuesProcessor

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0


def finding(number: int, **fields: object) -> Finding:
    made = Finding(
        finding_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        check="failed_span",
        kind=FindingKind.FAULT,
        source=Source.RULE,
        category=Dimension.EXECUTION,
        severity=Severity.LOW,
        fingerprint="f1",
        routing_key="shop",
        title="search fails with TimeoutError",
        rationale=f"timed out, call {number}",
        trace_id=f"{number:032x}",
        span_ids=(f"{number:016x}",),
        service="shop",
        target="search",
        observed_at_ns=int((NOW_S - 10) * 1e9) + number,
        trace_started_ns=int((NOW_S - 20) * 1e9),
    )
    return msgspec.structs.replace(made, **fields)


def withdrawal(found: Finding) -> Withdrawal:
    return Withdrawal(
        finding_id=found.finding_id,
        fingerprint=found.fingerprint,
        routing_key=found.routing_key,
        trace_id=found.trace_id,
        reason="a later version has no error",
    )


def word(**fields: object) -> HumanStatus:
    made = HumanStatus(
        issue_id=issue_id_of(routing_key="shop", fingerprint="f1"), routing_key="shop", status="", at_s=NOW_S
    )
    return msgspec.structs.replace(made, **fields)


class Issues:
    """A processor and its committed state, fed with values."""

    def __init__(self, **config: object) -> None:
        self.telemetry = Telemetry()
        self.config = IssuesConfig.model_validate(config)
        self.state: dict[bytes, bytes] = {}
        self.offset = 0
        self.processor = self._made()

    def _made(self) -> IssuesProcessor:
        made = IssuesProcessor(partition=0, config=self.config, max_age_s=DAY_S, telemetry=self.telemetry)
        made.restore(list(self.state.items()))
        return made

    def restart(self) -> None:
        self.processor = self._made()

    def take(self, *values: FindingRecord, at_s: float = NOW_S, origin: str = "live") -> list[IssueEvent]:
        records = [
            StoredRecord(
                topic=FINDINGS,
                partition=0,
                offset=self.offset + n,
                log_time_ms=int(at_s * 1000),
                value=msgspec.msgpack.encode(value),
                headers=headers(origin=origin),
            )
            for n, value in enumerate(values)
        ]
        self.offset += len(values)
        work = self.processor.process(records)
        assert work.next_offsets == {FINDINGS: self.offset}
        return self.commit(work)

    def commit(self, work: Work) -> list[IssueEvent]:
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        assert {record.topic for record in work.produce} <= {ISSUES}
        return [msgspec.msgpack.decode(record.value, type=IssueEvent) for record in work.produce]


def test_a_rule_error_opens_an_issue_at_once() -> None:
    (event,) = Issues().take(finding(1, release="1.4"))
    assert event.kind is IssueEventKind.OPENED
    assert event.issue.issue_id == issue_id_of(routing_key="shop", fingerprint="f1")
    assert event.event_id == event_id_of(issue_id=event.issue.issue_id, sequence=event.issue.sequence)
    assert (event.issue.trace_count, event.issue.finding_count, event.issue.session_count) == (1, 1, 0)
    assert event.issue.first_release == event.issue.last_release == "1.4"
    assert [link.span_id for link in event.links] == [f"{1:016x}"]
    assert not event.muted


def test_the_first_line_of_a_description_tells_the_counts() -> None:
    issues = Issues()
    issues.take(finding(1, session_id="a", observed_at_ns=1_700_000_000_000_000_000))
    (event,) = issues.take(finding(2, session_id="a", observed_at_ns=1_700_000_060_000_000_000))
    first, *rest = event.issue.description.split("\n")
    assert first == "Seen in 2 traces of 1 session since 2023-11-14 22:13:20 UTC, last 2023-11-14 22:14:20 UTC."
    assert "Check failed_span (rule), service shop, target search." in rest
    assert "Latest: timed out, call 2" in rest


@pytest.mark.parametrize("observed_at_ns", [2**64 - 1, -(2**62), 0])
def test_log_time_stands_in_for_an_impossible_time(observed_at_ns: int) -> None:
    (event,) = Issues().take(finding(1, observed_at_ns=observed_at_ns))
    assert event.issue.first_seen_ns == event.issue.last_seen_ns == int(NOW_S * 1e9)
    assert event.links[0].observed_at_ns == int(NOW_S * 1e9)
    assert not event.muted


def test_a_repeated_finding_changes_nothing_at_all() -> None:
    issues = Issues()
    issues.take(finding(1), finding(2))
    before = dict(issues.state)
    assert issues.take(finding(1), finding(2), at_s=NOW_S + 3 * DAY_S) == []
    assert issues.state == before


def test_two_findings_of_one_trace_are_one_trace() -> None:
    issues = Issues()
    issues.take(finding(1, trace_id="t"), finding(2, trace_id="t"))
    (issue,) = issues.processor.issues
    assert (issue.finding_count, issue.trace_count) == (2, 1)


def test_findings_of_one_step_are_one_event_with_a_link_each() -> None:
    issues = Issues()
    issues.take(finding(0))
    (event,) = issues.take(*(finding(n) for n in range(1, 6)))
    assert event.kind is IssueEventKind.SEEN
    assert len(event.links) == 5
    assert event.issue.sequence == 6


def test_links_of_an_event_are_bounded_and_none_is_lost() -> None:
    issues = Issues(max_links_per_event=10)
    issues.take(finding(0))
    events = issues.take(*(finding(n) for n in range(1, 26)))
    assert [len(event.links) for event in events] == [10, 10, 5]
    assert len({event.event_id for event in events}) == 3


def test_the_third_member_publishes_and_brings_the_links_of_all() -> None:
    issues = Issues()
    assert issues.take(finding(1, publish_at_once=False)) == []
    assert issues.take(finding(2, publish_at_once=False)) == []
    (event,) = issues.take(finding(3, publish_at_once=False))
    assert event.kind is IssueEventKind.OPENED
    assert len(event.links) == 3


def test_the_second_session_publishes() -> None:
    issues = Issues()
    assert issues.take(finding(1, publish_at_once=False, session_id="a")) == []
    (event,) = issues.take(finding(2, publish_at_once=False, session_id="b"))
    assert event.kind is IssueEventKind.OPENED
    assert event.issue.session_count == 2


def test_many_traces_escalate_and_nothing_sinks_by_itself() -> None:
    issues = Issues(medium_traces=3, high_traces=6)
    found = [finding(n) for n in range(8)]
    kinds = [event.kind for one in found for event in issues.take(one)]
    assert kinds.count(IssueEventKind.ESCALATED) == 2
    assert issues.processor.issues[0].severity is Severity.HIGH
    issues.take(*(withdrawal(one) for one in found[:7]))
    assert issues.processor.issues[0].trace_count == 1
    assert issues.processor.issues[0].severity is Severity.HIGH


def test_escalation_counts_traces_of_late_not_for_ever() -> None:
    issues = Issues(medium_traces=3, high_traces=6)
    for n in range(8):
        issues.take(finding(n), at_s=NOW_S + n * 5 * DAY_S)
    (issue,) = issues.processor.issues
    assert issue.trace_count == 8
    assert issue.severity is Severity.LOW


def test_a_withdrawn_finding_leaves_its_issue() -> None:
    issues = Issues()
    issues.take(finding(1, session_id="a"), finding(2, session_id="b"))
    (event,) = issues.take(withdrawal(finding(1)))
    assert event.kind is IssueEventKind.CORRECTED
    assert event.withdrawn == (finding(1).finding_id,)
    assert (event.issue.finding_count, event.issue.trace_count, event.issue.session_count) == (1, 1, 1)


def test_a_finding_that_comes_back_after_its_withdrawal_counts_again() -> None:
    issues = Issues()
    issues.take(finding(1))
    issues.take(withdrawal(finding(1)))
    (event,) = issues.take(finding(1))
    assert event.kind is IssueEventKind.SEEN
    assert event.issue.trace_count == 1


def test_a_withdrawal_of_an_unknown_finding_is_counted() -> None:
    issues = Issues()
    assert issues.take(withdrawal(finding(1))) == []
    assert issues.telemetry.total("clearwatch.dropped", reason="withdrawal_of_unknown_finding") == 1


def test_a_withdrawn_pending_finding_publishes_nothing() -> None:
    issues = Issues()
    issues.take(finding(1, publish_at_once=False), finding(2, publish_at_once=False))
    issues.take(withdrawal(finding(1)))
    assert issues.take(finding(3, publish_at_once=False)) == []
    (event,) = issues.take(finding(4, publish_at_once=False))
    assert {link.finding_id for link in event.links} == {finding(n).finding_id for n in (2, 3, 4)}


def test_a_resolved_issue_regresses_only_in_a_trace_that_started_later() -> None:
    issues = Issues()
    issues.take(finding(1))
    (changed,) = issues.take(word(status="resolved", at_s=NOW_S + 5))
    assert (changed.kind, changed.issue.status) == (IssueEventKind.STATUS_CHANGED, IssueStatus.RESOLVED)
    (old,) = issues.take(finding(2), at_s=NOW_S + 10)
    assert (old.kind, old.muted, old.issue.status) == (IssueEventKind.SEEN, True, IssueStatus.RESOLVED)
    new = finding(3, trace_started_ns=int((NOW_S + 6) * 1e9), release="2.0")
    (event,) = issues.take(new, at_s=NOW_S + 20)
    assert event.kind is IssueEventKind.REGRESSED
    assert event.issue.status is IssueStatus.PENDING
    assert event.issue.regressed_at_s == NOW_S + 20
    assert "2.0" in event.reason


def test_a_rejected_issue_is_mute_and_goes_on_counting() -> None:
    issues = Issues(medium_traces=2, high_traces=4)
    issues.take(finding(1))
    issues.take(word(status="rejected"))
    events = issues.take(*(finding(n, trace_started_ns=int((NOW_S + 9) * 1e9)) for n in range(2, 7)))
    assert {(event.kind, event.muted) for event in events} == {(IssueEventKind.SEEN, True)}
    assert events[-1].issue.trace_count == 6
    assert events[-1].issue.status is IssueStatus.REJECTED


def test_what_a_person_named_and_graded_stays() -> None:
    issues = Issues(medium_traces=2, high_traces=4)
    issues.take(finding(1))
    issues.take(word(name="Search is down", severity="low"))
    events = issues.take(*(finding(n, severity=Severity.HIGH) for n in range(2, 9)))
    assert {event.kind for event in events} == {IssueEventKind.SEEN}
    assert events[-1].issue.title == "Search is down"
    assert events[-1].issue.severity is Severity.LOW


def test_the_same_word_twice_is_one_event() -> None:
    issues = Issues()
    issues.take(finding(1))
    assert len(issues.take(word(status="resolved"), word(status="resolved"))) == 1


def test_a_word_about_an_unknown_issue_is_counted() -> None:
    issues = Issues()
    assert issues.take(word(status="resolved")) == []
    assert issues.telemetry.total("clearwatch.dropped", reason="human_status_of_unknown_issue") == 1


@pytest.mark.parametrize("origin", ["backfill", "replay"])
def test_what_is_not_live_is_stored_and_mute(origin: str) -> None:
    (event,) = Issues().take(finding(1), origin=origin)
    assert event.muted
    assert event.issue.trace_count == 1


def test_what_is_older_than_a_day_is_stored_and_mute() -> None:
    day_old_ns = int((NOW_S - DAY_S - 1) * 1e9)
    (event,) = Issues().take(finding(1, observed_at_ns=day_old_ns, trace_started_ns=day_old_ns))
    assert event.muted


def test_mute_and_alerting_findings_are_never_told_together() -> None:
    issues = Issues()
    issues.take(finding(0))
    day_old_ns = int((NOW_S - DAY_S - 1) * 1e9)
    old = finding(2, observed_at_ns=day_old_ns, trace_started_ns=day_old_ns)
    assert [event.muted for event in issues.take(finding(1), old, finding(3))] == [False, True, False]


def test_forgotten_findings_keep_their_counts_and_leave_the_state() -> None:
    issues = Issues()
    issues.take(finding(1), finding(2))
    entries = len(issues.state)
    issues.commit(issues.processor.tick(NOW_S + 8 * DAY_S))
    assert len(issues.state) == entries - 2
    (event,) = issues.take(finding(3), at_s=NOW_S + 8 * DAY_S)
    assert event.issue.trace_count == 3


def test_an_unpublished_issue_fades_and_its_name_is_free_again() -> None:
    issues = Issues()
    issues.take(finding(1, publish_at_once=False))
    issues.commit(issues.processor.tick(NOW_S + 8 * DAY_S))
    assert issues.state == {}
    assert issues.processor.issues == ()


def test_beyond_its_bound_an_issue_is_called_approximate_and_keeps_counting() -> None:
    issues = Issues(max_findings_per_issue=10, max_findings=100)
    issues.take(*(finding(n) for n in range(30)))
    (event,) = issues.take(finding(99))
    assert event.issue.trace_count == 31
    assert event.issue.description.startswith("Seen in about 31 traces")
    assert issues.telemetry.total("clearwatch.dropped", reason="issue_finding_forgotten") == 21
    assert len(issues.state) == 12


def test_findings_of_a_partition_are_bounded() -> None:
    issues = Issues(max_findings_per_issue=60, max_findings=100)
    for n in range(300):
        issues.take(finding(n, fingerprint=f"f{n % 3}"))
    assert sum(key[:1] == b"m" for key in issues.state) <= 100


def test_published_issues_are_never_forgotten_for_new_ones() -> None:
    issues = Issues(max_issues=2)
    issues.take(finding(1, fingerprint="a"), finding(2, fingerprint="b", publish_at_once=False))
    issues.take(finding(3, fingerprint="c"))
    issues.take(finding(4, fingerprint="d"))
    assert {issue.fingerprint for issue in issues.processor.issues} == {"a", "c"}
    assert issues.telemetry.total("clearwatch.dropped", reason="unpublished_issue_evicted") == 1
    assert issues.telemetry.total("clearwatch.dropped", reason="issues_full") == 1


def test_a_record_that_is_no_finding_is_refused() -> None:
    issues = Issues()
    record = StoredRecord(topic=FINDINGS, partition=0, offset=0, log_time_ms=0, value=b"\xc1")
    with pytest.raises(msgspec.DecodeError):
        issues.processor.process([record])
