"""Which traces of an issue are linked."""

import itertools
from typing import Any

import msgspec

from core.model.finding import Dimension, FindingKind, Severity, Source
from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueLink
from sinks.mlflow.links import choose, is_sampled
from sinks.mlflow.state import FiledIssue, cut, describe, feedback_id_of, fields_of, link_id_of, marker_of

ISSUE = Issue(
    issue_id="i1",
    routing_key="shop",
    title="t" * 400,
    description="The tool timed out.",
    category=Dimension.EXECUTION,
    severity=Severity.HIGH,
    kind=FindingKind.FAULT,
    source=Source.RULE,
    check="tool_failure",
    fingerprint="v1|shop|tool",
    trace_count=3,
)


def link(number: int, trace: str = "") -> IssueLink:
    return IssueLink(
        finding_id=f"f{number}",
        trace_id=trace or f"t{number}",
        category=Dimension.EXECUTION,
        severity=Severity.HIGH,
        rationale="because",
    )


def event(at_s: float, *links: IssueLink, withdrawn: tuple[str, ...] = ()) -> IssueEvent:
    return IssueEvent(event_id="e", kind=IssueEventKind.SEEN, issue=ISSUE, at_s=at_s, links=links, withdrawn=withdrawn)


def linked_traces(filed: FiledIssue) -> list[str]:
    return [linked.trace_id for linked in filed.links]


def test_the_first_traces_are_all_linked_and_later_ones_ever_more_rarely() -> None:
    sampled = [number for number in range(1, 10_001) if is_sampled(number, 50)]
    assert sampled[:50] == list(range(1, 51))
    assert 15 <= len(sampled) - 50 <= 40
    gaps = [b - a for a, b in itertools.pairwise(sampled)]
    assert gaps == sorted(gaps)


def test_links_of_an_endless_issue_stay_few_and_hold_the_latest() -> None:
    filed = FiledIssue(issue=ISSUE)
    calls = capped = 0
    for number in range(2000):
        choice = choose(filed, event(float(number), link(number)), first=50)
        filed = choice.filed
        calls += len(choice.links) + len(choice.unlinks)
        capped += choice.capped
    assert filed.link_count == 2000
    assert len(filed.links) < 80
    assert any(int(trace_id[1:]) > 1930 for trace_id in linked_traces(filed))
    assert calls < 200
    assert capped > 1800


def test_two_findings_of_one_trace_make_one_link_that_outlives_one_withdrawal() -> None:
    choice = choose(FiledIssue(issue=ISSUE), event(0, link(1, "t"), link(2, "t")), first=50)
    assert [chosen.trace_id for chosen in choice.links] == ["t"]
    first = choose(choice.filed, event(1, withdrawn=("f1",)), first=50)
    assert first.unlinks == ()
    second = choose(first.filed, event(2, withdrawn=("f2",)), first=50)
    assert [unlink.trace_id for unlink in second.unlinks] == ["t"]
    assert second.filed.links == ()


def test_a_finding_without_a_trace_is_counted_not_linked() -> None:
    nowhere = msgspec.structs.replace(link(1), trace_id="")
    choice = choose(FiledIssue(issue=ISSUE), event(0, nowhere), first=50)
    assert (choice.links, choice.without_trace) == ((), 1)


def test_what_is_sent_fits_the_columns_of_mlflow() -> None:
    fields = fields_of(ISSUE, linked=3)
    assert len(fields.name) == 250
    assert (fields.severity, fields.status) == ("high", "pending")
    assert len(marker_of(ISSUE)) == len("clearwatch/") + 16
    assert len(link_id_of(mlflow_issue_id="iss-" + "0" * 32, trace_id="tr-" + "0" * 32)) <= 50
    assert len(feedback_id_of(trace_id="tr-" + "0" * 32, category=Dimension.SAFETY)) <= 50
    assert cut("a\0b", 10) == "ab"


def test_the_marker_is_the_fingerprints_head_where_that_is_hex() -> None:
    hexadecimal: dict[str, Any] = {"fingerprint": "0123456789abcdef" * 4}
    assert marker_of(msgspec.structs.replace(ISSUE, **hexadecimal)) == "clearwatch/0123456789abcdef"


def test_the_description_says_the_true_count_once_and_how_many_are_linked() -> None:
    text = describe(msgspec.structs.replace(ISSUE, trace_count=900, session_count=4), linked=60)
    assert text.startswith("Seen in 900 traces.")
    assert "60 of them are linked" in text
    assert "\n" not in text
    told = msgspec.structs.replace(ISSUE, trace_count=900, description="Seen in 900 traces\nsince noon.")
    assert describe(told, linked=0) == "Seen in 900 traces since noon."
