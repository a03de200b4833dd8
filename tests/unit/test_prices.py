"""What calls cost: names that clients send, kinds of tokens, and who is believed."""

import importlib.util
import json
from pathlib import Path

import pytest

from clearwatch.prices import PricesError, load_prices
from core.dialects import decode
from core.model.span import Span, SpanKind, Usage
from core.model.trace import Trace
from core.otlp.wire import read_spans
from core.prices import PriceTable, price_table
from detector.assemble.pricing import fill_in_costs
from detector.assemble.summary import summary
from tests.unit.dialect_spans import encoded

TABLE = price_table(
    json.dumps(
        {
            "sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "mode": "one of: …"},
            "gpt-4o-mini": {
                "input_cost_per_token": 1e-6,
                "output_cost_per_token": 4e-6,
                "cache_read_input_token_cost": 5e-7,
            },
            "azure/gpt-4o-mini": {"input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6},
            "claude-sonnet-4-5": {
                "input_cost_per_token": 3e-6,
                "output_cost_per_token": 15e-6,
                "cache_read_input_token_cost": 3e-7,
                "cache_creation_input_token_cost": 4e-6,
                "input_cost_per_token_above_200k_tokens": 6e-6,
                "output_cost_per_token_above_200k_tokens": 20e-6,
            },
            "anthropic.claude-sonnet-4-5-20250929-v1:0": {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6},
            "groq/llama-3.3-70b": {"input_cost_per_token": 6e-7, "output_cost_per_token": 7e-7},
            "thinker": {
                "input_cost_per_token": 1e-6,
                "output_cost_per_token": 2e-6,
                "output_cost_per_reasoning_token": 3e-6,
            },
            "text-embedding-3-small": {"input_cost_per_token": 2e-8, "output_cost_per_token": 0.0},
            "dall-e-3": {"output_cost_per_image": 0.04},
        }
    ).encode()
)


@pytest.mark.parametrize(
    ("model", "provider", "fresh"),
    [
        ("gpt-4o-mini", "openai", 1e-6),
        ("gpt-4o-mini-2024-07-18", "openai", 1e-6),
        ("openai/gpt-4o-mini", "", 1e-6),
        ("GPT-4o-mini", "azure.ai.openai", 2e-6),
        ("gpt-4o-mini", "openai.chat", 1e-6),
        ("claude-sonnet-4.5", "anthropic", 3e-6),
        ("claude-sonnet-4-5-20250929", "anthropic", 3e-6),
        ("claude-sonnet-4-5@20250929", "gcp.vertex_ai", 3e-6),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock", 3e-6),
        ("bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "", 3e-6),
        ("claude-sonnet-4-5-latest", "", 3e-6),
        ("llama-3.3-70b", "groq", 6e-7),
        ("groq/llama-3.3-70b", "openai", 6e-7),
    ],
)
def test_names_that_clients_send_find_their_price(model: str, provider: str, fresh: float) -> None:
    price = TABLE.price(model, provider)
    assert price is not None
    assert price.rates.fresh == fresh


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("llama-3.3-70b", "openai"),
        ("llama-3.3-70b", "together"),
        ("dall-e-3", "openai"),
        ("my-own", ""),
        ("gpt-4o-mini-tts", ""),
        ("", ""),
        # neither tried part by part nor remembered
        ("a/" * 200_000 + "gpt-4o-mini", "openai"),
        ("gpt-4o-mini" + "-001" * 200_000, "openai"),
    ],
    ids=lambda value: value[:20],
)
def test_what_another_provider_sells_or_nobody_prices_by_token_has_no_price(model: str, provider: str) -> None:
    assert TABLE.price(model, provider) is None


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("gpt-4o-mini", Usage(input_tokens=1000, output_tokens=100), 1000e-6 + 400e-6),
        ("gpt-4o-mini", Usage(input_tokens=1000, cached_tokens=600), 400e-6 + 300e-6),
        ("claude-sonnet-4-5", Usage(input_tokens=1000, cache_write_tokens=500, cached_tokens=100), 3.23e-3),
        ("thinker", Usage(output_tokens=100, reasoning_tokens=60), 80e-6 + 180e-6),
        ("gpt-4o-mini", Usage(output_tokens=100, reasoning_tokens=60), 400e-6),
        ("claude-sonnet-4-5", Usage(input_tokens=200_001, output_tokens=10), 200_001 * 6e-6 + 200e-6),
        # counts that contradict each other cost no less than nothing
        ("gpt-4o-mini", Usage(input_tokens=10, cached_tokens=600), 300e-6),
    ],
)
def test_each_kind_of_token_has_its_rate(model: str, usage: Usage, usd: float) -> None:
    price = TABLE.price(model, "")
    assert price is not None
    assert price.cost_usd(usage) == pytest.approx(usd)


def _span(number: int, parent: int = 0, *, cost_usd: float | None = None, model: str = "gpt-4o-mini") -> Span:
    return Span(
        trace_id="t",
        span_id=str(number),
        parent_span_id=str(parent) if parent else "",
        kind=SpanKind.LLM,
        model=model,
        usage=Usage(input_tokens=1000),
        cost_usd=cost_usd,
    )


def _cost_usd(*spans: Span) -> float | None:
    trace = Trace(trace_id="t", version="v", spans=spans)
    fill_in_costs(trace, TABLE)
    return summary(trace).cost_usd


def test_usage_that_is_repeated_on_spans_above_is_priced_once() -> None:
    assert _cost_usd(_span(1), _span(2, 1), _span(3, 1)) == pytest.approx(2e-3)


def test_a_cost_that_the_client_sent_wins() -> None:
    assert _cost_usd(_span(1, cost_usd=0.5)) == 0.5
    assert _cost_usd(_span(1), _span(2, 1, cost_usd=0.5), _span(3, 1)) == pytest.approx(0.501)


def test_below_a_span_that_says_its_cost_nothing_is_priced() -> None:
    assert _cost_usd(_span(1, cost_usd=0.5), _span(2, 1), _span(3, 2)) == 0.5


def test_models_without_a_price_are_named_and_cost_nothing_known() -> None:
    trace = Trace(
        trace_id="t", version="v", spans=[_span(1, model="my-own"), _span(2, model="my-own"), _span(3, model="")]
    )
    assert fill_in_costs(trace, TABLE) == {"my-own": 2}
    assert summary(trace).cost_usd is None


@pytest.mark.parametrize(
    ("said", "usd"),
    [
        ({"gen_ai.response.model": "gpt-4o-mini-2024-07-18"}, 2e-3),
        ({"llm.response.model_name": "gpt-4o-mini"}, 2e-3),
        ({"gen_ai.response.model": "my-own"}, None),
        ({"other": "gen_ai.response.model"}, None),
    ],
)
def test_a_deployment_costs_what_the_model_costs_that_answered(said: dict[str, str], usd: float | None) -> None:
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "my-deployment",
        "gen_ai.system": "azure.ai.openai",
    }
    (piece,), _ = read_spans(encoded(asked | {"gen_ai.usage.input_tokens": 1000} | said))
    trace = Trace(trace_id="t", spans=[decode(piece)])
    unknown = fill_in_costs(trace, TABLE, [piece])
    assert trace.spans[0].cost_usd == (None if usd is None else pytest.approx(usd))
    assert unknown == ({"my-deployment": 1} if usd is None else {})


def test_parents_that_go_round_in_a_circle_end() -> None:
    assert _cost_usd(_span(1, 2), _span(2, 1), _span(3, cost_usd=1.0)) == 1.0


def test_the_table_that_litellm_ships_is_read_without_importing_it() -> None:
    if importlib.util.find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    table = load_prices("")
    assert table is not None
    assert len(table) > 1000
    for model, provider in (
        ("gpt-4o-mini-2024-07-18", "openai"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "aws.bedrock"),
        ("models/gemini-2.5-pro", "gcp.gemini"),
        ("gemini-2.5-pro", "gcp.vertex_ai"),
        ("mistral-large-latest", "mistral_ai"),
        ("text-embedding-3-small", "openai"),
        ("deepseek-chat", "deepseek"),
    ):
        assert table.price(model, provider) is not None, model


def test_a_named_file_that_is_no_table_is_refused_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"m": {"input_cost_per_token": 1e-6}}')
    table = load_prices(str(path))
    assert isinstance(table, PriceTable)
    assert table.price("m", "") is not None
    path.write_text("[]")
    with pytest.raises(PricesError, match=r"`detector\.prices_file`"):
        load_prices(str(path))
    with pytest.raises(PricesError, match=r"`detector\.prices_file`"):
        load_prices(str(tmp_path / "none.json"))
