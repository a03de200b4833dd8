"""invalid_tool_arguments: what a model wrote, and what only looks wrong."""

import json

import pytest

from core.model.finding import Severity
from core.model.span import Content, ContentState, Details, FinishReason, Span, SpanKind, ToolCall
from detector.checks.invalid_tool_arguments import InvalidToolArguments, InvalidToolArgumentsConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story, failed, present

CHECK = InvalidToolArguments(InvalidToolArgumentsConfig())
CUT = '{"city": "Lisbon", "unit": '
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OFFERED = Details(
    tool_definitions=json.dumps([{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}])
)


def asking(arguments: str, **facts: object) -> tuple[Story, Span]:
    story = Story()
    root = story.root()
    call = ToolCall(name="get_weather", call_id="c1", arguments=arguments)
    facts = {"output": present("", call), "finish_reason": FinishReason.TOOL_CALLS, **facts}
    return story, story.llm(root.span_id, **facts)


def outcome(arguments: str, **facts: object) -> Outcome:
    return CHECK.inspect(asking(arguments, **facts)[0].trace()).outcome


def run(story: Story, arguments: str, **facts: object) -> Span:
    called = ToolCall(name="get_weather", call_id="c1", arguments=arguments)
    return story.add(SpanKind.TOOL, "execute_tool get_weather", parent=story.spans[0].span_id, tool=called, **facts)


def test_arguments_that_are_not_json_blame_the_span_that_wrote_them() -> None:
    story, llm = asking(CUT)
    tool = run(story, CUT, error=failed())
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (llm.span_id, tool.span_id)
    assert finding.severity is Severity.MEDIUM
    assert finding.title == "get_weather is called with arguments that are not JSON"


def test_arguments_that_do_not_fit_the_definition_are_found() -> None:
    story, llm = asking('{"town": "Lisbon"}', details=OFFERED)
    run(story, '{"town": "Lisbon"}', error=failed())
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids[0] == llm.span_id
    assert finding.severity is Severity.MEDIUM
    assert "'city' is missing" in finding.rationale


@pytest.mark.parametrize("fails", [True, False])
def test_a_tool_span_without_the_calls_id_is_known_by_its_arguments(*, fails: bool) -> None:
    story, llm = asking('{"town": "Lisbon"}', details=OFFERED)
    facts = {"error": failed()} if fails else {}
    tool = story.tool("get_weather", story.spans[0].span_id, arguments='{"town":"Lisbon"}', **facts)
    found = CHECK.inspect(story.trace()).findings
    assert [f.span_ids for f in found] == ([(llm.span_id, tool.span_id)] if fails else [])


def test_a_tool_that_failed_before_it_took_its_arguments_is_known_by_its_name() -> None:
    story, llm = asking('{"town": "Lisbon"}', details=OFFERED)
    tool = story.tool("get_weather", story.spans[0].span_id, error=failed())
    (found,) = CHECK.inspect(story.trace()).findings
    assert found.span_ids == (llm.span_id, tool.span_id)


def test_a_misfit_that_no_tool_complained_of_is_low() -> None:
    story, _ = asking('{"town": "Lisbon"}', details=OFFERED)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW


def test_a_misfit_with_which_the_tool_ran_is_none() -> None:
    story, _ = asking('{"town": "Lisbon"}', details=OFFERED)
    run(story, '{"town": "Lisbon"}', output=present("21"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_the_definition_may_stand_on_the_agent_above() -> None:
    story = Story()
    root = story.root(details=OFFERED)
    call = ToolCall(name="get_weather", arguments="{}")
    story.llm(root.span_id, output=present("", call))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_schemas_may_be_left_out() -> None:
    check = InvalidToolArguments(InvalidToolArgumentsConfig(check_schemas=False))
    assert check.inspect(asking("{}", details=OFFERED)[0].trace()).outcome is Outcome.CLEAR
    assert check.inspect(asking(CUT)[0].trace()).outcome is Outcome.FOUND


def test_the_error_that_the_next_call_was_told_belongs_to_it() -> None:
    story, llm = asking(CUT)
    told = [{"role": "tool", "tool_call_id": "c1", "content": "Error: JSONDecodeError: Expecting value"}]
    after = story.llm(story.spans[0].span_id, input=present(json.dumps(told)), output=present("sorry"))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (llm.span_id, after.span_id)


def test_a_malformed_call_is_found_by_its_finish_reason() -> None:
    story = Story()
    story.llm(finish_reason=FinishReason.MALFORMED_CALL, output=present(""))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.title == "LLM call to gpt-4o-mini writes a tool call that cannot be read"


def test_a_call_that_langchain_kept_as_invalid_is_found() -> None:
    story = Story()
    kept = {"content": "", "tool_calls": [], "invalid_tool_calls": [{"name": "get_weather", "args": CUT}]}
    chain = story.add(SpanKind.CHAIN, "call_model", output=present(json.dumps(kept)))
    story.llm(chain.span_id, finish_reason=FinishReason.TOOL_CALLS, output=present(""))
    assert CHECK.inspect(story.trace()).outcome is Outcome.FOUND


def test_a_call_that_was_not_sent_is_none() -> None:
    story = Story()
    chain = story.add(SpanKind.CHAIN, "call_model", output=present('{"invalid_tool_calls": []}'))
    story.llm(chain.span_id, finish_reason=FinishReason.TOOL_CALLS, output=present(""))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ('{"city": "Lisbon"}', {"details": OFFERED}),
        (json.dumps('{"city": "Lisbon"}'), {"details": OFFERED}),
        ('{"city": "Lis\nbon"}', {}),
        ("{'city': 'Lisbon', 'days': None}", {}),
        ("print(1)", {}),
        (CUT, {"finish_reason": FinishReason.LENGTH}),
        ('{"text": "' + "x" * 118, {}),
        ('{"text": "abc...', {}),
        ("__REDACTED__", {"details": OFFERED}),
    ],
    ids=[
        "sound",
        "JSON in a string",
        "a line break in a string",
        "Python's text of a dict",
        "free text for an unknown tool",
        "cut by the token limit",
        "cut by a limit of 128 characters",
        "marked as cut",
        "redacted",
    ],
)
def test_none(arguments: str, facts: dict[str, object]) -> None:
    assert outcome(arguments, **facts) is Outcome.CLEAR


def test_text_that_is_no_json_is_found_where_the_tool_takes_properties() -> None:
    assert outcome("Lisbon", details=OFFERED) is Outcome.FOUND


def test_garbled_telemetry_of_a_call_that_ran_is_none() -> None:
    story, _ = asking(CUT)
    run(story, '{"city": "Lisbon"}', output=present("21"))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_arguments_that_were_not_sent_are_unknown() -> None:
    assert outcome("") is Outcome.UNKNOWN
    assert outcome("", output=Content(state=ContentState.REDACTED)) is Outcome.UNKNOWN


def test_a_definition_that_cannot_be_followed_to_its_end_is_unknown() -> None:
    endless = {"type": "object", "properties": {"city": {"$ref": "#/properties/city"}}}
    offered = Details(tool_definitions=json.dumps([{"name": "get_weather", "parameters": endless}]))
    assert outcome('{"city": 1}', details=offered) is Outcome.UNKNOWN
