"""slow_first_token: a fixed bound, and the calls that may take longer."""

import pytest

from core.model.finding import Dimension
from core.model.span import Usage
from detector.checks.port import Outcome
from detector.checks.slow_first_token import SlowFirstToken, SlowFirstTokenConfig
from tests.unit.checks_kit import Story, failed

CHECK = SlowFirstToken(SlowFirstTokenConfig())


def outcome(first_s: float | None, **facts: object) -> Outcome:
    story = Story()
    story.llm(story.root().span_id, duration_ms=10_000, time_to_first_token_s=first_s, **facts)
    return CHECK.inspect(story.trace()).outcome


def test_a_late_first_token_is_found_once_a_model_on_the_slowest_call() -> None:
    story = Story()
    root = story.root()
    story.llm(root.span_id, duration_ms=10_000, time_to_first_token_s=2.6)
    slowest = story.llm(root.span_id, duration_ms=10_000, time_to_first_token_s=4.0)
    story.llm(root.span_id, duration_ms=10_000, time_to_first_token_s=3.0, model="claude")
    first, second = CHECK.inspect(story.trace()).findings
    assert first.span_ids == (slowest.span_id,)
    assert second.title == "LLM call to claude is slow to its first token"
    assert first.category is Dimension.LATENCY


@pytest.mark.parametrize("first_s", [None, 0.0, 2.5])
def test_an_early_or_unknown_first_token_is_none(first_s: float | None) -> None:
    assert outcome(first_s) is Outcome.CLEAR


def test_a_long_prompt_that_no_cache_holds_may_take_longer() -> None:
    usage = Usage(input_tokens=40_000, output_tokens=10)
    assert outcome(4.0, usage=usage) is Outcome.CLEAR
    assert outcome(4.6, usage=usage) is Outcome.FOUND
    cached = Usage(input_tokens=40_000, output_tokens=10, cached_tokens=39_000)
    assert outcome(4.0, usage=cached) is Outcome.FOUND


def test_a_model_that_reasons_first_and_a_failed_call_are_none() -> None:
    assert outcome(9.0, usage=Usage(input_tokens=9, output_tokens=900, reasoning_tokens=800)) is Outcome.CLEAR
    assert outcome(9.0, error=failed()) is Outcome.CLEAR


def test_the_first_call_of_a_framework_that_makes_its_client_then_is_none() -> None:
    story = Story(scope="strands.telemetry.tracer")
    story.llm(duration_ms=10_000, time_to_first_token_s=2.9)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR
    story.llm(duration_ms=10_000, time_to_first_token_s=2.9)
    assert CHECK.inspect(story.trace()).findings[0].span_ids == (story.spans[1].span_id,)


def test_a_time_beyond_the_span_is_in_another_unit() -> None:
    assert outcome(300.0) is Outcome.CLEAR
