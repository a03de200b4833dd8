"""The outbox over a real log: order, retries, restarts, dead letters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from core import topics
from core.clock import SystemClock
from core.errors import LogUnavailableError, PermanentError, RetryableError
from core.log.config import LogConfig
from core.log.port import AssignmentListener, Log, Reader, Record, StateChange, Work
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from sinks.delivery import Backoff, Done, Entry, Outbox, PeerUnavailableError, RetryPolicy, Schedule, WaitError

STORE = "state.sink.test"
FAST = Backoff(base_s=0.01, cap_s=0.05)


class _Listener(AssignmentListener):
    async def on_assigned(self, partitions: Sequence[int]) -> None:
        pass

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        pass


def an_entry(number: int, lane: str = "a") -> Entry:
    return Entry(position=(number, 0), entry_id=f"e{number}", lane=lane, body=b"%d" % number, created_s=0.0)


class Peer:
    """What effects happen to; `answers` maps an entry id to the errors it meets before it succeeds."""

    def __init__(self, answers: dict[str, list[Exception]] | None = None) -> None:
        self.answers = answers or {}
        self.done: list[str] = []
        self.tries: list[str] = []
        self.changed = asyncio.Event()

    async def deliver(self, _: int, entry: Entry) -> Done:
        self.tries.append(entry.entry_id)
        self.changed.set()
        if waiting := self.answers.get(entry.entry_id):
            raise waiting.pop(0)
        self.done.append(entry.entry_id)
        return Done(state=(StateChange(key=b"x/" + entry.entry_id.encode(), value=b"1"),))

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not check():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()
                except TimeoutError:
                    continue


@asynccontextmanager
async def open_log() -> AsyncIterator[Log]:
    log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


@asynccontextmanager
async def an_outbox(
    log: Log,
    deliver: Callable[[int, Entry], Awaitable[Done]],
    *,
    policy: RetryPolicy = FAST,
    telemetry: Telemetry | None = None,
    wrap: Callable[[Reader], Reader] = lambda reader: reader,
) -> AsyncIterator[Outbox]:
    reader = wrap(log.reader("test", [topics.ISSUES]))
    await reader.start(_Listener())
    outbox = Outbox(
        sink="test",
        store=STORE,
        reader=reader,
        deliver=deliver,
        policy=policy,
        telemetry=telemetry or Telemetry(),
        clock=SystemClock(),
        concurrency=3,
    )
    outbox.restore(0, await reader.load_state(STORE, 0))
    stop = asyncio.Event()
    task = asyncio.create_task(outbox.run(stop), name="outbox")
    try:
        yield outbox
    finally:
        stop.set()
        await task
        await reader.stop()


async def state_of(log: Log) -> dict[bytes, bytes]:
    reader = log.reader("look", [topics.ISSUES])
    await reader.start(_Listener())
    found = dict(await reader.load_state(STORE, 0))
    await reader.stop()
    return found


async def test_entries_of_a_lane_keep_their_order_over_failures_while_other_lanes_go_ahead() -> None:
    peer = Peer({"e1": [RetryableError("no", retry_after_s=0.2)]})
    async with open_log() as log, an_outbox(log, peer.deliver) as outbox:
        await outbox.put(0, [an_entry(1), an_entry(2), an_entry(3, "b"), an_entry(4)], Work())
        await peer.until(lambda: outbox.waiting() == 0)
    assert [entry_id for entry_id in peer.done if entry_id != "e3"] == ["e1", "e2", "e4"]
    assert peer.done[0] == "e3"


async def test_an_effect_that_succeeded_leaves_its_state_and_no_entry() -> None:
    peer = Peer()
    async with open_log() as log:
        async with an_outbox(log, peer.deliver) as outbox:
            await outbox.put(0, [an_entry(1)], Work(next_offsets={topics.ISSUES: 0}))
            await peer.until(lambda: outbox.waiting() == 0)
        assert await state_of(log) == {b"x/e1": b"1"}


async def test_what_was_not_done_is_done_after_a_restart_in_order() -> None:
    down = Peer({f"e{n}": [PeerUnavailableError("down")] * 99 for n in (1, 2, 3)})
    up = Peer()
    async with open_log() as log:
        async with an_outbox(log, down.deliver) as outbox:
            await outbox.put(0, [an_entry(1), an_entry(2), an_entry(3)], Work())
            await down.until(lambda: bool(down.tries))
        async with an_outbox(log, up.deliver) as outbox:
            await up.until(lambda: outbox.waiting() == 0)
        assert len([key for key in await state_of(log) if key.startswith(b"o/")]) == 0
    assert (down.done, up.done) == ([], ["e1", "e2", "e3"])


async def test_a_peer_that_is_down_or_not_ready_uses_up_no_attempts() -> None:
    down, early = PeerUnavailableError("down", retry_after_s=0.01), WaitError("wait", retry_after_s=0.01)
    peer = Peer({"e1": [down, early, down, early]})
    telemetry = Telemetry()
    never = Schedule(pauses_s=())
    async with open_log() as log, an_outbox(log, peer.deliver, policy=never, telemetry=telemetry) as outbox:
        await outbox.put(0, [an_entry(1)], Work())
        await peer.until(lambda: outbox.waiting() == 0)
    assert peer.done == ["e1"]
    assert telemetry.total("clearwatch.dead_letters") == 0


@pytest.mark.parametrize("failure", [PermanentError("never"), RetryableError("again", retry_after_s=0.0)])
async def test_what_cannot_succeed_is_dead_lettered_counted_and_out_of_the_way(failure: Exception) -> None:
    peer = Peer({"e1": [failure] * 9})
    telemetry = Telemetry()
    async with open_log() as log:
        policy = Backoff(base_s=0.01, cap_s=0.01, max_attempts=3)
        async with an_outbox(log, peer.deliver, policy=policy, telemetry=telemetry) as outbox:
            await outbox.put(0, [an_entry(1), an_entry(2)], Work())
            await peer.until(lambda: outbox.waiting() == 0)
        reader = log.reader("look", [topics.DEAD_LETTERS])
        await reader.start(_Listener())
        fetch = await reader.fetch(max_bytes=1 << 20, timeout_s=5.0)
        await reader.stop()
    (letter,) = [
        msgspec.msgpack.decode(record.value, type=topics.DeadLetter)
        for records in fetch.records.values()
        for record in records
    ]
    assert (letter.topic, letter.value) == (STORE, b"1")
    assert peer.done == ["e2"]
    assert telemetry.total("clearwatch.dead_letters") == 1


class _Failing:
    """A reader whose first commits fail, as a log that is full or away does."""

    def __init__(self, reader: Reader, failures: int) -> None:
        self._reader = reader
        self._failures = failures
        self.start = reader.start
        self.fetch = reader.fetch
        self.read_at = reader.read_at
        self.pause = reader.pause
        self.resume = reader.resume
        self.load_state = reader.load_state
        self.stop = reader.stop

    async def commit(self, partition: int, work: Work) -> None:
        if self._failures:
            self._failures -= 1
            raise LogUnavailableError("away", retry_after_s=0.01)
        await self._reader.commit(partition, work)


async def test_a_log_that_is_away_delays_commits_and_loses_none() -> None:
    peer = Peer()
    async with open_log() as log:
        async with an_outbox(log, peer.deliver, wrap=lambda reader: _Failing(reader, 2)) as outbox:
            putting = asyncio.create_task(outbox.put(0, [an_entry(1)], Work()), name="put")
            await asyncio.sleep(0)
            assert outbox.waiting() == 1, "counted from before the commit"
            await putting
            await peer.until(lambda: outbox.waiting() == 0)
        assert await state_of(log) == {b"x/e1": b"1"}


async def test_commits_that_pile_up_are_applied_in_the_order_of_the_calls() -> None:
    peer = Peer()
    async with open_log() as log:
        async with an_outbox(log, peer.deliver) as outbox:
            changes = [Work(state=(StateChange(key=b"k", value=b"%d" % n),)) for n in range(50)]
            await asyncio.gather(*(outbox.commit(0, work) for work in changes))
        assert await state_of(log) == {b"k": b"49"}


async def test_produced_records_stand_in_the_log_once() -> None:
    async def deliver(_: int, entry: Entry) -> Done:
        return Done(produce=(Record(topic=topics.ISSUES, partition=0, value=entry.body),))

    peer = Peer()
    async with open_log() as log, an_outbox(log, deliver) as outbox:
        await outbox.put(0, [an_entry(n, f"lane{n}") for n in range(20)], Work())
        await peer.until(lambda: outbox.waiting() == 0)
        reader = log.reader("look", [topics.ISSUES])
        await reader.start(_Listener())
        fetch = await reader.fetch(max_bytes=1 << 20, timeout_s=5.0)
        await reader.stop()
    assert sorted(r.value for found in fetch.records.values() for r in found) == sorted(b"%d" % n for n in range(20))


def test_backoff_grows_with_jitter_to_its_cap_and_ends_where_it_is_told_to() -> None:
    backoff = Backoff(base_s=1.0, cap_s=8.0, max_attempts=5)
    delays = [backoff.delay_s(attempts) for attempts in range(1, 6)]
    assert delays[-1] is None
    for attempts, delay_s in enumerate(delays[:-1]):
        full = min(8.0, 2.0**attempts)
        assert delay_s is not None
        assert full / 2 <= delay_s <= full
    assert Schedule(pauses_s=(5.0,)).delay_s(2) is None


class _Handover:
    """A reader whose commit ends only after the partition was given up: it succeeded just before."""

    def __init__(self, reader: Reader, given_up: asyncio.Event) -> None:
        self._reader = reader
        self._given_up = given_up
        self.is_committed = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    async def commit(self, partition: int, work: Work) -> None:
        await self._reader.commit(partition, work)
        self.is_committed.set()
        await self._given_up.wait()


async def test_entries_that_were_committed_while_their_partition_was_given_up_are_left_to_its_new_owner() -> None:
    given_up = asyncio.Event()
    handovers: list[_Handover] = []

    def wrap(reader: Reader) -> Reader:
        handovers.append(_Handover(reader, given_up))
        return handovers[0]  # type: ignore[return-value] # the rest by delegation

    peer = Peer()
    async with open_log() as log:
        async with an_outbox(log, peer.deliver, wrap=wrap) as outbox:
            putting = asyncio.create_task(outbox.put(0, [an_entry(0)], Work()), name="put")
            await handovers[0].is_committed.wait()
            await outbox.release([0])
            given_up.set()
            await putting
            assert outbox.waiting() == 0
        assert peer.tries == []
        async with an_outbox(log, peer.deliver):
            await peer.until(lambda: peer.done == ["e0"])


async def test_restoring_a_partition_twice_delivers_its_entries_once() -> None:
    peer = Peer()
    entries = [(an_entry(number).state_key, msgspec.msgpack.encode(an_entry(number))) for number in range(3)]
    async with open_log() as log, an_outbox(log, peer.deliver) as outbox:
        outbox.restore(0, entries)
        outbox.restore(0, entries)
        assert outbox.waiting() == 3
        await peer.until(lambda: len(peer.done) == 3 and outbox.waiting() == 0)
    assert sorted(peer.tries) == ["e0", "e1", "e2"]
