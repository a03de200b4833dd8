"""What checks cost grows with a trace, not with its square: an agent may fail in a loop until its trace is full."""

from collections.abc import Callable

import pytest

from core.model.span import ContentState, Details, ErrorClass, Span, SpanError, SpanKind, ToolCall
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks, Inspection
from tests.properties.instructions import instructions_of
from tests.unit.checks_kit import Story, failed, present

SHORT = 40
TIMES = 8
# work that grows with the square takes TIMES * TIMES as many instructions
MAX_GROWTH = 2 * TIMES
OFFERED = Details(tool_definitions='[{"name": "search", "parameters": {"type": "object", "required": ["q"]}}]')
UNFIT = SpanError(error_class=ErrorClass.OTHER, error_type="TypeError", message="missing 1 required argument: 'q'")


def _failing_steps(story: Story, root: Span, at: int) -> None:
    story.add(SpanKind.HTTP if at % 2 else SpanKind.CHAIN, "GET", parent=root.span_id, error=failed(f"E{at}: gone"))


def _failing_models(story: Story, root: Span, at: int) -> None:
    story.llm(root.span_id, error=failed("RateLimitError: 429", error_class=ErrorClass.RATE_LIMIT))


def _failing_tools(story: Story, root: Span, at: int) -> None:
    call = ToolCall("search", f"c{at}" if at % 2 else "", '{"p": 1}')
    story.llm(root.span_id, output=present("", call), details=OFFERED)
    story.add(SpanKind.TOOL, "search", parent=root.span_id, tool=call, error=UNFIT)


def _unknown_tools(story: Story, root: Span, at: int) -> None:
    story.llm(root.span_id, output=present("", ToolCall(f"made_up_{at}", f"c{at}", "{}")), details=OFFERED)


def _errors_told(story: Story, root: Span, at: int) -> None:
    said = f'[{{"role": "tool", "tool_call_id": "c{at}", "content": "Error: no such city"}}]'
    story.llm(root.span_id, input=present(said), output=present("", ToolCall("search", f"c{at + 1}", '{"q":')))


def _tools_named_by_their_call(story: Story, root: Span, at: int) -> None:
    call = ToolCall(f"fetch{at}", f"c{at}", "{}")
    story.llm(root.span_id, output=present("I will fetch it", call), details=OFFERED)
    story.tool(f"fetch{at}", root.span_id, output=present("Error: gone" if at == 0 else "ok"))


def _arguments_without_ids(story: Story, root: Span, at: int) -> None:
    call = ToolCall("search", "", f'{{"p": {at}}}')
    story.llm(root.span_id, output=present("", call), details=OFFERED)
    story.add(SpanKind.TOOL, "search", parent=root.span_id, tool=call, error=UNFIT)


@pytest.mark.parametrize(
    "step",
    [
        _failing_steps,
        _failing_models,
        _failing_tools,
        _unknown_tools,
        _errors_told,
        _arguments_without_ids,
        _tools_named_by_their_call,
    ],
)
def test_a_trace_whose_every_call_fails_costs_no_more_per_span_when_it_is_long(
    step: Callable[[Story, Span, int], None],
) -> None:
    def cost(count: int) -> int:
        story = Story()
        root = story.root(input=present("a question"))
        for at in range(count):
            step(story, root, at)
        trace: Trace = story.trace()
        assert trace.spans[0].input.state is ContentState.PRESENT
        checks = Checks(ChecksConfig(), Telemetry())
        found: list[Inspection] = []
        steps = instructions_of(lambda: found.append(checks.inspect(trace)))
        assert found[0].findings
        return steps

    assert cost(SHORT * TIMES) < MAX_GROWTH * cost(SHORT)
