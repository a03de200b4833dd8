"""Every labelled corpus goes through `send` without a crash, a lost span or a dead letter."""

import os
from pathlib import Path
from typing import Any

import pytest

from clearwatch import sending
from tests.e2e.harness import Up

DATA = os.environ.get("CLEARWATCH_EVAL_DATA", "")
CORPORA = (
    sorted(Path(DATA).glob("*.dev.otlp.jsonl.gz")) + sorted(Path(DATA).glob("dialects/*.otlp.jsonl.gz")) if DATA else []
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not DATA, reason="CLEARWATCH_EVAL_DATA is not set: no labelled corpora"),
]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Send all corpora to one `up`, and return what came of it."""
    with Up(tmp_path_factory.mktemp("corpora"), CLEARWATCH__DETECTOR__ASSEMBLE__IDLE_S="8").start() as up:
        up.send(*CORPORA)
        return {"status": up.wait_until_idle(timeout_s=400), "findings": up.export("findings")}


def test_no_span_is_lost_and_nothing_is_dead_lettered(result: Any) -> None:
    items = sum(sending.count(request) for path in CORPORA for request in sending.read(path) if "logs" not in path.name)
    assert result["status"]["spans"] == {"received": items, "rejected": 0}
    assert result["status"]["dead_letters"] == 0


def test_both_trail_dialects_give_the_same_issues(result: Any) -> None:
    # the same traces, ids and service in two dialects: sent to one process, the second adds nothing to the first
    trail = {path.name.split(".")[0]: path for path in CORPORA if path.name.startswith("trail-")}
    assert set(trail) == {"trail-genai", "trail-openinference"}
    errors = [f for f in result["findings"] if f["source"] == "rule" and f["kind"] == "fault"]
    assert errors
