"""incomplete_stream: streams without an end, and what merely looks like one."""

import pytest

from core.model.finding import Severity
from core.model.span import Content, Details, ErrorClass, FinishReason, SpanKind, Usage
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.incomplete_stream import IncompleteStream, IncompleteStreamConfig
from detector.checks.model_calls import is_wrapper
from detector.checks.port import Outcome
from detector.checks.registry import Checks
from tests.unit.checks_kit import Story, failed, present

CHECK = IncompleteStream(IncompleteStreamConfig())
STREAMED = Details(is_stream=True)


def outcome(**facts: object) -> Outcome:
    story = Story()
    story.llm(story.root().span_id, **facts)
    return CHECK.inspect(story.trace()).outcome


def test_a_stream_without_usage_and_finish_reason_is_incomplete() -> None:
    story = Story()
    story.llm(story.root().span_id, details=STREAMED, output=present("I found"))
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.span_ids == (story.spans[1].span_id,)
    assert finding.title == "LLM call to gpt-4o-mini streams an answer that does not end"


def test_the_time_to_the_first_token_shows_that_it_streamed() -> None:
    assert outcome(time_to_first_token_s=0.1) is Outcome.FOUND
    assert outcome() is Outcome.CLEAR


def test_a_finish_reason_of_error_without_an_error_is_incomplete() -> None:
    assert outcome(finish_reason=FinishReason.ERROR, output=present("It is done.")) is Outcome.FOUND


@pytest.mark.parametrize(
    "facts",
    [
        {"usage": Usage(input_tokens=3, output_tokens=4)},
        {"finish_reason": FinishReason.STOP},
        {"error": failed()},
        {"output": present("It is 18 degrees in Lisbon.")},
        {"duration_ms": 0},
    ],
    ids=[
        "usage was sent",
        "a finish reason was sent",
        "it failed",
        "its text ends as finished text does",
        "it is a note",
    ],
)
def test_none(facts: dict[str, object]) -> None:
    assert outcome(**{"details": STREAMED, "output": Content(), **facts}) is Outcome.CLEAR


def test_a_wrapper_is_not_counted_beside_its_call() -> None:
    story = Story()
    wrapper = story.llm(details=STREAMED)
    story.llm(wrapper.span_id, details=STREAMED)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (story.spans[1].span_id,)


def test_an_agent_whose_streamed_call_was_never_sent_is_incomplete() -> None:
    """Vercel AI to version 6: of a stream that is left, the wrapper alone is sent."""
    story = Story()
    agent = story.root(details=STREAMED, finish_reason=FinishReason.ERROR)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (agent.span_id,)
    story.llm(agent.span_id, finish_reason=FinishReason.ERROR)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (story.spans[1].span_id,)


def test_the_upper_of_two_spans_of_a_call_is_the_call_where_it_alone_says_what_came_out() -> None:
    """Anthropic's SDK traces its own calls, without text, below the instrumentation that records it."""
    story = Story()
    upper = story.llm(finish_reason=FinishReason.STOP, output=present("It is 18 degrees."))
    lower = story.llm(upper.span_id, finish_reason=FinishReason.STOP)
    trace = story.trace()
    assert [is_wrapper(trace, span) for span in (upper, lower)] == [False, True]


def test_usage_of_the_first_event_alone_is_no_end() -> None:
    # Anthropic tells of the prompt's tokens, and one of the answer, before it speaks
    text = present("Hello! Your flight TP532")
    assert outcome(details=STREAMED, usage=Usage(40, 1), output=text) is Outcome.FOUND
    assert outcome(details=STREAMED, usage=Usage(40, 9), output=text) is Outcome.CLEAR


def test_a_reader_who_leaves_is_no_failure_of_the_call() -> None:
    # LangChain: the generator is closed, which its tracer records as an error
    error = failed("GeneratorExit()", error_type="GeneratorExit", error_class=ErrorClass.CANCELLED)
    story = Story()
    story.llm(story.root().span_id, details=STREAMED, output=present("Hello! Your"), error=error)
    (fault,) = Checks(ChecksConfig(), Telemetry()).inspect(story.trace()).findings
    assert (fault.check, fault.severity) == ("incomplete_stream", Severity.LOW)


def test_a_stream_that_opened_and_was_never_read_is_incomplete() -> None:
    """Logfire writes a span as the stream opens, and one once it was read."""
    story = Story(scope="logfire.openai")
    root = story.root()
    for _ in range(2):
        story.add(SpanKind.HTTP, "Chat Completion", parent=root.span_id, details=STREAMED, model="gpt-4o-mini")
        story.llm(root.span_id, usage=Usage(40, 9), duration_ms=0)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    left = story.add(SpanKind.HTTP, "Chat Completion", parent=root.span_id, details=STREAMED, model="gpt-4o-mini")
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.span_ids == (left.span_id,)
    assert CHECK.inspect(story.trace(is_final=False)).outcome is Outcome.CLEAR


@pytest.mark.parametrize(
    ("error_type", "message"), [("GeneratorExit", "GeneratorExit()"), ("_OTHER", "abandoned stream")]
)
def test_whoever_says_that_its_reader_left_is_understood(error_type: str, message: str) -> None:
    assert outcome(details=STREAMED, error=failed(message, error_type=error_type)) is Outcome.FOUND


def test_a_stream_without_text_and_tokens_is_incomplete() -> None:
    # Anthropic's own spans have no text, and the tokens of the prompt from the first event
    assert outcome(time_to_first_token_s=0.1, usage=Usage(40, 0)) is Outcome.FOUND
    assert outcome(time_to_first_token_s=0.1, usage=Usage(40, 3)) is Outcome.CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "Paris",
        "New York",
        "Have a nice day 😊",
        "The answer is 42",
        "Total: 3,000 EUR",
        "今日は晴れです",
        "These are the fruits that I like:\n- apples\n- pears and plums of every kind from the garden",
        "The steps are these, one by one:\n1. open the door\n2. close it behind you as quietly as you can",
        "Read all of it here:\nhttps://docs.example.com/a/very/long/address/of/a/page",
        "Vielen Dank für Ihre Nachricht, wir melden uns.\n\nViele Grüße\nIhr Kundenservice",
        '{"city": "Rome"}',
    ],
)
def test_texts_that_end_without_a_full_stop_are_whole(text: str) -> None:
    assert outcome(output=present(text), details=STREAMED) is Outcome.CLEAR


@pytest.mark.parametrize(
    "text",
    [
        "I found",
        "I found three hotels near the station and the",
        "There are three,",
        '{"city": "Rome", "hotels": ["A',
        "",
    ],
)
def test_texts_that_end_in_the_middle_are_not(text: str) -> None:
    assert outcome(output=present(text), details=STREAMED) is Outcome.FOUND
