"""Dead letters: how they are made and named, and when there are too many of them.

A letter says what could not be used, where, by whom and why, and holds the bytes. It is written to the one partition of
`dead-letters`; when that was is the log time of its record. A kill may repeat a letter under the same id.
"""

import hashlib
from bisect import insort
from collections.abc import Iterable
from typing import Final

import msgspec

from core import topics
from core.build import build_version
from core.log.port import Record, StoredRecord
from core.topics import DeadLetter

# more than 1 % of these: it is the code and not the records; streaming practice (Sentry's consumers limit both ways)
WINDOW: Final = 10_000
MOST_IN_WINDOW: Final = 100
_MAX_ERROR_CHARS: Final = 2_000
_DIGEST_CHARS: Final = 8

_decode: Final = msgspec.msgpack.Decoder(DeadLetter).decode


def letter_of(record: StoredRecord, *, stage: str, error: Exception, reason: str = "") -> DeadLetter:
    """Return the letter of a whole record; `reason` is the metric's label, by default the error's class."""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        stage=stage,
        error=text_of(error),
        error_type=type(error).__name__,
        reason=reason or type(error).__name__,
        value=record.value,
        key=record.key,
        headers=dict(record.headers),
        build=build_version(),
    )


def text_of(error: Exception | str) -> str:
    """Return what an error says as text that can be stored: an exception may hold what cannot be encoded."""
    text = str(error) or repr(error)
    return text[:_MAX_ERROR_CHARS].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def record_of(letter: DeadLetter) -> Record:
    """Return the record that holds a letter."""
    return Record(
        topic=topics.DEAD_LETTERS,
        partition=0,
        key=id_of(letter).encode(),
        value=msgspec.msgpack.encode(letter),
        headers=topics.headers(origin=letter.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE)),
    )


def id_of(letter: DeadLetter) -> str:
    """Return `topic:partition:offset:digest`: one record may be refused by several readers, and in several parts."""
    digest = hashlib.sha256(f"{letter.stage}\0{letter.kind}\0".encode() + letter.value).hexdigest()
    return f"{letter.topic}:{letter.partition}:{letter.offset}:{digest[:_DIGEST_CHARS]}"


def letters_in(records: Iterable[Record]) -> list[DeadLetter]:
    """Return the letters among records that are about to be written."""
    return [_decode(record.value) for record in records if record.topic == topics.DEAD_LETTERS]


class Breaker:
    """Tells a few bad records of one partition, to be dead-lettered, from code that fails on all of them.

    Open is it for the record that would be one more than `MOST_IN_WINDOW` among the last `WINDOW` offsets: more than
    1 %, or 100 in a row. It begins anew with the process.
    """

    def __init__(self) -> None:
        self._failed: list[int] = []

    def takes(self, offset: int) -> bool:
        """Return whether this record may go to dead-letters, and note that it does; a repeat changes nothing."""
        newest = max(offset, self._failed[-1]) if self._failed else offset
        self._failed = [failed for failed in self._failed if failed > newest - WINDOW]
        if offset in self._failed:
            return True
        if len(self._failed) >= MOST_IN_WINDOW:
            return False
        insort(self._failed, offset)
        return True

    def why(self, stage: str) -> str:
        """Return what a person should know and do about an open breaker."""
        if self._failed and self._failed[-1] - self._failed[0] == len(self._failed) - 1:
            found = f"{len(self._failed)} records in a row failed"
        else:
            found = f"more than {MOST_IN_WINDOW} of the last {WINDOW:,} records failed"
        return (
            f"{found}, so it is no fault of theirs: `clearwatch dead-letters list --stage {stage}` and the process's "
            "own log say why; mend that or upgrade, then restart: it goes on from here"
        )
