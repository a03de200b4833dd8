"""One conversation, as each client writes it, reads the same; tool definitions likewise."""

import json
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from core.dialects.messages import MAX_CHARS, definitions, is_readable, messages_of
from core.model.span import Content, ContentState, Details, Message, ToolCall

_ARGS = {"city": "Lisbon"}
_CALL = ToolCall(name="weather", call_id="c1", arguments='{"city": "Lisbon"}')
_TALK = (
    Message("system", "Be brief."),
    Message("user", "Weather?"),
    Message("assistant", "", (_CALL,)),
    Message("tool", "18 C", (), "c1", "weather"),
)
_RAW = '{"city": "Lisbon"}'


def _langchain(kind: str, **fields: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": fields}


_SHAPES: dict[str, Any] = {
    "chat completions": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": _RAW}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "18 C"},
    ],
    "otel parts": [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "I must look it up."},
                {"type": "tool_call", "id": "c1", "name": "weather", "arguments": _ARGS},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "18 C"}]},
    ],
    "anthropic": {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": _ARGS}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"text": "18 C"}]}],
            },
        ],
    },
    "gemini": {
        "model": "gemini-2.5-flash",
        "config": {"system_instruction": "Be brief."},
        "contents": [
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "weather", "args": _ARGS}}]},
            {"role": "user", "parts": [{"function_response": {"id": "c1", "name": "weather", "response": "18 C"}}]},
        ],
    },
    "responses": {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "weather", "arguments": _RAW},
            {"type": "function_call_output", "call_id": "c1", "output": "18 C"},
        ],
    },
    "vercel": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "weather", "input": _ARGS}],
        },
        {
            "role": "tool",
            "content": [
                {
                    "type": "tool-result",
                    "toolCallId": "c1",
                    "toolName": "weather",
                    "output": {"type": "text", "value": "18 C"},
                }
            ],
        },
    ],
    "langchain batch": {
        "messages": [
            [
                _langchain("SystemMessage", content="Be brief."),
                _langchain("HumanMessage", content="Weather?"),
                _langchain(
                    "AIMessage", content="", tool_calls=[{"name": "weather", "args": _ARGS, "id": "c1"}]
                ),
                _langchain("ToolMessage", content="18 C", tool_call_id="c1", name="weather"),
            ]
        ]
    },
    "langchain dict": {
        "inputs": {
            "messages": [
                {"type": "system", "content": "Be brief."},
                {"type": "human", "data": {"content": "Weather?"}},
                {"type": "ai", "content": "", "additional_kwargs": {"tool_calls": [
                    {"id": "c1", "function": {"name": "weather", "arguments": _RAW}}]}},
                {"type": "tool", "content": "18 C", "tool_call_id": "c1"},
            ]
        }
    },
    "bedrock": {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Weather?"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": _ARGS}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "18 C"}]}}]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", _SHAPES)
def test_one_conversation_reads_the_same_in_every_shape(shape: str) -> None:
    raw = json.dumps(_SHAPES[shape])
    assert messages_of(Content(ContentState.PRESENT, raw)) == _TALK
    assert messages_of(Content(ContentState.PRESENT, json.dumps(raw))) == _TALK


def _pair(key: str, value: str) -> bytes:
    return KeyValue(key=key, value=AnyValue(string_value=value)).SerializeToString()


def test_flattened_messages_read_the_same_and_in_index_order() -> None:
    start = "llm.input_messages"
    pairs = (
        _pair(f"{start}.10.message.role", "assistant"),
        _pair(f"{start}.10.message.tool_calls.0.tool_call.id", "c1"),
        _pair(f"{start}.10.message.tool_calls.0.tool_call.function.name", "weather"),
        _pair(f"{start}.10.message.tool_calls.0.tool_call.function.arguments", _RAW),
        _pair(f"{start}.0.message.role", "system"),
        _pair(f"{start}.0.message.content", "Be brief."),
        _pair(f"{start}.9.message.role", "user"),
        _pair(f"{start}.9.message.contents.0.message_content.type", "text"),
        _pair(f"{start}.9.message.contents.0.message_content.text", "Weather?"),
        _pair(f"{start}.11.message.role", "tool"),
        _pair(f"{start}.11.message.content", "18 C"),
        _pair(f"{start}.11.message.tool_call_id", "c1"),
    )
    assert messages_of(Content(ContentState.PRESENT, "raw", flat=pairs)) == _TALK


@pytest.mark.parametrize(
    "text", ["Weather?", '{"city": "Lisbon"}', "[1] is a footnote", '{"broken": ', '{"messages": "none"}', "[[[[1]]]]"]
)
def test_plain_text_is_one_message_and_is_not_taken_apart(text: str) -> None:
    assert messages_of(Content(ContentState.PRESENT, text)) == (Message("user", text),)
    assert messages_of(Content(ContentState.PRESENT, text), role="assistant")[0].role == "assistant"


def test_answer_with_calls_is_the_assistants() -> None:
    assert messages_of(Content(ContentState.PRESENT, "so", (_CALL,))) == (Message("assistant", "so", (_CALL,)),)


@pytest.mark.parametrize("state", [ContentState.ABSENT, ContentState.REDACTED, ContentState.IN_LOGS])
def test_what_was_not_sent_is_no_conversation(state: ContentState) -> None:
    assert messages_of(Content(state)) == ()
    assert not is_readable(Content(state))


def test_more_than_the_bound_is_not_read_and_says_so() -> None:
    long = Content(ContentState.PRESENT, "x" * (MAX_CHARS + 1))
    assert messages_of(long) == ()
    assert not is_readable(long)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_result", "tool_use_id": "c1", "content": "no such city", "is_error": True},
        {"toolResult": {"toolUseId": "c1", "status": "error", "content": [{"text": "no such city"}]}},
        {"type": "tool-result", "toolCallId": "c1", "output": {"type": "error-text", "value": "no such city"}},
    ],
)
def test_failed_results_are_marked(part: dict[str, Any]) -> None:
    raw = json.dumps([{"role": "user", "content": [part]}])
    assert messages_of(Content(ContentState.PRESENT, raw)) == (Message("tool", "no such city", (), "c1", "", True),)


@pytest.mark.parametrize(
    "value",
    [[None], [{"role": "user", "content": [[]]}],
     {"messages": {"messages": {"messages": 1}}}, [{"role": "x", "parts": [1]}],
     [{"type": "tool", "data": 3}], {"contents": [{"parts": None}]}, [{"role": "tool", "content": {"a": 1}}],
     [{"role": "assistant", "tool_calls": [None, {"function": "f"}, {"id": 3}]}]],
)  # fmt: skip
def test_odd_shapes_raise_nothing(value: Any) -> None:
    messages_of(Content(ContentState.PRESENT, json.dumps(value)))
    definitions(Details(tool_definitions=json.dumps(value)))


_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}],
        [{"type": "function", "name": "weather", "parameters": _SCHEMA}],
        [{"name": "weather", "input_schema": _SCHEMA}],
        [json.dumps({"type": "function", "name": "weather", "inputSchema": _SCHEMA})],
        [{"function_declarations": [{"name": "weather", "parameters": _SCHEMA}]}],
        [{"toolSpec": {"name": "weather", "inputSchema": {"json": _SCHEMA}}}],
        [{"name": "weather", "parameters": json.dumps(_SCHEMA)}],
        {"weather": {"description": "…", "parameters": _SCHEMA}},
    ],
)
def test_tools_are_defined_in_every_dialect(tools: Any) -> None:
    assert definitions(Details(tool_definitions=json.dumps(tools))) == {"weather": _SCHEMA}


def test_tools_without_a_schema_are_named_and_nothing_more() -> None:
    assert definitions(Details(tool_definitions='["weather", "news"]')) == {"weather": None, "news": None}
    assert definitions(Details(tool_definitions='[{"type": "web_search"}]')) == {"web_search": None}
    assert definitions(Details(tool_definitions="gibberish")) == {}
    assert definitions(Details()) == {}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"args": ["Weather?", "en"], "kwargs": {}}, (Message("user", "Weather?"),)),
        ({"args": [[{"role": "user", "content": "Weather?"}]], "kwargs": {}}, (Message("user", "Weather?"),)),
        (
            {"args": [], "kwargs": {"messages": [{"role": "user", "content": "Weather?"}]}},
            (Message("user", "Weather?"),),
        ),
    ],
)
def test_a_functions_arguments_may_be_a_conversation(sent: Any, read: tuple[Message, ...]) -> None:
    assert messages_of(Content(ContentState.PRESENT, json.dumps(sent))) == read


PYDANTIC = [
    {
        "kind": "request",
        "parts": [
            {"part_kind": "system-prompt", "content": "Be brief."},
            {"part_kind": "user-prompt", "content": ["weather", {"kind": "image-url"}]},
        ],
    },
    {
        "kind": "response",
        "parts": [
            {"part_kind": "thinking", "content": "hm"},
            {"part_kind": "tool-call", "tool_name": "find", "args": '{"q": 1}', "tool_call_id": "c1", "id": None},
        ],
    },
    {
        "kind": "request",
        "parts": [
            {"part_kind": "tool-return", "tool_name": "find", "content": "18", "tool_call_id": "c1"},
            {"part_kind": "retry-prompt", "tool_name": "seek", "content": "no such tool", "tool_call_id": "c2"},
        ],
    },
    {"kind": "response", "parts": [{"part_kind": "text", "content": "18 °C"}]},
]


def test_the_parts_of_pydantic_ais_own_messages_have_roles() -> None:
    assert messages_of(Content(ContentState.PRESENT, json.dumps({"messages": PYDANTIC}))) == (
        Message("system", "Be brief."),
        Message("user", "weather"),
        Message("assistant", "", (ToolCall("find", "c1", '{"q": 1}'),)),
        Message("tool", "18", (), "c1", "find"),
        Message("tool", "no such tool", (), "c2", "seek", is_error=True),
        Message("assistant", "18 °C"),
    )


def test_results_without_ids_answer_the_calls_in_their_order() -> None:
    """Gemini, by OpenLLMetry."""
    said = [
        {"role": "assistant", "parts": [{"type": "tool_call", "name": name, "id": ""} for name in ("first", "second")]},
        {"role": "user", "parts": [{"type": "tool_call_response", "id": "", "response": text} for text in ("1", "2")]},
    ]
    read = messages_of(Content(ContentState.PRESENT, json.dumps(said)))
    assert [(m.name, m.text) for m in read if m.role == "tool"] == [("first", "1"), ("second", "2")]


@pytest.mark.parametrize("args", [5, None, "a question", {"a": 1}, [5], [[["a"]]]])
def test_arguments_of_a_decorated_function_may_be_anything(args: object) -> None:
    messages_of(Content(ContentState.PRESENT, json.dumps({"args": args, "kwargs": {}})))
