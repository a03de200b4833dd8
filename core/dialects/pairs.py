"""What one encoded attribute says: the number of its meaning, and its value.

Small attributes repeat from span to span, so what they say is remembered by their bytes; the memo is bounded, emptied
when full, and never changes a result.
"""

from typing import Any, Final, TypeAlias

from core.dialects.compiled import FLAT, MEANINGS, PREFIXES
from core.dialects.values import text
from core.otlp.slim import ParseError, heads, key_of, text_of, value_of

Hit: TypeAlias = tuple[int, Any]
"""The number of what the key says, and the value."""

SKIP: Final[Hit] = (0, None)
"""An attribute that says nothing."""

# longer attributes are texts, which do not repeat (measured: 1.2 times as fast as without a memo)
MEMO_MAX_BYTES: Final = 72
# 20,000 entries of at most 72 bytes and a small value: about 5 MB
_MEMO_MAX_ENTRIES: Final = 20_000

# by the bytes that an attribute begins with in the usual encoding: tag of the key, its length, the key
_BY_BEGINNING: Final = {b"\x0a%c%b" % (len(key), key): meaning for key, meaning in MEANINGS.items() if len(key) < 0x80}


def read_pair(pair: bytes) -> Hit:
    """Return what an encoded attribute says."""
    if len(pair) >= 2:
        at = 2 + pair[1]
        usual = _BY_BEGINNING.get(pair[:at])
        # `text_at`, written out
        if usual is not None and pair.startswith(head := heads[len(pair) - at], at):
            number, bare, convert = usual
            said = text_of(pair[at + len(head) :])
            if convert is text or (value := convert(said)) is not None:
                return number, said if convert is text else value
            return (bare, None) if bare else SKIP
    try:
        key = key_of(pair)
        meaning = MEANINGS.get(key)
        if meaning is None:
            return (FLAT, pair) if key.startswith(PREFIXES) else SKIP
        number, bare, convert = meaning
        value = convert(value_of(pair))
    except ParseError:
        return SKIP
    if value is not None:
        return number, value
    return (bare, None) if bare else SKIP


class _Memo(dict[bytes, Hit]):
    """What small attributes say, by their bytes."""

    def __missing__(self, pair: bytes) -> Hit:
        if len(self) >= _MEMO_MAX_ENTRIES:
            self.clear()
        hit = self[pair] = read_pair(pair)
        return hit


memo: Final = _Memo()
"""What an attribute says; for those shorter than `MEMO_MAX_BYTES`."""
