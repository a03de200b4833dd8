"""What tokens cost: the price table of litellm, looked up by the names that clients send for models.

The form is that of litellm's `model_prices_and_context_window.json`: model -> {`input_cost_per_token`, …}, in USD a
token. Names are tried from the one that says most to the one that says least: with the provider before it, as sent,
without what stands before the last `/`, without a region, a version or a date. A model that only another provider
sells has no price: the same weights cost something else elsewhere.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from core.model.span import Usage

# names of models that are remembered with their price; applications use a few
_REMEMBERED: Final = 2_000
# the longest name in the table has 76; what is longer names no model, and trying its parts would cost their square
_MAX_NAME_CHARACTERS: Final = 200
# gen_ai.provider.name and gen_ai.system of semantic-conventions, and what frameworks send -> litellm's providers
_PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws.bedrock": ("bedrock",),
    "aws_bedrock": ("bedrock",),
    "az.ai.inference": ("azure_ai", "azure"),
    "az.ai.openai": ("azure",),
    "azure.ai.inference": ("azure_ai", "azure"),
    "azure.ai.openai": ("azure",),
    "azure_openai": ("azure",),
    "cohere": ("cohere", "cohere_chat"),
    "fireworks": ("fireworks_ai",),
    "gcp.gemini": ("gemini",),
    "gcp.gen_ai": ("gemini",),
    "gcp.vertex_ai": ("vertex_ai",),
    "google": ("gemini",),
    "mistral_ai": ("mistral",),
    "together": ("together_ai",),
    "vertexai": ("vertex_ai",),
    "x_ai": ("xai",),
}
# us.anthropic.claude-…: AWS's inference profiles
_REGION: Final = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|global)\.(?=[a-z0-9-]+\.)")
# gpt-4o-2024-08-06, claude-3-5-sonnet-20241022, claude-…-v1:0, gemini-…-001, …@20251001, …-latest, ….1-preview-05-06
_SUFFIX: Final = re.compile(
    r"(?:[-@]20\d\d-?[01]\d-?[0-3]\d|[-@:]latest|-preview|-preview-[01]\d-[0-3]\d|-v\d+(?::\d+)?|:\d+|[-@]\d{3}|@default"
    r"|-[01]\d[0-3]\d)$"
)
_DOTTED: Final = re.compile(r"(?<=\d)\.(?=\d)")
_ABOVE: Final = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


class Rates(msgspec.Struct, frozen=True, gc=False):
    """USD for a token of each kind. Thinking is part of the output unless it has a rate of its own."""

    fresh: float
    output: float
    cached: float
    cache_write: float
    reasoning: float


class Price(msgspec.Struct, frozen=True, gc=False):
    """The rates of a model, and those for calls with more input than so many tokens, the largest first."""

    rates: Rates
    above: tuple[tuple[int, Rates], ...] = ()

    def cost_usd(self, usage: Usage) -> float:
        """Return what a call cost: cached and written tokens are part of the input, reasoning part of the output."""
        rates, fresh, said = self.rates, usage.input_tokens, usage.output_tokens
        for tokens, dearer in self.above:
            if fresh > tokens:
                rates = dearer
                break
        cached, written, thought = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        if not cached and not written and not thought:
            return fresh * rates.fresh + said * rates.output
        fresh -= cached + written
        said -= thought
        return (
            (fresh if fresh > 0 else 0) * rates.fresh
            + cached * rates.cached
            + written * rates.cache_write
            + (said if said > 0 else 0) * rates.output
            + thought * rates.reasoning
        )


class PriceTable:
    """Prices by model. What was looked up is remembered; the table itself never changes."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._found: dict[tuple[str, str], Price | None] = {}

    def __len__(self) -> int:
        return len(self._prices)

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model as a client named it, or None."""
        if len(model) > _MAX_NAME_CHARACTERS or len(provider) > _MAX_NAME_CHARACTERS:
            return None
        key = (model, provider)
        known = self._found.get(key)
        if known is not None or key in self._found:
            return known
        found = next((self._prices[name] for name in _names(model, provider) if name in self._prices), None)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[key] = found
        return found


def _names(model: str, provider: str) -> Iterator[str]:
    """Yield the names under which a model may stand in the table, the one that says most first."""
    provider = provider.lower().partition(".chat")[0].partition(".responses")[0]
    prefixes = _PROVIDERS.get(provider, (provider,) if provider else ())
    if not model:
        return
    name = model.strip().lower().removeprefix("models/").removeprefix("litellm_proxy/")
    tails = [name]
    while "/" in tails[-1]:
        tails.append(tails[-1].partition("/")[2])
    for tail in tails:
        for short in _shortened(tail):
            for prefix in prefixes:
                yield f"{prefix}/{short}"
            yield short


def _shortened(name: str) -> Iterator[str]:
    while True:
        yield name
        if _DOTTED.search(name):
            yield _DOTTED.sub("-", name)
        shorter = _REGION.sub("", name) if _REGION.match(name) else _SUFFIX.sub("", name)
        if shorter == name or not shorter:
            return
        name = shorter


def price_table(raw: bytes) -> PriceTable:
    """Read the table; entries that are not priced by token are left out. Raises ValueError where it is no such JSON."""
    found: dict[str, Price] = {}
    for name, entry in msgspec.json.decode(raw, type=dict[str, dict[str, object]]).items():
        rates = _rates(entry, "")
        if rates is not None:
            above = sorted({int(tier[1]) for key in entry if (tier := _ABOVE.fullmatch(key))}, reverse=True)
            tiers = ((thousand * 1000, _rates(entry, f"_above_{thousand}k_tokens")) for thousand in above)
            found.setdefault(name.lower(), Price(rates, tuple((n, dearer) for n, dearer in tiers if dearer)))
    return PriceTable(found)


def _rates(entry: Mapping[str, object], suffix: str) -> Rates | None:
    def said(name: str) -> float | None:
        for key in (name + suffix, name):
            value = entry.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
                return float(value)
        return None

    fresh, output = said("input_cost_per_token"), said("output_cost_per_token")
    if fresh is None and output is None:
        return None
    fresh, output = fresh or 0.0, output or 0.0
    cached, written = said("cache_read_input_token_cost"), said("cache_creation_input_token_cost")
    reasoning = said("output_cost_per_reasoning_token")
    return Rates(
        fresh=fresh,
        output=output,
        cached=fresh if cached is None else cached,
        cache_write=fresh if written is None else written,
        reasoning=output if reasoning is None else reasoning,
    )
