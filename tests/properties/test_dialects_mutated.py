"""What every client writes, with one thing in it that is not of the shape it should be: still read, and inspected."""

import json
import random
from typing import Any, Final

import msgspec
import pytest

from core.dialects.messages import definitions, messages_of
from core.model.span import Span
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.assemble.turn import turn_of
from detector.checks.config import ChecksConfig
from detector.checks.registry import FAILED, Checks
from tests.unit.dialect_examples import EXAMPLES, Example

# seeds are fixed: what fails once fails always
ROUNDS: Final = 200
ODD: Final[tuple[Any, ...]] = (
    None, 5, -1, 2.5, True, "x", "", [], {}, [5], [None], ["x"], [[]], [{}], {"a": 1}, {"role": 5}, [[["x"]]],
    {"type": ["a"]}, 10**400, "\ud800", [{"role": "user", "content": {"a": [1]}}],
)  # fmt: skip
CHECKS: Final = Checks(ChecksConfig(), Telemetry())


def _mutated(value: Any, chance: random.Random, depth: int = 0) -> Any:
    """Return a copy of a value with one of its parts replaced, or left out."""
    if not value or not isinstance(value, dict | list) or (depth and chance.random() < 0.15):
        return chance.choice(ODD)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [_mutated(item, chance, depth + 1) if n == at else item for n, item in enumerate(value)]
    key = chance.choice(list(value))
    if chance.random() < 0.1:
        return {other: item for other, item in value.items() if other != key}
    return value | {key: _mutated(value[key], chance, depth + 1)}


def _sent(said: Any, chance: random.Random) -> Any:
    """Return a mutated attribute: JSON stays JSON, at times as Python writes it."""
    try:
        held = json.loads(said) if isinstance(said, str) else said
    except ValueError:
        held = None
    odd = _mutated(held, chance)
    return repr(odd) if chance.random() < 0.1 else json.dumps(odd)


def _attributes(said: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    keys = chance.sample(sorted(said), min(len(said), chance.choice((1, 1, 2, 3))))
    return said | {key: _sent(said[key], chance) for key in keys}


def _read(example: Example, chance: random.Random) -> Span:
    events = tuple((name, _attributes(facts, chance) if facts else facts) for name, facts in example.events)
    attributes = _attributes(example.attributes, chance) if example.attributes else {}
    return msgspec.structs.replace(example, attributes=attributes, events=events).read()


@pytest.mark.parametrize("dialect", sorted(EXAMPLES))
def test_one_odd_value_costs_no_span_and_no_check(dialect: str) -> None:
    for seed in range(ROUNDS):
        chance = random.Random(f"{dialect} {seed}")
        for example in EXAMPLES[dialect]:
            span = _read(example, chance)
            messages_of(span.input)
            messages_of(span.output, role="assistant")
            definitions(span.details)
            trace = Trace(trace_id=span.trace_id, spans=[span])
            assert FAILED not in CHECKS.inspect(trace).answers.values()
            assert msgspec.json.encode((span, turn_of(trace, chars=100)))
