"""Reads the tokens of a call out of one mapping, as a provider's response or Langfuse's `usage_details` writes them."""

from collections.abc import Mapping
from typing import Any, Final

from core.dialects.values import count, structure
from core.model.span import Usage
from core.otlp.slim import Value

_CACHE_WRITES: Final = ("cache_creation_input_tokens", "input_cache_creation", "input_cached_creation_tokens")
_CACHE_READS: Final = ("cache_read_input_tokens", "input_cache_read", "input_cached_tokens", "cached_tokens")


def usage(value: Value) -> Usage | None:
    """Return the tokens that a mapping names, in words of OpenAI, Anthropic or Langfuse; None where it names none."""
    found = structure(value)
    if not isinstance(found, dict):
        return None
    given, said = (
        _mapping(found, "prompt_tokens", "input_tokens"),
        _mapping(found, "completion_tokens", "output_tokens"),
    )
    reads = _first(found, _CACHE_READS)
    writes = _first(found, _CACHE_WRITES)
    reasoning = _first(found, ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens"))
    inside = count(given.get("cached_tokens"))
    if found.get("prompt_tokens") is not None:
        into, out = count(found["prompt_tokens"]), count(found.get("completion_tokens"))
    elif found.get("input") is not None or found.get("output") is not None:
        into = _sum(found, "input") + sum(
            count(found.get(key)) or 0 for key in _CACHE_READS + _CACHE_WRITES if key[0] == "c"
        )
        out = _sum(found, "output")
    elif found.get("input_tokens") is not None or found.get("output_tokens") is not None:
        # Anthropic's: cached tokens stand beside, unless details say that they stand within
        beside = (reads or 0) + (writes or 0) if inside is None else 0
        into, out = (count(found.get("input_tokens")) or 0) + beside, count(found.get("output_tokens"))
    else:
        return None
    return Usage(
        input_tokens=into or 0,
        output_tokens=out or 0,
        cached_tokens=inside if inside is not None else reads or 0,
        reasoning_tokens=reasoning if reasoning is not None else count(said.get("reasoning_tokens")) or 0,
        cache_write_tokens=writes or 0,
    )


def _mapping(found: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((part for key in names if isinstance(part := found.get(f"{key}_details"), dict)), {})


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((number for key in keys if (number := count(found.get(key))) is not None), None)


def _sum(found: Mapping[str, Any], side: str) -> int:
    """Return the sum of a side's parts: `input`, `input_cached_tokens`, …"""
    return sum(count(number) or 0 for key, number in found.items() if key == side or key.startswith(f"{side}_"))
