"""Which tools a model was offered: from its own span, or from the agent's above it."""

import functools
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from core.dialects.messages import definitions
from core.model.span import NO_DETAILS, Details, Span
from core.model.trace import Trace

Tools: TypeAlias = Mapping[str, Mapping[str, Any] | None]

# an agent offers the same tools at every call: what was parsed is kept, within 64 times this many characters
_KEPT: Final = 64
_KEPT_CHARACTERS: Final = 100_000
# the agent span stands a few steps above its model call (Strands: cycle, agent)
_MAX_STEPS_UP: Final = 4


def offered_tools(trace: Trace, span: Span) -> Tools:
    """Return the tools that an LLM call was offered: name -> JSON Schema of its parameters, or None.

    Empty where nothing says, or some of it may have been dropped on the way.
    """
    above: Span | None = span
    for _ in range(_MAX_STEPS_UP):
        if above is None:
            break
        raw = above.details.tool_definitions if above.details is not NO_DETAILS else ""
        if raw:
            if above.dropped_attributes:
                break
            return _parsed(raw) if len(raw) <= _KEPT_CHARACTERS else definitions(above.details)
        above = trace.by_id.get(above.parent_span_id)
    return {}


@functools.lru_cache(maxsize=_KEPT)
def _parsed(raw: str) -> Tools:
    return definitions(Details(tool_definitions=raw))
