"""What only some spans say (definitions, asked-for output, documents, evaluations, …), as each dialect says it."""

import json
from typing import Any

import pytest

from core.dialects.messages import definitions, input_messages, messages_of
from core.model.span import (
    ContentState,
    Document,
    Evaluation,
    FinishReason,
    Message,
    SpanKind,
    ToolCall,
    Usage,
)
from core.model.trace import Trace
from tests.unit.dialect_spans import read_span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
LLM = {"openinference.span.kind": "LLM"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TALK = [{"role": "user", "content": "Weather?"}]


def test_otel_says_what_was_asked_for() -> None:
    details = read_span(
        CHAT
        | {
            "gen_ai.tool.definitions": json.dumps([TOOL]),
            "gen_ai.output.type": "JSON",
            "gen_ai.request.max_tokens": 200,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.stream": True,
            "gen_ai.prompt.name": "greeting",
            "gen_ai.prompt.version": "7",
            "server.address": "api.openai.com",
            "http.request.resend_count": 2,
        }
    ).details
    assert definitions(details) == {"weather": SCHEMA}
    assert (details.output_type, details.max_tokens, details.temperature, details.is_stream) == ("json", 200, 0.5, True)
    assert (details.prompt_name, details.prompt_version) == ("greeting", "7")
    assert (details.server, details.attempt) == ("api.openai.com", 2)


@pytest.mark.parametrize(
    ("sent", "kind", "schema"),
    [
        ("json_object", "json", ""),
        ('{"type": "json_object"}', "json", ""),
        (
            '{"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}}',
            "json_schema",
            "object",
        ),
        ('{"type": "object", "properties": {}}', "json_schema", "object"),
        ('{"type": "text"}', "text", ""),
    ],
)
@pytest.mark.parametrize(
    "key", ["gen_ai.openai.request.response_format", "gen_ai.request.structured_output_schema", "parameters"]
)
def test_response_formats_say_type_and_schema(key: str, sent: str, kind: str, schema: str) -> None:
    if key == "parameters":
        asked = json.loads(sent) if sent.startswith("{") else sent
        span = read_span(LLM | {"llm.invocation_parameters": json.dumps({"response_format": asked})})
    else:
        span = read_span(CHAT | {key: sent})
    assert span.details.output_type == kind
    assert (json.loads(span.details.output_schema)["type"] if schema else span.details.output_schema) == schema


def test_structured_definitions_and_documents_are_read_like_json() -> None:
    span = read_span(
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.tool.definitions": [json.dumps(TOOL)],
            "gen_ai.retrieval.documents": [{"id": "kb/1", "score": 0.8}, {"id": "kb/2", "score": "0.1"}],
            "gen_ai.retrieval.query.text": "refunds",
        }
    )
    assert definitions(span.details) == {"weather": SCHEMA}
    assert span.details.documents == (Document("kb/1", 0.8), Document("kb/2", 0.1))
    assert span.details.query == "refunds"


def test_no_documents_are_not_documents_unsaid() -> None:
    asked: dict[str, Any] = {"gen_ai.operation.name": "retrieval"}
    assert read_span(asked | {"gen_ai.retrieval.documents": "[]"}).details.documents == ()
    assert read_span(asked).details.documents is None


def test_evaluations_come_as_events_and_as_attributes() -> None:
    facts = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.2,
        "gen_ai.evaluation.score.label": "poor",
        "gen_ai.evaluation.explanation": "beside the point",
    }
    said = Evaluation("relevance", 0.2, "poor", "beside the point")
    events: list[tuple[str, dict[str, Any]]] = [
        ("gen_ai.evaluation.result", facts),
        ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "tone"}),
    ]
    assert read_span(CHAT, events=events).details.evaluations == (said, Evaluation("tone"))
    assert read_span(LLM, events=events[:1]).details.evaluations == (said,)
    assert read_span(CHAT | facts).details.evaluations == (said,)


def test_instructions_stand_before_the_conversation() -> None:
    span = read_span(
        CHAT
        | {
            "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
            "gen_ai.input.messages": json.dumps(TALK),
        }
    )
    trace = Trace(trace_id=span.trace_id, spans=[span])
    assert input_messages(trace, span) == (Message("system", "Be brief."), Message("user", "Weather?"))
    assert input_messages(trace, span) is input_messages(trace, span)


def test_cache_writes_are_read_under_their_newest_name() -> None:
    tokens = {"gen_ai.usage.input_tokens": 90, "gen_ai.usage.output_tokens": 5}
    old = read_span(CHAT | tokens | {"gen_ai.usage.cache_creation.input_tokens": 30})
    assert old.usage == Usage(90, 5, 0, 0, 30)
    both = read_span(
        CHAT | tokens | {"gen_ai.usage.cache_creation.input_tokens": 1, "gen_ai.usage.cache_write.input_tokens": 30}
    )
    assert both.usage == Usage(90, 5, 0, 0, 30)


def test_framework_is_no_provider() -> None:
    assert read_span(CHAT | {"gen_ai.provider.name": "langgraph", "gen_ai.system": "openai"}).provider == "openai"
    assert read_span(CHAT | {"gen_ai.system": "strands-agents"}).provider == ""


@pytest.mark.parametrize(
    ("events", "asked", "answer"),
    [
        (
            [
                ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps(TALK)}),
                ("gen_ai.content.completion", {"gen_ai.completion": '[{"role": "assistant", "content": "18 C"}]'}),
            ],
            (Message("user", "Weather?"),),
            "18 C",
        ),
        (
            [
                ("gen_ai.system.message", {"content": "Be brief."}),
                ("gen_ai.user.message", {"gen_ai.event.content": '{"role": "user", "content": "Weather?"}'}),
                ("gen_ai.choice", {"gen_ai.event.content": '{"index": 0, "message": {"content": "18 C"}}'}),
            ],
            (Message("system", "Be brief."), Message("user", "Weather?")),
            "18 C",
        ),
        (
            [
                (
                    "gen_ai.client.inference.operation.details",
                    {
                        "gen_ai.input.messages": TALK,
                        "gen_ai.output.messages": [
                            {"role": "assistant", "parts": [{"type": "text", "content": "18 C"}]}
                        ],
                    },
                )
            ],
            (Message("user", "Weather?"),),
            "18 C",
        ),
    ],
)
def test_span_events_of_every_version_carry_the_conversation(
    events: list[tuple[str, dict[str, Any]]], asked: tuple[Message, ...], answer: str
) -> None:
    span = read_span(CHAT, events=events)
    assert messages_of(span.input) == asked
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, answer)


def test_choice_event_of_tool_calls_alone_is_an_answer() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    events = [("gen_ai.choice", {"finish_reason": "tool_calls", "tool_calls": json.dumps(calls)})]
    span = read_span(CHAT, events=events)
    assert span.output.tool_calls == (ToolCall("weather", "c1", "{}"),)
    assert span.finish_reason is FinishReason.TOOL_CALLS


def test_prompt_and_completion_of_text_completions_are_read() -> None:
    span = read_span({"gen_ai.operation.name": "text_completion", "gen_ai.prompt": "Once", "gen_ai.completion": "upon"})
    assert (span.kind, span.input.text, span.output.text) == (SpanKind.LLM, "Once", "upon")


def test_exception_told_in_a_log_record_is_the_spans_error() -> None:
    facts = {"exception.type": "openai.RateLimitError", "exception.message": "slow down"}
    span = read_span(CHAT, status=2, events=[("gen_ai.client.operation.exception", facts)])
    assert span.error is not None
    assert (span.error.error_type, span.error.message) == ("openai.RateLimitError", "slow down")


def test_text_that_a_client_cut_is_truncated() -> None:
    cut = "x" * 10_000 + "...[TRUNCATED: original length 12345]"
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": cut}]}])
    span = read_span(CHAT | {"gen_ai.input.messages": messages, "gen_ai.output.messages": messages})
    assert (span.input.state, span.output.state) == (ContentState.TRUNCATED, ContentState.TRUNCATED)
    limited = read_span(CHAT | {"gen_ai.input.messages": messages[:50], "gen_ai.output.messages": messages[:50]})
    assert limited.output.state is ContentState.TRUNCATED
    assert messages_of(limited.input) == ()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("FinishReason.MAX_TOKENS", FinishReason.LENGTH),
        ("FINISH_REASON_STOP", FinishReason.STOP),
        ("COMPLETE", FinishReason.STOP),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        ("malformed_model_output", FinishReason.ERROR),
        ("model_length", FinishReason.LENGTH),
        ("pause_turn", FinishReason.STOP),
        ('{"unified": "tool-calls", "raw": "tool_use"}', FinishReason.TOOL_CALLS),
        (["", "length"], FinishReason.LENGTH),
        (2, FinishReason.LENGTH),
    ],
)
def test_every_providers_words_for_the_finish_are_known(sent: Any, read: FinishReason) -> None:
    assert read_span(CHAT | {"gen_ai.response.finish_reasons": sent}).finish_reason is read


def test_openinference_keeps_the_whole_conversation() -> None:
    messages = {
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be brief.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "text",
        "llm.input_messages.1.message.contents.0.message_content.text": "Weather?",
    }
    talk = (Message("system", "Be brief."), Message("user", "Weather?"))
    assert messages_of(read_span(LLM | messages).input) == talk
    # LlamaIndex: the raw input is no JSON of messages
    told = read_span(LLM | messages | {"input.value": "{\"messages\": [\"role='user' content='Weather?'\"]}"}).input
    assert messages_of(told) == talk
    hidden = {key: "__REDACTED__" for key in messages if key.endswith(("content", "text"))}
    assert read_span(LLM | messages | hidden).input.state is ContentState.REDACTED
    assert read_span(LLM | messages | {"input.value": "__REDACTED__"}).input.text == "Weather?"


def test_openinference_after_eviction_is_still_an_llm_and_truncated() -> None:
    span = read_span(
        {
            "llm.input_messages.42.message.role": "user",
            "llm.input_messages.42.message.content": "Weather?",
            "llm.tools.3.tool.json_schema": json.dumps(TOOL),
            "llm.output_messages.0.message.content": "18 C",
        },
        dropped=94,
        scope="openinference.instrumentation.openai",
    )
    assert (span.kind, span.input.state, span.output.text) == (SpanKind.LLM, ContentState.TRUNCATED, "18 C")
    assert span.details.tool_definitions == ""


def test_openinference_parameters_tools_and_prompt_are_read() -> None:
    asked = {"model": "gpt-4o", "max_completion_tokens": 50, "temperature": 1, "stream": True}
    span = read_span(
        LLM
        | {
            "llm.model_name": "gpt-4o-2024-08-06",
            "llm.invocation_parameters": json.dumps(asked),
            "llm.tools.1.tool.json_schema": json.dumps({"name": "news", "input_schema": SCHEMA}),
            "llm.tools.0.tool.json_schema": json.dumps(TOOL),
            "llm.prompt_template.version": "v3",
            "llm.token_count.prompt": 9,
            "llm.token_count.prompt_details.cache_write": 4,
        }
    )
    assert span.model == "gpt-4o"
    assert definitions(span.details) == {"weather": SCHEMA, "news": SCHEMA}
    assert (span.details.max_tokens, span.details.temperature, span.details.is_stream) == (50, 1.0, True)
    assert span.details.prompt_version == "v3"
    assert span.usage == Usage(9, 0, 0, 0, 4)


def test_odd_parameters_are_read_as_far_as_they_go() -> None:
    asked = {"model": "gpt-4o", "max_tokens": "many", "temperature": "0.5", "stream": "true", "tools": [TOOL]}
    span = read_span(LLM | {"llm.invocation_parameters": json.dumps(asked)})
    assert (span.model, span.details.max_tokens, span.details.temperature, span.details.is_stream) == (
        "gpt-4o",
        None,
        0.5,
        True,
    )
    assert definitions(span.details) == {"weather": SCHEMA}


DOCUMENT = {"page_content": "24 h", "metadata": {"source": "kb/0", "score": 0.8}, "id": None}


def test_openinference_documents_are_read_from_keys_and_else_from_the_output() -> None:
    base: dict[str, Any] = {"openinference.span.kind": "RETRIEVER", "input.value": "refunds?"}
    flat = {
        "retrieval.documents.1.document.content": "none",
        "retrieval.documents.0.document.content": "24 h",
        "retrieval.documents.0.document.id": "kb/0",
        "retrieval.documents.0.document.metadata": '{"score": 0.8}',
    }
    keyed = read_span(base | flat).details
    assert keyed.documents == (Document("kb/0", 0.8, "24 h"), Document("", None, "none"))
    assert keyed.query == "refunds?"
    said = read_span(base | {"output.value": json.dumps({"documents": [DOCUMENT]})}).details
    assert said.documents == (Document("kb/0", 0.8, "24 h"),)
    assert read_span(base | {"retrieval.documents": []}).details.documents == ()
    assert read_span(base | {"output.value": '{"documents": []}'}).details.documents == ()
    assert read_span(base | {"output.value": "nothing was found"}).details.documents is None


def test_openinference_evaluations_and_annotations_are_read() -> None:
    span = read_span(
        LLM
        | {
            "evaluations.0.evaluation.name": "correctness",
            "evaluations.0.evaluation.score": 0,
            "session.annotations.0.annotation.name": "thumbs",
            "session.annotations.0.annotation.label": "down",
            "session.annotations.0.annotation.explanation": "wrong city",
        }
    )
    assert span.details.evaluations == (
        Evaluation("correctness", 0.0),
        Evaluation("thumbs", None, "down", "wrong city"),
    )


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ('{"content": [{"type": "text", "text": "hi"}], "stop_reason": "max_tokens"}', FinishReason.LENGTH),
        ('{"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}',
         FinishReason.LENGTH),
        ('{"object": "response", "status": "completed", "incomplete_details": null, "output": []}', FinishReason.STOP),
        ('{"text": "\\"finish_reason\\": \\"length\\""}', FinishReason.UNKNOWN),
    ],
)  # fmt: skip
def test_openinference_finish_is_found_in_the_raw_output(raw: str, read: FinishReason) -> None:
    span = read_span(LLM | {"llm.output_messages.0.message.content": "hi", "output.value": raw})
    assert (span.output.text, span.finish_reason) == ("hi", read)


def _mlflow(kind: str, **values: Any) -> dict[str, str]:
    said = {f"mlflow.span{key}": json.dumps(value) for key, value in values.items()}
    return {"mlflow.spanType": json.dumps(kind)} | said


def test_mlflow_request_and_cost_are_read() -> None:
    request = {
        "model": "m",
        "messages": TALK,
        "tools": [TOOL],
        "max_tokens": 5,
        "response_format": {"type": "json_object"},
    }
    span = read_span(_mlflow("CHAT_MODEL", Inputs=request) | {"mlflow.llm.cost": '{"total_cost": 0.25}'})
    assert (span.model, span.cost_usd) == ("m", 0.25)
    assert (span.details.max_tokens, span.details.output_type) == (5, "json")
    assert definitions(span.details) == {"weather": SCHEMA}
    assert messages_of(span.input) == (Message("user", "Weather?"),)


def test_mlflow_retriever_says_its_documents_and_that_there_are_none() -> None:
    found = read_span(_mlflow("RETRIEVER", Inputs="refunds?", Outputs=[DOCUMENT]))
    assert found.details.documents == (Document("kb/0", 0.8, "24 h"),)
    assert found.details.query == "refunds?"
    assert read_span(_mlflow("RETRIEVER", Inputs="refunds?", Outputs=[])).details.documents == ()


def test_mlflow_stream_gives_first_token_and_tool_calls() -> None:
    def chunk(number: int, delta: dict[str, Any], stopped: str | None = None) -> tuple[str, dict[str, Any]]:
        value = {"choices": [{"index": 0, "delta": delta, "finish_reason": stopped}]}
        return f"mlflow.chunk.item.{number}", {"mlflow.chunk.value": json.dumps(json.dumps(value))}

    begun = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city"'}}
    events = [
        chunk(0, {"tool_calls": [begun]}),
        chunk(1, {"tool_calls": [{"index": 0, "function": {"arguments": ': "Lisbon"}'}}]}),
        chunk(2, {}, "tool_calls"),
    ]
    output = {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "tool_calls"}]}
    span = read_span(_mlflow("CHAT_MODEL", Outputs=output), events=events)
    assert span.output.tool_calls == (ToolCall("weather", "c1", '{"city": "Lisbon"}'),)
    assert span.time_to_first_token_s == 0.5


def test_mlflow_stream_of_a_call_in_more_chunks_than_are_read_is_cut_and_no_half_call() -> None:
    def chunk(number: int) -> tuple[str, dict[str, Any]]:
        function = {"name": "write", "arguments": '{"text": "'} if not number else {"arguments": "x"}
        delta = {"tool_calls": [{"index": 0, "id": "c1", "function": function}]}
        value = {"choices": [{"index": 0, "delta": delta}]}
        return f"mlflow.chunk.item.{number}", {"mlflow.chunk.value": json.dumps(json.dumps(value))}

    output = {"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "tool_calls"}]}
    for outputs in ({"Outputs": output}, {}):
        span = read_span(_mlflow("CHAT_MODEL", **outputs), events=[chunk(number) for number in range(5_000)])
        assert (span.output.state, span.output.tool_calls) == (ContentState.TRUNCATED, ())


def test_failed_tool_message_stays_marked_out_of_its_envelope() -> None:
    message = {"type": "tool", "content": "no such city", "tool_call_id": "c1", "status": "error"}
    span = read_span(_mlflow("TOOL", Outputs=message), name="weather")
    assert json.loads(span.output.text) == {"status": "error", "content": "no such city"}


def test_mlflow_chain_tells_the_finish_that_its_models_span_dropped() -> None:
    message = {"content": "One, two", "response_metadata": {"finish_reason": "length"}, "type": "ai"}
    assert read_span(_mlflow("CHAIN", Outputs=message)).finish_reason is FinishReason.LENGTH
    assert read_span(_mlflow("CHAIN", Outputs=[message, message])).finish_reason is FinishReason.UNKNOWN
    assert read_span(_mlflow("CHAIN", Outputs="finish_reason")).finish_reason is FinishReason.UNKNOWN


def test_mlflow_names_the_prompt_that_was_loaded() -> None:
    linked = {"mlflow.linkedPrompts": json.dumps([{"name": "greeting", "version": "3"}])}
    details = read_span(_mlflow("CHAT_MODEL") | linked).details
    assert (details.prompt_name, details.prompt_version) == ("greeting", "3")


def test_openinference_calls_that_stand_among_the_contents_too_are_read_once() -> None:
    start = "llm.output_messages.0.message"
    call = {"id": "c1", "function.name": "weather", "function.arguments": "{}"}
    contents = {
        f"{start}.contents.0.message_content.type": "reasoning",
        f"{start}.contents.0.message_content.text": "I must look it up.",
        f"{start}.contents.1.message_content.type": "tool_use",
    } | {f"{start}.contents.1.tool_call.{key}": value for key, value in call.items()}
    calls = {f"{start}.tool_calls.0.tool_call.{key}": value for key, value in call.items()}
    for said in (contents | calls, contents):
        output = read_span(LLM | said).output
        assert (output.text, output.tool_calls) == ("", (ToolCall("weather", "c1", "{}"),))
