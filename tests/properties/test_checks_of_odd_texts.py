"""What checks cost grows with the texts of a trace, not with their squares, and what they say of odd ones is bounded.

A model may write line ends until its tokens are spent; a client may send a document where a name belongs.
"""

from collections.abc import Sequence

import msgspec
import pytest

from core.model.finding import Finding
from core.model.span import Details, SpanKind, ToolCall
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.properties.instructions import instructions_of
from tests.unit.checks_kit import Story, failed, present

TIMES = 8
# work that grows with the square takes TIMES * TIMES as many instructions
MAX_GROWTH = 2 * TIMES
# what grows with the square of so many characters takes minutes, so that the limit of a test's time ends it
CHARACTERS = 300_000
MAX_FINDING_BYTES = 10_000
JSON_ASKED = Details(output_type="json")


def _inspected(trace: Trace) -> Sequence[Finding]:
    return Checks(ChecksConfig(), Telemetry()).inspect(trace).findings


@pytest.mark.parametrize("unit", ["\n", " ", "```", "1 ", "{", '"', "steps\n", "a_b ", "ab@c.", "1. search it\n", "\\"])
def test_a_text_made_of_one_thing_costs_no_more_per_character_when_it_is_long(unit: str) -> None:
    text = (unit * CHARACTERS)[:CHARACTERS]
    story = Story()
    root = story.root(input=present(text), output=present(f'[{{"x": "steps {text}'))
    story.llm(root.span_id, input=present(text), output=present(f"```{text}"), details=JSON_ASKED)
    story.llm(root.span_id, output=present(text), details=JSON_ASKED)
    story.tool("search", root.span_id, arguments=text, output=present(text))
    story.add(SpanKind.GUARDRAIL, "guard", parent=root.span_id, output=present(text))
    assert all(len(msgspec.json.encode(finding)) < MAX_FINDING_BYTES for finding in _inspected(story.trace()))


def test_a_batch_of_independent_calls_is_compared_within_bounds() -> None:
    def cost(count: int) -> int:
        story = Story()
        root = story.root(duration_ms=count * 1_000)
        for at in range(count):
            words = f"summary number {at} of one document among many others of the same kind"
            story.llm(root.span_id, duration_ms=1_000, input=present(f"document {at}: " * 100), output=present(words))
        trace = story.trace()
        return instructions_of(lambda: _inspected(trace))

    assert cost(50 * TIMES) < MAX_GROWTH * cost(50)


def test_a_document_in_the_place_of_a_name_makes_no_finding_of_its_size() -> None:
    name = "call_" + "x" * 100_000
    story = Story()
    root = story.root()
    call = ToolCall(name, "c", "{")
    offered = Details(tool_definitions='[{"name": "search"}]')
    story.llm(root.span_id, model=name, details=offered, error=failed("no such model", error_type=name))
    story.llm(root.span_id, model=name, output=present("", call), details=offered)
    story.add(SpanKind.TOOL, name, parent=root.span_id, tool=call, error=failed(name))
    findings = _inspected(story.trace())
    assert {"failed_span", "tool_failure"} <= {finding.check for finding in findings}
    assert all(len(msgspec.json.encode(finding)) < MAX_FINDING_BYTES for finding in findings)
