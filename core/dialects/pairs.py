"""What one encoded attribute says: the number of its meaning, and its value.

Small attributes repeat from span to span, so what they say is remembered by their bytes; the memo is bounded, emptied
when full, and never changes a result.
"""

from typing import Any, Final, TypeAlias

from core.dialects.compiled import FLAT, MEANINGS, PREFIXES
from core.dialects.values import count, text
from core.otlp.slim import ParseError, count_at, heads, key_of, value_of

Hit: TypeAlias = tuple[int, Any]
"""The number of what the key says, and the value."""

SKIP: Final[Hit] = (0, None)
"""An attribute that says nothing."""

# longer attributes are texts, which do not repeat (measured: 1.2 times as fast as without a memo)
MEMO_MAX_BYTES: Final = 72
# 20,000 entries of at most 72 bytes and a small value: about 5 MB
_MEMO_MAX_ENTRIES: Final = 20_000

# an encoded value of one integer below 2^21
_COUNT_MAX_BYTES: Final = 6
# about 120 bytes each
_COUNTS_MAX: Final = 16_384

# beginnings of attributes whose keys are not in the table, and whether they are flattened: at most 2 MB
_OTHERS_MAX: Final = 10_000
_others: Final[dict[bytes, bool]] = {}

# by the bytes that an attribute begins with in the usual encoding: tag of the key, its length, the key
_BY_BEGINNING: Final = {b"\x0a%c%b" % (len(key), key): meaning for key, meaning in MEANINGS.items() if len(key) < 0x80}

_meaning_of: Final = _BY_BEGINNING.get


class _Counts(dict[bytes, int | None]):
    """What integers stand for, by how `KeyValue.value` is encoded; None for what is no integer below 2^21."""

    def __missing__(self, value: bytes) -> int | None:
        found = count_at(value, 0)
        if found is not None:
            if len(self) >= _COUNTS_MAX:
                self.clear()
            self[value] = found
        return found


_counts: Final = _Counts()


def read_pair(pair: bytes) -> Hit:
    """Return what an encoded attribute says."""
    # the usual encoding: field 1 first, a key shorter than 128 bytes (as all in the table are), then the value
    at = 2 + pair[1] if len(pair) > 1 else 0
    beginning = pair[:at]
    usual = _meaning_of(beginning)
    if usual is None:
        is_flat = _others.get(beginning)
        return _read_unusual(pair) if is_flat is None else (FLAT, pair) if is_flat else SKIP
    number, bare, convert = usual
    value: Any
    if len(pair) - at <= _COUNT_MAX_BYTES and (value := _counts[pair[at:]]) is not None:
        if convert is not count:
            value = convert(value)
    # `text_at`, written out
    elif pair.startswith(head := heads[len(pair) - at], at):
        try:
            value = pair[at + len(head) :].decode()
        except UnicodeDecodeError:
            value = pair[at + len(head) :].decode("utf-8", "replace")
        if convert is not text:
            value = convert(value)
    else:
        return _read_unusual(pair)
    if value is not None:
        return number, value
    return (bare, None) if bare else SKIP


def _read_unusual(pair: bytes) -> Hit:
    try:
        key = key_of(pair)
        meaning = MEANINGS.get(key)
        if meaning is None:
            is_flat = key.startswith(PREFIXES)
            beginning = b"\x0a%c%b" % (len(key), key) if len(key) <= MEMO_MAX_BYTES else b""
            if beginning and pair.startswith(beginning):
                if len(_others) >= _OTHERS_MAX:
                    _others.clear()
                _others[beginning] = is_flat
            return (FLAT, pair) if is_flat else SKIP
        number, bare, convert = meaning
        value = convert(value_of(pair))
    except ParseError:
        return SKIP
    if value is not None:
        return number, value
    return (bare, None) if bare else SKIP


memo: Final[dict[bytes, Hit]] = {}
"""What attributes shorter than `MEMO_MAX_BYTES` say, as far as it is remembered."""


def read_new(pair: bytes) -> Hit:
    """Return what an attribute says that the memo does not hold, and remember it."""
    if len(memo) >= _MEMO_MAX_ENTRIES:
        memo.clear()
    hit = memo[pair] = read_pair(pair)
    return hit


def forget() -> None:
    """Forget all attributes that were read."""
    memo.clear()
    _counts.clear()
    _others.clear()
