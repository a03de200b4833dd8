"""What a dialect is: ordered keys for each field of a span, and a reader of what keys alone cannot say.

All dialects are compiled into one table: key -> (field, rank). The rank is the dialect's place in the registry, then
the key's place in its row, so a span that mixes dialects is read by the first that knows the field.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from core.model.span import Content, FinishReason, SpanKind
from core.otlp.slim import Value


class Field(enum.IntEnum):
    """What a key may say; the values index `Reading.found`."""

    KIND = 0
    AGENT = 1
    MODEL = 2
    PROVIDER = 3
    TOOL_NAME = 4
    TOOL_CALL_ID = 5
    TOOL_ARGUMENTS = 6
    TOOL_RESULT = 7
    INPUT = 8
    OUTPUT = 9
    INPUT_TOKENS = 10
    OUTPUT_TOKENS = 11
    CACHED_TOKENS = 12
    REASONING_TOKENS = 13
    USAGE = 14
    COST = 15
    FINISH = 16
    FIRST_TOKEN_S = 17
    SESSION = 18
    USER = 19
    METADATA = 20
    ERROR_TYPE = 21
    ERROR_MESSAGE = 22
    ERROR_CODE = 23
    DATA_SOURCE = 24
    CACHE_WRITE_TOKENS = 25
    # from here on: `Details`, read only where one of them is there; the first 14 in its order
    TOOL_DEFINITIONS = 26
    OUTPUT_TYPE = 27
    OUTPUT_SCHEMA = 28
    MAX_TOKENS = 29
    TEMPERATURE = 30
    IS_STREAM = 31
    DOCUMENTS = 32
    QUERY = 33
    PROMPT_NAME = 34
    PROMPT_VERSION = 35
    ATTEMPT = 36
    EVALUATIONS = 37
    SERVER = 38
    SYSTEM = 39
    PARAMETERS = 40
    """The parameters of a call in one attribute (`core.dialects.parameters`)."""
    TOOL_CALLS = 41
    """Calls that an answer makes, where a dialect writes them apart from its text; for its reader."""
    FAILED = 42
    """True where a dialect says by an attribute of its own that the span failed."""
    # values that only their dialect's reader can make sense of
    RAW = 43
    RAW_EVENTS = 44
    RAW_RESPONSE = 45
    RAW_SETTINGS = 46


FIELDS = len(Field)
COMMON_FIELDS = int(Field.TOOL_DEFINITIONS)
"""Fields before this one are asked of every span."""

Convert: TypeAlias = Callable[[Value], Any]
"""Value of an attribute -> what the field holds; None = as if the attribute were not there."""

Row: TypeAlias = tuple[Field, Convert, tuple[str, ...]]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A span event, attributes still encoded."""

    name: str
    time_ns: int
    attributes: Sequence[bytes]


class Reading(msgspec.Struct, gc=False):
    """One span being read: what the keys said, and what a dialect's reader makes of it."""

    found: list[Any]
    """By field: the value that won, or None."""
    flat: list[bytes] | None
    """Encoded pairs whose key starts with a flattened prefix."""
    events: tuple[Event, ...]
    name: str
    start_ns: int
    dropped: int
    kind: SpanKind
    content_input: Content | None = None
    output: Content | None = None
    finish: FinishReason = FinishReason.UNKNOWN
    first_token_s: float | None = None


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write LLM telemetry.

    `marks` are keys that only this dialect writes, `meant_marks` keys that mark it where their value means something to
    it; `scopes` are beginnings of its instrumentation scopes. Where a span bears the marks of several dialects, the one
    that stands first in the registry reads it. `own_rows` hold keys so plain ("model", "error") that they are believed
    on this dialect's spans alone. `prefixes` begin its flattened keys. `read` fills what the keys alone cannot say,
    after `Reading.kind` is known.
    """

    name: str
    rows: tuple[Row, ...] = ()
    own_rows: tuple[Row, ...] = ()
    marks: tuple[str, ...] = ()
    meant_marks: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    read: Callable[[Reading], None] | None = None
    reads_extras_only: bool = False
    """`read` has work only where there are events or flattened keys; else it would but take the answer in OUTPUT."""
