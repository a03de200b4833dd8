"""A travel assistant that works, mostly: each scenario is one user turn, written as OTel GenAI spans.

Nothing sleeps: spans get explicit start and end times that lie in the recent past, so that minutes of traffic are
exported in seconds. What goes wrong is drawn from a seeded generator, so two runs show the same faults.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context

MODEL: Final = "gpt-4o-mini"
AGENT: Final = "travel-assistant"
CITIES: Final = ("Lisbon", "Oslo", "Kyoto", "Porto", "Vienna", "Tallinn", "Naples", "Ghent")


class ToolError(Exception):
    """Raised by the demo's tools."""


class ProviderError(Exception):
    """What a provider's client raises."""


class TravelAgent:
    """Plays user turns; every public method is one trace and a scenario of its own."""

    def __init__(self, provider: TracerProvider, *, seed: int) -> None:
        self._tracer = provider.get_tracer("travel.assistant", "1.4.0")
        self._random = random.Random(seed)
        self.session_id = ""
        self.user_id = ""

    def answers_well(self) -> None:
        """Look something up, call a tool, answer."""
        city = self._city()
        with self._turn(f"What should I see in {city}?") as turn:
            self._retrieve(turn, f"sights in {city}")
            arguments = {"city": city}
            self._chat(turn, tool_calls=[("get_weather", arguments)])
            self._tool(turn, "get_weather", arguments, result=json.dumps({"city": city, "celsius": 21}))
            self._chat(turn, answer=f"{city} is sunny at 21 degrees: see the old town, then the harbour.")

    def hits_rate_limit(self) -> None:
        """The provider answers 429 and the turn fails."""
        with self._turn(f"Book a hotel in {self._city()}") as turn:
            message = "Error code: 429 - Rate limit reached for gpt-4o-mini: limit 200000 tokens per minute"
            self._chat(turn, error=ProviderError(message), error_type="openai.RateLimitError")
            turn.fail(message)

    def tool_raises(self) -> None:
        """A tool raises, the agent says sorry."""
        city = self._city()
        with self._turn(f"Which trains go to {city} tonight?") as turn:
            arguments = {"destination": city, "when": "tonight"}
            self._chat(turn, tool_calls=[("search_trains", arguments)])
            failure = ToolError(f"timetable service answered 502 for '{city}'")
            self._tool(turn, "search_trains", arguments, error=failure)
            self._chat(turn, answer="I could not reach the timetable. Please try again later.")

    def loops(self) -> None:
        """The agent asks for the same thing again and again."""
        city = self._city()
        with self._turn(f"Is there a table for two in {city}?") as turn:
            arguments = {"city": city, "guests": 2}
            for _ in range(5):
                self._chat(turn, tool_calls=[("find_restaurant", arguments)])
                self._tool(turn, "find_restaurant", arguments, result=json.dumps({"restaurants": []}))
            self._chat(turn, answer="I could not find a table.")

    def is_cut(self) -> None:
        """The answer ends at the token limit."""
        with self._turn(f"Plan ten days in {self._city()}, hour by hour") as turn:
            answer = "Day 1. 08:00 breakfast by the river, 09:30 the cathedral, 11:00 a walk to the"
            self._chat(turn, answer=answer, finish="length", output_tokens=256)

    def retrieves_slowly(self) -> None:
        """The document search takes many times as long as it usually does."""
        city = self._city()
        with self._turn(f"Museums in {city}?") as turn:
            self._retrieve(turn, f"museums in {city}", seconds=self._random.uniform(7.0, 9.0))
            self._chat(turn, answer=f"{city} has a maritime museum and a house of design.")

    def is_filtered(self) -> None:
        """The provider's content filter ends the answer."""
        with self._turn("How do I get past airport security with this?") as turn:
            self._chat(turn, answer="", finish="content_filter", output_tokens=3)

    def _city(self) -> str:
        return self._random.choice(CITIES)

    @contextmanager
    def _turn(self, question: str) -> "Iterator[_Turn]":
        # the turn ends now, whatever it turns out to take: spans are placed from a start in the recent past
        start_ns = time.time_ns() - int(12e9)
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "gen_ai.input.messages": _messages("user", question),
        }
        if self.session_id:
            attributes |= {"session.id": self.session_id, "gen_ai.conversation.id": self.session_id}
            attributes["user.id"] = self.user_id
        span = self._tracer.start_span(f"invoke_agent {AGENT}", start_time=start_ns, attributes=attributes)
        turn = _Turn(span, start_ns)
        try:
            yield turn
        finally:
            if turn.answer:
                span.set_attribute("gen_ai.output.messages", _messages("assistant", turn.answer))
            span.end(end_time=turn.at_ns)

    def _retrieve(self, turn: "_Turn", query: str, *, seconds: float | None = None) -> None:
        attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": "travel-guides",
            "gen_ai.retrieval.query.text": query,
            "gen_ai.retrieval.documents": json.dumps(
                [{"id": "guide-7", "score": 0.82}, {"id": "guide-2", "score": 0.7}]
            ),
        }
        with self._child(turn, "retrieval travel-guides", attributes, seconds or self._random.uniform(0.12, 0.3)):
            pass

    def _chat(
        self,
        turn: "_Turn",
        *,
        answer: str = "",
        tool_calls: Sequence[tuple[str, Mapping[str, object]]] = (),
        finish: str = "",
        output_tokens: int = 0,
        error: Exception | None = None,
        error_type: str = "",
    ) -> None:
        attributes: dict[str, object] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": MODEL,
            "gen_ai.usage.input_tokens": self._random.randint(300, 900),
        }
        with self._child(turn, f"chat {MODEL}", attributes, self._random.uniform(0.4, 0.9), SpanKind.CLIENT) as span:
            if error is not None:
                span.record_exception(error, attributes={"exception.type": error_type})
                span.set_attribute("error.type", error_type)
                span.set_status(Status(StatusCode.ERROR, str(error)))
                return
            parts: list[dict[str, object]] = [{"type": "text", "content": answer}] if answer else []
            for number, (name, arguments) in enumerate(tool_calls):
                parts.append({"type": "tool_call", "id": f"call_{number}", "name": name, "arguments": arguments})
            finish = finish or ("tool_calls" if tool_calls else "stop")
            message = {"role": "assistant", "parts": parts, "finish_reason": finish}
            span.set_attribute("gen_ai.output.messages", json.dumps([message]))
            span.set_attribute("gen_ai.response.finish_reasons", [finish])
            span.set_attribute("gen_ai.response.model", f"{MODEL}-2024-07-18")
            span.set_attribute("gen_ai.usage.output_tokens", output_tokens or self._random.randint(20, 120))
            turn.answer = answer or turn.answer

    def _tool(
        self,
        turn: "_Turn",
        name: str,
        arguments: Mapping[str, object],
        *,
        result: str = "",
        error: Exception | None = None,
    ) -> None:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.arguments": json.dumps(arguments),
        }
        with self._child(turn, f"execute_tool {name}", attributes, self._random.uniform(0.08, 0.25)) as span:
            if error is not None:
                span.record_exception(error)
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
            else:
                span.set_attribute("gen_ai.tool.call.result", result)

    @contextmanager
    def _child(
        self,
        turn: "_Turn",
        name: str,
        attributes: Mapping[str, object],
        seconds: float,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> "Iterator[Span]":
        span = self._tracer.start_span(
            name,
            context=turn.context,
            kind=kind,
            start_time=turn.at_ns,
            attributes=attributes,  # type: ignore[arg-type] # str, int and float values only
        )
        turn.at_ns += int(seconds * 1e9)
        try:
            yield span
        finally:
            span.end(end_time=turn.at_ns)


class _Turn:
    """The root span of a turn and where its clock stands."""

    def __init__(self, span: Span, start_ns: int) -> None:
        self.span = span
        self.context: Context = set_span_in_context(span)
        self.at_ns = start_ns + 5_000_000
        self.answer = ""

    def fail(self, message: str) -> None:
        """End the turn as failed, as frameworks do: the child's error is repeated on the parent."""
        self.span.set_status(Status(StatusCode.ERROR, message))


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def script(agent: TravelAgent, *, run_id: str, turns: int) -> list[Callable[[], None]]:
    """Return the turns of a demo in order: half of them warm traffic, then faults among it.

    Every other turn of the second half belongs to a conversation of up to six turns.
    """
    faults = (agent.hits_rate_limit, agent.tool_raises, agent.loops, agent.is_cut, agent.is_filtered)
    plays: list[Callable[[], None]] = [agent.answers_well] * (turns // 2)
    for number in range(turns - turns // 2):
        play = agent.answers_well
        if number % 3 == 0:
            play = faults[number // 3 % len(faults)]
        elif number % 10 == 4:
            play = agent.retrieves_slowly
        plays.append(_in_session(agent, play, f"demo-{run_id}-{number // 12}") if number % 2 else play)
    return plays


def _in_session(agent: TravelAgent, play: Callable[[], None], session_id: str) -> Callable[[], None]:
    def play_it() -> None:
        agent.session_id, agent.user_id = session_id, "ada"
        play()
        agent.session_id = agent.user_id = ""

    return play_it
