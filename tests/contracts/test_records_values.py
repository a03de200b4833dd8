"""Values that databases treat differently are kept alike: NUL, long text, large numbers, case, hostile text."""

from collections.abc import Iterator

import pytest

from core.model.finding import Withdrawal
from core.model.trace import TraceWithdrawal
from core.telemetry import Telemetry
from sinks.records.engine import RecordsRefusedError
from sinks.records.queries import AmbiguousIdError, UnknownIdError
from sinks.records.store import RecordStore
from tests.unit.records_kit import ISSUE, MLFLOW_ISSUE, NOW_S, TRACE, change, event, filed, finding, issue, link, trace

HUGE = "🦉" * 100_000
HOSTILE = "a'; DROP TABLE traces; -- \\ %s %(x)s :x \u202e\ud7ff\U0010ffff\x01\t\n"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def records(records_url: str, telemetry: Telemetry) -> Iterator[RecordStore]:
    made = RecordStore(records_url, telemetry=telemetry)
    made.open()
    yield made
    made.close()


def replaced(telemetry: Telemetry) -> float:
    return telemetry.total("clearwatch.dropped", reason="text_unfit_for_key")


@pytest.mark.parametrize(
    "text", ["nul \x00 within", "\x00", HUGE, HUGE + "\x00"], ids=["nul", "only nul", "long", "both"]
)
def test_text_that_no_key_holds_is_replaced_there_counted_and_kept_whole_elsewhere(
    records: RecordStore, telemetry: Telemetry, text: str
) -> None:
    made = trace(routing_key=text, session_id=text, service=text, root_name=text)
    records.apply([change(made), change(finding(title=text, rationale=text)), change(event(issue(title=text), link()))])
    assert records.trace(TRACE).trace == made
    assert [row.title for row in records.findings()] == [text]
    assert records.issue(ISSUE).row.issue.title == text
    assert records.numbers(now_s=NOW_S, session_gap_s=60).sessions_open == 1
    assert replaced(telemetry) == 2


def test_ordinary_text_in_any_script_is_not_replaced(records: RecordStore, telemetry: Telemetry) -> None:
    records.apply([change(trace(routing_key=HOSTILE, session_id="сессия-ß-会话"))])
    assert records.trace(TRACE).trace.routing_key == HOSTILE
    assert replaced(telemetry) == 0


def test_long_texts_that_differ_at_their_end_stay_apart(records: RecordStore) -> None:
    for number in range(3):
        records.apply([change(trace(trace_id=f"{number:032x}", session_id=HUGE + str(number)))])
    assert records.numbers(now_s=NOW_S, session_gap_s=60).sessions_open == 3


def test_a_trace_under_such_a_key_can_leave_it(records: RecordStore) -> None:
    key = f"shop\x00{HUGE}"
    gone = TraceWithdrawal(trace_id=TRACE, routing_key=key)
    records.apply([change(trace(routing_key=key)), change(gone)])
    records.apply([change(trace(session_id="s", span_count=2, version="z" * 16))])
    assert records.trace(TRACE).trace.session_id == "s"


def test_an_id_that_no_database_holds_is_refused_or_stored_and_never_waited_for(records: RecordStore) -> None:
    try:
        records.apply([change(event(issue(), link("f\x00"))), change(trace())])
    except RecordsRefusedError:
        records.apply([change(trace())])
    assert records.trace(TRACE)


def test_times_and_numbers_beyond_64_bits_are_kept_whole_and_searched_at_the_bound(records: RecordStore) -> None:
    largest = 2**64 - 1
    records.apply(
        [
            change(trace(span_count=2**50, started_ns=largest, ended_ns=largest), at_s=2.0**50, offset=2**62),
            change(finding(observed_at_ns=largest), at_s=2.0**50, offset=2**62),
            change(event(issue(last_seen_ns=largest, sequence=largest), link())),
        ]
    )
    assert records.trace(TRACE).trace.span_count == 2**50
    assert [row.observed_at for row in records.findings()] == ["2554-07-21T23:34:33.709551Z"]
    assert records.issue(ISSUE).row.issue.sequence == largest
    assert records.findings_page(after=(largest, "\x00")).rows == ()
    assert records.findings_page(after=(-largest, "")).rows != ()


def test_session_ids_differ_by_case_accents_and_spaces(records: RecordStore) -> None:
    for number, session in enumerate(["a", "A", "á", "a\u0301", " a", "a ", "a-", "-a"]):
        records.apply([change(trace(trace_id=f"{number:032x}", session_id=session))])
    assert records.numbers(now_s=NOW_S, session_gap_s=60).sessions_open == 8


def test_findings_are_ordered_by_bytes_whatever_the_language_of_the_server(records: RecordStore) -> None:
    names = ["a", "A", "B", "b", "_a", "-a", "á", "a-b", "ab", "a_b", "Z", "z"]
    records.apply([change(finding(name, observed_at_ns=1), offset=n) for n, name in enumerate(names)])
    assert [row.finding_id for row in records.findings()] == sorted(names)
    first = records.findings_page(limit=5)
    assert first.after is not None
    rest = records.findings_page(after=first.after)
    assert [row.finding_id for row in (*first.rows, *rest.rows)] == sorted(names)


def test_prefixes_find_ids_and_never_mean_patterns(records: RecordStore) -> None:
    ids = ["ab" + "0" * 30, "ab" + "f" * 30, "ac" + "0" * 30]
    records.apply([change(trace(trace_id=each)) for each in ids])
    records.apply([change(event(issue(), link())), change(filed())])
    assert records.trace("ac").trace.trace_id == ids[2]
    assert records.trace("AB0").trace.trace_id == ids[0]
    assert records.issue(MLFLOW_ISSUE[:9].upper()).row.issue.issue_id == ISSUE
    with pytest.raises(AmbiguousIdError):
        records.trace("ab")
    for given in ("%", "_", "a%", "a\x00", "*", "ab\\", "ad"):
        with pytest.raises(UnknownIdError):
            records.trace(given)


def test_counters_with_any_labels_are_stored_and_read_alike(records: RecordStore) -> None:
    labels = (("reason", "ü\x00'\"\\ {} 🦉"),)
    records.save_counters("one", {("clearwatch.dropped", labels): 2.0**60}, now_s=NOW_S)
    (series,) = records.series()
    assert (series.labels, series.value) == (dict(labels), 2.0**60)


def test_a_withdrawal_before_its_finding_leaves_no_empty_finding(records: RecordStore) -> None:
    gone = Withdrawal(finding_id="f1", fingerprint="x", routing_key="shop", trace_id=TRACE, reason="late")
    records.apply([change(trace()), change(gone, at_s=NOW_S + 1)])
    assert records.trace(TRACE).findings == ()
    records.apply([change(finding())])
    assert records.trace(TRACE).findings == ()
