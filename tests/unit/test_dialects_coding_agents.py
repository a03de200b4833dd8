"""Claude Code, Codex CLI and Gemini CLI."""

import json
from typing import Any

import pytest

from core.dialects.definitions import definitions
from core.model.span import ContentState, ErrorClass, FinishReason, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

CLAUDE = "com.anthropic.claude_code.tracing"
REQUEST: dict[str, Any] = {
    "span.type": "llm_request",
    "model": "claude-sonnet-4-5",
    "gen_ai.system": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "session.id": "s-1",
    "user.id": "u-1",
    "prompt.id": "p-1",
    "input_tokens": "12",
    "output_tokens": "408",
    "cache_read_tokens": "4248",
    "cache_creation_tokens": "2025",
    "duration_ms": 5200,
    "ttft_ms": 1250,
    "attempt": 3,
    "stop_reason": "tool_use",
    "response.model_output": "I'll look.",
    "new_context": "[USER] fix the test",
    "tools": '[{"name":"Read","hash":"25e4"}]',
}


def test_claude_code_request_counts_cached_tokens_into_its_input() -> None:
    span = read_span(REQUEST, name="claude_code.llm_request", scope=CLAUDE)
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "claude_code", "llm:claude-sonnet-4-5")
    assert span.usage == Usage(12 + 4248 + 2025, 408, 4248, 0, 2025)
    assert (span.provider, span.session_id) == ("anthropic", "s-1")
    assert (span.time_to_first_token_s, span.details.attempt) == (1.25, 2)
    assert (span.finish_reason, span.output.text) == (FinishReason.TOOL_CALLS, "I'll look.")
    assert span.input.text == "[USER] fix the test"


@pytest.mark.parametrize("prefix", ["", "claude_code."])
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("interaction", SpanKind.AGENT),
        ("llm_request", SpanKind.LLM),
        ("tool", SpanKind.TOOL),
        ("tool.execution", SpanKind.CHAIN),
        ("tool.blocked_on_user", SpanKind.CHAIN),
        ("hook", SpanKind.CHAIN),
    ],
)
def test_claude_code_span_types_have_kinds_with_and_without_prefix(prefix: str, word: str, kind: SpanKind) -> None:
    assert read_span({"span.type": prefix + word}).kind is kind
    assert read_span({}, name=f"claude_code.{word}", scope=CLAUDE).kind is kind


@pytest.mark.parametrize(
    ("attributes", "arguments"),
    [
        ({"tool_input": '{"command": "ls"}'}, '{"command": "ls"}'),
        ({"full_command": "ls -l"}, '{"command": "ls -l"}'),
        ({"file_path": "/a.py"}, '{"file_path": "/a.py"}'),
        ({"tool_input": '[TOOL INPUT: Bash]\n{"command": "ls"}'}, '{"command": "ls"}'),
        ({"tool_input": "<REDACTED>"}, ""),
        ({}, ""),
    ],
)
def test_claude_code_tool_tells_what_the_user_let_it_tell(attributes: dict[str, Any], arguments: str) -> None:
    base = {"span.type": "tool", "tool_name": "Bash", "tool_use_id": "toolu_1"}
    span = read_span(base | attributes, scope=CLAUDE, events=[("tool.output", {"output": "total 0"})])
    assert span.tool == ToolCall("Bash", "toolu_1", arguments)
    assert span.output.text == "total 0"


def test_claude_code_in_detail_adds_a_tools_result_to_the_conversation_and_names_the_tools() -> None:
    said = {"span.type": "tool", "tool_name": "Read", "tool_input": '[TOOL INPUT: Read]\n{"file_path": "/a"}'}
    span = read_span(said | {"new_context": '[TOOL RESULT: Read]\n{"type":"text"}'}, scope=CLAUDE)
    assert (span.input.text, span.output.text) == ('{"file_path": "/a"}', '{"type":"text"}')
    tools = '[{"name":"Read","hash":"25e4"},{"name":"Bash","hash":"f171"}]'
    span = read_span({"span.type": "llm_request", "tools": tools}, scope=CLAUDE)
    assert list(definitions(span.details)) == ["Read", "Bash"]


def test_claude_code_prompt_that_is_redacted_is_redacted() -> None:
    span = read_span({"span.type": "interaction", "user_prompt": "<REDACTED>"}, scope=CLAUDE)
    assert (span.input.state, span.output.state) == (ContentState.REDACTED, ContentState.ABSENT)


def test_claude_code_failure_has_its_code_and_words() -> None:
    attributes = REQUEST | {"success": "false", "status_code": 529, "error": "Overloaded"}
    error = read_span(attributes, scope=CLAUDE).error
    assert error is not None
    assert (error.status_code, error.message, error.error_class) == (529, "Overloaded", ErrorClass.SERVER)


def test_span_type_of_other_clients_says_nothing() -> None:
    span = read_span({"span.type": "web", "model": "T", "error": "true", "input_tokens": 3}, status=2, message="boom")
    assert (span.dialect, span.model, span.usage) == ("unknown", "", None)
    assert span.error is not None
    assert span.error.message == "boom"


CODEX = "codex_cli_rs"
SESSION = "019a0000-1111-7222-8333-444455556666"


def test_codex_turn_has_its_session_model_and_tokens() -> None:
    attributes = {
        "thread.id": SESSION,
        "gen_ai.conversation.id": "turn-1",
        "turn.id": "turn-1",
        "model": "gpt-5-codex",
        "codex.turn.token_usage.input_tokens": 900,
        "codex.turn.token_usage.cached_input_tokens": 700,
        "codex.turn.token_usage.output_tokens": 80,
        "codex.turn.token_usage.reasoning_output_tokens": 30,
        "codex.turn.token_usage.total_tokens": 980,
    }
    span = read_span(attributes, name="session_task.turn", scope=CODEX)
    assert (span.kind, span.dialect, span.model, span.session_id) == (SpanKind.AGENT, "codex", "gpt-5-codex", SESSION)
    assert span.usage == Usage(900, 80, 700, 30)
    assert (span.input.state, span.output.state) == (ContentState.ABSENT, ContentState.ABSENT)


def test_codex_thread_number_is_no_session() -> None:
    assert read_span({"thread.id": 10}, name="handle_responses", scope=CODEX).session_id == ""
    assert read_span({"thread.id": SESSION}, scope="my.app").session_id == ""
    assert read_span({"conversation.id": SESSION}, name="run_turn", scope=CODEX).session_id == SESSION


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("session_task.turn", SpanKind.AGENT),
        ("run_turn", SpanKind.CHAIN),
        ("model_client.stream_responses_websocket", SpanKind.LLM),
        ("responses_websocket.stream_request", SpanKind.HTTP),
        ("handle_tool_call", SpanKind.CHAIN),
        ("shutdown", SpanKind.UNKNOWN),
    ],
)
def test_codex_spans_are_told_by_their_names(name: str, kind: SpanKind) -> None:
    assert read_span({}, name=name, scope=CODEX).kind is kind


GEMINI = "gemini-cli"


def gemini(operation: str, **attributes: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.agent.name": "gemini-cli",
        "gen_ai.conversation.id": "s-1",
    } | attributes


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("llm_call", SpanKind.LLM),
        ("tool_call", SpanKind.TOOL),
        ("agent_call", SpanKind.AGENT),
        ("user_prompt", SpanKind.CHAIN),
        ("system_prompt", SpanKind.CHAIN),
        ("schedule_tool_calls", SpanKind.CHAIN),
    ],
)
def test_gemini_cli_operations_have_kinds(operation: str, kind: SpanKind) -> None:
    span = read_span(gemini(operation), name=operation, scope=GEMINI)
    assert (span.kind, span.dialect, span.session_id) == (kind, "gemini_cli", "s-1")


def test_gemini_cli_call_is_read_from_geminis_parts() -> None:
    parts = [{"text": "Let me look."}, {"functionCall": {"name": "read_file", "args": {"path": "a"}, "id": "c1"}}]
    attributes = {
        "gen_ai.request.model": "gemini-2.5-pro",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"text": "fix it"}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "model", "parts": parts}]),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 9,
    }
    span = read_span(gemini("llm_call", **attributes), scope=GEMINI)
    assert (span.output.text, span.usage) == ("Let me look.", Usage(100, 9))
    assert span.output.tool_calls == (ToolCall("read_file", "c1", '{"path": "a"}'),)


def test_gemini_cli_tool_call_has_its_own_name_for_the_id() -> None:
    attributes = {"gen_ai.tool.name": "read_file", "gen_ai.tool.call_id": "c1"}
    assert read_span(gemini("tool_call", **attributes), scope=GEMINI).tool == ToolCall("read_file", "c1")


def test_gemini_cli_streams_an_answer_as_a_message_a_chunk() -> None:
    said = [{"role": "model", "parts": [{"text": word}]} for word in ("It ", "is ", "18.")]
    called = {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": {}, "id": "c1"}}]}
    span = read_span(gemini("llm_call", **{"gen_ai.output.messages": json.dumps([*said, called])}), scope=GEMINI)
    assert span.output.text == "It is 18."
    assert [call.name for call in span.output.tool_calls] == ["read_file"]


def test_gemini_cli_tool_has_its_arguments_within_its_request() -> None:
    request = {"callId": "c1", "name": "read_file", "args": {"path": "a"}, "isClientInitiated": False}
    span = read_span(gemini("tool_call", **{"gen_ai.input.messages": json.dumps(request)}), scope=GEMINI)
    assert span.tool is not None
    assert span.tool.arguments == '{"path": "a"}'


def test_gemini_cli_names_no_prompt_by_its_session() -> None:
    assert read_span(gemini("llm_call", **{"gen_ai.prompt.name": "s-1"}), scope=GEMINI).details.prompt_name == ""


def test_codex_failures_stand_in_events_that_name_themselves() -> None:
    said = {"event.name": "codex.api_request", "attempt": "1", "model": "gpt-5"}
    refused = said | {"http.response.status_code": "429", "error.message": "http 429"}
    name = "endpoint_session.stream_encoded_json_with"
    event = "event otel/src/events/session_telemetry.rs:803"
    span = read_span({"http.method": "POST"}, name=name, scope="codex_exec", events=[(event, refused)])
    assert span.error is not None
    assert (span.error.error_class, span.error.status_code) == (ErrorClass.RATE_LIMIT, 429)
    assert (span.kind, span.model) == (SpanKind.LLM, "gpt-5")
    # a try that failed before one that did not was survived
    fine = said | {"http.response.status_code": "200"}
    span = read_span({"http.method": "POST"}, name=name, scope="codex_exec", events=[(event, refused), (event, fine)])
    assert (span.error, span.details.attempt) == (None, 1)
    told = ("event otel/src/tool_result.rs:54", {"event.name": "codex.tool_result", "success": "false"})
    span = read_span({}, name="dispatch_tool_call_with_state", scope="codex_exec", events=[told])
    assert span.kind is SpanKind.CHAIN
    assert span.error is not None


def test_codex_span_of_a_tool_and_its_call_is_the_tool() -> None:
    span = read_span({"tool_name": "exec_command", "call_id": "c1"}, name="exec_command", scope="codex_exec")
    assert (span.kind, span.tool) == (SpanKind.TOOL, ToolCall("exec_command", "c1"))
    assert read_span({"tool_name": "exec_command"}, name="handle_responses", scope="codex_exec").kind is SpanKind.CHAIN


def test_codex_tokens_are_the_turns_which_has_the_model() -> None:
    used = {"gen_ai.usage.input_tokens": 61, "gen_ai.usage.output_tokens": 23}
    assert read_span(used, name="handle_responses", scope="codex_exec").usage is None


def test_gemini_cli_text_that_was_cut_is_truncated() -> None:
    cut = "x" * 10_000 + "...[TRUNCATED: original length 12345]"
    span = read_span(gemini("llm_call", **{"gen_ai.input.messages": cut}), scope=GEMINI)
    assert span.input.state is ContentState.TRUNCATED
