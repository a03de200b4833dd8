"""Agent Framework, LiteLLM and CrewAI: OTel GenAI with ways of their own."""

import json
from typing import Any

import pytest

from core.model.span import ContentState, ErrorClass, FinishReason, Span, SpanKind, Usage
from tests.unit.dialect_spans import read_span

AGENT_FRAMEWORK: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.request.choice.count": 1,
    "server.address": "https://api.openai.com/v1/",
    "gen_ai.conversation.id": "thread_1",
    "gen_ai.response.finish_reasons": '["tool_calls"]',
    "gen_ai.usage.input_tokens": 631,
    "gen_ai.usage.output_tokens": 35,
    "gen_ai.client.operation.duration": 6.45,
}


def test_agent_framework_chat_has_its_finish_reason_out_of_json() -> None:
    span = read_span(AGENT_FRAMEWORK, scope="agent_framework")
    assert (span.kind, span.dialect, span.provider) == (SpanKind.LLM, "agent_framework", "openai")
    assert (span.finish_reason, span.usage, span.session_id) == (FinishReason.TOOL_CALLS, Usage(631, 35), "thread_1")


def test_agent_framework_names_itself_as_provider_and_unknown_as_model_of_an_agent() -> None:
    attributes = AGENT_FRAMEWORK | {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "microsoft.agent_framework",
        "gen_ai.request.model": "unknown",
        "gen_ai.agent.name": "travel",
    }
    span = read_span(attributes, scope="agent_framework")
    assert (span.kind, span.provider, span.model, span.agent) == (SpanKind.AGENT, "", "", "travel")


@pytest.mark.parametrize(
    "name", ["workflow.build", "workflow.run", "executor.process", "edge_group.process", "message.send"]
)
def test_steps_of_an_agent_framework_workflow_are_chains(name: str) -> None:
    assert read_span({"executor.id": "writer"}, name=name, scope="agent_framework").kind is SpanKind.CHAIN


def test_agent_framework_wraps_what_its_text_still_tells() -> None:
    message = (
        "<class 'OpenAIChatClient'> service failed to complete the prompt: Error code: 429 - {'message': 'Rate …'}"
    )
    event = ("exception", {"exception.type": "agent_framework.exceptions.ChatClientException",
                           "exception.message": message})  # fmt: skip
    attributes = AGENT_FRAMEWORK | {"error.type": "ChatClientException"}
    error = read_span(
        attributes, scope="agent_framework", status=2, message="ChatClientException(…)", events=[event]
    ).error
    assert error is not None
    assert (error.status_code, error.error_class) == (429, ErrorClass.RATE_LIMIT)


LITELLM: dict[str, Any] = {
    **{f"metadata.user_api_key_{key}": "" for key in ("hash", "alias", "team_id", "user_id", "end_user_id")},
    "metadata.requester_metadata": '{"session_id": "s-1", "user_id": "u-2"}',
    "hidden_params": '{"model_id": null}',
    "litellm.provider.model": "openai/gpt-4o-mini",
    "litellm.call_id": "524c",
    "gen_ai.cost.input_cost": 6e-06,
    "gen_ai.cost.total_cost": 1.62e-05,
    "gen_ai.request.model": "gpt-4o-mini",
    "llm.request.type": "completion",
    "gen_ai.system": "openai",
    "llm.is_streaming": "False",
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.input_tokens": 40,
    "gen_ai.usage.output_tokens": 17,
    "gen_ai.response.finish_reasons": '["stop"]',
}


def test_litellm_call_says_all_that_the_callback_writes() -> None:
    span = read_span(LITELLM, name="litellm_request", scope="litellm")
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "litellm", "llm:gpt-4o-mini")
    assert (span.cost_usd, span.finish_reason, span.usage) == (1.62e-05, FinishReason.STOP, Usage(40, 17))
    assert (span.session_id, span.user_id) == ("s-1", "u-2")
    assert span.details.is_stream is False


def test_litellm_raw_call_is_no_second_llm_call() -> None:
    attributes = {"llm.openai.messages": "[{'role': 'user'}]", "llm.openai.id": "chatcmpl-1"}
    assert read_span(attributes, name="raw_gen_ai_request", scope="litellm").kind is SpanKind.HTTP
    # it bears the name that the app gave its generation
    assert read_span(attributes, name="my-generation", scope="litellm").kind is SpanKind.HTTP


def test_litellm_error_facts_stand_in_attributes() -> None:
    attributes = LITELLM | {
        "error.code": "429",
        "http.response.status_code": 429,
        "error.type": "RateLimitError",
        "error.message": "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota",
        "error.llm_provider": "openai",
    }
    error = read_span(attributes, scope="litellm", status=2).error
    assert error is not None
    assert (error.error_type, error.status_code, error.error_class) == ("RateLimitError", 429, ErrorClass.QUOTA)


def test_litellm_proxy_spans_are_chains() -> None:
    assert read_span({}, name="Received Proxy Server Request", scope="litellm").kind is SpanKind.CHAIN


def test_crewai_by_openinference_names_its_agent_by_its_node() -> None:
    attributes = {
        "openinference.span.kind": "AGENT",
        "graph.node.id": "Researcher",
        "task_id": "t-1",
        "crew_id": "c-1",
        "input.value": "topic",
        "output.value": "report",
    }
    span = read_span(attributes, name="Researcher._execute_core", scope="openinference.instrumentation.crewai")
    assert (span.kind, span.agent, span.output.text) == (SpanKind.AGENT, "Researcher", "report")


def test_crewai_tool_by_openinference_keeps_its_schema_apart_from_its_arguments() -> None:
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "search",
        "tool.parameters": '{"q": "str"}',
        "input.value": '{"q": "Lisbon"}',
        "output.value": "3 results",
    }
    span = read_span(attributes, scope="openinference.instrumentation.crewai")
    assert span.tool is not None
    assert (span.tool.name, span.tool.arguments) == ("search", '{"q": "Lisbon"}')


def test_crewai_own_telemetry_is_no_second_tool_call() -> None:
    attributes = {"tool_name": "search", "attempts": 1, "llm": "gpt-4o-mini"}
    assert read_span(attributes, name="Tool Usage", scope="crewai.telemetry").kind is SpanKind.CHAIN


def test_quick_json_of_messages_is_one_answer() -> None:
    message = {"role": "assistant", "parts": [{"type": "text", "content": "18 °C"}], "finish_reason": "stop"}
    attributes = AGENT_FRAMEWORK | {"gen_ai.output.messages": json.dumps([message])}
    assert read_span(attributes, scope="agent_framework").output.text == "18 °C"


def test_litellm_writes_the_calls_of_an_answer_flattened() -> None:
    span = read_span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": '[{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}]',
            "gen_ai.response.finish_reasons": '["tool_calls"]',
            "gen_ai.completion.0.function_call.name": "find",
            "gen_ai.completion.0.function_call.arguments": '{"q": 1}',
        },
        scope="litellm",
    )
    assert [(call.name, call.arguments) for call in span.output.tool_calls] == [("find", '{"q": 1}')]
    assert span.finish_reason is FinishReason.TOOL_CALLS


def test_litellm_keeps_the_details_of_its_tokens_in_a_repr() -> None:
    used = (
        "{'completion_tokens': 17, 'prompt_tokens': 57, 'total_tokens': 74, 'completion_tokens_details': "
        "{'reasoning_tokens': 4}, 'prompt_tokens_details': {'audio_tokens': None, 'cached_tokens': 12}}"
    )
    attributes = {"gen_ai.operation.name": "chat", "metadata.usage_object": used, "gen_ai.usage.input_tokens": 57}
    assert read_span(attributes, scope="litellm").usage == Usage(57, 17, 12, 4)


AG2 = "opentelemetry.instrumentation.ag2"


def test_ag2_notes_the_tokens_of_a_call_again_beside_it() -> None:
    used = {"gen_ai.usage.input_tokens": 57, "gen_ai.usage.output_tokens": 17}
    noted = read_span({"ag2.span.type": "usage", "ag2.usage.kind": "model_call", **used}, scope=AG2)
    assert (noted.kind, noted.dialect, noted.usage) == (SpanKind.CHAIN, "ag2", None)
    other = read_span({"ag2.span.type": "usage", "ag2.usage.kind": "compaction", **used}, scope=AG2)
    assert other.usage == Usage(57, 17)


def test_ag2_leaves_an_empty_answer_out_where_it_sends_content() -> None:
    asked = {
        "ag2.span.type": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"content": "weather?", "role": "user"}]',
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert read_span(asked, scope=AG2).output.state is ContentState.PRESENT
    del asked["gen_ai.input.messages"]
    assert read_span(asked, scope=AG2).output.state is ContentState.ABSENT


CREW = "crewai"


def crew(event: str, attributes: dict[str, Any], **more: Any) -> Span:
    return read_span({"crewai.event_name": event, "crewai.agent.role": "travel"} | attributes, scope=CREW, **more)


def test_a_trace_of_crewai_is_otel_genai_with_roles_for_names() -> None:
    agent = crew(
        "agent_execution_completed", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "9f351395"}
    )
    assert (agent.kind, agent.dialect, agent.agent) == (SpanKind.AGENT, "crewai", "travel")
    schema = {"properties": {"city": "{'type': 'string'}"}, "required": ["'city'"]}
    call = crew(
        "llm_call_completed",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.conversation.id": "36317b50",
            "crewai.task.id": "36317b50",
            "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "weather?"}]}]',
            "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "find", "parameters": schema}]),
            "gen_ai.response.finish_reasons": ["stop"],
        },
        name="call llm",
    )
    assert (call.kind, call.session_id, call.details.tool_definitions) == (SpanKind.LLM, "", "")
    assert (call.output.state, call.output.text) == (ContentState.PRESENT, "")
    named = {"gen_ai.conversation.id": "s-1", "crewai.task.id": "36317b50"}
    assert crew("llm_call_completed", named).session_id == "s-1"


def test_a_crew_without_inputs_was_asked_nothing() -> None:
    nothing = '[{"role": "user", "parts": [{"type": "text", "content": "null"}]}]'
    given = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.input.messages": nothing}
    assert crew("crew_kickoff_completed", given).input.state is ContentState.ABSENT


def test_a_failure_that_crewai_notes_twice_is_one_issue() -> None:
    called = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}
    raised = {"exception.type": "ValueError", "exception.message": "no such city"}
    call = crew("tool_usage_error", called | {"error.type": "ValueError"}, status=2, events=[("exception", raised)])
    noted = called | {"error.type": "_OTHER", "crewai.tool.failure.code": "ValueError"}
    note = crew("tool_failure_detected", noted, status=2, message="no such city")
    assert call.error == note.error
    assert call.tool == note.tool


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("search knowledge", SpanKind.RETRIEVER),
        ("query memory", SpanKind.RETRIEVER),
        ("evaluate guardrail", SpanKind.GUARDRAIL),
        ("execute flow", SpanKind.CHAIN),
    ],
)
def test_spans_of_crewai_without_an_operation_are_known_by_their_names(name: str, kind: SpanKind) -> None:
    assert crew("x", {}, name=name).kind is kind


@pytest.mark.parametrize("name", ["autogen process travel.(1)-A", "AutoFunctionInvocationLoop"])
def test_what_a_runtime_does_between_calls_is_a_chain(name: str) -> None:
    assert read_span({"messaging.operation": "process"}, name=name).kind is SpanKind.CHAIN
