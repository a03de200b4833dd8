"""All dialects compiled into one table of keys, and plans: what a span's attributes, taken together, say.

A key of the table stands for a number; the numbers of a span's attributes, in their order, name its plan. Most spans
share a few plans, so which key wins for which field is worked out once.
"""

from typing import Final, TypeAlias

import msgspec

from core.dialects import fallback
from core.dialects.registry import DIALECTS
from core.dialects.table import COMMON_FIELDS, Convert, Dialect, Field
from core.dialects.values import text
from core.model.span import NO_DETAILS, Details

_UNMARKED: Final = 1_000
# a plan is about 1 kB
_PLAN_MAX_ENTRIES: Final = 2_000
_PLAN_MAX_KEYS: Final = 64

Meaning: TypeAlias = tuple[int, int, Convert]
"""Of a key: its number, the number of its mark alone (for a value that says nothing; 0 = none), how to read it."""

FLAT: Final = 1
"""The number of a flattened key; 0 is that of a key which nobody knows."""


class _Sense(msgspec.Struct, frozen=True):
    """What a number stands for."""

    field: int = -1
    rank: int = 0
    mark: int = _UNMARKED
    """Place of the dialect that the key is a mark of."""
    names_session: bool = False
    only_of: tuple[int, ...] = ()
    """Places of the dialects on whose spans alone the key says this; () = on all."""


def _compile() -> tuple[dict[bytes, Meaning], list[_Sense], tuple[bytes, ...], dict[str, int]]:
    table: dict[bytes, Meaning] = {}
    senses = [_Sense(), _Sense()]
    prefixes: list[bytes] = []
    by_name: dict[str, int] = {}
    marks: dict[str, int] = {}
    for place, dialect in enumerate(DIALECTS):
        for key in dialect.marks:
            marks.setdefault(key, place)
    for place, dialect in enumerate(DIALECTS):
        by_name[dialect.name] = len(senses)
        senses.append(_Sense(mark=place))
        for field, convert, keys, only_of in (
            *((*row, ()) for row in dialect.rows),
            *((*row, (place,)) for row in dialect.own_rows),
        ):
            for key in keys:
                # a key says one thing: the first dialect that lists it says which
                if key.encode() in table:
                    number, _, held = table[key.encode()]
                    sense = senses[number]
                    if only_of and sense.only_of and (sense.field, held) == (field, convert):
                        senses[number] = msgspec.structs.replace(sense, only_of=sense.only_of + only_of)
                    continue
                mark = marks.pop(key, _UNMARKED)
                meant = place if key in dialect.meant_marks else mark
                names_session = field is Field.SESSION
                bare = len(senses) + 1 if names_session or mark != _UNMARKED else 0
                table[key.encode()] = (len(senses), bare, convert)
                senses += (
                    _Sense(int(field), len(senses), meant, names_session, only_of),
                    _Sense(mark=mark, names_session=names_session, only_of=only_of),
                )
        prefixes += (prefix.encode() for prefix in dialect.prefixes)
    # what no field wants
    for key, place in marks.items():
        table[key.encode()] = (len(senses), len(senses), text)
        senses.append(_Sense(mark=place))
    return table, senses, tuple(prefixes), by_name


MEANINGS, _SENSES, PREFIXES, BY_NAME = _compile()
"""By name of a dialect: the number that stands for its instrumentation scope."""


class Plan(msgspec.Struct, frozen=True):
    """How to read a span whose attributes have these meanings in this order."""

    winners: tuple[tuple[int, int], ...]
    """(field, place of the value that wins) of each field of which something is said."""
    details: Details | None
    """What they say in fields of `Details`; None where that differs from span to span."""
    dialect: Dialect
    """The first dialect that is marked, by a key or by the scope; else the fallback."""
    dialect_name: str
    is_plain: bool
    """Whether, without events and where the kind is known, the keys alone say everything."""
    is_flat: bool
    odd_session: bool
    """Whether session ids are said by several keys, or by one whose value says nothing."""


plans: Final[dict[tuple[int, ...], Plan]] = {}
"""Plans that were made, by the meanings of the attributes in their order, that of the scope first."""


def new_plan(numbers: tuple[int, ...]) -> Plan:
    """Return the plan for these meanings, and remember it."""
    winners: dict[int, int] = {}
    place = _UNMARKED
    for number in numbers:
        place = min(place, _SENSES[number].mark)
    # a slot for each attribute; those that are not believed on this dialect's spans say nothing
    believed = [
        sense if not (sense := _SENSES[number]).only_of or place in sense.only_of else _SENSES[0] for number in numbers
    ]
    for at, sense in enumerate(believed):
        if sense.field >= 0 and (
            (held := winners.get(sense.field)) is None or sense.rank < _SENSES[numbers[held]].rank
        ):
            winners[sense.field] = at
    dialect = fallback.DIALECT if place == _UNMARKED else DIALECTS[place]
    sessions = [sense for sense in believed if sense.names_session]
    odd_session = len(sessions) > 1 or any(sense.field < 0 for sense in sessions)
    is_flat = FLAT in numbers
    plan = Plan(
        tuple(winners.items()),
        None if any(field >= COMMON_FIELDS for field in winners) else NO_DETAILS,
        dialect,
        dialect.name,
        dialect.reads_extras_only and not is_flat,
        is_flat,
        odd_session,
    )
    # hundreds of flattened keys make plans that are long and never come again
    if len(numbers) <= _PLAN_MAX_KEYS:
        if len(plans) >= _PLAN_MAX_ENTRIES:
            plans.clear()
        plans[numbers] = plan
    return plan
