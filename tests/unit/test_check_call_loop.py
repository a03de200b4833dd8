"""call_loop: turns that get nowhere, and turns that do."""

from typing import Any

import pytest

from core.model.finding import FindingKind, Severity
from core.model.span import FinishReason, SpanKind, ToolCall, Usage
from detector.checks.call_loop import CallLoop, CallLoopConfig
from detector.checks.made_calls import runs_of
from detector.checks.port import Outcome
from detector.checks.repeated_tool_call import RepeatedToolCall, RepeatedToolCallConfig
from tests.unit.checks_kit import Story, failed, present

CHECK = CallLoop(CallLoopConfig())
REPEATED = RepeatedToolCall(RepeatedToolCallConfig())


def turns(names: str, rounds: int, **facts: Any) -> Story:
    """A story in which the tools named by single letters are called in order, round after round."""
    story = Story()
    root = story.root()
    for _ in range(rounds):
        for name in names:
            story.tool(name, root.span_id, **{"arguments": f'{{"of": "{name}"}}', "output": present("same"), **facts})
    return story


@pytest.mark.parametrize("names", ["ab", "abc", "aab"])
def test_two_or_three_calls_in_turns_are_one_report_of_this_check(names: str) -> None:
    story = turns(names, rounds=3)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.kind is FindingKind.PATTERN
    assert finding.severity is Severity.MEDIUM
    assert finding.span_ids == tuple(span.span_id for span in story.spans[1:])
    assert REPEATED.inspect(story.trace()).outcome is Outcome.CLEAR


def test_one_call_over_and_over_is_left_to_the_other_check() -> None:
    story = turns("a", rounds=9)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    assert REPEATED.inspect(story.trace()).outcome is Outcome.FOUND


def test_the_issue_is_the_same_wherever_the_loop_begins_and_long_ones_are_high() -> None:
    (one,) = CHECK.inspect(turns("ab", rounds=3).trace()).findings
    (other,) = CHECK.inspect(turns("ba", rounds=10).trace()).findings
    assert one.fingerprint == other.fingerprint
    assert other.severity is Severity.HIGH
    assert one.title == "a and b take turns again and again with the same arguments"


def test_two_rounds_are_none() -> None:
    assert CHECK.inspect(turns("abc", rounds=2).trace()).outcome is Outcome.CLEAR


def test_failed_calls_and_error_texts_are_none() -> None:
    assert CHECK.inspect(turns("ab", rounds=4, error=failed()).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(turns("ab", rounds=4, output=present("Error: down")).trace()).outcome is Outcome.CLEAR


def test_changing_results_or_arguments_are_none() -> None:
    story = Story()
    for n in range(4):
        story.tool("poll", arguments="{}", output=present(f"{n} %"))
        story.tool("wait", arguments='{"s": 5}', output=present("done"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story = Story()
    for n in range(4):
        story.tool("list", arguments=f'{{"page": {n}}}')
        story.tool("wait", arguments='{"s": 5}')
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_arguments_that_were_not_sent_are_unknown() -> None:
    assert CHECK.inspect(turns("ab", rounds=4, arguments="").trace()).outcome is Outcome.UNKNOWN


def test_without_tool_spans_the_calls_that_models_ask_for_are_read() -> None:
    story = Story()
    for n in range(6):
        call = ToolCall(name="ab"[n % 2], call_id=f"c{n}", arguments='{"x": 1}')
        story.llm(output=present("", call))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def hand_offs(words: list[str]) -> Outcome:
    story = Story()
    root = story.root()
    for n, said in enumerate(words):
        story.add(SpanKind.AGENT, parent=root.span_id, agent=("sales", "support")[n % 2], input=present(said))
    return CHECK.inspect(story.trace()).outcome


def test_agents_that_hand_the_same_to_each_other_are_found() -> None:
    assert hand_offs(["take this", "no, you"] * 3) is Outcome.FOUND
    assert hand_offs(["take this", "no, you"] * 2) is Outcome.CLEAR


def test_agents_that_talk_in_turns_are_none() -> None:
    assert hand_offs([f"word {n}" for n in range(8)]) is Outcome.CLEAR
    assert hand_offs([""] * 8) is Outcome.CLEAR


def blind(inputs: list[int], outputs: list[int]) -> Story:
    story = Story()
    root = story.root()
    for given, written in zip(inputs, outputs, strict=True):
        usage = Usage(input_tokens=given, output_tokens=written)
        story.llm(root.span_id, usage=usage, finish_reason=FinishReason.TOOL_CALLS)
        story.tool("search", root.span_id)
    return story


def test_calls_alike_in_their_tokens_are_found_where_content_is_off() -> None:
    story = blind([43, 122, 202, 281, 361], [41] * 5)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert len(finding.span_ids) == 5


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([43, 122, 202, 281], [41] * 4),
        ([43, 122, 302, 381, 461], [41] * 5),
        ([43, 122, 202, 281, 361], [41, 41, 40, 41, 41]),
        ([43, 122, 202, 281, 361], [3] * 5),
        ([43, 43, 43, 43, 43], [41] * 5),
    ],
    ids=["too few", "another result", "another answer", "answers of a word", "calls of a batch"],
)
def test_calls_that_differ_are_none(inputs: list[int], outputs: list[int]) -> None:
    assert CHECK.inspect(blind(inputs, outputs).trace()).outcome is not Outcome.FOUND


def test_runs_are_the_longest_stretches() -> None:
    assert runs_of(list("xababababy"), 2) == [(1, 9)]
    assert runs_of(list("abab"), 2) == []
    assert runs_of(list("aaaaaaaa"), 2) == []
    assert runs_of([None] * 8, 2) == []
    assert runs_of(list("abcabcabc"), 3) == [(0, 9)]
