"""Records that a sink cannot use: to dead-letters, or, where they are too many, no further in their partition."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

import msgspec

from core.dead_letters import Breaker, letter_of, record_of
from core.log.port import Record, StoredRecord, TopicPartition
from core.stops import StoppedPartition
from core.telemetry import Telemetry

logger = logging.getLogger(__name__)

T = TypeVar("T")
# `Reader.pause`, or what keeps the partitions until they may be paused in the event loop
Pause: TypeAlias = Callable[[Sequence[TopicPartition]], None]


class Decoded(Generic[T]):
    """Records of one topic's partition: those that could be read, letters for the others, and where to go on."""

    def __init__(self) -> None:
        self.found: list[tuple[StoredRecord, T]] = []
        self.letters: list[Record] = []
        self.next_offset: int | None = None
        """None where not even the first may be passed."""


class Poison:
    """The breakers of one sink. What it counts and names itself by is `stage`; `group` is its consumer group."""

    def __init__(self, *, stage: str, group: str, telemetry: Telemetry) -> None:
        self._stage = stage
        self._group = group
        self._telemetry = telemetry
        self._breakers: defaultdict[TopicPartition, Breaker] = defaultdict(Breaker)

    def decoded(self, records: Sequence[StoredRecord], decode: Callable[[bytes], T], pause: Pause) -> Decoded[T]:
        """Decode records of one topic's partition, up to where it has to stop."""
        result: Decoded[T] = Decoded()
        for record in records:
            try:
                value = decode(record.value)
            except msgspec.DecodeError as exc:
                letter = self.letter(record, exc, reason="undecodable", pause=pause)
                if letter is None:
                    break
                result.letters.append(letter)
            else:
                result.found.append((record, value))
            result.next_offset = record.offset + 1
        return result

    def letter(self, record: StoredRecord, error: Exception, *, reason: str, pause: Pause) -> Record | None:
        """Return the dead letter of a record, or None: the partition is stopped, and may not be committed past it.

        Who commits the letter counts it with `count`.
        """
        letter = letter_of(record, stage=self._stage, error=error, reason=reason)
        if not self.takes(record.topic, record.partition, record.offset, pause=pause):
            logger.error("%s: %s: %s", self._stage, letter.error_type, letter.error)
            return None
        return record_of(letter)

    def takes(self, topic: str, partition: int, offset: int, *, pause: Pause) -> bool:
        """Return whether this record may go to dead-letters; where not, it calls `pause` and is in `stops`."""
        breaker = self._breakers[topic, partition]
        if breaker.takes(offset):
            return True
        stopped = StoppedPartition(
            group=self._group, topic=topic, partition=partition, offset=offset, reason=breaker.why(self._stage)
        )
        if self._telemetry.stops.add(stopped):
            self._telemetry.count("clearwatch.stage.failures", stage=self._stage, reason="dead_letters")
            logger.error("%s", stopped)
        pause([(topic, partition)])
        return False

    def count(self, amount: int, *, reason: str) -> None:
        """Count letters that are committed."""
        if amount:
            self._telemetry.count("clearwatch.dead_letters", amount, stage=self._stage, reason=reason)
