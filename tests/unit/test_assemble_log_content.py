"""Real clients that send their content as log records: the same is found whenever it comes."""

import gzip
import os
from pathlib import Path

import pytest

from collector.otlp_json import logs_from_json, traces_from_json
from core import topics
from core.model.finding import Finding
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.eval.scenarios import tally
from tests.properties.assembler_model import World

DATA = Path(os.environ.get("CLEARWATCH_EVAL_DATA", "")) / "dialects"
LOGS = {topics.HEADER_SIGNAL: topics.SIGNAL_LOGS}


def _lines(name: str) -> list[bytes]:
    with gzip.open(DATA / name) as file:
        return file.readlines()


def _run(name: str, *, logs_at_s: float) -> World:
    """Send the spans at 10 s and the log records at another time."""
    world = World(inspector=Checks(ChecksConfig(), Telemetry()))
    spans: list[tuple[float, bytes, dict[str, str]]] = [
        (10.0, traces_from_json(line), {}) for line in _lines(f"{name}.otlp.jsonl.gz")
    ]
    logs = [(logs_at_s, logs_from_json(line), LOGS) for line in _lines(f"{name}.logs.otlp.jsonl.gz")]
    for at_s, value, headers in sorted(spans + logs, key=lambda sent: sent[0]):
        world.append_bytes(at_s, value, **headers)
    return world.run()


@pytest.mark.skipif(not os.environ.get("CLEARWATCH_EVAL_DATA"), reason="CLEARWATCH_EVAL_DATA is not set")
@pytest.mark.parametrize("name", ["openai_v2", "genai_openai_events"])
def test_the_same_is_found_whether_content_comes_before_its_span_or_long_after_the_close(name: str) -> None:
    before, after = _run(name, logs_at_s=0), _run(name, logs_at_s=300)
    assert before.findings() == after.findings()
    assert len(after.versions()) > len(before.versions()) == len(after.final())
    found = [record for record in before.finding_records() if isinstance(record, Finding)]
    standing = [
        {"trace_id": each.trace_id, "check": each.check, "category": str(each.category)}
        for each in found
        if each.finding_id in before.findings()
    ]
    counted = tally(DATA / f"{name}.otlp.jsonl.gz", standing)
    assert not counted.alarmed, counted.alarms
    assert counted.found >= 0.95 * counted.shown, counted.missed
    assert before.telemetry.total("clearwatch.dropped") == after.telemetry.total("clearwatch.dropped") == 0
