"""One comparison, compiled: holds, does not hold, or cannot be told (None)."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from core.model.span import Span
from detector.rules.config import ORDERED, ConditionConfig, Op
from detector.rules.fields import SPAN_FIELDS, TRACE_FIELDS

# a pattern of somebody's own may be slow; the rest of a longer text is unknown
MAX_MATCHED_CHARACTERS: Final = 10_000

Comparison: TypeAlias = Callable[[Any], bool | None]

_SIGNS: Final[Mapping[Op, Callable[[float, float], bool]]] = {
    Op.GT: operator.gt,
    Op.LT: operator.lt,
    Op.GE: operator.ge,
    Op.LE: operator.le,
}


class SpanCondition:
    """A condition of a span: `compare(read(span))` says whether it holds, None where that cannot be told."""

    def __init__(self, config: ConditionConfig) -> None:
        self.compare = comparison(config)
        self.read = SPAN_FIELDS[config.field].read if config.field else _attribute(config.attribute)

    def holds(self, span: Span) -> bool | None:
        """Return whether it holds."""
        return self.compare(self.read(span))


class TraceCondition:
    """A condition of a trace, likewise."""

    def __init__(self, config: ConditionConfig) -> None:
        self.compare = comparison(config)
        self.read = TRACE_FIELDS[config.field].read


def _attribute(key: str) -> Callable[[Span], Any]:
    return lambda span: None if span.extra is None else span.extra.get(key)


def comparison(config: ConditionConfig) -> Comparison:
    """Return the comparison of a value as it was read; None is "not sent"."""
    op, wanted = config.op, config.value
    if op is Op.EXISTS:
        present = wanted is not False
        return lambda value: (value is not None and value != "") is present
    if op in ORDERED:
        # the configuration has seen to it that it is a number
        sign, limit = _SIGNS[op], float(str(wanted))

        def ordered(value: Any) -> bool | None:
            if type(value) is float or type(value) is int:
                return sign(value, limit)
            return None if (number := _number(value)) is None else sign(number, limit)

        return ordered
    if op is Op.MATCHES:
        pattern = re.compile(str(wanted))
        return lambda value: None if value is None else _matches(pattern, _text(value))
    choices = wanted if isinstance(wanted, tuple) else (wanted,)
    should = op is not Op.NE
    return lambda value: None if value is None else any(_equal(value, choice) for choice in choices) is should


def _matches(pattern: re.Pattern[str], text: str) -> bool | None:
    if pattern.search(text[:MAX_MATCHED_CHARACTERS]):
        return True
    return False if len(text) <= MAX_MATCHED_CHARACTERS else None


def _number(value: Any) -> float | None:
    """Return a value as a number; clients send many as text."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else str(value)


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return _text(value).lower() == _text(wanted)
    if isinstance(wanted, int | float):
        return _number(value) == wanted
    return _text(value) == str(wanted)
