"""The breaker, and how a letter is named and made."""

from core import topics
from core.dead_letters import Breaker, id_of, letter_of, letters_in, record_of
from core.log.port import StoredRecord

RECORD = StoredRecord(topic=topics.FINDINGS, partition=3, offset=41, log_time_ms=1, value=b"v", key=b"k")


def opened_at(step: int) -> int | None:
    """Return the offset at which a failure every `step` records opens a breaker, of a hundred thousand."""
    breaker = Breaker()
    return next((offset for offset in range(0, 100_000, step) if not breaker.takes(offset)), None)


def test_a_hundred_in_a_row_are_taken_and_no_more() -> None:
    assert opened_at(1) == 100


def test_more_than_one_in_a_hundred_opens_within_ten_thousand_records() -> None:
    assert opened_at(99) == 99 * 100
    assert opened_at(10) == 10 * 100


def test_one_in_a_hundred_never_opens() -> None:
    assert opened_at(100) is None


def test_repeats_do_not_count() -> None:
    breaker = Breaker()
    assert all(breaker.takes(offset) for _ in range(50) for offset in range(100))
    assert not breaker.takes(100)
    assert breaker.takes(50)


def test_order_does_not_matter() -> None:
    breaker = Breaker()
    assert all(breaker.takes(offset) for offset in range(100, 0, -1))
    assert not breaker.takes(0)
    assert breaker.takes(20_000)


def test_the_reason_tells_a_row_from_a_rate() -> None:
    row, rate = Breaker(), Breaker()
    for n in range(100):
        row.takes(n)
        rate.takes(n * 3)
    assert row.why("records").startswith("100 records in a row failed, so it is no fault of theirs")
    assert rate.why("records").startswith("more than 100 of the last 10,000 records failed")


def test_a_letter_keeps_its_id_and_others_of_the_same_record_have_another() -> None:
    first = letter_of(RECORD, stage="records", error=ValueError("no"))
    again = letter_of(RECORD, stage="records", error=TypeError("other"))
    other = letter_of(RECORD, stage="issues", error=ValueError("no"))
    assert id_of(first) == id_of(again) != id_of(other)
    assert id_of(first).startswith("findings:3:41:")
    assert letters_in([record_of(first), record_of(other)]) == [first, other]


def test_an_error_that_no_database_takes_is_made_to_fit() -> None:
    letter = letter_of(RECORD, stage="records", error=ValueError("a\x00b\ud800" + "c" * 9_000))
    assert letter.error.startswith("a\ufffdb?c")
    assert len(letter.error) == 2_000
