"""docs/dialects.md is in step with the code, and says of every field of every dialect exactly one thing."""

from pathlib import Path

import pytest

from core.dialects.registry import DIALECTS
from tests.unit.dialect_examples import EXAMPLES
from tests.unit.dialect_table import FIELDS, IN_LOGS, NOT_SENT, NOT_SUPPORTED, NOTES, UNKNOWN, cell, page

_COMMON = ("common", "unknown")


def test_the_page_is_in_step_with_the_code() -> None:
    path = Path(__file__).parents[2] / "docs" / "dialects.md"
    assert path.read_text(encoding="utf-8") == page(), "python -m tests.unit.dialect_table docs/dialects.md"


@pytest.mark.parametrize("dialect", EXAMPLES)
def test_one_thing_is_said_of_every_field(dialect: str) -> None:
    assert {cell(dialect, field) for field in FIELDS} <= {"yes", "–", "logs", "no", "?"}


def test_nothing_is_said_of_what_is_not_there() -> None:
    for told in (NOT_SENT, IN_LOGS, NOT_SUPPORTED, UNKNOWN):
        assert told.keys() <= EXAMPLES.keys()
        assert {field for fields in told.values() for field in fields.split(", ")} <= FIELDS.keys()
    assert NOTES.keys() == EXAMPLES.keys()


def test_every_dialect_has_examples() -> None:
    read = {example.read().dialect for examples in EXAMPLES.values() for example in examples}
    names = {dialect.name for dialect in DIALECTS}
    assert names - read <= {*_COMMON, "traceloop_entities"}


def test_keys_that_are_plain_words_are_claimed_by_no_dialect_for_all_spans() -> None:
    common = {key for dialect in DIALECTS for _, _, keys in dialect.rows for key in keys}
    own = {key for dialect in DIALECTS for _, _, keys in dialect.own_rows for key in keys}
    assert not own & common
