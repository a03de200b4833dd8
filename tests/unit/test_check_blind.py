"""What was not sent, or is longer than is read, is unknown to every check that needs it; and it is counted."""

import json
from collections.abc import Mapping

import pytest

from core.dialects.messages import MAX_CHARS
from core.model.span import Content, ContentState, FinishReason, SpanKind, ToolCall
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, present

NEED_CONTENT = (
    *("tool_failure", "invalid_tool_arguments", "unknown_tool", "repeated_tool_call", "similar_calls"),
    *("announced_call", "skipped_plan", "step_limit", "empty_output", "refusal", "pii_in_output", "secrets_in_output"),
    *("sent_to_third_party", "prompt_injection", "language_mismatch", "canned_answer"),
)
ANSWER = "There are two flights from Lisbon to Madrid tomorrow morning."
QUESTION = "Which flights go from Lisbon to Madrid tomorrow?"
RESULT = "TP1012 at 7:30, IB3107 at 9:05"


def run(
    state: ContentState = ContentState.PRESENT,
    *,
    has_tools: bool = True,
    finish: FinishReason = FinishReason.TOOL_CALLS,
    padding: str = "",
    told: str = RESULT,
) -> Trace:
    """An agent that asks a tool four times, with whatever texts this state leaves."""
    is_sent = state is ContentState.PRESENT

    def said(text: str, *calls: ToolCall) -> Content:
        return present(text, *calls) if is_sent else Content(state=state)

    story = Story()
    root = story.root(input=said(QUESTION), output=said(ANSWER)).span_id
    messages: list[Mapping[str, object]] = [{"role": "user", "content": padding + QUESTION}]
    for number in range(4):
        call = ToolCall(name="search", call_id=f"c{number}", arguments=json.dumps({"from": "LIS", "day": number}))
        story.llm(root, input=said(json.dumps(messages)), output=said("", call), finish_reason=finish)
        if has_tools:
            made = ToolCall(name="search", call_id=call.call_id, arguments=call.arguments if is_sent else "")
            story.add(SpanKind.TOOL, "execute_tool search", parent=root, tool=made, output=said(RESULT))
        function = {"name": call.name, "arguments": call.arguments}
        asked = {"id": call.call_id, "type": "function", "function": function}
        messages += [
            {"role": "assistant", "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": call.call_id, "content": told},
        ]
    last = said(json.dumps(messages))
    story.llm(root, input=last, output=said(ANSWER), finish_reason=finish and FinishReason.STOP)
    return story.trace()


def answers(trace: Trace, telemetry: Telemetry | None = None) -> Mapping[str, str]:
    return Checks(ChecksConfig(), telemetry or Telemetry()).inspect(trace).answers


@pytest.mark.parametrize("finish", [FinishReason.TOOL_CALLS, FinishReason.UNKNOWN])
@pytest.mark.parametrize("state", [ContentState.ABSENT, ContentState.REDACTED, ContentState.IN_LOGS])
def test_a_check_that_needs_content_is_never_clear_where_none_was_sent(
    state: ContentState, finish: FinishReason
) -> None:
    given = answers(run(state, finish=finish))
    assert [name for name in NEED_CONTENT if given[name] != "unknown"] == []


@pytest.mark.parametrize(
    "check", ["tool_failure", "invalid_tool_arguments", "unknown_tool", "repeated_tool_call", "prompt_injection"]
)
def test_nor_where_no_span_tells_of_the_tools_that_models_asked_for(check: str) -> None:
    assert answers(run(ContentState.ABSENT, has_tools=False))[check] == "unknown"
    assert answers(run(has_tools=False))[check] == ("clear" if check != "unknown_tool" else "unknown")


def test_a_conversation_longer_than_is_read_hides_what_tools_said_and_is_counted() -> None:
    telemetry = Telemetry()
    assert answers(run(has_tools=False, told="Error: upstream timeout"), telemetry)["tool_failure"] == "found"
    assert telemetry.total("clearwatch.dropped", reason="conversation_not_read") == 0
    long = run(has_tools=False, told="Error: upstream timeout", padding="x " * (MAX_CHARS // 2))
    given = answers(long, telemetry)
    assert (given["tool_failure"], given["prompt_injection"]) == ("unknown", "unknown")
    assert telemetry.total("clearwatch.dropped", reason="conversation_not_read") == 5


def test_a_flattened_conversation_longer_than_is_read_is_counted_too() -> None:
    story, telemetry = Story(), Telemetry()
    pairs = (b"llm.input_messages.0.message.content" + b"x" * MAX_CHARS, b"")
    story.llm(input=Content(state=ContentState.PRESENT, flat=pairs), output=present(ANSWER))
    answers(story.trace(), telemetry)
    assert telemetry.total("clearwatch.dropped", reason="conversation_not_read") == 1


def test_arguments_longer_than_are_read_are_unknown() -> None:
    story = Story()
    call = ToolCall(name="write", call_id="c", arguments='{"text": "' + "x" * 300_000)
    story.llm(output=present("", call), finish_reason=FinishReason.TOOL_CALLS)
    assert answers(story.trace())["invalid_tool_arguments"] == "unknown"


def test_calls_beyond_those_that_are_compared_are_unknown() -> None:
    story = Story()
    for number in range(61):
        story.tool("search", arguments=json.dumps({"page": number}), output=present(RESULT))
    assert answers(story.trace())["similar_calls"] == "unknown"
