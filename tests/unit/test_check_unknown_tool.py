"""unknown_tool: names that no tool has, and names that only the telemetry does not know."""

import json

import pytest

from core.model.finding import Severity
from core.model.span import Details, Span, SpanKind, ToolCall
from detector.checks.port import Outcome
from detector.checks.unknown_tool import UnknownTool, UnknownToolConfig
from tests.unit.checks_kit import Story, failed, present

CHECK = UnknownTool(UnknownToolConfig())
OFFERED = Details(tool_definitions=json.dumps([{"name": "get_weather", "parameters": {"type": "object"}}]))


def asking(name: str, **facts: object) -> tuple[Story, Span]:
    story = Story()
    root = story.root()
    called = present("", ToolCall(name=name, call_id="c1", arguments="{}"))
    return story, story.llm(root.span_id, **{"details": OFFERED, "output": called, **facts})


def told(story: Story, text: str) -> Span:
    messages = [{"role": "tool", "tool_call_id": "c1", "content": text}]
    return story.llm(story.spans[0].span_id, input=present(json.dumps(messages)), output=present("well"))


def test_a_name_that_was_not_offered_is_found_on_the_span_that_asked() -> None:
    story, llm = asking("book_train")
    after = told(story, "Error: no such tool")
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (llm.span_id, after.span_id)
    assert finding.title == "A tool is called that does not exist: book_train"
    assert "get_weather" in finding.rationale


@pytest.mark.parametrize(
    "text",
    [
        "Error: book_train is not a valid tool, try one of [get_weather].",
        "Unknown tool name: 'book_train'. Available tools: 'get_weather'",
        "Invoking `book_train()` failed as no tool with that name is available.",
        "Model tried to call unavailable tool 'book_train'.",
        "Tool book_train not found in agent travel",
        "Error: KeyError: 'book_train'",
    ],
)
def test_without_definitions_the_words_of_frameworks_tell(text: str) -> None:
    story, _ = asking("book_train", details=Details())
    told(story, text)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.MEDIUM


def test_the_failed_span_of_the_tool_tells_too() -> None:
    story, llm = asking("book_train", details=Details())
    called = ToolCall(name="book_train", call_id="c1")
    tool = story.add(SpanKind.TOOL, tool=called, error=failed("Unknown tool: book_train"))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (llm.span_id, tool.span_id)


def test_without_definitions_and_words_the_answer_is_unknown() -> None:
    story, _ = asking("book_train", details=Details())
    told(story, "done")
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN


def test_definitions_that_may_be_cut_are_unknown() -> None:
    story, _ = asking("book_train", dropped_attributes=3)
    told(story, "done")
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN


def test_an_answer_that_is_no_error_shows_that_the_tool_exists() -> None:
    story, _ = asking("transfer_to_sales")
    told(story, "Transferred to sales.")
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_name_that_was_not_offered_is_low_where_nothing_tells_how_the_call_ended() -> None:
    story, _ = asking("book_train")
    story.llm(story.spans[0].span_id, output=present("well"))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW


def test_an_error_of_another_key_is_none() -> None:
    story, _ = asking("get_weather")
    told(story, "Error: KeyError: 'city'")
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_tool_that_ran_a_structured_answer_and_the_last_word_are_none() -> None:
    story, _ = asking("web_search")
    story.tool("web_search", output=present("found"))
    story.llm()
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story, _ = asking("final_result")
    story.llm()
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story, _ = asking("TravelPlan")
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    "words", ["Tool not found: {'tool_name': 'book_train'}", "No ToolCallback found for tool name: book_train"]
)
def test_a_step_that_fails_by_the_missing_tool_is_the_answer(words: str) -> None:
    story, llm = asking("book_train", details=Details())
    step = story.add(error=failed(message=words))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (llm.span_id, step.span_id)


def test_a_tool_span_that_only_says_that_there_is_no_such_tool_did_not_run() -> None:
    story, _ = asking("book_train")
    story.tool("book_train", output=present("Error: book_train is not a valid tool, try one of [get_weather]."))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


@pytest.mark.parametrize(
    "text",
    [
        "Error: function 'total' not found in orders.py",
        "Tool not found errors explained\n" + "When an agent calls a tool … " * 30,
    ],
)
def test_what_a_tool_could_not_find_is_another_matter(text: str) -> None:
    story, _ = asking("search_symbols", details=Details())
    told(story, text)
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN


def test_more_tools_than_are_read_tell_of_none() -> None:
    offered = Details(tool_definitions=json.dumps([{"name": f"tool_{n}"} for n in range(2_001)]))
    story, _ = asking("book_train", details=offered)
    story.llm(story.spans[0].span_id, output=present("well"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.UNKNOWN
