"""The checks of sessions over recorded telemetry; skipped where CLEARWATCH_EVAL_DATA names no folder of corpora."""

import functools
import gzip
import json
import os
from pathlib import Path

import pytest

from core.model.finding import Finding, Severity
from tests.eval.offline import inspect_sessions, read_corpus, versions

DATA = Path(os.environ.get("CLEARWATCH_EVAL_DATA", ""))
pytestmark = pytest.mark.skipif(
    not os.environ.get("CLEARWATCH_EVAL_DATA"), reason="CLEARWATCH_EVAL_DATA does not name a folder of corpora"
)
# samples that hold a session of several turns whose texts were sent in spans
WITH_TEXT = (
    *("genai_openai", "google_adk", "langfuse_sdk", "mlflow_langgraph", "openinference_langgraph"),
    *("openinference_openai", "pydantic_ai_v5", "strands", "traceloop_openai", "traceloop_openai_v0_40", "vercel_ai"),
)
WITHOUT_TEXT = ("genai_openai_nocontent", "openinference_openai_nocontent")


@functools.cache
def findings_of(name: str) -> list[Finding]:
    return inspect_sessions(versions(read_corpus(DATA / f"{name}.otlp.jsonl.gz").values(), {}))


@pytest.mark.parametrize("name", WITH_TEXT)
def test_a_frustrated_user_is_found_whichever_client_sent_the_session(name: str) -> None:
    assert {finding.check for finding in findings_of(f"dialects/{name}")} >= {"user_frustration"}


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_nothing_is_said_of_texts_that_were_not_sent(name: str) -> None:
    assert not {f.check for f in findings_of(f"dialects/{name}")} - {"abandoned_after_error"}


def test_sound_sessions_are_flagged_more_rarely_than_failed_ones_and_never_above_low() -> None:
    text = gzip.decompress((DATA / "tau-airline.dev.labels.jsonl.gz").read_bytes()).decode()
    sound = {row["session_id"]: row["success"] for row in map(json.loads, text.splitlines())}
    found = findings_of("tau-airline.dev")
    assert {finding.severity for finding in found} <= {Severity.LOW}
    flagged = {finding.session_id for finding in found}
    shares = {
        is_sound: sum(session in flagged for session, known in sound.items() if known is is_sound)
        / sum(known is is_sound for known in sound.values())
        for is_sound in (True, False)
    }
    assert shares[True] < shares[False]
    assert shares[True] <= 0.05
