"""LangSmith's OTel export: kinds by run type, one blob for inputs and one for outputs."""

import json
from typing import Any

import pytest

from core.model.span import ContentState, Document, ErrorClass, FinishReason, Span, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

BASE: dict[str, Any] = {
    "langsmith.trace.name": "run",
    "langsmith.trace.session_id": "11111111-2222-3333-4444-555555555555",
    "langsmith.trace.session_name": "my-project",
    "gen_ai.system": "langchain",
    "langsmith.metadata.LANGSMITH_TRACING": "true",
    "langsmith.metadata.thread_id": "t-1",
    "langsmith.metadata.user_id": "u-1",
}
OPERATIONS = {"llm": "chat", "tool": "execute_tool", "retriever": "embeddings", "prompt": "chat"}


def run(kind: str, attributes: dict[str, Any], **more: Any) -> Span:
    marks = {"langsmith.span.kind": kind, "gen_ai.operation.name": OPERATIONS.get(kind, kind)}
    return read_span(BASE | marks | attributes, scope="langsmith", **more)


@pytest.mark.parametrize(
    ("run_type", "kind"),
    [
        ("llm", SpanKind.LLM),
        ("tool", SpanKind.TOOL),
        ("chain", SpanKind.CHAIN),
        ("retriever", SpanKind.RETRIEVER),
        ("embedding", SpanKind.EMBEDDING),
        ("prompt", SpanKind.PROMPT),
        ("parser", SpanKind.CHAIN),
    ],
)
def test_the_run_type_says_the_kind_not_the_operation(run_type: str, kind: SpanKind) -> None:
    assert run(run_type, {}).kind is kind


def test_the_project_is_not_the_session() -> None:
    assert (run("chain", {}).session_id, run("chain", {}).user_id) == ("t-1", "u-1")
    bare = {k: v for k, v in BASE.items() if "metadata" not in k}
    assert read_span(bare | {"langsmith.span.kind": "chain"}).session_id == ""


@pytest.mark.parametrize("key", ["session_id", "conversation_id", "thread_id"])
def test_each_name_of_a_session_is_known(key: str) -> None:
    assert read_span({"langsmith.span.kind": "llm", f"langsmith.metadata.{key}": "s-9"}).session_id == "s-9"


GENERATION = {
    "generations": [
        [
            {
                "text": "It is 18 °C.",
                "generation_info": {"finish_reason": "length"},
                "message": {
                    "lc": 1,
                    "type": "constructor",
                    "id": ["langchain", "schema", "messages", "AIMessage"],
                    "kwargs": {
                        "content": "It is 18 °C.",
                        "tool_calls": [{"name": "get_weather", "args": {"city": "Lisbon"}, "id": "call_1"}],
                    },
                },
            }
        ]
    ]
}


def test_an_answer_is_taken_out_of_langchains_dump() -> None:
    span = run(
        "llm",
        {
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "langsmith.metadata.ls_temperature": 0.2,
            "langsmith.metadata.ls_max_tokens": 300,
            "langsmith.metadata.ls_provider": "openai",
            "langsmith.request.streaming": True,
            "gen_ai.usage.input_tokens": 30,
            "gen_ai.usage.output_tokens": 21,
            "gen_ai.prompt": json.dumps({"messages": [[{"kwargs": {"content": "weather?", "type": "human"}}]]}),
            "gen_ai.completion": json.dumps(GENERATION),
        },
    )
    assert (span.dialect, span.target, span.provider) == ("langsmith", "llm:gpt-4o-mini", "openai")
    assert (span.output.text, span.finish_reason) == ("It is 18 °C.", FinishReason.LENGTH)
    assert span.output.tool_calls == (ToolCall("get_weather", "call_1", '{"city": "Lisbon"}'),)
    assert span.usage == Usage(30, 21)
    assert (span.details.temperature, span.details.max_tokens, span.details.is_stream) == (0.2, 300, True)
    assert "weather?" in span.input.text


def test_an_answer_of_a_wrapped_openai_client_is_its_response() -> None:
    blob = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "18 °C"}}]}
    span = run("llm", {"gen_ai.completion": json.dumps(blob), "gen_ai.response.finish_reasons": ["stop"]})
    assert (span.output.text, span.finish_reason) == ("18 °C", FinishReason.STOP)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input": "{'city': 'Lisbon', 'unit': None}"}, '{"city": "Lisbon", "unit": null}'),
        ({"input": '{"city": "Lisbon"}'}, '{"city": "Lisbon"}'),
        ({"input": "Lisbon"}, "Lisbon"),
        ({"city": "Lisbon"}, '{"city": "Lisbon"}'),
    ],
)
def test_a_tools_arguments_are_unwrapped(given: dict[str, Any], said: str) -> None:
    span = run("tool", {"gen_ai.tool.name": "get_weather", "gen_ai.prompt": json.dumps(given)})
    assert span.tool == ToolCall("get_weather", "", said)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"output": "18C"}, "18C"),
        ({"output": {"content": "18C", "type": "tool", "tool_call_id": "call_1", "status": "success"}}, "18C"),
        ({"output": {"lc": 1, "kwargs": {"content": "18C", "tool_call_id": "call_1"}}}, "18C"),
        ({"temp": 18}, '{"temp": 18}'),
    ],
)
def test_a_tools_result_is_unwrapped(outputs: dict[str, Any], said: str) -> None:
    span = run("tool", {"gen_ai.completion": json.dumps(outputs), "gen_ai.tool.call.id": "call_1"}, name="get_weather")
    assert span.output.text == said
    assert span.tool is not None
    assert (span.tool.name, span.tool.call_id) == ("get_weather", "call_1")


def test_a_retriever_tells_its_query_and_documents() -> None:
    documents = [{"page_content": "Refunds within 24 h", "metadata": {"score": 0.8}, "id": "kb/1", "type": "Document"}]
    span = run(
        "retriever",
        {
            "gen_ai.prompt": json.dumps({"query": "refunds?"}),
            "gen_ai.completion": json.dumps({"documents": documents}),
        },
    )
    assert span.details.documents == (Document("kb/1", 0.8, "Refunds within 24 h"),)
    assert span.details.query == "refunds?"
    assert run("retriever", {"gen_ai.completion": '{"documents": []}'}).details.documents == ()


@pytest.mark.parametrize("status", [1, 2])
def test_the_real_error_is_found_under_a_generic_one(status: int) -> None:
    message = (
        "RateLimitError(\"Error code: 429 - {'error': {'message': 'Rate limit reached'}}\")"
        "Traceback (most recent call last):\n\n  File …"
    )
    event = ("exception", {"exception.type": "Exception", "exception.message": message})
    # an update may set the status of a failed run to OK
    error = run("llm", {}, status=status, events=[event]).error
    assert error is not None
    assert (error.error_type, error.status_code, error.error_class) == ("RateLimitError", 429, ErrorClass.RATE_LIMIT)
    assert "Traceback" not in error.message


def test_token_details_and_prompts_of_the_hub_are_read() -> None:
    span = run(
        "llm",
        {
            "gen_ai.usage.input_tokens": 30,
            "gen_ai.usage.output_tokens": 21,
            "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 8}",
            "gen_ai.usage.output_token_details": "{'reasoning': 3}",
            "langsmith.metadata.lc_hub_repo": "refunds",
            "langsmith.metadata.lc_hub_commit_hash": "3f2a",
        },
    )
    assert span.usage == Usage(30, 21, 8, 3)
    assert (span.details.prompt_name, span.details.prompt_version) == ("refunds", "3f2a")


def test_a_run_without_outputs_has_no_answer() -> None:
    assert run("llm", {}).output.state is ContentState.ABSENT


def test_tokens_of_the_client_in_javascript_stand_in_one_attribute() -> None:
    said = {
        "input_tokens": 30,
        "output_tokens": 21,
        "input_token_details": {"audio": 0, "cache_read": 8, "cache_creation": 2},
        "output_token_details": {"reasoning": 3},
    }
    assert run("llm", {"langsmith.usage_metadata": json.dumps(said)}).usage == Usage(30, 21, 8, 3, 2)


def test_the_reason_of_a_message_that_langchain_in_javascript_dumped_is_read() -> None:
    message = {"lc": 1, "kwargs": {"content": "It is", "response_metadata": {"finish_reason": "length"}}}
    said = json.dumps({"generations": [[{"text": "It is", "message": message}]]})
    assert run("llm", {"gen_ai.completion": said}).finish_reason is FinishReason.LENGTH


def test_a_whole_request_tells_its_tools_and_the_format_asked_for() -> None:
    request = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "refunds?"}],
        "tools": [{"type": "function", "function": {"name": "search"}}],
        "response_format": {"type": "json_object"},
    }
    span = run("llm", {"gen_ai.prompt": json.dumps(request)})
    assert '"search"' in span.details.tool_definitions
    assert span.details.output_type == "json"


def test_the_tokens_details_stand_in_the_metadata() -> None:
    used = {"input_tokens": 57, "output_tokens": 17, "input_token_details": {"cache_read": 12}}
    span = run("llm", {"langsmith.metadata.usage_metadata": json.dumps(used), "langsmith.metadata.stream": True})
    assert (span.usage, span.details.is_stream) == (Usage(57, 17, 12), True)
