"""repeated_tool_call: loops, and what merely looks like one."""

import json

import pydantic
import pytest

from core.model.finding import FindingKind, Severity
from core.model.span import Content, SpanKind, ToolCall
from detector.checks.asked_calls import canonical
from detector.checks.port import Outcome
from detector.checks.repeated_tool_call import RepeatedToolCall, RepeatedToolCallConfig
from tests.unit.checks_kit import Story, failed, present

CHECK = RepeatedToolCall(RepeatedToolCallConfig())
ARGUMENTS = '{"city": "Lisbon", "unit": "celsius"}'
SHUFFLED = '{"unit":"celsius","city":"Lisbon"}'


def calls(count: int, *, arguments: str = ARGUMENTS, results: list[str] | None = None, **facts: object) -> Story:
    story = Story()
    root = story.root()
    for n in range(count):
        output = present(results[n]) if results else Content()
        story.tool("get_weather", root.span_id, arguments=arguments, **{"output": output, **facts})
    return story


def test_three_equal_calls_with_equal_results_are_a_loop() -> None:
    story = calls(3, results=["21"] * 3)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.kind is FindingKind.PATTERN
    assert finding.severity is Severity.MEDIUM
    assert finding.span_ids == tuple(span.span_id for span in story.spans[1:])
    assert finding.title == "get_weather is called again and again with the same arguments"
    assert "3 times" in finding.rationale


def test_arguments_are_compared_by_value() -> None:
    story = calls(2, results=["21"] * 2)
    story.tool("get_weather", story.spans[0].span_id, arguments=SHUFFLED, output=present("21"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND
    assert canonical(ARGUMENTS) == canonical(SHUFFLED)
    assert canonical(" not json ") == "not json"


def test_results_that_were_not_sent_do_not_hide_a_loop() -> None:
    assert CHECK.inspect(calls(3).trace()).outcome is Outcome.FOUND


def test_a_long_loop_is_high_and_its_issue_is_on_the_tool_not_the_arguments() -> None:
    (long,) = CHECK.inspect(calls(12, results=["21"] * 12).trace()).findings
    (other,) = CHECK.inspect(calls(3, arguments='{"city": "Porto"}').trace()).findings
    assert long.severity is Severity.HIGH
    assert long.fingerprint == other.fingerprint


def test_two_calls_are_none() -> None:
    assert CHECK.inspect(calls(2, results=["21"] * 2).trace()).outcome is Outcome.CLEAR


def test_polling_with_a_changing_result_is_none() -> None:
    assert CHECK.inspect(calls(4, results=["queued", "queued", "queued", "done"]).trace()).outcome is Outcome.CLEAR


def test_retries_after_errors_are_none() -> None:
    assert CHECK.inspect(calls(5, error=failed()).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(calls(5, results=["Error: backend down"] * 5).trace()).outcome is Outcome.CLEAR


def test_pagination_is_none() -> None:
    story = Story()
    for page in range(5):
        story.tool("list", arguments=json.dumps({"page": page}), output=present("a page"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_arguments_that_were_not_sent_are_unknown() -> None:
    assert CHECK.inspect(calls(5, arguments="").trace()).outcome is Outcome.UNKNOWN


def test_calls_without_arguments_count_only_with_known_results() -> None:
    assert CHECK.inspect(calls(5, arguments="{}").trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(calls(5, arguments="{}", results=["same"] * 5).trace()).outcome is Outcome.FOUND
    assert CHECK.inspect(calls(5, arguments="{}", results=list("abcde")).trace()).outcome is Outcome.CLEAR


def conversation(results: list[str]) -> Story:
    """A bare client: no tool spans, the calls stand in outputs and the results in the next input."""
    story = Story()
    root = story.root()
    messages: list[dict[str, object]] = [{"role": "user", "content": "weather?"}]
    for n, result in enumerate(results):
        call = ToolCall(name="get_weather", call_id=f"c{n}", arguments=ARGUMENTS)
        asked = {"id": f"c{n}", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
        story.llm(root.span_id, input=present(json.dumps(messages)), output=present("", call))
        messages += [
            {"role": "assistant", "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": result},
        ]
    story.llm(root.span_id, input=present(json.dumps(messages)), output=present("done"))
    return story


def test_without_tool_spans_the_calls_that_models_ask_for_are_read() -> None:
    assert CHECK.inspect(conversation(["21"] * 3).trace()).outcome is Outcome.FOUND
    assert CHECK.inspect(conversation(["20", "21", "22"]).trace()).outcome is Outcome.CLEAR
    assert CHECK.inspect(conversation(["Error: down"] * 3).trace()).outcome is Outcome.CLEAR


def test_arguments_sent_as_the_input_of_a_tool_span_count() -> None:
    story = Story()
    for _ in range(3):
        story.tool("get_weather", input=present(ARGUMENTS), output=present("21"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_the_envelope_of_a_result_does_not_make_it_another_one() -> None:
    story = Story()
    for n in range(3):
        envelope = {"type": "tool", "data": {"content": "21", "tool_call_id": f"c{n}"}}
        story.tool("get_weather", arguments=ARGUMENTS, output=present(json.dumps(envelope)))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_a_wrapper_that_repeats_a_call_counts_once() -> None:
    story = Story()
    for n in range(2):
        call = ToolCall(name="get_weather", call_id=f"c{n}", arguments=ARGUMENTS)
        wrapper = story.llm(output=present("", call))
        story.llm(wrapper.span_id, output=present("", call))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"`high_repeats` \(2\)"):
        RepeatedToolCallConfig(min_repeats=3, high_repeats=2)


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("sleep", '{"seconds": 5}', "slept"),
        ("browserClick", '{"ref": "e5"}', "ok"),
        ("computer", '{"action": "screenshot"}', "[image]"),
        ("page_down", "{}", "ok"),
        ("get_build", '{"id": 7}', '{"state": "in_progress"}'),
    ],
)
def test_what_acts_anew_or_polls_may_repeat_until_it_does_so_too_often(tool: str, arguments: str, result: str) -> None:
    story = Story()
    root = story.root()
    for _ in range(9):
        story.tool(tool, root.span_id, arguments=arguments, output=present(result))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.tool(tool, root.span_id, arguments=arguments, output=present(result))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW


def test_agents_that_look_up_the_same_each_repeat_nothing() -> None:
    story = Story()
    root = story.root()
    for _ in range(4):
        worker = story.add(SpanKind.AGENT, "worker", parent=root.span_id)
        story.tool("get_policy", worker.span_id, arguments='{"id": 1}', output=present("be kind"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_an_id_that_every_message_uses_again_is_of_another_call() -> None:
    """Gemini's calls have none, and OpenTelemetry numbers them within a message."""
    story = Story()
    root = story.root()
    for _ in range(3):
        call = ToolCall(name="get_weather", call_id="get_weather_0", arguments=ARGUMENTS)
        story.llm(root.span_id, output=present("", call))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_words_that_a_poll_is_told_are_none_in_a_page() -> None:
    page = (
        "Running shoes of every size are still in stock in the old building at the square, waiting for you to come by."
    )
    story = Story()
    root = story.root()
    for _ in range(3):
        story.tool("search_shop", root.span_id, arguments='{"q": "shoes"}', output=present(page))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND
