"""What checks cost grows with the texts of a trace, not with their squares, and what they say of odd ones is bounded.

A model may write line ends until its tokens are spent; a client may send a document where a name belongs.
"""

import gc
import time
from collections.abc import Callable

import msgspec
import pytest

from core.model.span import Details, SpanKind, ToolCall
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, failed, present

TIMES = 8
# work that grows with the square takes TIMES * TIMES as long; expressions run in C, so time is what can be counted
MAX_GROWTH = 3 * TIMES
JSON_ASKED = Details(output_type="json")


def _cost_s(trace_of: Callable[[int], Trace], size: int) -> float:
    """Return the CPU seconds that all checks take for a trace of this size, the best of three tries."""
    taken = []
    for _ in range(3):
        trace = trace_of(size)
        checks = Checks(ChecksConfig(), Telemetry())
        gc.collect()
        began_s = time.process_time()
        checks.inspect(trace)
        taken.append(time.process_time() - began_s)
    return min(taken)


@pytest.mark.parametrize("unit", ["\n", " ", "```", "1 ", "{", '"', "steps\n", "a_b ", "ab@c.", "1. search it\n", "\\"])
def test_a_text_made_of_one_thing_costs_no_more_per_character_when_it_is_long(unit: str) -> None:
    def trace_of(characters: int) -> Trace:
        text = (unit * characters)[:characters]
        story = Story()
        root = story.root(input=present(text), output=present(f'[{{"x": "steps {text}'))
        story.llm(root.span_id, input=present(text), output=present(f"```{text}"), details=JSON_ASKED)
        story.llm(root.span_id, output=present(text), details=JSON_ASKED)
        story.tool("search", root.span_id, arguments=text, output=present(text))
        story.add(SpanKind.GUARDRAIL, "guard", parent=root.span_id, output=present(text))
        return story.trace()

    assert _cost_s(trace_of, 10_000 * TIMES) < MAX_GROWTH * _cost_s(trace_of, 10_000)


def test_a_batch_of_independent_calls_is_compared_within_bounds() -> None:
    def trace_of(count: int) -> Trace:
        story = Story()
        root = story.root(duration_ms=count * 1_000)
        for at in range(count):
            words = f"summary number {at} of one document among many others of the same kind"
            story.llm(root.span_id, duration_ms=1_000, input=present(f"document {at}: " * 100), output=present(words))
        return story.trace()

    assert _cost_s(trace_of, 100 * TIMES) < MAX_GROWTH * _cost_s(trace_of, 100)


def test_a_document_in_the_place_of_a_name_makes_no_finding_of_its_size() -> None:
    name = "call_" + "x" * 100_000
    story = Story()
    root = story.root()
    call = ToolCall(name, "c", "{")
    offered = Details(tool_definitions='[{"name": "search"}]')
    story.llm(root.span_id, model=name, output=present("", call), details=offered, error=failed(error_type=name))
    story.llm(root.span_id, model=name, output=present("", call), details=offered)
    story.add(SpanKind.TOOL, name, parent=root.span_id, tool=call, error=failed(name))
    findings = Checks(ChecksConfig(), Telemetry()).inspect(story.trace()).findings
    assert {"failed_span", "tool_failure"} <= {finding.check for finding in findings}
    assert all(len(msgspec.json.encode(finding)) < 10_000 for finding in findings)
