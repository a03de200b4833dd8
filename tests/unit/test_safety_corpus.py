"""The checks of text over the hand-made safety corpus: what must be found, and what only looks like it."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.model.span import Details, Document, SpanKind
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, present

CORPUS = Path(__file__).with_name("safety_corpus.yaml")
OF_TEXT = ("refusal", "pii_in_output", "secrets_in_output", "sent_to_third_party", "prompt_injection")
CASES: list[dict[str, Any]] = yaml.safe_load(CORPUS.read_text(encoding="utf-8").replace("~", ""))


def trace_of(case: dict[str, Any]) -> Trace:
    where, text = case["where"], case["text"]
    story = Story(provider="openai")
    root = story.root(provider="")
    if where == "result":
        story.tool("read_reviews", root.span_id, arguments='{"hotel": 7}', output=present(text), provider="")
    if where == "document":
        found = Details(documents=(Document(document_id="d1", text=text),))
        story.add(SpanKind.RETRIEVER, "search", parent=root.span_id, details=found, output=present("[]"), provider="")
    if where == "argument":
        story.tool("web_search", root.span_id, arguments=text, output=present("nothing"), provider="")
    prompt: list[dict[str, str]] = [
        {"role": "system", "content": text if where == "system" else "You are a travel assistant."},
        {"role": "user", "content": text if where == "user" else case.get("asked", "Tell me about the flight")},
    ]
    if where == "told":
        prompt.append({"role": "tool", "tool_call_id": "c1", "content": text})
    said = text if where == "answer" else "It leaves at nine and costs less."
    story.llm(root.span_id, input=present(json.dumps(prompt)), output=present(said))
    return story.trace()


@functools.cache
def checks() -> Checks:
    return Checks(ChecksConfig(), Telemetry())


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{n}-{case['where']}-{case['text'][:40]!r}" for n, case in enumerate(CASES)]
)
def test_what_is_found_is_what_the_corpus_says(case: dict[str, Any]) -> None:
    inspection = checks().inspect(trace_of(case))
    said = {f.check: str(f.severity) for f in inspection.findings if f.check in OF_TEXT}
    said |= {c: o for c, o in inspection.answers.items() if c in OF_TEXT and o in ("suspicious", "failed")}
    assert said == case.get("expect", {}), case.get("as", "")


@pytest.mark.parametrize("case", [case for case in CASES if "expect" in case], ids=lambda case: repr(case["text"][:40]))
def test_no_report_repeats_what_it_is_about(case: dict[str, Any]) -> None:
    for finding in checks().inspect(trace_of(case)).findings:
        if finding.check in OF_TEXT:
            written = f"{finding.title} {finding.rationale} {finding.fingerprint}"
            runs = [word for word in case["text"].replace('"', " ").split() if sum(map(str.isdigit, word)) >= 5]
            assert not any(run in written for run in runs)
            assert len(finding.title) <= 120
