"""One failure is one report: consequences are said with their cause, whatever the order in which checks spoke."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest

from core.model.finding import Finding, FindingKind, Severity
from core.model.span import ErrorClass, Span, ToolCall
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.causes import RULES, with_causes
from detector.checks.config import ChecksConfig
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.finding import finding
from detector.checks.port import Check
from detector.checks.registry import Checks
from detector.checks.steps import asker_of
from detector.checks.tool_failure import ToolFailure, ToolFailureConfig
from detector.rules.budgets import OVER_BUDGET
from tests.unit.checks_kit import Story, failed, present


class Named:
    """The name of a check, for findings made by hand."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dimension = ToolFailure.dimension
        self.inspect = ToolFailure(ToolFailureConfig()).inspect


INHIBITED = "clearwatch.findings.inhibited"


def one(trace: Trace, check: str, culprit: Span, *others: Span, message: str = "") -> Finding:
    by: Check = Named(check)
    return finding(
        trace,
        by,
        culprit=culprit,
        others=others,
        kind=FindingKind.FAULT,
        severity=Severity.MEDIUM,
        title=f"{check} of it",
        rationale="It happened.",
        message=message,
    )


def down() -> tuple[Trace, Span, Span, Span]:
    """Return a trace whose provider is away at its first call, with that call, the root, and the apology after it."""
    story = Story()
    root = story.root()
    call = story.llm(root.span_id, error=failed("Error code: 503", error_class=ErrorClass.SERVER))
    sorry = story.llm(root.span_id, output=present("Sorry, I cannot help."))
    return story.trace(), root, call, sorry


def test_what_a_failing_provider_makes_is_said_with_it_in_any_order() -> None:
    trace, root, call, sorry = down()
    made = [
        one(trace, "failed_span", call),
        one(trace, "empty_output", root),
        one(trace, "refusal", sorry),
        one(trace, "incomplete_stream", call),
    ]
    for order in itertools.permutations(made):
        stay, inhibited = with_causes(trace, order)
        assert [f.finding_id for f in stay] == [made[0].finding_id]
        assert stay[0].consequences == ("empty_output", "incomplete_stream", "refusal")
        assert stay[0].rationale.endswith(
            "Its consequences: empty_output of it; incomplete_stream of it; refusal of it."
        )
        assert sorted(each.finding.check for each in inhibited) == ["empty_output", "incomplete_stream", "refusal"]
        assert {each.cause for each in inhibited} == {"failed_span"}


def test_what_came_before_the_failure_or_in_another_branch_has_another_cause() -> None:
    story = Story()
    root = story.root()
    refused = story.llm(root.span_id)
    call = story.llm(root.span_id, error=failed("503", error_class=ErrorClass.SERVER))
    trace = story.trace()
    made = [one(trace, "failed_span", call), one(trace, "refusal", refused)]
    assert with_causes(trace, made) == (tuple(made), ())


def test_a_bug_of_a_tool_does_not_excuse_a_refusal() -> None:
    story = Story()
    root = story.root()
    tool = story.tool("find", root.span_id, error=failed("boom"))
    refused = story.llm(root.span_id)
    trace = story.trace()
    made = [one(trace, "tool_failure", tool), one(trace, "refusal", refused)]
    assert with_causes(trace, made) == (tuple(made), ())


def test_an_answer_that_broke_off_below_the_failure_is_the_failure() -> None:
    story = Story()
    root = story.root(error=failed("Connection error.", error_class=ErrorClass.CONNECTION))
    earlier = story.llm(root.span_id)
    broken = story.llm(root.span_id)
    trace = story.trace()
    told = one(trace, "failed_span", root)
    stay, inhibited = with_causes(trace, [told, one(trace, "incomplete_stream", broken)])
    assert [(f.check, f.consequences) for f in stay] == [("failed_span", ("incomplete_stream",))]
    assert len(inhibited) == 1
    made = (told, one(trace, "incomplete_stream", earlier))
    assert with_causes(trace, made) == (made, ())


def test_what_a_filter_stopped_below_is_no_refusal() -> None:
    story = Story()
    root = story.root(error=failed("withheld by the content filter", error_class=ErrorClass.CONTENT_FILTER))
    refused = story.llm(root.span_id)
    trace = story.trace()
    stay, _ = with_causes(trace, [one(trace, "content_filter", root), one(trace, "refusal", refused)])
    assert [(f.check, f.consequences) for f in stay] == [("content_filter", ("refusal",))]


def test_a_loop_of_failing_calls_is_the_failure_and_a_loop_of_sound_ones_is_not() -> None:
    story = Story()
    root = story.root()
    tools = [story.tool("find", root.span_id, error=failed("boom")) for _ in range(3)]
    sound = [story.tool("find", root.span_id) for _ in range(4)]
    trace = story.trace()
    faults = [one(trace, "tool_failure", tool, message="boom") for tool in tools]
    retried = one(trace, "retries", *tools, sound[0])
    looped = one(trace, "repeated_tool_call", tools[0], *sound)
    stay, inhibited = with_causes(trace, [retried, *faults, looped])
    assert [f.check for f in stay] == ["tool_failure", "tool_failure", "tool_failure", "repeated_tool_call"]
    assert [(each.finding.check, each.cause) for each in inhibited] == [("retries", "tool_failure")]
    assert [f.consequences for f in stay] == [("retries",), (), (), ()]


def test_bad_arguments_and_the_tool_that_fails_on_them_are_one_fault() -> None:
    story = Story()
    root = story.root()
    asked = story.llm(root.span_id, output=present("", ToolCall("find", "c1", "{")))
    tool = story.tool("find", root.span_id, error=failed("Expecting value: line 1"))
    trace = story.trace()
    stay, _ = with_causes(trace, [one(trace, "invalid_tool_arguments", asked, tool), one(trace, "tool_failure", tool)])
    assert [(f.check, f.consequences) for f in stay] == [("tool_failure", ("invalid_tool_arguments",))]


def test_consequences_of_consequences_are_said_with_the_first_cause() -> None:
    story = Story()
    root = story.root()
    cut = story.llm(root.span_id)
    trace = story.trace()
    made = [one(trace, "content_filter", cut), one(trace, "output_cut", cut), one(trace, "output_schema", cut)]
    stay, inhibited = with_causes(trace, made)
    assert "output_schema" not in {f.check for f in stay}
    assert len(stay) + len(inhibited) == 3


def test_long_loops_of_failures_take_no_more_than_a_bounded_time() -> None:
    story = Story()
    root = story.root()
    tools = [story.tool("find", root.span_id, error=failed("boom")) for _ in range(500)]
    trace = story.trace()
    faults = [one(trace, "tool_failure", tool, message="boom") for tool in tools]
    empty = [one(trace, "empty_output", tool) for tool in tools]
    stay, inhibited = with_causes(trace, [*faults, *empty])
    assert 0 < len(inhibited) <= 500
    assert len(stay) + len(inhibited) == 1000


def test_a_call_with_wrong_arguments_names_the_model_call_that_wrote_them() -> None:
    story = Story()
    root = story.root()
    asked = story.llm(root.span_id, output=present("", ToolCall("page_down", "c7", '{"page": 1}')))
    error = failed("PageDown.forward() got an unexpected keyword argument 'page'")
    tool = story.tool("page_down", root.span_id, error=error)
    (fault,) = ToolFailure(ToolFailureConfig()).inspect(story.trace()).findings
    assert fault.span_ids == (tool.span_id, asked.span_id)
    assert fault.rationale.endswith("The arguments were written by LLM call to gpt-4o-mini.")
    assert asker_of(story.trace(), tool) == asked


def test_the_call_id_says_who_asked_before_the_order_does() -> None:
    story = Story()
    root = story.root()
    first = story.llm(root.span_id, output=present("", ToolCall("find", "c1", "{}")))
    story.llm(root.span_id, output=present("", ToolCall("find", "c2", "{}")))
    tool = story.tool("find", root.span_id)
    late = msgspec.structs.replace(tool, tool=ToolCall("find", "c1", "{}"))
    trace = Trace(trace_id=story.trace_id, spans=[*story.spans[:-1], late])
    assert asker_of(trace, trace.by_id[late.span_id]) == first


@pytest.mark.parametrize("causes_first", [True, False])
def test_the_registry_counts_what_it_leaves_out(causes_first: bool) -> None:
    telemetry = Telemetry()
    checks = Checks(ChecksConfig(causes_first=causes_first), telemetry)
    story = Story()
    root = story.root()
    story.llm(root.span_id, error=failed("503", error_class=ErrorClass.SERVER))
    story.llm(root.span_id, output=present(""))
    found: Sequence[Finding] = checks.inspect(story.trace()).findings
    alone = ["failed_span"] if causes_first else ["empty_output", "failed_span"]
    assert sorted(f.check for f in found) == alone
    labels = (("cause", "failed_span"), ("check", "empty_output"))
    counted = [
        n for (name, own), n in telemetry.snapshot().items() if (name, tuple(sorted(own))) == (INHIBITED, labels)
    ]
    assert counted == ([1] if causes_first else [])


def test_no_rule_makes_a_check_its_own_cause() -> None:
    assert not any(rule.causes & rule.consequences for rule in RULES)


def test_every_check_that_a_rule_names_ships() -> None:
    shipped = {check.name for check in DEFAULT_CHECKS} | {OVER_BUDGET}
    assert {name for rule in RULES for name in rule.causes | rule.consequences} <= shipped


def test_a_step_that_fails_for_a_tool_that_is_not_there_is_said_with_the_call_that_asked() -> None:
    story = Story()
    root = story.root(error=failed())
    call = story.llm(root.span_id)
    step = story.add(parent=root.span_id, name="turn", error=failed("Tool book_hotel not found"))
    trace = story.trace()
    asked, broke = one(trace, "unknown_tool", call, step), one(trace, "failed_span", step)
    ((stays,), (inhibited,)) = with_causes(trace, [broke, asked])
    assert (stays.check, stays.consequences, inhibited.cause) == ("unknown_tool", ("failed_span",), "unknown_tool")
    # another failure is none of its consequences
    assert len(with_causes(trace, [one(trace, "failed_span", root), asked])[0]) == 2
