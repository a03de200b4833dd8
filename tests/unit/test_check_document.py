"""docs/checks.md says what the code does."""

from pathlib import Path

from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.document import page
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"


def test_the_page_is_what_the_code_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m detector.checks.document docs/checks.md"


def test_every_check_tells_its_conditions_and_what_it_does_not_report() -> None:
    for check in (*DEFAULT_CHECKS, *DEFAULT_SESSION_CHECKS):
        assert "hold" in check.conditions, check.name
        assert "Not findings:" in check.conditions, check.name
        assert "Severity" in check.conditions, check.name
        assert check.declares_needs, f"{check.name}: say `needs: tuple[Need, ...] = (…)`, () where it needs nothing"
        assert all(field.description for field in check.config.model_fields.values()), check.name
