"""No check, of traces or of sessions, speaks of sound traffic that looks as if something were wrong."""

import functools
from collections.abc import Mapping

import pytest

from core.model.finding import Finding
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.eval.offline import inspect_sessions, versions
from tests.unit.agent_runs import SHAPES, traces_of
from tests.unit.sound_runs import SOUND


@functools.cache
def checks() -> Checks:
    return Checks(ChecksConfig(), Telemetry())


def findings_of(name: str, shape: str) -> list[Finding]:
    """Return what is found in a session, its traces first."""
    found: list[Finding] = []
    answers: dict[str, Mapping[str, str]] = {}
    traces = list(traces_of(SOUND[name], shape))
    for trace in traces:
        inspection = checks().inspect(trace)
        assert "failed" not in inspection.answers.values()
        answers[trace.trace_id] = inspection.answers
        found += inspection.findings
    return found + inspect_sessions(versions(traces, answers))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_what_only_looks_bad(name: str, shape: str) -> None:
    assert [f"{f.check} {f.severity}: {f.title}: {f.rationale}" for f in findings_of(name, shape)] == []
