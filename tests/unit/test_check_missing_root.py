"""missing_root: lost spans, and parents that were never ours to see."""

import pytest

from core.model.finding import Severity
from core.model.span import SpanKind
from core.model.trace import CloseReason
from detector.checks.missing_root import MissingRoot, MissingRootConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story

CHECK = MissingRoot(MissingRootConfig())
LOST = "ffffffffffffffff"


def outcome(story: Story, **facts: object) -> Outcome:
    return CHECK.inspect(story.trace(**facts)).outcome


def test_inner_spans_without_their_parent_are_found() -> None:
    story = Story()
    llm = story.llm(LOST)
    tool = story.tool("search", LOST)
    (finding,) = CHECK.inspect(story.trace(close_reason=CloseReason.IDLE)).findings
    assert finding.severity is Severity.LOW
    assert finding.title == "Traces arrive without their root"
    assert finding.span_ids == (llm.span_id, tool.span_id)
    assert "2 of 2 spans name 1 parent" in finding.rationale


def test_one_issue_for_a_service_whatever_the_orphans_are() -> None:
    one, other = Story(), Story()
    one.llm(LOST)
    other.tool("search", LOST)
    (a,), (b,) = CHECK.inspect(one.trace()).findings, CHECK.inspect(other.trace()).findings
    assert a.fingerprint == b.fingerprint


def test_an_orphan_of_the_roots_service_is_found_beside_the_root() -> None:
    story = Story()
    story.root()
    story.add(SpanKind.CHAIN, parent=LOST)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "Traces arrive with spans missing"


def test_a_whole_trace_is_clear() -> None:
    story = Story()
    story.llm(story.root().span_id)
    assert outcome(story) is Outcome.CLEAR


@pytest.mark.parametrize("kind", [SpanKind.HTTP, SpanKind.RPC])
def test_the_entry_of_a_request_with_a_remote_parent_is_normal(kind: SpanKind) -> None:
    story = Story()
    entry = story.add(kind, "POST /chat", parent=LOST)
    story.llm(entry.span_id)
    assert outcome(story, close_reason=CloseReason.IDLE) is Outcome.CLEAR


def test_another_service_behind_a_silent_proxy_is_normal() -> None:
    story = Story()
    story.root()
    story.add(SpanKind.UNKNOWN, "reserve", parent=LOST, service="booking")
    assert outcome(story) is Outcome.CLEAR


def test_an_agent_without_a_parent_may_have_one_elsewhere() -> None:
    story = Story()
    story.add(SpanKind.AGENT, parent=LOST)
    assert outcome(story, close_reason=CloseReason.IDLE) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "facts",
    [
        {"is_final": False, "close_reason": CloseReason.PROVISIONAL},
        {"is_fragment": True},
        {"close_reason": CloseReason.SIZE},
        {"close_reason": CloseReason.AGE},
    ],
)
def test_a_trace_that_is_not_whole_says_nothing_of_absence(facts: dict[str, object]) -> None:
    story = Story()
    story.llm(LOST)
    assert outcome(story, **facts) is Outcome.UNKNOWN


def test_the_root_that_mlflows_client_loses_on_every_trace_is_not_missed() -> None:
    story = Story(dialect="mlflow")
    story.llm("00000000000000ff")
    assert CHECK.inspect(story.trace()).outcome is not Outcome.FOUND
    root = story.root()
    story.llm(root.span_id)
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_what_langfuses_exporter_leaves_out_is_not_missed() -> None:
    story = Story(scope="langfuse-sdk")
    story.llm(LOST)
    assert outcome(story) is Outcome.UNKNOWN
