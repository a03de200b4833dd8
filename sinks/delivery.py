"""The outbox: effects are persisted with the offset that they come from, then worked off until each has succeeded.

- **Intent first.** `Outbox.put` writes the entries in the same commit that moves the offset, so an effect is neither
  forgotten nor waits for its peer before the next record is read.
- **Effect, then tombstone.** An entry is deleted only after its effect succeeded, so a kill repeats at most the
  effects in flight. Effects are idempotent by key; that is their owner's duty.
- **Order within a lane.** Entries of one lane (an issue, as a rule) are done one after the other in log order; lanes
  run side by side, `concurrency` at a time. A lane whose head has to wait holds back nobody else.
- **Peer down** (`PeerUnavailableError`) pauses every lane together and uses up nobody's attempts.
"""

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Final, Protocol, TypeAlias

import msgspec

from core.build import build_version
from core.clock import Clock
from core.dead_letters import record_of, text_of
from core.errors import LogUnavailableError, PartitionLostError, PermanentError, RetryableError
from core.log.port import Reader, Record, StateChange, Work
from core.model.issue import EffectAgain
from core.telemetry import Telemetry
from core.topics import DeadLetter, LetterKind

logger = logging.getLogger(__name__)

ENTRY_PREFIX: Final = b"o/"


class PeerUnavailableError(RetryableError):
    """The peer as a whole does not answer (connection, timeout, 502-504, 429): nothing for it is worth trying."""


class WaitError(RetryableError):
    """Something else has to happen first; trying again later uses up no attempt."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One effect to be done. `position` (offset, index) orders it; `entry_id` is constant over every attempt."""

    position: tuple[int, int]
    entry_id: str
    lane: str
    body: bytes
    created_s: float
    attempts: int = 0
    not_before_s: float = 0.0
    """Wall time before which it is not tried again; kept over restarts."""

    @property
    def state_key(self) -> bytes:
        """Return its key in the compacted store; sorts in log order."""
        return ENTRY_PREFIX + b"%016d/%06d" % self.position


def taken_back(again: EffectAgain, *, offset: int, now_s: float) -> Entry:
    """Return the entry of an effect that is to be done again; `offset` is where the word of it stands."""
    return Entry(position=(offset, 0), entry_id=again.entry_id, lane=again.lane, body=again.body, created_s=now_s)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What an effect that succeeded has to record, in the commit that deletes its entry."""

    produce: tuple[Record, ...] = ()
    state: tuple[StateChange, ...] = ()


Deliver: TypeAlias = Callable[[int, Entry], Awaitable[Done]]
GivenUp: TypeAlias = Callable[[Entry], tuple[StateChange, ...]]
"""Told about an entry that will never succeed; what it returns joins the commit that deletes the entry."""


class RetryPolicy(Protocol):
    """When to try again."""

    def delay_s(self, attempts: int) -> float | None:
        """Return the pause after this many failed attempts, or None to give up."""
        ...


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Jittered exponential backoff: half fixed, half random, so that peers that come back are not hit in step."""

    base_s: float = 0.5
    cap_s: float = 30.0
    max_attempts: int = 0
    """0: for as long as it takes."""

    def delay_s(self, attempts: int) -> float | None:
        """Return the pause after this many failed attempts, or None to give up."""
        if self.max_attempts and attempts >= self.max_attempts:
            return None
        full = min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 32))
        return full * random.uniform(0.5, 1.0)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed pauses with up to 20 % of jitter on top; gives up after the last."""

    pauses_s: tuple[float, ...]

    def delay_s(self, attempts: int) -> float | None:
        """Return the pause after this many failed attempts, or None to give up."""
        if attempts > len(self.pauses_s):
            return None
        return self.pauses_s[attempts - 1] * random.uniform(1.0, 1.2)


_Lane: TypeAlias = tuple[int, str]


class Outbox:
    """The persisted effects of one sink, over all partitions that this process owns. Lives on one event loop."""

    def __init__(
        self,
        *,
        sink: str,
        store: str,
        reader: Reader,
        deliver: Deliver,
        policy: RetryPolicy,
        telemetry: Telemetry,
        clock: Clock,
        concurrency: int = 8,
        max_entries: int = 20_000,
        given_up: GivenUp = lambda _: (),
    ) -> None:
        self._sink = sink
        self._store = store
        self._reader = reader
        self._deliver = deliver
        self._policy = policy
        self._given_up = given_up
        self._telemetry = telemetry
        self._clock = clock
        self._concurrency = concurrency
        self._max_entries = max_entries
        self._lanes: dict[_Lane, deque[Entry]] = {}
        self._due: list[tuple[float, int, _Lane]] = []
        self._pushed = 0
        self._arriving = 0
        self._busy: set[_Lane] = set()
        self._paused_until = 0.0
        self._outages = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = False
        self._commits: dict[int, list[tuple[Work, asyncio.Future[None]]]] = {}
        self._commit_lock = asyncio.Lock()
        self._tenures: dict[int, int] = {}

    def waiting(self) -> int:
        """Return how many entries are persisted and not yet done."""
        return self._arriving + sum(len(entries) for entries in self._lanes.values())

    def is_full(self) -> bool:
        """Return whether its owner should stop reading: the log keeps the rest."""
        return self.waiting() >= self._max_entries

    def lanes(self, partition: int) -> tuple[str, ...]:
        """Return the lanes of a partition in which something waits or is in flight."""
        return tuple(lane for number, lane in self._lanes if number == partition)

    def restore(self, partition: int, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Take a partition's entries out of its stored state, instead of any that are there; other keys are ignored."""
        self._forget({partition})
        found = [msgspec.msgpack.decode(v, type=Entry) for k, v in entries if k.startswith(ENTRY_PREFIX)]
        for entry in sorted(found, key=lambda e: e.position):
            self._queue(partition, entry)

    async def put(self, partition: int, entries: Sequence[Entry], work: Work) -> None:
        """Persist entries together with `work` (which moves the offset), then start on them."""
        changes = tuple(StateChange(key=e.state_key, value=msgspec.msgpack.encode(e)) for e in entries)
        tenure = self._tenures.get(partition)
        # counted from before the commit, so that nobody sees neither lag nor a waiting entry in between
        self._arriving += len(entries)
        try:
            await self.commit(partition, msgspec.structs.replace(work, state=(*work.state, *changes)))
            if self._tenures.get(partition) != tenure:
                return  # taken away since: whoever has it now has restored them
            for entry in entries:
                self._queue(partition, entry)
        finally:
            self._arriving -= len(entries)

    async def commit(self, partition: int, work: Work) -> None:
        """Commit in the order of the calls, several at once where they pile up; waits for a log that is down."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.setdefault(partition, []).append((work, done))
        async with self._commit_lock:
            if done.done():
                return
            batch = self._commits.pop(partition)
            merged = Work(
                produce=tuple(record for w, _ in batch for record in w.produce),
                store=self._store,
                state=tuple({change.key: change for w, _ in batch for change in w.state}.values()),
                next_offsets={topic: offset for w, _ in batch for topic, offset in w.next_offsets.items()},
            )
            try:
                await self._commit_merged(partition, merged)
            except BaseException:
                others = [(w, waiting) for w, waiting in batch if waiting is not done]
                self._commits[partition] = [*others, *self._commits.get(partition, [])]
                raise
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_result(None)

    async def run(self, stop: asyncio.Event) -> None:
        """Work entries off until `stop`; what is in flight then is finished, the rest stays persisted."""
        self._stopping = False
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._concurrency):
                tasks.create_task(self._work(), name=f"{self._sink}-outbox-{number}")
            await stop.wait()
            self._stopping = True
            self._changed.set()

    async def release(self, partitions: Sequence[int]) -> None:
        """Forget partitions that another member takes over, after what is in flight there."""
        gone = set(partitions)
        self._forget(gone, but=frozenset(self._busy))
        while any(lane[0] in gone for lane in self._busy):
            self._idle.clear()
            await self._idle.wait()
        self._forget(gone)

    def _forget(self, partitions: Set[int], but: Set[_Lane] = frozenset()) -> None:
        for partition in partitions:
            self._tenures[partition] = self._tenures.get(partition, 0) + 1
        for lane in [lane for lane in self._lanes if lane[0] in partitions and lane not in but]:
            del self._lanes[lane]

    def _queue(self, partition: int, entry: Entry) -> None:
        lane = (partition, entry.lane)
        entries = self._lanes.setdefault(lane, deque())
        entries.append(entry)
        if len(entries) == 1:
            self._schedule(lane, max(0.0, entry.not_before_s - self._clock.now_s()))

    def _schedule(self, lane: _Lane, delay_s: float) -> None:
        self._pushed += 1
        heapq.heappush(self._due, (self._clock.monotonic_s() + delay_s, self._pushed, lane))
        self._changed.set()

    async def _work(self) -> None:
        while (lane := await self._next_lane()) is not None:
            entries = self._lanes.get(lane)
            if entries is None or lane in self._busy:
                continue
            self._busy.add(lane)
            try:
                delay_s = await self._attempt(lane[0], entries)
            except PartitionLostError as exc:
                # its new owner has the entry, and sends it under the same id where it is not done
                logger.info("%s: %s", self._sink, exc)
                self._lanes.pop(lane, None)
                continue
            finally:
                self._busy.discard(lane)
                self._idle.set()
            if entries and self._lanes.get(lane) is entries:
                self._schedule(lane, delay_s)
            elif not entries:
                self._lanes.pop(lane, None)

    async def _next_lane(self) -> _Lane | None:
        while not self._stopping:
            now = self._clock.monotonic_s()
            ready_at = max(self._due[0][0], self._paused_until) if self._due else now + 1.0
            if self._due and ready_at <= now:
                return heapq.heappop(self._due)[2]
            self._changed.clear()
            try:
                async with asyncio.timeout(min(1.0, ready_at - now)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    async def _attempt(self, partition: int, entries: deque[Entry]) -> float:
        """Try the head of a lane; return after how many seconds the lane's new head is due."""
        entry = entries[0]
        try:
            done = await self._deliver(partition, entry)
        except WaitError as exc:
            return exc.retry_after_s
        except PeerUnavailableError as exc:
            return self._pause(exc)
        except RetryableError as exc:
            return await self._retry_later(partition, entries, exc)
        except PermanentError as exc:
            await self._give_up(partition, entries, exc)
            return 0.0
        self._outages = 0
        tombstone = StateChange(key=entry.state_key, value=None)
        await self.commit(partition, Work(produce=done.produce, state=(*done.state, tombstone)))
        entries.popleft()
        return 0.0

    def _pause(self, exc: PeerUnavailableError) -> float:
        self._telemetry.count("clearwatch.sink.failed", sink=self._sink, reason="unavailable")
        now = self._clock.monotonic_s()
        if now >= self._paused_until:
            self._outages += 1
            if self._outages == 1:
                logger.warning("%s: %s; %d effects wait", self._sink, exc, self.waiting())
            self._paused_until = now + max(exc.retry_after_s, Backoff().delay_s(self._outages) or 0.0)
        return self._paused_until - now

    async def _retry_later(self, partition: int, entries: deque[Entry], exc: RetryableError) -> float:
        self._telemetry.count("clearwatch.sink.failed", sink=self._sink, reason="refused")
        entry = entries[0]
        pause_s = self._policy.delay_s(entry.attempts + 1)
        if pause_s is None:
            await self._give_up(
                partition, entries, PermanentError(f"gave up after {entry.attempts + 1} attempts: {exc}")
            )
            return 0.0
        delay_s = max(pause_s, exc.retry_after_s)
        entries[0] = msgspec.structs.replace(
            entry, attempts=entry.attempts + 1, not_before_s=self._clock.now_s() + delay_s
        )
        change = StateChange(key=entry.state_key, value=msgspec.msgpack.encode(entries[0]))
        await self.commit(partition, Work(state=(change,)))
        return delay_s

    async def _give_up(self, partition: int, entries: deque[Entry], exc: PermanentError) -> None:
        entry = entries[0]
        logger.error("%s: %s given up: %s", self._sink, entry.entry_id, exc)
        self._telemetry.count("clearwatch.dead_letters", stage=f"sink.{self._sink}", reason=type(exc).__name__)
        letter = DeadLetter(
            topic=self._store,
            partition=partition,
            offset=entry.position[0],
            stage=f"sink.{self._sink}",
            error=text_of(exc),
            error_type=type(exc).__name__,
            reason=type(exc).__name__,
            kind=LetterKind.EFFECT,
            lane=entry.lane,
            key=entry.entry_id.encode(),
            value=entry.body,
            build=build_version(),
        )
        tombstone = StateChange(key=entry.state_key, value=None)
        await self.commit(partition, Work(produce=(record_of(letter),), state=(*self._given_up(entry), tombstone)))
        entries.popleft()

    async def _commit_merged(self, partition: int, work: Work) -> None:
        attempts = 0
        while True:
            try:
                return await self._reader.commit(partition, work)
            except LogUnavailableError as exc:
                attempts += 1
                self._telemetry.count("clearwatch.sink.failed", sink=self._sink, reason="log_unavailable")
                await asyncio.sleep(max(exc.retry_after_s, Backoff().delay_s(attempts) or 0.0))
