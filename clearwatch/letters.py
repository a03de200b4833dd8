"""Replaying dead letters: what was buried goes back where it came from, for the stage that failed to read it again.

A whole record is appended to its topic and partition with its key and headers. An effect that a sink gave up goes back
into that sink's outbox, under the same id, by a word on `issues` that the sink reads. A part of a record cannot be
replayed: the rest of its record was used.

Of a record that several readers failed on there are several letters: it goes back once, and all of them are replayed.
A letter is replayed once, unless asked again: the append comes first, then the note in the records, so a kill between
them may repeat it, and never loses it.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from core import topics
from core.clock import Clock
from core.errors import PermanentError
from core.log.port import Log, Record
from core.model.issue import EffectAgain
from core.topics import DeadLetter, LetterKind
from sinks.records.views import StoredLetter

if TYPE_CHECKING:
    from sinks.records.letters import LetterBook

logger = logging.getLogger(__name__)

# the label of an outbox's sink in letters and metrics
_SINK_PREFIX: Final = "sink."


class NotReplayableError(PermanentError):
    """A letter that cannot go back; the message says why."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: these ids, or with `all_` everything not yet replayed (of one stage)."""

    ids: tuple[str, ...] = ()
    all_: bool = msgspec.field(name="all", default=False)
    stage: str = ""
    again: bool = False
    """Also what was replayed before."""


class NotReplayed(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that was left where it is."""

    id: str
    reason: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome."""

    replayed: tuple[str, ...] = ()
    skipped: tuple[NotReplayed, ...] = ()


async def replay(asked: Replay, *, book: "LetterBook", log: Log, clock: Clock) -> Replayed:
    """Replay letters, the oldest first where all are asked for.

    Raises UnknownIdError, AmbiguousIdError before anything is replayed; LogUnavailableError, RecordsUnavailableError in
    between: what was replayed by then is noted.
    """
    ids = asked.ids
    if asked.all_:
        ids = await asyncio.to_thread(lambda: book.ids(stage=asked.stage, with_replayed=asked.again))
    found = list(dict.fromkeys([(await asyncio.to_thread(book.stored, given)).id for given in ids]))
    replayed: list[str] = []
    skipped: list[NotReplayed] = []
    for letter_id in found:
        if letter_id in replayed:
            continue  # with another letter of the same record
        stored = await asyncio.to_thread(book.stored, letter_id)
        try:
            if stored.replays and not asked.again:
                raise NotReplayableError("was replayed before: --again replays it once more")
            record = record_to_replay(stored.letter, log)
        except NotReplayableError as exc:
            skipped.append(NotReplayed(id=letter_id, reason=str(exc)))
            continue
        await log.append([record])
        replayed += await asyncio.to_thread(_note, book, stored, clock.now_s())
        logger.info("dead letter %s is replayed to %s[%d]", letter_id, record.topic, record.partition)
    return Replayed(replayed=tuple(replayed), skipped=tuple(skipped))


def _note(book: "LetterBook", stored: StoredLetter, now_s: float) -> tuple[str, ...]:
    letter_ids = book.of_same_record(stored)
    book.replayed(letter_ids, now_s=now_s)
    return letter_ids


def record_to_replay(letter: DeadLetter, log: Log) -> Record:
    """Return the record that brings a letter back. Raises NotReplayableError."""
    if letter.kind is LetterKind.PART:
        raise NotReplayableError(
            "holds a part of a record whose rest was used: there is no record to replay (`dead-letters show` has its"
            " bytes)"
        )
    topic, value, key, headers = letter.topic, letter.value, letter.key, letter.headers
    if letter.kind is LetterKind.EFFECT:
        sink = letter.stage.removeprefix(_SINK_PREFIX)
        again = EffectAgain(sink=sink, entry_id=letter.key.decode(), lane=letter.lane, body=letter.value)
        topic, value, key, headers = topics.ISSUES, msgspec.msgpack.encode(again), b"", topics.headers()
    if topic not in topics.RETENTION_H or topic == topics.DEAD_LETTERS:
        raise NotReplayableError(f"comes from {topic}, which this release does not have")
    if not 0 <= letter.partition < log.partitions(topic):
        raise NotReplayableError(
            f"comes from partition {letter.partition} of {topic}, which has {log.partitions(topic)}: it was made anew"
        )
    return Record(topic=topic, partition=letter.partition, key=key, value=value, headers=headers)
