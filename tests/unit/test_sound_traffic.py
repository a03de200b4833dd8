"""No check, of traces or of sessions, speaks of sound traffic that looks as if something were wrong."""

import functools
import json
from collections.abc import Callable, Mapping

import pytest

from core.model.finding import Finding
from core.model.span import Content, FinishReason, SpanKind, ToolCall, Usage
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from tests.eval.offline import inspect_sessions, versions
from tests.unit.agent_runs import SHAPES, traces_of
from tests.unit.checks_kit import START_NS, Story, present
from tests.unit.sound_runs import SOUND


@functools.cache
def checks() -> Checks:
    return Checks(ChecksConfig(), Telemetry())


def findings_of(name: str, shape: str) -> list[Finding]:
    """Return what is found in a session, its traces first."""
    found: list[Finding] = []
    answers: dict[str, Mapping[str, str]] = {}
    traces = list(traces_of(SOUND[name], shape))
    for trace in traces:
        inspection = checks().inspect(trace)
        assert "failed" not in inspection.answers.values()
        answers[trace.trace_id] = inspection.answers
        found += inspection.findings
    return found + inspect_sessions(versions(traces, answers))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_what_only_looks_bad(name: str, shape: str) -> None:
    assert [f"{f.check} {f.severity}: {f.title}: {f.rationale}" for f in findings_of(name, shape)] == []


def told(*messages: tuple[str, str]) -> Content:
    return present(json.dumps([{"role": role, "content": text} for role, text in messages]))


def a_stream(text: str) -> Story:
    story = Story()
    asked = told(("user", "hi"))
    story.llm(story.root().span_id, input=asked, output=present(text), time_to_first_token_s=0.3, duration_ms=900)
    return story


def a_blank_end_after_work() -> Story:
    story = Story()
    root = story.root(output=present("Booked."))
    called = ToolCall(name="book", call_id="c1", arguments="{}")
    story.llm(root.span_id, input=told(("user", "book it")), output=present("I will book it.", called))
    story.tool("book", root.span_id, output=present("ok"))
    story.llm(root.span_id, output=present(""), finish_reason=FinishReason.STOP, usage=Usage(100, 2))
    return story


def calls_that_are_not_sent() -> Story:
    story = Story()
    root = story.root()
    story.llm(root.span_id, input=told(("user", "book it")), output=present(""), usage=Usage(100, 20))
    story.tool("book", root.span_id, output=present("ok"))
    return story


def branches_that_find_the_same() -> Story:
    story = Story()
    root = story.root(duration_ms=5_000)
    for n in range(8):
        asked = told(("user", f"Summarise document {n}: " + f"word{n} " * 50))
        story.llm(root.span_id, start_ns=START_NS + 10, input=asked, output=present("There is nothing on it in here."))
    return story


def workers_that_look_up_the_same() -> Story:
    story = Story()
    root = story.root()
    for n in range(5):
        worker = story.add(SpanKind.AGENT, "worker", parent=root.span_id, agent="worker")
        story.tool("get_policy", worker.span_id, arguments='{"id": 1}', output=present("be kind"))
        story.llm(worker.span_id, input=told(("user", f"Part {n}")), output=present(f"Part {n} is done."))
    return story


def a_model_that_thinks_first() -> Story:
    story = Story()
    usage = Usage(100, 3_000, reasoning_tokens=2_900)
    story.llm(output=present("Fine."), usage=usage, time_to_first_token_s=20, duration_ms=21_000)
    return story


def a_classifier() -> Story:
    story = Story()
    story.llm(input=told(("user", "x")), output=present("B"), finish_reason=FinishReason.LENGTH, usage=Usage(100, 1))
    return story


def a_judge() -> Story:
    story = Story()
    root = story.root()
    story.add(SpanKind.EVALUATOR, "judge", parent=root.span_id, output=present('{"score": 0, "label": "fail"}'))
    answer = present('{"refusal": true, "reason": "the answer says: I cannot help with that"}')
    story.llm(root.span_id, input=told(("user", "Rate this: I can't help with that.")), output=answer)
    return story


def a_tool_that_finds_nothing() -> Story:
    story = Story()
    root = story.root()
    story.tool("search_flights", root.span_id, arguments='{"to": "Oslo"}', output=present("[]"))
    story.llm(root.span_id, input=told(("user", "Oslo?")), output=present("There is no flight to Oslo."))
    return story


def tools_that_are_not_traced() -> Story:
    story = Story()
    root = story.root(duration_ms=60_000)
    for n in range(4):
        called = present("", ToolCall(name="render", call_id=f"c{n}", arguments=f'{{"frame": {n}}}'))
        story.llm(root.span_id, start_ns=START_NS + n * 15_000_000_000, output=called)
    story.llm(root.span_id, output=present("All frames are rendered."))
    return story


STORIES: dict[str, Callable[[], Story]] = {
    **{f"a stream that ends in {text!r}": functools.partial(a_stream, text) for text in ("Paris", "See you 😊", "42")},
    **{
        build.__name__.replace("_", " "): build
        for build in (
            a_blank_end_after_work,
            calls_that_are_not_sent,
            branches_that_find_the_same,
            workers_that_look_up_the_same,
            a_model_that_thinks_first,
            a_classifier,
            a_judge,
            a_tool_that_finds_nothing,
            tools_that_are_not_traced,
        )
    },
}


@pytest.mark.parametrize("name", STORIES)
def test_nothing_is_found_in_spans_that_only_look_bad(name: str) -> None:
    findings = checks().inspect(STORIES[name]().trace()).findings
    assert [f"{f.check} {f.severity}: {f.title}: {f.rationale}" for f in findings] == []
