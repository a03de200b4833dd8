"""Runs of agents, told once and written as several clients would send them: messages, calls, results, turns."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from core.model.span import Span
from core.model.trace import Trace
from tests.unit.dialect_spans import START_NS, read_span

_MS: Final = 1_000_000
LLM_MS: Final = 900
TOOL_MS: Final = 300


class Call(msgspec.Struct, frozen=True):
    """A call of a tool and what came back: text, or what the tool returned as JSON."""

    tool: str
    arguments: Any = msgspec.field(default_factory=dict)
    result: Any = "done"

    @property
    def given(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)

    @property
    def returned(self) -> str:
        return self.result if isinstance(self.result, str) else json.dumps(self.result, ensure_ascii=False)


class Step(msgspec.Struct, frozen=True):
    """One answer of the model: what it says, and what it calls at once."""

    text: str = ""
    calls: tuple[Call, ...] = ()


class Run(msgspec.Struct, frozen=True):
    """One turn: what the user says, and the answers of the model until it is done."""

    user: str
    steps: tuple[Step, ...]
    system: str = "You are a helpful assistant."


def run(user: str, *steps: str | Call | Step | Sequence[Call], system: str = "You are a helpful assistant.") -> Run:
    """Return a run: a text is an answer, a call or several of them are asked for without a word."""
    made: list[Step] = []
    for step in steps:
        match step:
            case str():
                made.append(Step(step))
            case Call():
                made.append(Step("", (step,)))
            case Step():
                made.append(step)
            case _:
                made.append(Step("", tuple(step)))
    return Run(user, tuple(made), system)


_Message = Mapping[str, Any]
_Attributes = dict[str, Any]


def _otel_messages(messages: Sequence[_Message]) -> str:
    written = []
    for message in messages:
        parts: list[dict[str, Any]] = []
        if message["role"] == "tool":
            parts.append({"type": "tool_call_response", "id": message["id"], "response": message["text"]})
        elif message["text"]:
            parts.append({"type": "text", "content": message["text"]})
        parts += (
            {"type": "tool_call", "id": call_id, "name": call.tool, "arguments": call.arguments}
            for call_id, call in message.get("calls", ())
        )
        written.append({"role": message["role"], "parts": parts})
    return json.dumps(written, ensure_ascii=False)


def _otel_llm(messages: Sequence[_Message], answer: _Message) -> _Attributes:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.input.messages": _otel_messages(messages),
        "gen_ai.output.messages": _otel_messages([answer]),
        "gen_ai.response.finish_reasons": ["tool_calls" if answer.get("calls") else "stop"],
        "gen_ai.usage.input_tokens": 400 + 60 * len(messages),
        "gen_ai.usage.output_tokens": 20 + len(answer["text"]) // 4,
    }


def _otel_tool(call_id: str, call: Call) -> _Attributes:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.call.arguments": call.given,
        "gen_ai.tool.call.result": call.returned,
    }


def _otel_root(said: Run, answer: str) -> _Attributes:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "assistant",
        "gen_ai.input.messages": _otel_messages([{"role": "user", "text": said.user}]),
        "gen_ai.output.messages": _otel_messages([{"role": "assistant", "text": answer}]),
    }


def _flat(prefix: str, messages: Sequence[_Message]) -> _Attributes:
    found: _Attributes = {}
    for at, message in enumerate(messages):
        key = f"{prefix}.{at}.message"
        found[f"{key}.role"] = message["role"]
        if message["text"]:
            found[f"{key}.content"] = message["text"]
        if message["role"] == "tool":
            found[f"{key}.tool_call_id"] = message["id"]
        for n, (call_id, call) in enumerate(message.get("calls", ())):
            found[f"{key}.tool_calls.{n}.tool_call.id"] = call_id
            found[f"{key}.tool_calls.{n}.tool_call.function.name"] = call.tool
            found[f"{key}.tool_calls.{n}.tool_call.function.arguments"] = call.given
    return found


def _openinference_llm(messages: Sequence[_Message], answer: _Message) -> _Attributes:
    return {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o",
        "llm.provider": "openai",
        **_flat("llm.input_messages", messages),
        **_flat("llm.output_messages", [answer]),
        "llm.token_count.prompt": 400 + 60 * len(messages),
        "llm.token_count.completion": 20 + len(answer["text"]) // 4,
    }


def _openinference_tool(call_id: str, call: Call) -> _Attributes:
    return {
        "openinference.span.kind": "TOOL",
        "tool.name": call.tool,
        "input.value": call.given,
        "input.mime_type": "application/json",
        "output.value": call.returned,
    }


def _openinference_root(said: Run, answer: str) -> _Attributes:
    return {"openinference.span.kind": "AGENT", "input.value": said.user, "output.value": answer}


def _numbered(prefix: str, messages: Sequence[_Message]) -> _Attributes:
    found: _Attributes = {}
    for at, message in enumerate(messages):
        key = f"{prefix}.{at}"
        found[f"{key}.role"] = message["role"]
        if message["text"]:
            found[f"{key}.content"] = message["text"]
        if message["role"] == "tool":
            found[f"{key}.tool_call_id"] = message["id"]
        for n, (call_id, call) in enumerate(message.get("calls", ())):
            found[f"{key}.tool_calls.{n}.id"] = call_id
            found[f"{key}.tool_calls.{n}.name"] = call.tool
            found[f"{key}.tool_calls.{n}.arguments"] = call.given
    return found


def _traceloop_llm(messages: Sequence[_Message], answer: _Message) -> _Attributes:
    return {
        "llm.request.type": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o",
        **_numbered("gen_ai.prompt", messages),
        **_numbered("gen_ai.completion", [answer]),
        "gen_ai.completion.0.finish_reason": "tool_calls" if answer.get("calls") else "stop",
        "gen_ai.usage.prompt_tokens": 400 + 60 * len(messages),
        "gen_ai.usage.completion_tokens": 20 + len(answer["text"]) // 4,
    }


def _traceloop_tool(call_id: str, call: Call) -> _Attributes:
    return {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": call.tool,
        "traceloop.entity.input": json.dumps({"args": [], "kwargs": call.arguments}),
        "traceloop.entity.output": json.dumps(call.result, ensure_ascii=False),
    }


def _traceloop_root(said: Run, answer: str) -> _Attributes:
    return {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "assistant",
        "traceloop.entity.input": json.dumps({"args": [said.user], "kwargs": {}}),
        "traceloop.entity.output": json.dumps(answer),
    }


class _Shape(msgspec.Struct, frozen=True):
    """How one client writes the three kinds of span; `tool` is None where it traces no tools."""

    root: Callable[[Run, str], _Attributes]
    llm: Callable[[Sequence[_Message], _Message], _Attributes]
    tool: Callable[[str, Call], _Attributes] | None
    session: str
    scope: str = ""


SHAPES: Final[Mapping[str, _Shape]] = {
    "otel_genai": _Shape(_otel_root, _otel_llm, _otel_tool, "gen_ai.conversation.id"),
    "model_client": _Shape(_otel_root, _otel_llm, None, "gen_ai.conversation.id"),
    "openinference": _Shape(_openinference_root, _openinference_llm, _openinference_tool, "session.id"),
    "traceloop": _Shape(
        _traceloop_root,
        _traceloop_llm,
        _traceloop_tool,
        "traceloop.association.properties.session_id",
        "opentelemetry.instrumentation.openai.v1",
    ),
}


def traces_of(turns: Sequence[Run], shape: str, *, session: str = "s-1") -> Iterator[Trace]:
    """Yield a trace for each turn as that client sends it; a later turn's prompts hold the turns before it."""
    history: list[_Message] = []
    at_ns = START_NS
    for number, turn in enumerate(turns, 1):
        writer = _Writer(SHAPES[shape], number, session, at_ns)
        writer.write(turn, history)
        yield Trace(trace_id=writer.trace_id, spans=writer.spans)
        # the user reads and types
        at_ns = writer.at_ns + 20_000 * _MS


class _Writer:
    """Writes the spans of one turn."""

    def __init__(self, shape: _Shape, number: int, session: str, at_ns: int) -> None:
        self._shape = shape
        self._number = number
        self._session = session
        self.trace_id = f"{number:032x}"
        self.at_ns = at_ns
        self.spans: list[Span] = []

    def write(self, turn: Run, history: list[_Message]) -> None:
        started_ns = self.at_ns
        self._add(self._shape.root(turn, turn.steps[-1].text), "agent", 1)
        history.append({"role": "user", "text": turn.user})
        calls = 0
        for step in turn.steps:
            asked = [(f"call_{self._number}_{calls + n}", call) for n, call in enumerate(step.calls)]
            calls += len(asked)
            answer = {"role": "assistant", "text": step.text, "calls": asked}
            self._add(self._shape.llm([{"role": "system", "text": turn.system}, *history], answer), "chat", LLM_MS)
            history.append(answer)
            for call_id, call in asked:
                if self._shape.tool is not None:
                    self._add(self._shape.tool(call_id, call), call.tool, TOOL_MS)
                history.append({"role": "tool", "id": call_id, "text": call.returned})
        self.spans[0] = msgspec.structs.replace(self.spans[0], start_ns=started_ns, end_ns=self.at_ns)

    def _add(self, attributes: _Attributes, name: str, duration_ms: int) -> None:
        whole = {**attributes, self._shape.session: self._session}
        span = msgspec.structs.replace(
            read_span(whole, name=name, scope=self._shape.scope, resource={"service.name": "shop"}),
            trace_id=self.trace_id,
            span_id=f"{len(self.spans) + 1:016x}",
            parent_span_id=f"{1:016x}" if self.spans else "",
            start_ns=self.at_ns,
            end_ns=self.at_ns + duration_ms * _MS,
        )
        self.spans.append(span)
        self.at_ns = span.end_ns
