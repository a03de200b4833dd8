"""One partition of a running stage: its processor, its time, and how much one call of the processor may take."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from core import topics
from core.clock import Clock
from core.dead_letters import Breaker
from core.log.port import Fetch, StoredRecord
from core.stage import Processor
from core.topics import DeadLetter, LetterKind

# one call of a processor holds the interpreter: longer, and the event loop answers late
_CALL_S: Final = 0.05
_LEAST_CALL_BYTES: Final = 16 * 1024
_FIRST_CALL_BYTES: Final = 256 * 1024
_MOST_CALL_BYTES: Final = 8 * 1024**2
_MOST_CALL_RECORDS: Final = 1024


class RunningPartition:
    """A processor and where it stands.

    By topic, `resume_at` is the first offset that no commit covers, `position` the one after the last record taken;
    `skipped` are the dead-lettered ones between them,
    `breakers` say when those are too many.
    """

    def __init__(self, number: int, processor: Processor, clock: Clock) -> None:
        self.number = number
        self.processor = processor
        self.resume_at: dict[str, int] = {}
        self.position: dict[str, int] = {}
        self.skipped: set[tuple[str, int]] = set()
        self.breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        self.no_tick_before_s = 0.0
        self.is_stopped = False
        self.idle_s = 0.0
        self.caught_up_since_s: float | None = None
        self._clock = clock
        self._last_log_time_s: float | None = None
        self._seen_s = 0.0
        self._seen_ms = 0
        self._call_bytes = _FIRST_CALL_BYTES

    def let_idle(self, fetched: Fetch, names: Sequence[str]) -> None:
        """Note that a fetch found nothing in any of its topics: idle time runs from the first such fetch to this."""
        monotonic_s = self._clock.monotonic_s()
        if self.caught_up_since_s is None:
            self.caught_up_since_s = monotonic_s
            stamps = [
                fetched.last_log_time_ms[t, self.number] for t in names if (t, self.number) in fetched.last_log_time_ms
            ]
            if stamps:
                self._last_log_time_s = max(max(stamps) / 1000, self._last_log_time_s or 0.0)
        self.idle_s = monotonic_s - self.caught_up_since_s

    def end_idle(self) -> None:
        """Note that there may be records: no idle time passes."""
        self.caught_up_since_s = None
        self.idle_s = 0.0

    def now_s(self) -> float:
        """Return the log time of the partition where it is caught up."""
        if self._last_log_time_s is None:
            return max(self._seen_s, self._clock.now_s())
        return max(self._seen_s, self._last_log_time_s + self.idle_s)

    def saw_tick(self, now_s: float) -> None:
        """Note the time that the processor was told."""
        self._seen_s = now_s
        self._seen_ms = math.ceil(now_s * 1000)

    def saw_records(self, records: Sequence[StoredRecord]) -> None:
        """Note records that the processor has taken."""
        self._seen_ms = max(self._seen_ms, records[-1].log_time_ms)
        last_s = records[-1].log_time_ms / 1000
        self._seen_s = max(self._seen_s, last_s)
        self._last_log_time_s = max(last_s, self._last_log_time_s or 0.0)
        for record in records:
            self.position[record.topic] = record.offset + 1

    def stamped(self, records: Sequence[StoredRecord]) -> Sequence[StoredRecord]:
        """Return records none of which lies before the time that the processor has seen."""
        first_ms = self._seen_ms
        if records[0].log_time_ms >= first_ms:
            return records
        return [r if r.log_time_ms >= first_ms else msgspec.structs.replace(r, log_time_ms=first_ms) for r in records]

    def took(self, seconds: float) -> None:
        """Learn from the time that a call took how much the next one may have."""
        if seconds > _CALL_S:
            self._call_bytes = max(_LEAST_CALL_BYTES, self._call_bytes // 2)
        elif seconds < _CALL_S / 4:
            self._call_bytes = min(_MOST_CALL_BYTES, self._call_bytes * 2)

    def too_many(self, letters: Sequence[DeadLetter]) -> DeadLetter | None:
        """Return the first letter that is one too many for its topic; parts of records whose rest is used are free."""
        for letter in letters:
            if letter.kind is LetterKind.RECORD and not self.breakers[letter.topic].takes(letter.offset):
                return letter
        return None

    def slice(self, records: Sequence[StoredRecord], start: int) -> Sequence[StoredRecord]:
        """Return as many of the records as one call may take; none where the first is of a newer release."""
        size = 0
        for end in range(start, min(len(records), start + _MOST_CALL_RECORDS)):
            if topics.schema_of(records[end].headers) > topics.SCHEMA:
                return records[start:end]
            size += len(records[end].value)
            if size >= self._call_bytes:
                return records[start : end + 1]
        return records[start : start + _MOST_CALL_RECORDS]
