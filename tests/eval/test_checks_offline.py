"""The checks over recorded telemetry; skipped where CLEARWATCH_EVAL_DATA does not name the folder of corpora."""

import functools
import gzip
import json
import os
from pathlib import Path

import pytest

from core.model.finding import Finding, FindingKind, Severity
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.eval.offline import read_corpus

DATA = Path(os.environ.get("CLEARWATCH_EVAL_DATA", ""))
pytestmark = pytest.mark.skipif(
    not os.environ.get("CLEARWATCH_EVAL_DATA"), reason="CLEARWATCH_EVAL_DATA does not name a folder of corpora"
)
CLEAN = {"tool", "tools2", "stream", "stream-tool", "responses", "reason", "json", "obj", "rag2", "emb", "resp"}


@functools.cache
def corpus(name: str) -> dict[str, Trace]:
    return read_corpus(DATA / f"{name}.otlp.jsonl.gz")


def findings_of(name: str) -> list[Finding]:
    checks = Checks(ChecksConfig(), Telemetry())
    return [finding for trace in corpus(name).values() for finding in checks.inspect(trace).findings]


def test_two_dialects_of_the_same_runs_give_the_same_findings() -> None:
    one, other = (
        {(f.finding_id, f.fingerprint, f.title, f.severity) for f in findings_of(f"trail-{dialect}.dev")}
        for dialect in ("openinference", "genai")
    )
    assert one == other
    assert one


@pytest.mark.parametrize("name", ["trail-openinference.dev", "trail-genai.dev", "nezha-ts.dev", "tau-airline.dev"])
def test_every_deepest_failure_is_the_culprit_of_exactly_one_fault(name: str) -> None:
    faults = [(f.trace_id, f.span_ids[0]) for f in findings_of(name) if f.kind is FindingKind.FAULT]
    assert len(faults) == len(set(faults))
    deepest = {(trace.trace_id, span.span_id) for trace in corpus(name).values() for span in trace.leaf_faults}
    assert deepest <= set(faults)


def test_one_exception_of_one_tool_in_many_traces_is_one_issue() -> None:
    found = [f for f in findings_of("trail-genai.dev") if f.target == "page_down"]
    assert len({f.trace_id for f in found}) == 14
    assert len({f.fingerprint for f in found}) == 1


def test_sound_sessions_carry_no_alarm_above_low() -> None:
    text = gzip.decompress((DATA / "tau-airline.dev.labels.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    sound = {row["session_id"] for row in rows if row.get("success")}
    alarms = [f for f in findings_of("tau-airline.dev") if f.session_id in sound and f.severity is not Severity.LOW]
    assert alarms == []


@pytest.mark.parametrize("name", ["genai_openai", "openai_v2", "openinference_openai", "openinference_langgraph"])
def test_clean_scenarios_carry_no_alarm(name: str) -> None:
    text = (DATA / "dialects" / f"{name}.labels.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    clean = {row["trace_id"] for row in rows if row["scenario"] in CLEAN}
    assert clean
    assert [f.title for f in findings_of(f"dialects/{name}") if f.trace_id in clean] == []
