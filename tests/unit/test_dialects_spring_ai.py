"""Spring AI: Micrometer's observations under Spring Boot."""

from typing import Any

import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import ContentState, ErrorClass, FinishReason, Message, Span, SpanKind, ToolCall, Usage
from core.model.trace import Trace
from core.model.usage import billable_usage
from tests.unit.checks_kit import Story, failed
from tests.unit.dialect_spans import read_span
from tests.unit.test_dialects_log_records import log
from tests.unit.test_dialects_log_records import read as read_with_logs

SCOPE = "org.springframework.boot"
FRAMEWORK = {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}
CLIENT = FRAMEWORK | {
    "spring.ai.chat.client.advisors": '["MessageChatMemoryAdvisor", "call"]',
    "spring.ai.chat.client.conversation.id": "conv-42",
    "spring.ai.chat.client.stream": "false",
    "spring.ai.kind": "chat_client",
}
CHAT = {
    "gen_ai.completion": '["It is 18 °C, "sunny" and dry."]',
    "gen_ai.operation.name": "chat",
    "gen_ai.prompt": '["You are a travel\nassistant.", "Weather in Lisbon?", "null", ""]',
    "gen_ai.request.max_tokens": "300",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.stream": "true",
    "gen_ai.request.temperature": "0.7",
    "gen_ai.response.finish_reasons": '["STOP"]',
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.system": "openai",
    "gen_ai.usage.cache_creation.input_tokens": "4",
    "gen_ai.usage.cache_read.input_tokens": "12",
    "gen_ai.usage.input_tokens": "90",
    "gen_ai.usage.output_tokens": "19",
    "gen_ai.usage.total_tokens": "109",
    "spring.ai.model.request.tool.names": '["get_weather", "search_flights"]',
}
TOOL = FRAMEWORK | {
    "spring.ai.kind": "tool_call",
    "spring.ai.tool.call.arguments": '{"city": "Lisbon"}',
    "spring.ai.tool.call.id": "call_0",
    "spring.ai.tool.call.result": '{"temp_c": 18}',
    "spring.ai.tool.definition.name": "get_weather",
    "spring.ai.tool.definition.schema": '{"type": "object"}',
}
QUERY = {
    "db.collection.name": "in-memory-map",
    "db.operation.name": "query",
    "db.system": "simple",
    "db.vector.query.content": "What is the refund policy?",
    "db.vector.query.top_k": "4",
    "spring.ai.kind": "vector_store",
}
HTTP = {"exception": "none", "http.url": "http://api/v1/chat/completions", "method": "POST", "status": "200"}
THROWN = {
    "exception.type": "org.springframework.ai.retry.NonTransientAiException",
    "exception.message": 'HTTP 429 - {"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}',
}


def read(attributes: dict[str, Any], without: str = "", **changes: str) -> Span:
    sent = {key: value for key, value in attributes.items() if not without or not key.startswith(without)}
    return read_span(sent | {key.replace("__", "."): value for key, value in changes.items()}, scope=SCOPE)


def test_a_call_is_read_whole() -> None:
    span = read(CHAT)
    assert (span.kind, span.dialect, span.model, span.provider) == (SpanKind.LLM, "spring_ai", "gpt-4o-mini", "openai")
    assert (span.output.text, span.finish_reason) == ('It is 18 °C, "sunny" and dry.', FinishReason.STOP)
    assert span.usage == Usage(90, 19, 12, 0, 4)
    assert (span.details.max_tokens, span.details.temperature, span.details.is_stream) == (300, 0.7, True)
    assert set(definitions(span.details)) == {"get_weather", "search_flights"}


def test_the_last_text_that_says_something_is_the_users() -> None:
    said = messages_of(read(CHAT).input)
    assert said == (Message("system", "You are a travel\nassistant."), Message("user", "Weather in Lisbon?"))


@pytest.mark.parametrize("completion", ["[]", '[""]'])
def test_an_empty_answer_is_empty_only_where_the_model_stopped_by_itself(completion: str) -> None:
    stopped = read(CHAT, gen_ai__completion=completion)
    assert (stopped.output.state, stopped.output.text) == (ContentState.PRESENT, "")
    asked = read(CHAT, gen_ai__completion=completion, gen_ai__response__finish_reasons='["TOOL_CALLS"]')
    assert asked.output.state is ContentState.ABSENT
    failed = read(CHAT, "gen_ai.response.", gen_ai__completion=completion)
    assert failed.output.state is ContentState.ABSENT


def test_without_content_nothing_is_empty() -> None:
    span = read({key: value for key, value in CHAT.items() if key not in ("gen_ai.prompt", "gen_ai.completion")})
    assert (span.input.state, span.output.state) == (ContentState.ABSENT, ContentState.ABSENT)


def test_a_stream_that_was_not_asked_for_usage_says_none() -> None:
    zero = {"gen_ai__usage__input_tokens": "0", "gen_ai__usage__output_tokens": "0"}
    assert read(CHAT, **zero).usage is None
    cut = read(CHAT, "gen_ai.re", gen_ai__operation__name="chat", **zero)
    assert (cut.usage, cut.details.is_stream) == (None, True)


@pytest.mark.parametrize("scope", [SCOPE, "app"])
def test_a_tool_says_its_call_and_its_result(scope: str) -> None:
    span = read_span(TOOL, name="tool_call get_weather", scope=scope)
    assert (span.kind, span.tool) == (SpanKind.TOOL, ToolCall("get_weather", "call_0", '{"city": "Lisbon"}'))
    assert (span.output.text, span.provider) == ('{"temp_c": 18}', "")


def test_a_client_is_the_loop_and_names_the_session() -> None:
    span = read(CLIENT)
    assert (span.kind, span.session_id, span.provider) == (SpanKind.AGENT, "conv-42", "")
    assert read(FRAMEWORK | {"spring.ai.kind": "advisor"}).kind is SpanKind.CHAIN


def test_the_conversation_that_nobody_named_is_no_session() -> None:
    assert read(CLIENT, spring__ai__chat__client__conversation__id="default").session_id == ""


def test_a_search_is_a_retriever_and_a_write_is_not() -> None:
    span = read(QUERY)
    assert (span.kind, span.data_source, span.details.documents) == (SpanKind.RETRIEVER, "in-memory-map", None)
    assert span.details.query == "What is the refund policy?"
    assert read(QUERY, db__operation__name="add").kind is SpanKind.DB


@pytest.mark.parametrize("facts", [HTTP, {"target.scheme": "http", "target.host": "api", "status": "429"}])
def test_requests_are_http_calls_under_spring_boot_alone(facts: dict[str, str]) -> None:
    assert read(facts).kind is SpanKind.HTTP
    assert read_span(facts, scope="app").kind is SpanKind.UNKNOWN


def test_the_code_of_a_failed_request_is_read() -> None:
    span = read_span(HTTP | {"status": "503"}, scope=SCOPE, status=2, message="I/O error")
    assert span.error is not None
    assert (span.error.error_class, span.error.status_code) == (ErrorClass.SERVER, 503)


def test_a_failed_call_says_why() -> None:
    sent = {key: value for key, value in CHAT.items() if not key.startswith(("gen_ai.response.", "gen_ai.usage."))}
    span = read_span(sent | {"gen_ai.completion": "[]"}, scope=SCOPE, status=2, events=[("exception", THROWN)])
    assert span.error is not None
    assert (span.error.error_class, span.error.status_code) == (ErrorClass.RATE_LIMIT, 429)


def _loop(*usages: Usage, dialect: str = "spring_ai", apart: bool = False) -> Trace:
    story = Story()
    root = story.root()
    for at, usage in enumerate(usages):
        reason = FinishReason.STOP if at == len(usages) - 1 else FinishReason.TOOL_CALLS
        above = story.add(parent=root.span_id) if apart else root
        story.llm(above.span_id, usage=usage, finish_reason=reason, dialect=dialect)
    return story.trace()


SUMS = (Usage(40, 17), Usage(85, 34), Usage(135, 51))


def test_usage_that_is_summed_up_within_a_loop_counts_once() -> None:
    assert billable_usage(_loop(*SUMS)) == SUMS[-1]


@pytest.mark.parametrize("facts", [{"dialect": "otel_genai"}, {"apart": True}])
def test_usage_of_other_dialects_and_of_calls_apart_is_added(facts: dict[str, Any]) -> None:
    assert billable_usage(_loop(*SUMS, **facts)) == Usage(260, 102)


def test_usage_that_grew_by_less_than_a_call_is_added() -> None:
    assert billable_usage(_loop(Usage(40, 17), Usage(70, 30))) == Usage(110, 47)


def _printed(body: str, printer: str = "ChatModelCompletionObservationHandler") -> dict[str, Any]:
    return log("", body, named="nowhere", scope=f"org.springframework.ai.chat.observation.{printer}")


def test_what_is_printed_to_the_log_is_content() -> None:
    sent = {key: value for key, value in CHAT.items() if key not in ("gen_ai.prompt", "gen_ai.completion")}
    prompt = 'Chat Model Prompt Content:\n["Be brief.\nAlways.", "Weather?"]'
    answer = 'Chat Model Completion:\n["It is "18" °C."]'
    span = read_with_logs(
        sent, _printed(answer), _printed(prompt, "ChatModelPromptContentObservationHandler"), scope=SCOPE
    )
    assert messages_of(span.input) == (Message("system", "Be brief.\nAlways."), Message("user", "Weather?"))
    assert span.output.text == 'It is "18" °C.'


def test_an_answer_that_was_printed_empty_is_empty() -> None:
    sent = {key: value for key, value in CHAT.items() if key not in ("gen_ai.prompt", "gen_ai.completion")}
    span = read_with_logs(sent, _printed("Chat Model Completion:\n[]"), scope=SCOPE)
    assert (span.output.state, span.output.text) == (ContentState.PRESENT, "")


@pytest.mark.parametrize("scope", ["com.acme.Chat", "org.springframework.ai.vectorstore.SimpleVectorStore"])
def test_the_same_words_of_another_logger_are_no_content(scope: str) -> None:
    said = log("", 'Chat Model Completion:\n["hello"]', named="nowhere", scope=scope)
    span = read_with_logs({"gen_ai.operation.name": "chat", "gen_ai.system": "openai"}, said, scope=SCOPE)
    assert span.output.state is ContentState.ABSENT


def _stream(*, above: bool = False, words: str = "429 Too Many Requests", dialect: str = "spring_ai") -> Trace:
    story = Story()
    root = story.root(error=failed("429 Too Many Requests"))
    facts: dict[str, Any] = {"dialect": dialect, "error": failed("429 Too Many Requests")}
    client = story.add(SpanKind.AGENT, "spring_ai chat_client", parent=root.span_id, duration_ms=900, **facts)
    error = failed(words)
    story.llm(client.span_id if above else root.span_id, start_ns=client.start_ns + 1_000, **facts | {"error": error})
    return story.trace()


@pytest.mark.parametrize("above", [True, False])
def test_a_wrapper_that_repeats_the_error_of_its_call_is_no_failure_of_its_own(above: bool) -> None:
    assert [span.kind for span in _stream(above=above).leaf_faults] == [SpanKind.LLM]


@pytest.mark.parametrize("facts", [{"words": "500 Internal Server Error"}, {"dialect": "otel_genai"}])
def test_another_error_beside_a_call_is_one_of_its_own(facts: dict[str, str]) -> None:
    assert len(_stream(**facts).leaf_faults) == 2  # type: ignore[arg-type]
