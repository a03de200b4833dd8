"""OpenInference, MLflow, the fallback, resources, and usage over a trace."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions
from core.model.span import Content, ContentState, FinishReason, Span, SpanKind, ToolCall, Usage
from core.model.trace import Trace
from core.model.usage import billable_usage
from tests.unit.dialect_spans import read_span

RESPONSE = json.dumps(
    {"id": "chatcmpl-1", "choices": [{"finish_reason": "length", "index": 0, "message": {"content": "One, two"}}]}
)


def test_openinference_llm_span_reads_flattened_output() -> None:
    span = read_span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini-2024-07-18",
            "llm.invocation_parameters": '{"model": "gpt-4o-mini", "temperature": 0.2}',
            "llm.system": "openai",
            "llm.token_count.prompt": 40,
            "llm.token_count.completion": "17",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": "call_1",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "search",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"q": 1}',
            "input.value": "question",
            "session.id": "s-1",
        },
        events=[("First Token Stream Event", {})],
    )
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "openinference", "llm:gpt-4o-mini")
    assert span.usage == Usage(input_tokens=40, output_tokens=17)
    assert span.output.tool_calls == (ToolCall(name="search", call_id="call_1", arguments='{"q": 1}'),)
    assert span.input.text == "question"
    assert span.session_id == "s-1"
    assert span.time_to_first_token_s == 0.5


def test_openinference_contents_and_order_beyond_ten_messages() -> None:
    attributes = {f"llm.input_messages.{n}.message.content": f"turn {n}" for n in range(12)}
    attributes |= {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.contents.0.message_content.type": "text",
        "llm.output_messages.0.message.contents.0.message_content.text": "in parts",
    }
    span = read_span(attributes)
    assert span.output.text == "in parts"
    assert span.input.text == "turn 11"


def test_openinference_raw_response_gives_answer_and_finish_reason() -> None:
    span = read_span({"openinference.span.kind": "LLM", "output.value": RESPONSE})
    assert span.output.text == "One, two"
    assert span.finish_reason is FinishReason.LENGTH


def test_openinference_tool_span_reads_arguments_from_its_input() -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t", "input.value": "{}", "output.value": "42"}
    span = read_span(attributes | {"tool.parameters": '{"q": {"type": "string"}}'})
    assert span.tool == ToolCall(name="t", arguments="{}")
    assert span.output.text == "42"


def test_openinference_redacted_values_are_no_arguments() -> None:
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "t"}
    span = read_span(attributes | {"input.value": "__REDACTED__", "output.value": "__REDACTED__"})
    assert span.tool == ToolCall(name="t")
    assert span.output.state is ContentState.REDACTED


def test_session_is_found_in_metadata() -> None:
    span = read_span({"openinference.span.kind": "CHAIN", "metadata": '{"thread_id": "t-1", "user_id": "u-1"}'})
    assert (span.session_id, span.user_id) == ("t-1", "u-1")


def test_mlflow_values_are_taken_out_of_json() -> None:
    span = read_span(
        {
            "mlflow.traceRequestId": '"tr-1"',
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": '"gpt-4o-mini"',
            "mlflow.spanInputs": '{"messages": []}',
            "mlflow.spanOutputs": RESPONSE,
            "mlflow.chat.tokenUsage": '{"input_tokens": 30, "output_tokens": 21, "total_tokens": 51}',
        },
        scope="mlflow.tracing.provider",
        resource={"mlflow.experiment.id": "7"},
    )
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "mlflow", "llm:gpt-4o-mini")
    assert (span.output.text, span.finish_reason) == ("One, two", FinishReason.LENGTH)
    assert span.usage == Usage(input_tokens=30, output_tokens=21)
    assert span.experiment == "7"


def test_mlflow_tool_span_is_named_by_its_span() -> None:
    span = read_span(
        {
            "mlflow.spanType": '"TOOL"',
            "mlflow.spanInputs": '{"city": "Lisbon"}',
            "mlflow.spanOutputs": json.dumps({"content": "18 °C", "type": "tool", "tool_call_id": "call_1"}),
            "tool_call_id": '"call_1"',
        },
        name="get_weather",
    )
    assert span.tool == ToolCall(name="get_weather", call_id="call_1", arguments='{"city": "Lisbon"}')
    assert span.output.text == "18 °C"


def test_a_whole_answer_of_which_only_the_role_was_sent_is_empty() -> None:
    span = read_span({"openinference.span.kind": "LLM", "output.value": '[{"role": "assistant"}]'})
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "")


def test_mlflow_reads_a_model_of_pydantic_ai() -> None:
    call = {"part_kind": "tool-call", "tool_name": "find", "args": '{"q": 1', "tool_call_id": "c1", "id": None}
    tools = [{"name": "find", "parameters_json_schema": {"type": "object", "properties": {"q": {"type": "integer"}}}}]
    span = read_span(
        {
            "mlflow.spanType": '"LLM"',
            "mlflow.spanInputs": json.dumps(
                {"messages": [], "model_request_parameters": {"function_tools": tools, "output_mode": "text"}}
            ),
            "mlflow.spanOutputs": json.dumps({"parts": [call], "kind": "response", "finish_reason": "tool_call"}),
        },
    )
    assert span.output.tool_calls == (ToolCall("find", "c1", '{"q": 1'),)
    assert span.finish_reason is FinishReason.TOOL_CALLS
    assert set(definitions(span.details)) == {"find"}


def test_mlflow_reads_a_model_of_llama_index() -> None:
    said = {"role": "assistant", "blocks": [{"block_type": "text", "text": "Lis"}]}
    raw = {"choices": [{"finish_reason": "length", "message": {"content": "Lis"}}]}
    sent = {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanOutputs": json.dumps({"message": said, "raw": raw})}
    span = read_span(sent, name="OpenAI.achat")
    assert (span.output.text, span.finish_reason) == ("Lis", FinishReason.LENGTH)
    assert read_span(sent, name="OpenAI._prepare_chat_with_tools").kind is SpanKind.CHAIN


def test_mlflow_reads_a_call_of_litellm() -> None:
    sent = {"mlflow.spanType": '"LLM"', "model": '"gpt-4o-mini"', "response_cost": "1.785e-05"}
    span = read_span(sent)
    assert (span.model, span.cost_usd) == ("gpt-4o-mini", 1.785e-05)
    assert read_span({"mlflow.spanType": '"AGENT"', "model": '{"_model_name": "gpt-4o-mini"}'}).model == ""


@pytest.mark.parametrize(
    ("attributes", "scope", "dialect"),
    [
        ({"haystack.agent.step.llm.output": "{}"}, "mlflow.haystack.autolog", "haystack"),
        ({"gen_ai.operation.name": "chat", "mlflow.llm.provider": '"strands-agents"'}, "strands.telemetry", "strands"),
    ],
)
def test_spans_that_mlflow_only_passes_on_are_read_by_their_own_dialect(
    attributes: dict[str, Any], scope: str, dialect: str
) -> None:
    passed_on = {"mlflow.traceRequestId": '"tr-1"', "mlflow.spanType": "null", "mlflow.spanOutputs": "[]"}
    span = read_span(passed_on | attributes, scope=scope)
    assert (span.dialect, span.provider) == (dialect, "")


def test_mlflow_writes_sessions_and_users_as_json() -> None:
    span = read_span({"mlflow.spanType": '"LLM"', "session.id": '"s-1"', "user.id": '"u-7"'})
    assert (span.session_id, span.user_id) == ("s-1", "u-7")


def test_mlflow_tool_that_could_not_be_called_was_given_nothing() -> None:
    span = read_span({"mlflow.spanType": '"TOOL"', "mlflow.spanInputs": "null"}, name="find", status=2)
    assert span.tool == ToolCall("find")
    assert span.input.state is ContentState.ABSENT


@pytest.mark.parametrize(
    ("key", "kind"),
    [("http.request.method", SpanKind.HTTP), ("rpc.system", SpanKind.RPC), ("db.system.name", SpanKind.DB)],
)
def test_fallback_knows_the_conventions_of_http_rpc_and_databases(key: str, kind: SpanKind) -> None:
    span = read_span({key: "x", "http.response.status_code": 503}, status=2, name="GET /")
    assert span.kind is kind
    assert span.error is not None
    assert span.error.status_code == 503


def test_unknown_span_stays_unknown_with_its_name_and_session() -> None:
    span = read_span({"acme.kind": "workflow", "session.id": "s"}, name="my.workflow")
    assert (span.kind, span.dialect, span.target, span.session_id) == (SpanKind.UNKNOWN, "unknown", "my.workflow", "s")


def test_numbered_steps_are_chains_in_every_dialect() -> None:
    plain = read_span({}, name="Step 4", scope="openinference.instrumentation.smolagents")
    marked = read_span({"openinference.span.kind": "CHAIN"}, name="Step 4")
    assert plain.target == marked.target == "chain"


def _span(number: int, parent: int = 0, usage: Usage | None = None) -> Span:
    return Span(trace_id="aa", span_id=f"{number:016x}", parent_span_id=f"{parent:016x}" if parent else "", usage=usage)


def test_usage_of_wrappers_is_not_counted_again() -> None:
    call = Usage(input_tokens=10, output_tokens=5, cached_tokens=4)
    total = Usage(input_tokens=20, output_tokens=10)
    spans = [_span(1, 0, total), _span(2, 1), _span(3, 2, call), _span(4, 1, call)]
    trace = Trace(trace_id="aa", spans=spans)
    assert billable_usage(trace) == Usage(input_tokens=20, output_tokens=10, cached_tokens=8)


def test_usage_survives_parents_that_form_a_circle() -> None:
    call = Usage(input_tokens=10)
    trace = Trace(trace_id="aa", spans=[_span(1, 2), _span(2, 1), _span(3, 1, call)])
    assert billable_usage(trace) == call


@pytest.mark.parametrize(
    ("attributes", "target"),
    [
        ({"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "guides"}, "retriever:guides"),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.agent.name": "travel"}, "retriever:travel"),
        ({"gen_ai.operation.name": "retrieval"}, "retriever"),
        ({"db.system.name": "postgresql", "db.namespace": "shop", "db.collection.name": "orders"}, "db:orders"),
        ({"db.system": "mysql", "db.name": "shop"}, "db:shop"),
        # it grounds its answers in it, but what one would fix is the model or the agent
        (
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.data_source.id": "guides"},
            "llm:gpt-4o",
        ),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.data_source.id": "guides"}, "agent"),
    ],
)
def test_what_a_retrieval_or_a_query_asked_is_its_target(attributes: dict[str, Any], target: str) -> None:
    assert read_span(attributes).target == target


def test_openinference_of_the_responses_api_reads_refusals_and_the_format_asked_for() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    asked = {"model": "gpt-4o", "text": {"format": {"type": "json_schema", "name": "w", "schema": schema}}}
    block = "llm.output_messages.0.message.contents.0.message_content."
    span = read_span(
        {
            "openinference.span.kind": "LLM",
            "llm.invocation_parameters": json.dumps(asked),
            "llm.output_messages.0.message.role": "assistant",
            block + "type": "refusal",
            block + "text": "I can't assist with that.",
        }
    )
    assert span.output.refusal == "I can't assist with that."
    assert span.details.output_type == "json_schema"
    assert json.loads(span.details.output_schema) == schema


def test_openinference_of_langchain_in_javascript_opens_a_tools_result() -> None:
    said = {"status": "success", "content": '{"temp": 18}', "tool_call_id": "call_1", "name": "get_weather"}
    message = {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "ToolMessage"], "kwargs": said}
    span = read_span(
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "get_weather",
            "output.value": json.dumps({"output": message}),
        }
    )
    assert span.output.text == '{"temp": 18}'
    assert span.tool is not None
    assert span.tool.call_id == "call_1"


def test_openinference_of_vercel_ai_leaves_out_an_empty_answer_and_encodes_arguments_twice() -> None:
    said = {
        "openinference.span.kind": "LLM",
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.response.finishReason": "stop",
        "llm.token_count.completion": 1,
        "input.value": '[{"role": "user", "content": "weather?"}]',
    }
    assert read_span(said).output == Content(ContentState.PRESENT)
    assert read_span(said | {"input.value": "__REDACTED__"}).output.state is ContentState.ABSENT
    call = "llm.output_messages.0.message.tool_calls.0.tool_call.function."
    span = read_span(said | {call + "name": "find", call + "arguments": json.dumps(json.dumps({"q": "x"}))})
    assert span.output.tool_calls == (ToolCall("find", "", '{"q": "x"}'),)
