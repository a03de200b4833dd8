"""The table of dead letters: what is found, and what is kept."""

import msgspec
import pytest

from core import topics
from core.dead_letters import id_of
from core.topics import DeadLetter
from sinks.records.letters import MAX_AGE_S, LetterBook
from sinks.records.queries import AmbiguousIdError, UnknownIdError
from tests.unit.records_kit import NOW_S, store


def letter(offset: int, *, stage: str = "assemble", size: int = 10) -> DeadLetter:
    return DeadLetter(
        topic=topics.SPANS, partition=3, offset=offset, stage=stage, error="no", error_type="E", value=b"v" * size
    )


def book(*letters: DeadLetter) -> LetterBook:
    made = store().letters
    made.take([(each, int((NOW_S + n) * 1000)) for n, each in enumerate(letters)])
    return made


def test_an_id_may_be_cut_where_it_stays_unique() -> None:
    found = book(letter(4), letter(41), letter(42))
    assert found.detail(id_of(letter(41))).offset == 41
    assert found.detail("spans:3:41").offset == 41
    assert found.detail("spans:3:4").offset == 4
    with pytest.raises(AmbiguousIdError, match="fits more than one dead letter"):
        found.detail("spans:3")
    for unknown in ("", "spans:3:5", "spans:3:%", "tests"):
        with pytest.raises(UnknownIdError):
            found.detail(unknown)


def test_letters_of_one_record_by_two_readers_are_two_that_go_together() -> None:
    found = book(letter(4), letter(4, stage="other"))
    with pytest.raises(AmbiguousIdError):
        found.detail("spans:3:4")
    stored = found.stored(id_of(letter(4)))
    assert set(found.of_same_record(stored)) == {id_of(letter(4)), id_of(letter(4, stage="other"))}


def test_letters_are_listed_by_stage_and_time_the_newest_first() -> None:
    found = book(letter(1), letter(2, stage="sink.webhook"), letter(3))
    assert [row.offset for row in found.latest()] == [3, 2, 1]
    assert [row.offset for row in found.latest(limit=1)] == [3]
    assert [row.offset for row in found.latest(since_s=NOW_S + 1)] == [3, 2]
    assert [row.offset for row in found.latest(stage="webhook")] == [2]
    assert found.latest(stage="sink.webhook") == found.latest(stage="webhook")


def test_the_bytes_come_back_whole() -> None:
    whole = msgspec.structs.replace(letter(1), value=bytes(range(256)), key=b"\0k", headers={"schema": "1"}, build="9")
    found = book(whole)
    assert found.stored(id_of(whole)).letter == whole
    assert (found.detail("spans").value, found.detail("spans").key) == (whole.value, whole.key)


def test_what_is_too_old_too_many_or_too_large_goes_the_oldest_first() -> None:
    found = book(*[letter(n, size=100) for n in range(10)])
    assert found.retain(now_s=NOW_S + 1) == (0, 0)
    assert found.retain(now_s=NOW_S, max_letters=8) == (0, 2)
    assert found.retain(now_s=NOW_S, max_bytes=500) == (0, 3)
    assert [row.offset for row in found.latest()] == [9, 8, 7, 6, 5]
    assert found.retain(now_s=NOW_S + MAX_AGE_S + 7.5) == (3, 0)
    assert [row.offset for row in found.latest()] == [9, 8]
