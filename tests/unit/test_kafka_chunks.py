"""Splitting and joining of records above the brokers' limit."""

import random

from hypothesis import given
from hypothesis import strategies as st

from core.log.kafka.chunks import HEADER_CHUNK, Joiner, split
from core.log.port import Record, StoredRecord

PATIENCE_MS = 20_000


def record(value: bytes, **headers: str) -> Record:
    return Record(topic="spans", partition=0, value=value, key=b"k", headers=headers)


def stored(parts: list[Record], *, first_offset: int = 0, at_ms: int = 0) -> list[StoredRecord]:
    return [
        StoredRecord(
            topic=p.topic,
            partition=0,
            offset=first_offset + n,
            log_time_ms=at_ms + n,
            value=p.value,
            key=p.key,
            headers=p.headers,
        )
        for n, p in enumerate(parts)
    ]


def joined(joiner: Joiner, records: list[StoredRecord]) -> list[StoredRecord]:
    return [out for r in records for out in joiner.add(r)]


def test_a_record_within_the_limit_stays_as_it_is() -> None:
    whole = record(b"x" * 10, schema="1")
    assert list(split(whole, 10, "id")) == [whole]


def test_parts_are_within_the_limit_and_only_the_first_carries_key_and_headers() -> None:
    parts = split(record(b"x" * 25, schema="1"), 10, "id")
    assert [len(p.value) for p in parts] == [10, 10, 5]
    assert [(p.key, p.headers.get("schema")) for p in parts] == [(b"k", "1"), (b"", None), (b"", None)]


def test_a_joined_record_is_the_one_that_was_split_at_the_offset_of_its_first_part() -> None:
    parts = stored(list(split(record(b"abcdefghij" * 3, schema="1"), 7, "id")), first_offset=5)
    joiner = Joiner(5, patience_ms=PATIENCE_MS)
    assert [(r.offset, r.value, r.key, dict(r.headers)) for r in joined(joiner, parts)] == [
        (5, b"abcdefghij" * 3, b"k", {"schema": "1"})
    ]
    assert joiner.next_offset == 5 + len(parts)
    assert joiner.committed_as(6) == joiner.next_offset


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    seed=st.integers(0, 10_000),
    restart=st.integers(0, 100),
)
def test_interleaved_records_come_whole_in_offset_order_and_again_after_a_restart_where_not_committed(
    sizes: list[int], seed: int, restart: int
) -> None:
    rng = random.Random(seed)
    queues = [list(split(record(bytes([n]) * size), 7, f"id{n}")) for n, size in enumerate(sizes)]
    order: list[Record] = []
    while any(queues):
        order.append(rng.choice([q for q in queues if q]).pop(0))
    log = stored(order)
    joiner = Joiner(0, patience_ms=PATIENCE_MS)
    whole = joined(joiner, log)
    assert sorted(r.value for r in whole) == sorted(bytes([n]) * size for n, size in enumerate(sizes))
    assert [r.offset for r in whole] == sorted(r.offset for r in whole)
    assert not joiner.is_waiting
    # somebody committed after `restart` of these records: exactly the others are read again
    done = whole[: restart % (len(whole) + 1)]
    begin = joiner.committed_as(done[-1].offset + 1) if done else 0
    again = joined(Joiner(begin, patience_ms=PATIENCE_MS), log[begin:])
    assert [r.value for r in again] == [r.value for r in whole[len(done) :]]


def test_a_record_whose_producer_died_is_given_up_after_the_patience_and_holds_back_nothing_longer() -> None:
    broken = stored(list(split(record(b"x" * 20), 10, "dead")))[:1]
    joiner = Joiner(0, patience_ms=PATIENCE_MS)
    assert joined(joiner, broken) == []
    soon = stored([record(b"soon")], first_offset=1, at_ms=PATIENCE_MS)
    assert joined(joiner, soon) == []
    assert joiner.is_waiting
    later = stored([record(b"later")], first_offset=2, at_ms=PATIENCE_MS + 1)
    assert [r.value for r in joined(joiner, later)] == [b"soon", b"later"]
    assert joiner.abandoned == 1


def test_idle_time_gives_up_a_broken_record_too() -> None:
    joiner = Joiner(0, patience_ms=PATIENCE_MS)
    joined(joiner, stored(list(split(record(b"x" * 20), 10, "dead")))[:1])
    assert list(joiner.let_pass(PATIENCE_MS)) == []
    assert joiner.is_waiting
    assert list(joiner.let_pass(PATIENCE_MS + 1)) == []
    assert not joiner.is_waiting


def test_parts_without_their_first_are_leftovers() -> None:
    parts = stored(list(split(record(b"x" * 30), 10, "id")))
    joiner = Joiner(1, patience_ms=PATIENCE_MS)
    assert joined(joiner, parts[1:]) == []
    assert HEADER_CHUNK in parts[1].headers
    assert not joiner.is_waiting
