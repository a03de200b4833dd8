"""OpenLLMetry (Traceloop) of both ages: entities, associations, flattened messages, LangChain's envelopes."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import ContentState, FinishReason, Message, SpanKind, ToolCall, Usage
from tests.unit.dialect_spans import read_span

SCOPE = "opentelemetry.instrumentation.langchain"


def _entity(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"traceloop.span.kind": kind, "traceloop.entity.name": name} | {
        f"traceloop.entity.{key}": json.dumps(value) for key, value in more.items()
    }


@pytest.mark.parametrize(
    ("kind", "read"),
    [("workflow", SpanKind.CHAIN), ("task", SpanKind.CHAIN), ("agent", SpanKind.AGENT), ("tool", SpanKind.TOOL)],
)
def test_entities_have_kinds(kind: str, read: SpanKind) -> None:
    span = read_span(_entity(kind, "weather"), name=f"weather.{kind}")
    assert (span.kind, span.dialect) == (read, "traceloop")
    assert span.agent == ("weather" if read is SpanKind.AGENT else "")


def test_convention_says_more_than_the_entity() -> None:
    said = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    span = read_span(_entity("task", "weather.task") | said)
    assert (span.kind, span.target) == (SpanKind.TOOL, "weather")


def test_associations_name_session_and_user() -> None:
    given = {"session_id": "s", "thread_id": "t", "user_id": "u"}
    span = read_span({f"traceloop.association.properties.{key}": value for key, value in given.items()})
    assert (span.session_id, span.user_id, span.dialect) == ("s", "u", "traceloop")
    thread = read_span({"traceloop.association.properties.thread_id": "t"})
    assert thread.session_id == "t"


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"args": [], "kwargs": {"city": "Lisbon"}}, {"city": "Lisbon"}),
        ({"input_str": "{'city': 'Lisbon', 'unit': None}", "tags": []}, {"city": "Lisbon", "unit": None}),
        ({"input_str": "{'city': 'x'}", "inputs": {"city": "Lisbon"}}, {"city": "Lisbon"}),
        ({"args": ["Lisbon"], "kwargs": {}}, {"args": ["Lisbon"], "kwargs": {}}),
    ],
)
def test_arguments_of_tools_come_out_of_their_envelope(given: dict[str, Any], arguments: dict[str, Any]) -> None:
    span = read_span(_entity("tool", "weather", input=given, output={"output": "18 C", "kwargs": {}}))
    assert span.tool is not None
    assert (span.tool.name, json.loads(span.tool.arguments)) == ("weather", arguments)
    assert span.output.text == "18 C"


def test_envelopes_under_the_conventions_keys_are_opened_too() -> None:
    given = {"input_str": "{'city': 'x'}", "tags": [], "inputs": {"city": "Lisbon"}, "kwargs": {"color": "green"}}
    message = {"lc": 1, "id": ["ToolMessage"], "kwargs": {"content": "18 C", "type": "tool", "tool_call_id": "c1"}}
    said = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.call.arguments": json.dumps(given),
        "gen_ai.tool.call.result": json.dumps({"output": message, "kwargs": {}}),
    }
    span = read_span(_entity("tool", "weather") | said)
    assert span.tool == ToolCall("weather", "", '{"city": "Lisbon"}')
    assert (span.input.text, span.output.text) == ('{"city": "Lisbon"}', "18 C")


def test_retriever_of_langchain_says_its_query_and_that_it_found_nothing() -> None:
    said = _entity("task", "R", input={"query": "refunds?", "tags": []}, output={"documents": [], "count": 0})
    span = read_span(said | {"gen_ai.operation.name": "vector_db_retrieve"}, name="vector_db_retrieve R")
    assert (span.kind, span.details.query, span.details.documents) == (SpanKind.RETRIEVER, "refunds?", ())


def test_input_that_is_no_mapping_is_the_argument() -> None:
    span = read_span(_entity("tool", "weather", input={"input_str": "Lisbon", "tags": []}))
    assert span.tool == ToolCall("weather", "", "Lisbon")


def test_tool_message_of_langchain_is_opened() -> None:
    message = {"lc": 1, "id": ["ToolMessage"], "kwargs": {"content": "18 C", "type": "tool", "tool_call_id": "c1"}}
    span = read_span(_entity("tool", "weather", output={"output": message, "kwargs": {}}))
    assert span.output.text == "18 C"
    message["kwargs"] = {"content": "no such city", "type": "tool", "status": "error", "tool_call_id": "c1"}
    failed = read_span(_entity("tool", "weather", output={"output": message, "kwargs": {}}))
    assert json.loads(failed.output.text) == {"status": "error", "content": "no such city"}


OLD = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-4o-mini",
    "llm.headers": "None",
    "llm.is_streaming": True,
    "gen_ai.usage.prompt_tokens": 40,
    "gen_ai.usage.completion_tokens": 17,
    "llm.usage.total_tokens": 57,
    "gen_ai.usage.cache_read_input_tokens": 8,
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": '[{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {}}]',
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": '""',
    "gen_ai.completion.0.finish_reason": "length",
    "llm.request.functions.0.name": "weather",
    "llm.request.functions.0.parameters": '{"type": "object", "required": ["city"]}',
}


def test_old_call_gives_every_fact() -> None:
    span = read_span(OLD, events=[("llm.content.completion.chunk", {}), ("llm.content.completion.chunk", {})])
    assert (span.kind, span.dialect, span.target) == (SpanKind.LLM, "traceloop", "llm:gpt-4o-mini")
    assert span.usage == Usage(40, 17, 8)
    assert (span.output.state, span.output.text, span.finish_reason) == (ContentState.PRESENT, "", FinishReason.LENGTH)
    assert messages_of(span.input) == (Message("user", "Weather?"),)
    assert definitions(span.details) == {"weather": {"type": "object", "required": ["city"]}}
    assert span.details.is_stream is True
    assert span.time_to_first_token_s == 0.5


def test_old_call_after_eviction_is_still_an_llm_and_truncated() -> None:
    left = {key: value for key, value in OLD.items() if key.startswith("gen_ai.") and "request" not in key}
    span = read_span(left, dropped=93, scope="opentelemetry.instrumentation.openai.v1")
    assert (span.kind, span.input.state) == (SpanKind.LLM, ContentState.TRUNCATED)


def test_rest_of_evicted_functions_is_no_list_of_them() -> None:
    assert read_span(OLD, dropped=1).details.tool_definitions == ""


def test_new_call_is_the_conventions() -> None:
    span = read_span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "langgraph",
            "gen_ai.is_streaming": False,
            "gen_ai.request.structured_output_schema": '{"type": "json_object"}',
            "gen_ai.usage.input_tokens": 40,
            "gen_ai.usage.reasoning_tokens": 3,
            "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": "{}"}], "finish_reason": "stop"}]
            ),
        },
        scope=SCOPE,
    )
    assert (span.dialect, span.provider, span.details.output_type) == ("traceloop", "", "json")
    assert span.usage == Usage(40, 0, 0, 3)
    assert span.output.text == "{}"


def test_prompts_of_the_registry_are_named() -> None:
    span = read_span(OLD | {"traceloop.prompt.key": "greeting", "traceloop.prompt.version": 4})
    assert (span.details.prompt_name, span.details.prompt_version) == ("greeting", "4")


def test_answer_left_out_beside_a_sent_question_is_empty_and_without_one_absent() -> None:
    said = {key: value for key, value in OLD.items() if key != "gen_ai.completion.0.content"}
    assert read_span(said).output.state is ContentState.PRESENT
    unsent = {key: value for key, value in said.items() if not key.startswith("gen_ai.prompt.")}
    assert read_span(unsent).output.state is ContentState.ABSENT
    call = {"gen_ai.completion.0.finish_reason": "function_call", "gen_ai.completion.0.function_call.name": "weather"}
    assert read_span(said | call).output.tool_calls == (ToolCall("weather"),)


def test_retriever_of_llama_index_is_a_task_by_its_name() -> None:
    attributes = {
        "traceloop.span.kind": "task",
        "traceloop.entity.name": "VectorIndexRetriever.task",
        "traceloop.entity.input": '{"query_bundle": {"query_str": "refunds?"}}',
        "traceloop.entity.output": "[]",
    }
    span = read_span(attributes, scope="opentelemetry.instrumentation.llamaindex")
    assert (span.kind, span.details.documents) == (SpanKind.RETRIEVER, ())
    assert read_span(attributes | {"traceloop.entity.name": "SentenceSplitter.task"}).kind is SpanKind.CHAIN


def test_items_of_the_responses_api_are_taken_out_of_the_users_text() -> None:
    """OpenLLMetry in JavaScript writes the whole input as the text of one message."""
    call = {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"}
    items = [{"role": "user", "content": "weather?"}, call]
    items.append({"type": "function_call_output", "call_id": "c1", "output": "Error: down"})
    wrapped = [{"role": "user", "parts": [{"type": "text", "content": json.dumps(items)}]}]
    said = {"gen_ai.operation.name": "chat", "traceloop.association.properties.session_id": "s-1"}
    span = read_span(said | {"gen_ai.input.messages": json.dumps(wrapped, separators=(",", ":"))})
    messages = messages_of(span.input)
    assert messages[0].text == "weather?"
    assert (messages[-1].tool_call_id, messages[-1].text) == ("c1", "Error: down")
    # a user who writes JSON keeps it
    pasted = [{"role": "user", "parts": [{"type": "text", "content": '[{"a": 1}]'}]}]
    span = read_span(said | {"gen_ai.input.messages": json.dumps(pasted, separators=(",", ":"))})
    assert messages_of(span.input)[0].text == '[{"a": 1}]'


def test_flattened_functions_of_the_client_in_javascript_call_their_parameters_arguments() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = "llm.request.functions.0."
    span = read_span(
        {
            "llm.request.type": "chat",
            "gen_ai.completion.0.role": "assistant",
            function + "name": "get_weather",
            function + "arguments": json.dumps(schema),
        },
        scope="@traceloop/instrumentation-openai",
    )
    assert definitions(span.details) == {"get_weather": schema}
