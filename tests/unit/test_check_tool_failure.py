"""tool_failure: by status, and by what the result says."""

import json

import pytest

from core.model.finding import Finding, Severity
from core.model.span import Content, ContentState, SpanKind, ToolCall
from core.model.trace import Trace
from detector.checks.failed_span import FailedSpan, FailedSpanConfig
from detector.checks.port import Outcome
from detector.checks.tool_failure import ToolFailure, ToolFailureConfig
from detector.checks.tool_text import error_text
from tests.unit.checks_kit import Story, failed, present

CHECK = ToolFailure(ToolFailureConfig())


def only(trace: Trace) -> Finding:
    (finding,) = CHECK.inspect(trace).findings
    return finding


def test_a_failed_tool_span_is_found_under_its_own_name() -> None:
    story = Story()
    call = story.tool("PageDownTool", story.root().span_id, error=failed("got an unexpected argument 'page'"))
    finding = only(story.trace())
    assert finding.title == "PageDownTool fails with TypeError"
    assert finding.span_ids == (call.span_id,)
    assert finding.target == "PageDownTool"
    assert "unexpected argument" in finding.rationale


def test_a_tool_that_only_repeats_its_childs_error_is_not_reported() -> None:
    story = Story()
    tool = story.tool("search", story.root().span_id, error=failed())
    story.add(SpanKind.HTTP, "GET", parent=tool.span_id, error=failed())
    assert CHECK.inspect(story.trace()).outcome is not Outcome.FOUND


def test_the_same_tool_succeeding_later_makes_it_low_and_another_tool_does_not() -> None:
    story = Story()
    root = story.root()
    story.tool("search", root.span_id, error=failed())
    story.tool("visit", root.span_id, output=present("a page"))
    assert only(story.trace()).severity is Severity.MEDIUM
    story.tool("search", root.span_id, output=present("hits"))
    assert only(story.trace()).severity is Severity.LOW


ERRORS = [
    "Error: user not found",
    "ERROR: disk full",
    "Error executing tool get_weather: backend down",
    "Error code: 503 - upstream",
    "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'",
    "requests.exceptions.HTTPError: 404 Client Error",
    "ValueError: bad city",
    "Failed to execute get_weather",
    "status: error",
    "<tool_use_error>File does not exist</tool_use_error>",
    "Tool 'fly_me' not found",
    "fly_me is not a valid tool, try one of [search].",
    json.dumps({"error": "no such user"}),
    json.dumps({"error": {"code": 500, "message": "backend down"}}),
    json.dumps({"isError": True, "content": [{"type": "text", "text": "backend down"}]}),
    json.dumps({"status": "error", "message": "backend down"}),
    json.dumps({"errors": [{"message": "field x is unknown"}], "data": None}),
    json.dumps({"error": True, "detail": "backend down"}),
]
RESULTS = [
    "",
    "   ",
    "No flights found.",
    "How to handle an error: read the log first.",
    "The documentation of ValueError: it is raised where …",
    "Errors in Python are exceptions.",
    "Failed flights of the week",
    '[{"error": "in a list of records"}]',
    json.dumps({"error": None, "result": 3}),
    json.dumps({"error": "", "result": 3}),
    json.dumps({"error": 0.05, "mean": 3}),
    json.dumps({"errors": []}),
    json.dumps({"status": "ok"}),
    json.dumps({"isError": False, "content": []}),
    json.dumps({"records": [{"status": "error", "error": "an old one"}]}),
    json.dumps({"log": "x" * 5000, "error": "far down is data"}),
    '{"error": "not json',
]


@pytest.mark.parametrize("text", ERRORS)
def test_a_result_that_is_an_error_message_is_found(text: str) -> None:
    story = Story()
    story.tool("search", story.root().span_id, output=present(text))
    finding = only(story.trace())
    assert finding.title.startswith("search returns an error")


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("Error: not enough seats on flight HAT290", Severity.LOW),
        ('{"error": "no such user"}', Severity.LOW),
        ("Error: WeatherError: backend down", Severity.MEDIUM),
        ("Error: backend returned HTTP 503", Severity.MEDIUM),
        ("Error: connection refused", Severity.MEDIUM),
        ("Error: user is not authorized to change this order: forbidden", Severity.LOW),
        ("Error: gift card credit balance is too low", Severity.LOW),
        ("Error: billing address does not match", Severity.LOW),
        ("Error: the cabin is at capacity", Severity.LOW),
        ("Error: unauthorized, the API key has expired", Severity.MEDIUM),
        ("401 Client Error: Unauthorized for url: https://a.test", Severity.MEDIUM),
    ],
)
def test_a_tool_that_says_no_is_low_and_a_broken_one_medium(text: str, severity: Severity) -> None:
    story = Story()
    root = story.root()
    story.tool("search", root.span_id, output=present(text))
    assert only(story.trace()).severity is severity
    assert only(story.trace()).publish_at_once is (severity is Severity.MEDIUM)
    story.tool("search", root.span_id, output=present("hits"))
    assert only(story.trace()).severity is Severity.LOW


def test_a_serialised_message_is_opened() -> None:
    envelope = {"type": "tool", "data": {"content": "no such city", "tool_call_id": "c1", "status": "error"}}
    assert error_text(json.dumps(envelope)) == "no such city"
    envelope["data"] = {"content": "Error: backend down", "tool_call_id": "c2", "status": "success"}
    assert error_text(json.dumps(envelope)) == "Error: backend down"
    envelope["data"] = {"content": "21 degrees", "tool_call_id": "c3", "status": "success"}
    assert error_text(json.dumps(envelope)) is None


@pytest.mark.parametrize("text", RESULTS)
def test_a_result_that_speaks_of_errors_is_none(text: str) -> None:
    story = Story()
    story.tool("search", story.root().span_id, output=present(text))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_the_message_is_taken_out_of_the_object_that_holds_it() -> None:
    assert error_text(json.dumps({"error": {"code": 500, "message": "backend down"}})) == "backend down"
    assert error_text(json.dumps({"isError": True, "content": [{"type": "text", "text": "gone"}]})) == "gone"


def test_one_fault_is_one_fingerprint_whether_the_span_failed_or_its_text_says_so() -> None:
    by_status, by_text = Story(), Story()
    by_status.tool("search", error=failed("backend down", error_type="app.WeatherError"))
    by_text.tool("search", output=present("Error: WeatherError: backend down"))
    assert only(by_status.trace()).fingerprint == only(by_text.trace()).fingerprint


@pytest.mark.parametrize("state", [ContentState.ABSENT, ContentState.REDACTED, ContentState.IN_LOGS])
def test_without_results_the_answer_is_unknown(state: ContentState) -> None:
    story = Story()
    story.tool("search", output=Content(state=state))
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN


def test_a_result_that_was_cut_can_still_be_read_at_its_start() -> None:
    story = Story()
    story.tool("search", output=Content(state=ContentState.TRUNCATED, text="Error: backend do"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


CHAT = [
    {"role": "user", "content": "Error: is this a tool's message? no"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "search", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "Error: WeatherError: backend down"},
]
PARTS = [
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "search", "arguments": {}}]},
    {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c1", "response": "Error: WeatherError: backend down"}],
    },
]


LANGCHAIN = {
    "messages": [
        [
            {"lc": 1, "id": ["AIMessage"], "kwargs": {"content": "", "tool_calls": [{"name": "search", "id": "c1"}]}},
            {
                "lc": 1,
                "id": ["ToolMessage"],
                "kwargs": {"content": "Error: WeatherError: backend down", "type": "tool", "tool_call_id": "c1"},
            },
        ]
    ]
}


@pytest.mark.parametrize("messages", [CHAT, PARTS, {"model": "m", "messages": CHAT}, LANGCHAIN])
def test_without_tool_spans_the_next_models_input_tells(messages: object) -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, output=present("", ToolCall(name="search", call_id="c1", arguments="{}")))
    told = story.llm(root.span_id, input=present(json.dumps(messages)))
    story.llm(root.span_id, input=present(json.dumps(messages)))
    finding = only(story.trace())
    assert finding.span_ids[0] == told.span_id
    assert finding.title == "search returns an error: WeatherError"
    assert finding.target == "search"


def test_with_tool_spans_messages_are_not_read_a_second_time() -> None:
    story = Story()
    root = story.root()
    story.tool("search", root.span_id, error=failed())
    story.llm(root.span_id, input=present(json.dumps(CHAT)))
    assert len(CHECK.inspect(story.trace()).findings) == 1


def test_a_failure_of_an_earlier_turn_is_not_told_again() -> None:
    history = [
        *CHAT,
        {"role": "assistant", "content": "The weather service is down; shall I try again?"},
        {"role": "user", "content": "no, thank you"},
    ]
    later = Story()
    later.llm(later.root().span_id, input=present(json.dumps(history)))
    assert CHECK.inspect(later.trace()).outcome is Outcome.CLEAR
    # what the user says beside a result answers nothing
    unanswered = Story()
    unanswered.llm(unanswered.root().span_id, input=present(json.dumps([*CHAT, {"role": "user", "content": "well?"}])))
    assert only(unanswered.trace()).title == "search returns an error: WeatherError"


def test_what_a_tool_for_logs_brings_is_no_failure_of_it() -> None:
    story = Story()
    root = story.root()
    story.tool("get_logs", root.span_id, output=present("Traceback (most recent call last):\nKeyError: 'x'"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.tool("get_logs", root.span_id, output=present('{"isError": true, "content": [{"text": "no such service"}]}'))
    assert only(story.trace()).title == "get_logs returns an error"


def test_a_tool_whose_running_step_alone_failed_has_failed() -> None:
    """Claude Code marks the failure on `claude_code.tool.execution`, Codex on the step that dispatches the call."""
    story = Story()
    tool = story.tool("Read", story.root().span_id, arguments='{"file_path": "/a"}')
    story.add(parent=tool.span_id, name="claude_code.tool.execution", error=failed("File does not exist."))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (tool.span_id,)
    assert FailedSpan(FailedSpanConfig()).inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_tool_that_went_on_without_a_step_of_its_own_has_not_failed() -> None:
    story = Story()
    tool = story.tool("research", story.root().span_id, output=present("It is done."))
    story.add(parent=tool.span_id, error=failed())
    assert CHECK.inspect(story.trace()).findings == ()
    assert FailedSpan(FailedSpanConfig()).inspect(story.trace()).outcome is Outcome.FOUND


def test_a_later_step_of_the_same_agent_recovers_and_another_agents_or_a_second_error_does_not() -> None:
    def severities(story: Story) -> list[Severity]:
        return [finding.severity for finding in CHECK.inspect(story.trace()).findings]

    story = Story()
    root = story.root()
    first, second = (story.add(SpanKind.CHAIN, "tools", parent=root.span_id) for _ in range(2))
    story.tool("search", first.span_id, error=failed())
    other = story.add(SpanKind.AGENT, "other", parent=root.span_id)
    story.tool("search", other.span_id, output=present("hits"))
    assert severities(story) == [Severity.MEDIUM]
    story.tool("search", second.span_id, output=present("Error: WeatherError: still down"))
    assert severities(story) == [Severity.MEDIUM, Severity.MEDIUM]
    story.tool("search", second.span_id, output=present("hits"))
    assert severities(story) == [Severity.LOW, Severity.LOW]
