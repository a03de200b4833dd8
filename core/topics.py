"""Topic names, retention, record headers and the one partitioner.

Every client must agree on `partition_for`, whatever its log: it is CRC-32 (zlib's, ISO 3309) of the key modulo the
partition count. Spans are the exception for speed: their partition is taken from the last two bytes of the trace id,
which are random in every SDK (W3C Trace Context level 2 makes the rightmost seven bytes random).
"""

import enum
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

SPANS: Final = "spans"
TRACES: Final = "traces"
MEASUREMENTS: Final = "measurements"
TRIAGE: Final = "triage"
FINDINGS: Final = "findings"
ISSUES: Final = "issues"
DEAD_LETTERS: Final = "dead-letters"

# hours each topic is kept; DESIGN section 1
RETENTION_H: Final = {
    SPANS: 48.0,
    TRACES: 48.0,
    MEASUREMENTS: 48.0,
    TRIAGE: 48.0,
    FINDINGS: 7 * 24.0,
    ISSUES: 30 * 24.0,
    DEAD_LETTERS: 14 * 24.0,
}

SCHEMA: Final = 1

HEADER_SCHEMA: Final = "schema"
HEADER_ORIGIN: Final = "origin"
HEADER_SIGNAL: Final = "signal"
HEADER_EXPERIMENT: Final = "experiment"

ORIGIN_LIVE: Final = "live"
ORIGIN_BACKFILL: Final = "backfill"
ORIGIN_REPLAY: Final = "replay"
SIGNAL_TRACES: Final = "traces"
SIGNAL_LOGS: Final = "logs"


def schema_of(record_headers: Mapping[str, str]) -> int:
    """Return the schema that a record was written with; this release's where its header is missing or no number."""
    text = record_headers.get(HEADER_SCHEMA, "")
    return int(text) if text.isdecimal() else SCHEMA


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key."""
    return zlib.crc32(key) % partitions


def partition_for_trace(trace_id: bytes, partitions: int) -> int:
    """Return the partition of a 16-byte trace id: its last two bytes, big endian, modulo the partition count."""
    return ((trace_id[-2] << 8) | trace_id[-1]) % partitions


def headers(*, origin: str = ORIGIN_LIVE, signal: str = "", experiment: str = "") -> dict[str, str]:
    """Return the headers of a record of this release; empty ones are left out."""
    found = {HEADER_SCHEMA: str(SCHEMA), HEADER_ORIGIN: origin}
    if signal:
        found[HEADER_SIGNAL] = signal
    if experiment:
        found[HEADER_EXPERIMENT] = experiment
    return found


class LetterKind(enum.StrEnum):
    """What the bytes of a dead letter are.

    record: a whole record of `topic`, as it stood there or as it would have to stand; part: a piece of a record whose
    rest was used; effect: an entry of a sink's outbox, `topic` being the sink's store.
    """

    RECORD = "record"
    PART = "part"
    EFFECT = "effect"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record, a part of it, or an effect, that could not be used: where it came from, who failed, why, the bytes."""

    topic: str
    partition: int
    offset: int
    error: str
    value: bytes
    headers: dict[str, str] = {}
    key: bytes = b""
    """The record's key; of an effect its id."""
    stage: str = ""
    """The stage or sink that failed, as in the label of `clearwatch.dead_letters`."""
    error_type: str = ""
    """Class of the error; `error` is its message."""
    reason: str = ""
    """The label of `clearwatch.dead_letters`."""
    kind: LetterKind = LetterKind.RECORD
    lane: str = ""
    """Of an effect: the lane of its outbox."""
    build: str = ""
    """Version of the program that failed."""

    @property
    def schema(self) -> int:
        """Return the schema that the record was written with."""
        return schema_of(self.headers)
