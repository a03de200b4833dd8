"""Pydantic AI, and Logfire's own instrumentation of model clients.

Pydantic AI writes OTel GenAI; its first versions kept a run's messages in `events`, its second a tool's call in
`tool_arguments` and `tool_response`, and its agents, tools and steps have no operation there. Usage of an agent's run
is the sum of its calls. Logfire keeps `request_data` and `response_data`; of a streamed call it writes a span that ends
as the stream opens, and a log-like span of no length with the answer once it was read.

Names: pydantic-ai 1.0 to 2.68 (models/instrumented.py, _instrumentation.py), logfire 2 to 5 (llm_providers/openai.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects import answers, otel_genai
from core.dialects.parameters import parameters
from core.dialects.table import Dialect, Field, Reading
from core.dialects.tokens import usage
from core.dialects.values import as_json, count, name, structure, text
from core.model.span import Content, ContentState, SpanKind, Usage
from core.otlp.slim import Value

_CHOICE: Final = "gen_ai.choice"
_STREAMED: Final = "streaming response"
_SAID: Final = (Field.INPUT_TOKENS, Field.OUTPUT_TOKENS, Field.USAGE, Field.FINISH, Field.FAILED)
_LLM, _UNKNOWN = SpanKind.LLM, SpanKind.UNKNOWN


def attempt(value: Value) -> int | None:
    """Return how many times this had been tried before, out of the number of a retried try (1 = the first failed)."""
    number = count(value)
    return None if number is None else max(0, number - 1)


def response(found: Mapping[str, Any]) -> answers.Answer | None:
    """Return the answer in Logfire's `response_data`: {message | text | combined_chunk_content, …}."""
    for key in ("combined_chunk_content", "text"):
        if isinstance(found.get(key), str):
            return answers.of_messages([{"content": found[key], "finish_reason": found.get("finish_reason")}])
    if isinstance(found.get("message"), dict):
        return answers.of_messages([found["message"]])
    known = any(key in found for key in ("choices", "output", "content"))
    return answers.from_response(dict(found)) if known else None


def response_usage(found: Mapping[str, Any]) -> Usage | None:
    """Return the tokens in Logfire's `response_data`; of a stream they stand nowhere else."""
    used = found.get("usage")
    if not isinstance(used, dict):
        return None
    given, said = used.get("prompt_tokens_details") or {}, used.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=count(used.get("prompt_tokens", used.get("input_tokens"))) or 0,
        output_tokens=count(used.get("completion_tokens", used.get("output_tokens"))) or 0,
        cached_tokens=count(given.get("cached_tokens")) or 0 if isinstance(given, dict) else 0,
        reasoning_tokens=count(said.get("reasoning_tokens")) or 0 if isinstance(said, dict) else 0,
    )


def read(reading: Reading) -> None:
    """Tell kinds by names where no operation is named, and read events and Logfire's requests and responses."""
    found = reading.found
    if reading.kind is _UNKNOWN:
        _kind(reading)
    given = found[Field.INPUT]
    if isinstance(given, str) and given[:2] == "[{" and '"content"' not in given and '"arguments"' not in given:
        # without content, messages keep their roles
        found[Field.INPUT] = None
    otel_genai.read(reading)
    events = structure(found[Field.RAW_EVENTS])
    if isinstance(events, list):
        _events(reading, events)
    answered = structure(found[Field.RAW_RESPONSE])
    if isinstance(answered, dict):
        _response(reading, answered)
    if found[Field.RAW_SETTINGS] is not None:
        _settings(reading, found[Field.RAW_SETTINGS])
    request = structure(found[Field.RAW])
    if isinstance(request, dict):
        _request(reading, request, found[Field.RAW])


def _kind(reading: Reading) -> None:
    found = reading.found
    if found[Field.TOOL_NAME] is not None:
        reading.kind = SpanKind.TOOL
    elif reading.name.endswith(" run") and found[Field.AGENT] is not None:
        reading.kind = SpanKind.AGENT
    elif reading.name.startswith("running ") and reading.name.endswith((" tools", " tool")):
        reading.kind = SpanKind.CHAIN
    elif found[Field.RAW] is not None and found[Field.MODEL] is not None:
        reading.kind = SpanKind.EMBEDDING if reading.name.startswith("Embedding") else _LLM


def _settings(reading: Reading, raw: str) -> None:
    """Read `model_request_parameters`: the tools that were offered, and the schema that a text was to follow."""
    found = reading.found
    if found[Field.TOOL_DEFINITIONS] is None:
        found[Field.TOOL_DEFINITIONS] = raw
    # with output_mode "tool" the schema is a tool's
    if '"native"' in raw or '"prompted"' in raw:
        settings = structure(raw)
        asked = settings.get("output_object") if isinstance(settings, dict) else None
        schema = asked.get("json_schema") if isinstance(asked, dict) else None
        if isinstance(schema, dict) and settings.get("output_mode") in ("native", "prompted"):
            found[Field.OUTPUT_SCHEMA] = as_json(schema)


def _response(reading: Reading, answered: Mapping[str, Any]) -> None:
    found = reading.found
    answer = response(answered)
    if answer is not None and reading.output is None:
        reading.output, reading.finish = answer.content, reading.finish or answer.finish
    used = response_usage(answered)
    if used is None:
        return
    if found[Field.USAGE] is None and found[Field.INPUT_TOKENS] is None:
        found[Field.USAGE] = used
    elif found[Field.REASONING_TOKENS] is None and found[Field.CACHED_TOKENS] is None:
        found[Field.REASONING_TOKENS], found[Field.CACHED_TOKENS] = used.reasoning_tokens, used.cached_tokens


def _request(reading: Reading, request: dict[str, Any], raw: str) -> None:
    found = reading.found
    if found[Field.INPUT] is None and any(request.get(key) for key in ("messages", "input", "prompt")):
        found[Field.INPUT] = raw
    found[Field.PARAMETERS] = found[Field.PARAMETERS] or parameters(raw)
    if reading.kind is not _LLM:
        return
    if reading.name.startswith(_STREAMED):
        found[Field.IS_STREAM] = True
    elif reading.output is None and not reading.events and all(found[field] is None for field in _SAID):
        # the request that opened a stream: what the model said, and cost, stands on the span beside it
        reading.kind = SpanKind.HTTP
        found[Field.IS_STREAM] = True


def _events(reading: Reading, events: list[Any]) -> None:
    """Read messages kept as events: the choice, or what the assistant said last, is the answer; the rest was given."""
    said = [event for event in events if isinstance(event, dict)]
    chosen = [event.get("message", event) for event in said if event.get("event.name") == _CHOICE]
    given = [event for event in said if event.get("event.name") != _CHOICE]
    if not chosen:
        while given and given[-1].get("role") == "assistant":
            chosen.insert(0, given.pop())
    if given and reading.found[Field.INPUT] is None:
        reading.content_input = Content(ContentState.PRESENT, as_json(given))
    if chosen and reading.output is None and reading.kind in (_LLM, SpanKind.AGENT):
        answer = answers.of_messages(chosen)
        if answer.content.state is ContentState.ABSENT and any("content" in event for event in given):
            # its first versions leave empty text out: where the question was sent and nothing of the answer
            answer = answers.Answer(Content(ContentState.PRESENT), answer.finish)
        reading.output, reading.finish = answer.content, reading.finish or answer.finish


DIALECT = Dialect(
    name="pydantic_ai",
    marks=("pydantic_ai.all_messages", "all_messages_events", "logfire.msg_template"),
    meant_marks=("model_request_parameters",),
    scopes=("pydantic-ai", "logfire"),
    rows=(
        (Field.INPUT, text, ("pydantic_ai.all_messages", "all_messages_events")),
        # what the provider said, details and all; the keys beside it leave cached tokens out
        (Field.USAGE, usage, ("gen_ai.usage.raw",)),
        (Field.INPUT_TOKENS, count, ("gen_ai.aggregated_usage.input_tokens",)),
        (Field.OUTPUT_TOKENS, count, ("gen_ai.aggregated_usage.output_tokens",)),
        (
            Field.CACHED_TOKENS,
            count,
            (
                "gen_ai.usage.details.cache_read_tokens",
                "gen_ai.usage.details.cached_tokens",
                "gen_ai.aggregated_usage.cache_read.input_tokens",
            ),
        ),
        (
            Field.REASONING_TOKENS,
            count,
            ("gen_ai.usage.details.reasoning_tokens", "gen_ai.aggregated_usage.details.reasoning_tokens"),
        ),
        (Field.ATTEMPT, attempt, ("pydantic_ai.tool.retry.attempt",)),
        # zero-based already
        (Field.ATTEMPT, count, ("pydantic_ai.model_request.attempt",)),
    ),
    own_rows=(
        (Field.AGENT, name, ("agent_name",)),
        (Field.MODEL, name, ("model_name",)),
        (Field.TOOL_ARGUMENTS, text, ("tool_arguments",)),
        (Field.TOOL_RESULT, text, ("tool_response",)),
        (Field.OUTPUT, text, ("final_result",)),
        (Field.RAW_RESPONSE, text, ("response_data",)),
        (Field.RAW, text, ("request_data",)),
        (Field.RAW_SETTINGS, text, ("model_request_parameters",)),
        (Field.RAW_EVENTS, text, ("events",)),
    ),
    read=read,
)
