"""What log records add to their span: content of both forms, errors, evaluations, and what is no content."""

import gzip
import json
import os
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from collector.otlp_json import logs_from_json, traces_from_json
from core import dialects
from core.dialects.log_records import items_of, join, settled
from core.dialects.messages import messages_of
from core.model.span import Content, ContentState, ErrorClass, Evaluation, FinishReason, Span, ToolCall, Usage
from core.otlp.wire import SpanSlice, read_log_records, read_spans
from tests.unit.dialect_spans import encoded, put

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
SCOPE = "opentelemetry.instrumentation.openai_v2"
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}

Log = dict[str, Any]


def log(event: str, body: Any = None, *, at_ns: int = 1, named: str = "field", scope: str = SCOPE, **more: Any) -> Log:
    """Describe a log record; `named` says where its event's name stands."""
    return {
        "event": event,
        "body": body,
        "at_ns": at_ns,
        "named": named,
        "scope": scope,
        "attributes": more.get("attributes", {}),
    }


def items(span: SpanSlice, logs: list[Log]) -> tuple[list[SpanSlice], Counter[str]]:
    """Return the items of log records that were written within the span."""
    data = LogsData()
    for sent in logs:
        scope = data.resource_logs.add().scope_logs.add()
        scope.scope.name = sent["scope"]
        record = scope.log_records.add(
            trace_id=span.trace_id, span_id=span.span_id, observed_time_unix_nano=sent["at_ns"]
        )
        if sent["named"] == "field":
            record.event_name = sent["event"]
        elif sent["named"] == "attribute":
            put(record.attributes.add(key="event.name").value, sent["event"])
        if sent["body"] is not None:
            put(record.body, sent["body"])
        for key, value in sent["attributes"].items():
            put(record.attributes.add(key=key).value, value)
    return items_of(read_log_records(data.SerializeToString())[0])


def read(attributes: dict[str, Any], *logs: Log, **span: Any) -> Span:
    """Return what is made of a span and its log records."""
    piece = read_spans(encoded(attributes, **{"scope": SCOPE} | span))[0][0]
    found = join([piece], items(piece, list(logs))[0])
    return settled(dialects.decode(found.spans[0]), found)


CONVERSATION = (
    log("gen_ai.system.message", {"content": "be brief"}, at_ns=1),
    log("gen_ai.user.message", {"content": "hello"}, at_ns=2),
    log("gen_ai.assistant.message", {"tool_calls": [CALL]}, at_ns=3),
    log("gen_ai.tool.message", {"content": "nothing", "id": "c1"}, at_ns=4),
    log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "sorry"}}, at_ns=5),
)


@pytest.mark.parametrize("named", ["field", "attribute"])
def test_one_event_a_message_reads_as_a_conversation_and_its_answer(named: str) -> None:
    span = read(CHAT, *(each | {"named": named} for each in CONVERSATION))
    said = [(m.role, m.text, m.tool_calls, m.tool_call_id) for m in messages_of(span.input)]
    assert said == [
        ("system", "be brief", (), ""),
        ("user", "hello", (), ""),
        ("assistant", "", (ToolCall("find", "c1", '{"q": "x"}'),), ""),
        ("tool", "nothing", (), "c1"),
    ]
    assert span.output == Content(ContentState.PRESENT, "sorry")
    assert span.finish_reason is FinishReason.STOP


def test_the_order_of_arrival_does_not_matter() -> None:
    expected = read(CHAT, *CONVERSATION)
    for arrival in permutations(CONVERSATION):
        assert read(CHAT, *arrival, arrival[0]) == expected


def test_a_body_may_be_json_or_stand_in_an_attribute() -> None:
    as_json = log("gen_ai.choice", json.dumps({"message": {"content": "hi"}, "index": 0}))
    beside = log("gen_ai.choice", attributes={"gen_ai.event.content": json.dumps({"message": {"content": "hi"}})})
    assert read(CHAT, as_json).output.text == read(CHAT, beside).output.text == "hi"


def test_an_answer_that_calls_a_tool_keeps_the_arguments_as_they_were_written() -> None:
    broken = CALL | {"function": {"name": "find", "arguments": '{"q": '}}
    span = read(CHAT, log("gen_ai.choice", {"finish_reason": "tool_calls", "message": {"tool_calls": [broken]}}))
    assert span.output.tool_calls == (ToolCall("find", "c1", '{"q": '),)
    assert span.finish_reason is FinishReason.TOOL_CALLS


GEMINI_CALL = {"function_call": {"name": "find", "args": {"q": "x"}}}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        # Google GenAI SDK
        (
            {"content": {"role": "user", "parts": [{"text": "hello"}]}},
            {"index": 0, "content": {"role": "model", "parts": [{"text": "hi"}, GEMINI_CALL]}, "finish_reason": "STOP"},
        ),
        # Bedrock
        (
            {"content": [{"text": "hello"}]},
            {
                "message": {
                    "role": "assistant",
                    "content": [{"text": "hi"}, {"toolUse": {"name": "find", "input": {"q": "x"}}}],
                },
                "finish_reason": "end_turn",
            },
        ),
        # Traceloop
        (
            {"content": "hello", "role": "user"},
            {"message": {"content": "hi", "role": "assistant"}, "finish_reason": "stop", "tool_calls": [CALL]},
        ),
        # Microsoft Agent Framework, Semantic Kernel
        (
            {"role": "user", "parts": [{"type": "text", "content": "hello"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "hi"},
                    {"type": "tool_call", "name": "find", "arguments": {"q": "x"}},
                ],
                "finish_reason": "stop",
            },
        ),
    ],
)
def test_bodies_of_several_instrumentations_say_the_same(asked: dict[str, Any], answered: dict[str, Any]) -> None:
    span = read(CHAT, log("gen_ai.user.message", asked), log("gen_ai.choice", answered, at_ns=2))
    assert [(m.role, m.text) for m in messages_of(span.input)] == [("user", "hello")]
    assert span.output.text == "hi"
    assert [(c.name, json.loads(c.arguments)) for c in span.output.tool_calls] == [("find", {"q": "x"})]
    assert span.finish_reason is FinishReason.STOP


def test_content_that_was_moved_off_the_span_into_one_record_comes_back() -> None:
    moved = {
        "input": {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]},
        "output": {"messages": [{"role": "assistant", "content": "hi"}]},
    }
    span = read(CHAT, log("openinference.instrumentation.langchain", moved))
    assert [(m.role, m.text) for m in messages_of(span.input)] == [("system", "be brief"), ("user", "hello")]
    assert span.output.text == "hi"


def test_whole_prompts_and_completions_of_the_oldest_conventions_are_read() -> None:
    prompt, completion = (
        json.dumps([{"role": "user", "content": "hello"}]),
        json.dumps([{"role": "a", "content": "hi"}]),
    )
    span = read(
        CHAT,
        log("gen_ai.content.prompt", attributes={"gen_ai.prompt": prompt}),
        log("gen_ai.content.completion", attributes={"gen_ai.completion": completion}),
    )
    assert [m.text for m in messages_of(span.input)] == ["hello"]
    assert span.output.text == "hi"


def test_without_captured_content_events_say_why_the_model_stopped_and_nothing_is_empty() -> None:
    nameless = {"id": "c1", "type": "function", "function": {"name": "find"}}
    span = read(
        CHAT,
        log("gen_ai.user.message", {}),
        log("gen_ai.choice", {"index": 0, "finish_reason": "tool_calls", "message": {"tool_calls": [nameless]}}),
    )
    assert (span.input.state, span.output.state) == (ContentState.ABSENT, ContentState.ABSENT)
    assert span.finish_reason is FinishReason.TOOL_CALLS


def test_an_answer_without_text_where_content_is_captured_is_empty() -> None:
    span = read(CHAT, log("gen_ai.user.message", {"content": "hello"}), log("gen_ai.choice", {"message": {}}, at_ns=2))
    assert span.output == Content(ContentState.PRESENT)


DETAILS = {
    "gen_ai.operation.name": "something else",
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}],
    "gen_ai.output.messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": "hi"}], "finish_reason": "length"}
    ],
    "gen_ai.tool.definitions": [{"type": "function", "name": "find"}],
    "gen_ai.usage.input_tokens": 5,
    "gen_ai.usage.output_tokens": 2,
    "server.address": "elsewhere",
}


@pytest.mark.parametrize("as_json", [False, True])
def test_the_details_of_an_operation_are_read_as_if_they_stood_on_the_span(as_json: bool) -> None:
    said = {k: json.dumps(v) if as_json and isinstance(v, list) else v for k, v in DETAILS.items()}
    span = read(CHAT, log("gen_ai.client.inference.operation.details", attributes=said))
    assert [m.text for m in messages_of(span.input)] == ["hello"]
    assert span.output.text == "hi"
    assert span.finish_reason is FinishReason.LENGTH
    assert span.usage == Usage(input_tokens=5, output_tokens=2)
    assert json.loads(span.details.tool_definitions)[0]["name"] == "find"
    assert str(span.kind) == "llm"


def test_what_the_span_says_itself_wins() -> None:
    own = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "mine"}]}])
    mine = CHAT | {"gen_ai.output.messages": own, "gen_ai.usage.input_tokens": 9}
    span = read(mine, log("gen_ai.client.inference.operation.details", attributes=DETAILS))
    assert span.output.text == "mine"
    assert span.usage is not None
    assert span.usage.input_tokens == 9


def test_an_exception_event_says_why_the_span_failed() -> None:
    said = {"exception.type": "openai.RateLimitError", "exception.message": "Error code: 429"}
    span = read(CHAT, log("gen_ai.client.operation.exception", attributes=said), status=2)
    assert span.error is not None
    assert (span.error.error_class, span.error.status_code) == (ErrorClass.RATE_LIMIT, 429)


def test_an_evaluation_stands_on_the_span_that_it_is_of() -> None:
    said = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.2,
        "gen_ai.evaluation.score.label": "fail",
        "gen_ai.evaluation.explanation": "off topic",
    }
    span = read(CHAT, log("gen_ai.evaluation.result", attributes=said))
    assert span.details.evaluations == (Evaluation("relevance", 0.2, "fail", "off topic"),)
    assert span.error is None


@pytest.mark.parametrize(
    "other",
    [
        log("", "request done"),
        log("db.query", {"content": "SELECT 1"}),
        log("exception", attributes={"exception.type": "ValueError", "exception.message": "retried"}),
        log("gen_ai.something.new", {"content": "text"}),
        log("user_prompt", attributes={"prompt": "of another program"}, named="attribute", scope="app"),
    ],
)
def test_other_log_records_are_no_content_and_counted(other: Log) -> None:
    piece = read_spans(encoded(CHAT, scope=SCOPE))[0][0]
    found, skipped = items(piece, [other])
    assert found == []
    assert skipped == {"log_record_not_content": 1}


def test_content_that_has_not_come_is_in_logs_where_that_can_be_told() -> None:
    def states(*logs: Log, scope: str) -> list[ContentState]:
        first, other = (read_spans(encoded(CHAT, scope=scope))[0][0] for _ in range(2))
        other = SpanSlice(first.trace_id, b"another1", b"", first.resource, first.scope, other.span)
        found = join([first, other], items(first, list(logs))[0])
        ids = [first.span_id.hex(), other.span_id.hex()]
        spans = [dialects.decode(piece) for piece in found.spans]
        # the bytes of both spans hold the same id
        return [
            settled(Span(trace_id="t", span_id=i, kind=s.kind, output=s.output), found).output.state
            for i, s in zip(ids, spans, strict=True)
        ]

    here, absent, awaited = ContentState.PRESENT, ContentState.ABSENT, ContentState.IN_LOGS
    answer = log("gen_ai.choice", {"message": {"content": "hi"}})
    assert states(scope="opentelemetry.instrumentation.genai.openai") == [absent, absent]
    assert states(answer, scope="opentelemetry.instrumentation.genai.openai") == [here, awaited]
    assert states(scope=SCOPE) == [awaited, awaited]
    assert states(log("gen_ai.choice", {"finish_reason": "stop"}), scope=SCOPE) == [absent, awaited]


CLAUDE = "com.anthropic.claude_code.events"


def test_usage_of_coding_agents_is_summed_and_their_prompt_is_the_input() -> None:
    request = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_tokens": 100,
        "cache_creation_tokens": "20",
        "cost_usd": "0.25",
    }
    span = read(
        {"span.type": "llm_request"},
        log("user_prompt", "claude_code.user_prompt", attributes={"prompt": "fix it"}, named="attribute", scope=CLAUDE),
        log("api_request", attributes=request, named="attribute", scope=CLAUDE, at_ns=2),
        log("api_request", attributes=request, named="attribute", scope=CLAUDE, at_ns=3),
        name="claude_code.llm_request",
        scope="com.anthropic.claude_code",
    )
    assert span.usage == Usage(input_tokens=260, output_tokens=10, cached_tokens=200, cache_write_tokens=40)
    assert span.cost_usd == 0.5
    assert span.input.text == "fix it"


def test_a_span_that_has_counted_by_itself_is_not_counted_again() -> None:
    span = read(
        CHAT | {"gen_ai.usage.input_tokens": 7},
        log("gemini_cli.api_response", attributes={"input_token_count": 7, "output_token_count": 3}),
    )
    assert span.usage == Usage(input_tokens=7)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((("claude_code.api_error", {"error": "Overloaded", "status_code": "529"}),), ErrorClass.SERVER),
        (
            (("codex.api_request", {"http.response.status_code": 429, "error.message": "slow"}),),
            ErrorClass.RATE_LIMIT,
        ),
        ((("gemini_cli.api_error", {"error": "API key not valid", "status_code": 401}),), ErrorClass.AUTH),
        # a request that went through in the end
        ((("claude_code.api_error", {"error": "Overloaded"}), ("claude_code.api_request", {})), None),
        ((("codex.api_request", {"http.response.status_code": 200}),), None),
        # a tool's failure is its own span's
        ((("claude_code.tool_result", {"success": "false", "error": "no such file"}),), None),
    ],
)
def test_errors_of_coding_agents_are_errors_of_their_span_unless_survived(
    events: tuple[tuple[str, dict[str, Any]], ...], expected: ErrorClass | None
) -> None:
    span = read(CHAT, *(log(name, attributes=said, at_ns=n) for n, (name, said) in enumerate(events)))
    assert (span.error.error_class if span.error else None) is expected


def test_a_tools_own_span_fails_with_its_result() -> None:
    said = {"success": "false", "error": "no such file", "tool_name": "Read"}
    span = read(
        {"gen_ai.operation.name": "execute_tool"}, log("claude_code.tool_result", attributes=said), name="tool Read"
    )
    assert span.error is not None
    assert span.error.message == "no such file"


def _lines(name: str) -> list[bytes]:
    with gzip.open(DATA / name) as file:
        return file.readlines()


DATA = Path(os.environ.get("CLEARWATCH_EVAL_DATA", "")) / "dialects"


@pytest.mark.skipif(not os.environ.get("CLEARWATCH_EVAL_DATA"), reason="CLEARWATCH_EVAL_DATA is not set")
@pytest.mark.parametrize("name", ["openai_v2", "genai_openai_events"])
def test_clients_that_send_content_in_logs_are_read_as_those_that_send_it_on_spans(name: str) -> None:
    spans: list[SpanSlice] = []
    logs: list[SpanSlice] = []
    for line in _lines(f"{name}.otlp.jsonl.gz"):
        spans += read_spans(traces_from_json(line))[0]
    for line in _lines(f"{name}.logs.otlp.jsonl.gz"):
        found, skipped = items_of(read_log_records(logs_from_json(line))[0])
        assert not skipped
        logs += found
    joined = join(spans, logs)
    calls = [s for s in (settled(dialects.decode(p), joined) for p in joined.spans) if str(s.kind) == "llm"]
    assert calls
    for span in calls:
        assert span.input.state is ContentState.PRESENT
        assert messages_of(span.input)[-1].role in ("user", "tool")
        # a call that failed has no answer
        assert span.output.state is ContentState.PRESENT or span.error is not None


def test_messages_of_one_instant_stand_in_the_order_of_a_turn() -> None:
    """JavaScript's clock counts milliseconds: the records of a call have one time."""
    said = [
        log("gen_ai.tool.message", {"id": "c1", "content": "18"}),
        log("gen_ai.assistant.message", {"tool_calls": [CALL]}),
        log("gen_ai.user.message", {"content": "weather?"}),
        log("gen_ai.system.message", {"content": "Be brief."}),
    ]
    for order in permutations(said):
        messages = messages_of(read(CHAT, *order).input)
        assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]


def test_the_last_answer_of_claude_codes_turn_is_the_turns() -> None:
    said = [
        log("claude_code.assistant_response", attributes={"response": text}, at_ns=at, scope=CLAUDE)
        for at, text in ((2, "It is 18 degrees."), (1, "I'll look."))
    ]
    span = read({"span.type": "interaction"}, *said, name="claude_code.interaction", scope="com.anthropic.claude_code")
    assert span.output == Content(ContentState.PRESENT, "It is 18 degrees.")
