"""What is kept of a trace outside its spans: the state entry of an open trace and of a closed one, and of a forgotten.

An entry is a few hundred bytes for a usual trace (about 12 bytes a span, 20 a log record). It says which records hold
the items, so that their bytes can be read from the log again; it never holds the bytes. Values start with a byte that
tells the layout. An entry covers every record of its trace up to `last_offset`: on replay those are skipped.
"""

import itertools
from collections.abc import Iterable
from typing import Final

import msgspec

_ENTRY: Final = b"\x01"
_FORGOTTEN: Final = b"\x02"
# an entry with log records among its items, which a release that does not know them must not read
_ENTRY_WITH_LOGS: Final = b"\x03"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A checkpointed open trace (`closed_at_s` is 0) or a remembered closed one."""

    closed_at_s: float
    first_append_s: float
    last_append_s: float
    offset_steps: tuple[int, ...]
    """Offsets of its records, each as the distance from the one before."""
    span_ids: tuple[bytes, ...]
    """Of spans and log records, in order of arrival; the first `published` stand in a version already."""
    published: int
    size_bytes: int
    has_root: bool
    origin: str = "live"
    experiment: str = ""
    routing_key: str = ""
    """Empty until a first version was published."""
    traces_key: str = ""
    session_id: str = ""
    version: str = ""
    findings: tuple[tuple[str, str], ...] = ()
    """(finding id, fingerprint) of the findings that hold as of the last version."""
    is_capped: bool = False
    is_fragment: bool = False
    is_measured: bool = False
    """Whether the measurement of the whole trace was written."""
    dropped_spans: int = 0
    fresh_since_s: float = 0.0
    """Append of the first span that no version holds yet."""
    published_at_s: float = 0.0
    is_given_up: bool = False
    """Whether its last version failed: spans beyond `published` went to dead letters, and are news when they return."""
    log_count: int = 0
    """How many of `span_ids` are log records."""

    @property
    def last_offset(self) -> int:
        """Return the offset of its last record."""
        return sum(self.offset_steps)

    @property
    def is_open(self) -> bool:
        """Return whether a version is still to be made of it."""
        return self.closed_at_s == 0 or (self.published < len(self.span_ids) and not self.is_given_up)

    def offsets(self) -> list[int]:
        """Return the offsets of its records, ascending."""
        return list(itertools.accumulate(self.offset_steps))


class Forgotten(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trace of which only this is known: it was closed, and its last record."""

    at_s: float
    last_offset: int


def steps(offsets: Iterable[int]) -> tuple[int, ...]:
    """Return ascending offsets as distances."""
    found: list[int] = []
    before = 0
    for offset in offsets:
        found.append(offset - before)
        before = offset
    return tuple(found)


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_forgotten = msgspec.msgpack.Decoder(Forgotten).decode


def encode(value: Entry | Forgotten) -> bytes:
    """Return the value of a state entry."""
    if isinstance(value, Forgotten):
        return _FORGOTTEN + _encode(value)
    return (_ENTRY_WITH_LOGS if value.log_count else _ENTRY) + _encode(value)


def decode(value: bytes) -> Entry | Forgotten:
    """Read a state entry. Raises ValueError for a layout that this release does not know."""
    kind, body = value[:1], memoryview(value)[1:]
    if kind in (_ENTRY, _ENTRY_WITH_LOGS):
        return _decode_entry(body)
    if kind == _FORGOTTEN:
        return _decode_forgotten(body)
    raise ValueError(f"state of an open or remembered trace has layout {kind.hex()}, this release reads 01 to 03")


def entry_of(value: bytes) -> Entry:
    """Read the entry of a trace that is known not to be forgotten."""
    return _decode_entry(memoryview(value)[1:])
