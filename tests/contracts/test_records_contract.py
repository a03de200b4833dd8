"""What the store promises on every database: it converges, whatever the order and the repeats, and counts for ever."""

import itertools
from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa

from core.model.finding import HumanStatus, Withdrawal
from core.model.issue import IssueStatus
from core.model.trace import TraceWithdrawal
from sinks.records import schema
from sinks.records.queries import AmbiguousIdError, UnknownIdError
from sinks.records.store import Change, RecordStore
from sinks.records.views import Numbers
from tests.unit.records_kit import (
    ISSUE,
    MLFLOW_ISSUE,
    NOW_S,
    TRACE,
    change,
    event,
    filed,
    finding,
    issue,
    link,
    store,
    trace,
)


@pytest.fixture
def records(records_url: str) -> Iterator[RecordStore]:
    made = store(records_url)
    yield made
    made.close()


def empty(records: RecordStore) -> None:
    with records._database.writing() as connection:
        for table in CONVERGING:
            connection.execute(table.delete())


def numbers(records: RecordStore, *, now_s: float = NOW_S) -> Numbers:
    return records.numbers(now_s=now_s, session_gap_s=1800)


CONVERGING = [t for t in schema.metadata.sorted_tables if t.name not in ("counters", "totals")]


def rows_of(records: RecordStore) -> dict[str, list[tuple[object, ...]]]:
    with records._database.reading() as connection:
        return {t.name: sorted(map(tuple, connection.execute(sa.select(t)))) for t in CONVERGING}


STORY = [
    change(trace(span_count=2, provisional=True), offset=0),
    change(trace(span_count=5, version="b" * 16), offset=1),
    change(trace(span_count=9, version="c" * 16, fragment=True), offset=2),
    change(finding(), offset=3),
    change(Withdrawal(finding_id="f2", fingerprint="x", routing_key="shop", trace_id=TRACE, reason="late"), offset=5),
    change(finding("f2"), offset=4),
]
ISSUE_STORY = [
    change(event(issue(), link("f1")), offset=0),
    change(event(issue(sequence=2, trace_count=2), link("f2")), offset=1),
    change(event(issue(sequence=3), withdrawn=("f2",)), offset=2),
    change(filed(), offset=3),
]


@pytest.mark.parametrize("story", [STORY, ISSUE_STORY], ids=["traces and findings", "issues"])
def test_any_order_and_repetition_leaves_the_same_rows(records: RecordStore, story: list[Change]) -> None:
    expected = None
    # a transaction costs a server a hundred times what it costs a database in memory
    step = 1 if records._database.is_sqlite else 19
    for order in itertools.islice(itertools.permutations(story), 0, None, step):
        for each in order:
            records.apply([each])
        records.apply(order[:3])
        found = rows_of(records)
        expected = expected or found
        assert found == expected
        empty(records)


def test_one_batch_and_single_records_leave_the_same_rows(records: RecordStore) -> None:
    records.apply([*STORY, *ISSUE_STORY])
    together = rows_of(records)
    empty(records)
    for each in [*STORY, *ISSUE_STORY]:
        records.apply([each])
    assert rows_of(records) == together


def test_the_version_with_more_spans_is_kept(records: RecordStore) -> None:
    records.apply([change(trace(span_count=5, version="b")), change(trace(span_count=3, version="a"))])
    assert records.trace(TRACE).trace.span_count == 5


def test_a_fragment_never_replaces_a_whole_trace(records: RecordStore) -> None:
    records.apply([change(trace(span_count=2)), change(trace(span_count=100, version="f", fragment=True))])
    assert not records.trace(TRACE).trace.fragment
    assert numbers(records).traces_closed == 1


def test_the_final_close_of_the_same_spans_replaces_the_provisional_version(records: RecordStore) -> None:
    records.apply([change(trace(provisional=True))])
    assert numbers(records) == msgspec.structs.replace(numbers(records), traces_closed=0, traces_provisional=1)
    records.apply([change(trace()), change(trace(provisional=True))])
    assert numbers(records) == msgspec.structs.replace(numbers(records), traces_closed=1, traces_provisional=0)


@pytest.mark.parametrize("spans", [4, 3], ids=["the session came with a late span", "with the same spans"])
def test_a_trace_that_leaves_its_key_is_never_missing(records: RecordStore, spans: int) -> None:
    old, gone = change(trace()), change(TraceWithdrawal(trace_id=TRACE, routing_key="shop"))
    new = change(trace(session_id="s1", span_count=spans, version="z" * 16))
    for order in ([old, gone, new], [old, new, gone], [new, old, gone]):
        for each in order:
            records.apply([each])
            assert records.trace(TRACE)
        assert records.trace(TRACE).trace.session_id == "s1"
        empty(records)
        records.apply(order)
        assert records.trace(TRACE).trace.session_id == "s1"
        empty(records)


def test_a_withdrawn_finding_is_left_out_until_it_is_found_again(records: RecordStore) -> None:
    withdrawal = Withdrawal(finding_id="f1", fingerprint="x", routing_key="shop", trace_id=TRACE, reason="late")
    records.apply([change(finding(), offset=1), change(withdrawal, offset=2)])
    assert (list(records.findings()), numbers(records).findings) == ([], 0)
    records.apply([change(finding(), offset=3)])
    assert [row.finding_id for row in records.findings()] == ["f1"]


def test_a_finding_names_the_issue_that_claimed_it_last(records: RecordStore) -> None:
    records.apply([change(finding()), change(event(issue(), link("f1")))])
    assert [row.issue_id for row in records.findings()] == [ISSUE]
    other = issue(issue_id="11111111-2222-5333-8444-555555555555")
    records.apply([change(event(other, link("f1")), at_s=NOW_S + 1)])
    assert [row.issue_id for row in records.findings()] == [other.issue_id]
    records.apply([change(event(other, withdrawn=("f1",)), at_s=NOW_S + 2)])
    assert [row.issue_id for row in records.findings()] == [None]


def test_positions_go_on_over_a_log_that_was_begun_anew(records: RecordStore) -> None:
    withdrawal = Withdrawal(finding_id="f1", fingerprint="x", routing_key="shop", trace_id=TRACE, reason="late")
    records.apply([change(finding(), offset=900), change(withdrawal, offset=901)])
    records.apply([change(finding(), at_s=NOW_S + 60, offset=0)])
    assert numbers(records).findings == 1


def test_findings_are_paged_by_key_completely_and_in_order(records: RecordStore) -> None:
    made = [finding(f"f{i:04}", observed_at_ns=i // 3) for i in range(1203)]
    records.apply([change(each, offset=i) for i, each in enumerate(reversed(made))])
    assert [row.finding_id for row in records.findings()] == [each.finding_id for each in made]


def test_an_issue_is_found_by_every_id(records: RecordStore) -> None:
    records.apply([change(event(issue(), link("f1"))), change(filed()), change(trace())])
    plain = ISSUE.replace("-", "")
    for given in (ISSUE, ISSUE.upper(), plain, plain[:6], MLFLOW_ISSUE, MLFLOW_ISSUE[:10], MLFLOW_ISSUE[4:]):
        detail = records.issue(given)
        assert detail.row.issue.issue_id == ISSUE
    assert detail.row.filed is not None
    assert detail.evidence[0].trace == trace()
    assert detail.evidence_total == 1


def test_an_ambiguous_prefix_names_what_it_fits(records: RecordStore) -> None:
    ids = ["abc00000-0000-5000-8000-000000000001", "abc00000-0000-5000-8000-000000000002"]
    records.apply([change(event(issue(issue_id=each))) for each in ids])
    with pytest.raises(AmbiguousIdError, match=r"fits more than one issue: abc00000.*0001, abc"):
        records.issue("abc")
    assert records.issue(ids[0]).row.issue.issue_id == ids[0]


@pytest.mark.parametrize("given", ["ffff", "", "%", "iss-", "'; drop table issues", "zzz", "iss-abc"])
def test_an_id_that_fits_nothing_is_unknown(records: RecordStore, given: str) -> None:
    records.apply([change(event(issue(), link("f1")))])
    with pytest.raises(UnknownIdError):
        records.issue(given)
    with pytest.raises(UnknownIdError):
        records.trace(given)


def test_issues_count_by_status_and_the_last_event_wins(records: RecordStore) -> None:
    records.apply([change(event(issue(sequence=2, status=IssueStatus.RESOLVED)))])
    records.apply([change(event(issue(sequence=1)))])
    assert numbers(records).issues == {"pending": 0, "resolved": 1, "rejected": 0}
    assert [row.issue.status for row in records.issues(status="resolved")] == [IssueStatus.RESOLVED]
    assert records.issues(status="pending") == ()


def test_sessions_are_open_for_the_gap_and_closed_after(records: RecordStore) -> None:
    for number in range(3):
        records.apply([change(trace(trace_id=f"{number:032x}", session_id="s1", last_append_s=NOW_S + number))])
    records.apply([change(trace(trace_id="f" * 32, session_id="s2", last_append_s=NOW_S - 5000))])
    found = numbers(records)
    assert (found.sessions_open, found.sessions_closed) == (1, 1)
    assert numbers(records, now_s=NOW_S + 1803).sessions_open == 0


def test_retention_deletes_old_rows_and_goes_on_counting_them(records: RecordStore) -> None:
    old = [change(trace(trace_id=f"{i:032x}", session_id=f"s{i}"), offset=i) for i in range(5000)]
    records.apply([*old, change(finding()), change(event(issue(), link("f1")))])
    records.apply([change(trace(trace_id="f" * 32, provisional=True))])
    before = numbers(records)
    steps = 0
    while records.retain(now_s=NOW_S + 100, retention_s=50):
        steps += 1
    after = numbers(records)
    assert steps > 1
    assert (after.traces_closed, after.findings) == (before.traces_closed, before.findings) == (5000, 1)
    assert after.sessions_open + after.sessions_closed == 5000
    assert after.traces_provisional == 0
    assert list(records.findings()) == []
    assert records.issue(ISSUE).evidence_total == 0, "issues are kept, their evidence is not"
    assert records.retain(now_s=NOW_S, retention_s=50) == 0


def test_counters_of_processes_long_gone_are_folded_without_a_loss(records: RecordStore) -> None:
    series = ("clearwatch.dropped", (("reason", "x"),))
    for number in range(5):
        gauge = ("clearwatch.traces.open", ())
        records.save_counters(f"start-{number}", {series: 3.0, gauge: 7.0}, now_s=NOW_S + number)
    records.save_counters("start-4", {series: 4.0}, now_s=NOW_S + 90_000)
    assert records.fold_counters(now_s=NOW_S + 100_000) == 8
    found = {(s.instance, s.name): s.value for s in records.series()}
    assert found == {
        ("retired", "clearwatch.dropped"): 12.0,
        ("start-4", "clearwatch.dropped"): 4.0,
        ("start-4", "clearwatch.traces.open"): 7.0,
    }


def test_counters_of_a_process_that_lives_are_never_folded(records: RecordStore) -> None:
    series = ("clearwatch.dropped", (("reason", "x"),))
    for instance in ("quiet", "asking", "gone"):
        records.save_counters(instance, {series: 3.0}, now_s=NOW_S)
    records.save_counters("quiet", {}, now_s=NOW_S + 99_000)
    assert records.fold_counters(now_s=NOW_S + 100_000, except_of="asking") == 1
    assert {s.instance: s.updated_at_s for s in records.series()} == {
        "quiet": NOW_S + 99_000,
        "asking": NOW_S,
        "retired": NOW_S,
    }


def test_what_a_person_said_changes_nothing_before_its_event(records: RecordStore) -> None:
    records.apply([change(HumanStatus(issue_id=ISSUE, routing_key="shop", status="resolved", at_s=NOW_S))])
    assert numbers(records).issues["resolved"] == 0
