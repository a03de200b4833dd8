"""context_growth: prompts that only grow, and prompts that are long for a reason."""

from core.model.finding import Dimension, Severity
from core.model.span import SpanKind, Usage
from detector.checks.context_growth import ContextGrowth, ContextGrowthConfig
from detector.checks.port import Outcome
from tests.unit.checks_kit import Story

CHECK = ContextGrowth(ContextGrowthConfig())
GROWING = [8_000, 20_000, 31_000, 42_000, 55_000]


def calls(prompts: list[int], check: ContextGrowth = CHECK) -> Outcome:
    return check.inspect(story_of(prompts).trace()).outcome


def story_of(prompts: list[int]) -> Story:
    story = Story()
    root = story.root()
    for tokens in prompts:
        story.llm(root.span_id, usage=Usage(input_tokens=tokens, output_tokens=50))
    return story


def test_prompts_that_only_grow_are_found_on_the_last_call() -> None:
    story = story_of(GROWING)
    (finding,) = CHECK.inspect(story.trace()).findings
    assert finding.severity is Severity.LOW
    assert finding.category is Dimension.COST
    assert finding.span_ids[0] == story.spans[-1].span_id
    assert "from 8000 to 55000 tokens" in finding.rationale


def test_fewer_calls_less_growth_and_short_prompts_are_none() -> None:
    assert calls(GROWING[:4]) is Outcome.CLEAR
    assert calls([40_000, 45_000, 50_000, 55_000, 60_000]) is Outcome.CLEAR
    assert calls([tokens // 10 for tokens in GROWING]) is Outcome.CLEAR


def test_a_conversation_that_is_cut_back_is_none() -> None:
    assert calls([8_000, 40_000, 9_000, 42_000, 55_000]) is Outcome.CLEAR


def test_agents_are_looked_at_each_by_itself() -> None:
    story = Story()
    root = story.root()
    for tokens in GROWING:
        agent = story.add(SpanKind.AGENT, parent=root.span_id)
        story.llm(agent.span_id, usage=Usage(input_tokens=tokens, output_tokens=50))
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_a_prompt_that_nearly_fills_a_configured_window_is_found_whatever_it_grew_from() -> None:
    check = ContextGrowth(ContextGrowthConfig(context_tokens={"gpt-4o": 16_000, "gpt": 1_000_000}))
    assert calls([11_000, 11_500, 12_000, 12_500, 13_000], check) is Outcome.FOUND
    assert calls([10_000, 10_500, 11_000, 11_500, 12_000], check) is Outcome.CLEAR


def test_a_wrapper_is_not_counted_beside_its_call() -> None:
    story = Story()
    root = story.root()
    for tokens in GROWING[-3:]:
        usage = Usage(input_tokens=tokens, output_tokens=50)
        story.llm(story.llm(root.span_id, usage=usage).span_id, usage=usage)
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_calls_beside_the_conversation_do_not_hide_its_growth() -> None:
    assert calls([8_000, 900, 20_000, 1_000, 900, 31_000, 42_000, 1_200, 55_000, 900]) is Outcome.FOUND
    # longer than that beside it, and it was cut back
    assert calls([8_000, 20_000, 31_000, 42_000, 3_000, 4_000, 5_000, 6_000, 55_000]) is Outcome.FOUND
    assert calls([8_000, 20_000, 31_000, 42_000, 30_000, 31_000, 32_000, 33_000, 55_000]) is Outcome.CLEAR
