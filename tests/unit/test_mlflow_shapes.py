"""Issues as MLflow writes them, 3.17 and 3.18; the latter from its release, never seen on a server."""

import pytest

from sinks.mlflow.client import issue_of
from sinks.mlflow.feedback import is_negative

V317 = {"issue_id": "iss-1", "name": "n", "status": "pending", "created_timestamp": 7, "last_updated_timestamp": 7}
V318 = V317 | {
    "categories": ["cost"],
    "last_seen_timestamp": 9,
    "last_updated_by": "ann",
    "metadata": {"k": "v"},
    "severity": None,
}


@pytest.mark.parametrize("shape", [V317, V318], ids=["3.17", "3.18"])
def test_an_issue_of_either_version_is_read(shape: dict[str, object]) -> None:
    issue = issue_of(shape)
    assert (issue.issue_id, issue.status, issue.severity) == ("iss-1", "pending", "")
    assert issue.created_timestamp == issue.last_updated_timestamp


@pytest.mark.parametrize(
    ("value", "expected"), [(False, True), (True, False), ("No", True), ("great", False), (0, False), (None, False)]
)
def test_only_a_clear_no_is_negative(value: object, expected: bool) -> None:
    assert is_negative(value) is expected
