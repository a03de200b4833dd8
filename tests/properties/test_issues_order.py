"""The registry under any order, any batching and a kill at any step."""

import uuid
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.log.port import StoredRecord
from core.model.finding import Dimension, Finding, FindingKind, Severity, Source, Withdrawal
from core.model.issue import IssueEvent
from core.telemetry import Telemetry
from core.topics import FINDINGS
from detector.issues.config import IssuesConfig
from detector.issues.stage import IssuesProcessor

CONFIG = IssuesConfig(medium_traces=4, high_traces=8, max_links_per_event=3)
NOW_S = 1_800_000_000.0
Counts: TypeAlias = dict[str, tuple[object, ...]]


def finding(number: int) -> Finding:
    fingerprint = f"f{number % 3}"
    return Finding(
        finding_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        check="failed_span",
        kind=FindingKind.FAULT,
        source=Source.RULE,
        category=Dimension.EXECUTION,
        severity=Severity.LOW,
        fingerprint=fingerprint,
        routing_key="shop",
        title=f"title {fingerprint}",
        rationale="why",
        trace_id=f"t{number // 4}",
        session_id=f"s{number // 8}" if number % 5 else "",
        observed_at_ns=int(NOW_S * 1e9) + number,
        trace_started_ns=int(NOW_S * 1e9),
        publish_at_once=number % 3 != 0,
    )


def withdrawal(number: int) -> Withdrawal:
    of = finding(number)
    return Withdrawal(
        finding_id=of.finding_id, fingerprint=of.fingerprint, routing_key="shop", trace_id=of.trace_id, reason="gone"
    )


def records(values: Sequence[Finding | Withdrawal]) -> list[StoredRecord]:
    return [
        StoredRecord(
            topic=FINDINGS,
            partition=0,
            offset=n,
            log_time_ms=int(NOW_S * 1000) + n,
            value=msgspec.msgpack.encode(value),
        )
        for n, value in enumerate(values)
    ]


def counts(processor: IssuesProcessor) -> Counts:
    return {
        issue.issue_id: (
            issue.finding_count,
            issue.trace_count,
            issue.session_count,
            issue.first_seen_ns,
            issue.last_seen_ns,
            issue.severity,
            issue.published,
        )
        for issue in processor.issues
    }


def run(
    stored: Sequence[StoredRecord], cuts: Sequence[int], lost: frozenset[int]
) -> tuple[Counts, set[str], dict[bytes, bytes]]:
    """Process in batches that end at `cuts`; where a batch is `lost`, its events went out and its state did not."""
    state: dict[bytes, bytes] = {}
    linked: set[str] = set()
    taken: set[str] = set()
    processor = restored(state)
    at = 0
    bounds = [*sorted(set(cuts)), len(stored)]
    for step, end in enumerate(bounds):
        if end <= at:
            continue
        work = processor.process(stored[at:end])
        for record in work.produce:
            event = msgspec.msgpack.decode(record.value, type=IssueEvent)
            if event.event_id not in taken:  # as a sink does
                taken.add(event.event_id)
                linked |= {link.finding_id for link in event.links}
                linked -= set(event.withdrawn)
        if step in lost:
            processor = restored(state)
            continue  # what follows starts at the same record, in a larger batch
        for change in work.state:
            if change.value is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.value
        at = end
        if step % 2:
            processor = restored(state)
    if at < len(stored):
        return run(stored, cuts, frozenset())
    return counts(processor), linked, state


def restored(state: dict[bytes, bytes]) -> IssuesProcessor:
    processor = IssuesProcessor(partition=0, config=CONFIG, max_age_s=86_400, telemetry=Telemetry())
    processor.restore(list(reversed(state.items())))
    return processor


numbers = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@given(numbers=numbers, data=st.data())
@settings(max_examples=60, deadline=None)
def test_order_and_repeats_do_not_matter(numbers: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(numbers + numbers[:10]))
    once = sorted(set(numbers))
    expected, linked, _ = run(records([finding(n) for n in once]), [], frozenset())
    got, got_linked, _ = run(records([finding(n) for n in shuffled]), [], frozenset())
    assert got == expected
    published = {i for i, facts in expected.items() if facts[-1]}
    assert (linked, got_linked) == (linked, linked)
    assert bool(linked) == bool(published)


@given(
    values=st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=12),
    lost=st.frozensets(st.integers(0, 11), max_size=6),
)
@settings(max_examples=120, deadline=None)
def test_kills_and_batches_give_what_an_uninterrupted_run_gives(
    values: list[tuple[int, bool]], cuts: list[int], lost: frozenset[int]
) -> None:
    stored = records([withdrawal(n) if is_withdrawn else finding(n) for n, is_withdrawn in values])
    cuts = [cut for cut in cuts if cut < len(stored)]
    whole = run(stored, [], frozenset())
    assert run(stored, list(range(1, len(stored))), frozenset()) == whole
    assert run(stored, cuts, lost) == whole
