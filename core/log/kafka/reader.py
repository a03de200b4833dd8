"""A member of a consumer group on Kafka.

**The gate.** A partition delivers nothing until this reader has restored its state and sought its position itself,
because the client hands out records before that. The position is the group's committed offset, or the one in the
state's last manifest where that is ahead (`state`).

**Losing partitions.** When the group rebalances, delivery stops, the stage gets `REVOKE_S` to commit what it has in
hand, and then the partitions are gone: a commit that comes later raises PartitionLostError. A process that was asleep
for longer than half a session asks the group whether it still belongs to it before it writes state.

**The watchdog.** A client that raises, or that neither fetches nor rejoins nor gets its group's answers while the
brokers answer others, is thrown away and made anew: aiokafka has been seen to stay so after a broker's restart.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from core.errors import LogUnavailableError, PartitionLostError
from core.log.kafka.appender import Appender
from core.log.kafka.client import (
    FETCH_WAIT_MS,
    CommitFailedError,
    Consumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    IllegalStateError,
    KafkaError,
    TopicPartition,
    close,
    group_consumer,
    translated,
)
from core.log.kafka.delivery import Delivery
from core.log.kafka.groups import Groups
from core.log.kafka.seeking import Seeker
from core.log.kafka.stores import Stores
from core.log.kafka.topic_setup import Topics
from core.log.kafka_config import KafkaConfig
from core.log.partitions import PartitionCounts
from core.log.port import AssignmentListener, Fetch, StoredRecord, Work
from core.log.port import TopicPartition as OurPartition
from core.telemetry import Telemetry

logger = logging.getLogger(__name__)

T = TypeVar("T")

# what a stage may take to commit the slice in hand when its partitions are taken away
REVOKE_S: Final = 10.0
_REBALANCE_TIMEOUT_S: Final = REVOKE_S + 5.0
_POLL_MS: Final = 1000
_POLL_RECORDS: Final = 2000
# a fetch answers at least this often, whatever it finds: older, and the end of a partition is not known
_FRESH_MS: Final = 3 * FETCH_WAIT_MS
_STALLED_S: Final = 60.0
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_RETRY_S: Final = 1.0


class Host(Protocol):
    """What a reader needs of its log."""

    appender: Appender
    groups: Groups
    seeker: Seeker
    topics: Topics
    counts: PartitionCounts

    def check_running(self) -> None:
        """Raise LogUnavailableError where the log is stopped."""
        ...

    def leave(self, reader: "KafkaReader") -> None:
        """Forget a reader that stopped."""
        ...


class KafkaReader:
    """See `core.log.port.Reader`. Used in the event loop that the log was started in."""

    def __init__(
        self,
        host: Host,
        *,
        group: str,
        topics: Sequence[str],
        partitions: int,
        config: KafkaConfig,
        instance_id: str,
        telemetry: Telemetry,
    ) -> None:
        self.group = group
        self.topics = tuple(topics)
        self.partitions = partitions
        self.revoked_within_s = REVOKE_S
        self.stalled_s = _STALLED_S
        self._host = host
        self._config = config
        self._instance_id = instance_id
        self._telemetry = telemetry
        self._names = {host.topics.name(topic): topic for topic in topics}
        self._listener: AssignmentListener | None = None
        self._consumer: Consumer | None = None
        self._delivery = Delivery(
            self._names,
            fresh_ms=_FRESH_MS,
            # longer than any acknowledged record's parts can be apart
            patience_ms=int(config.delivery_timeout_s * 2000),
            deleted=self._count_deleted,
            incomplete=self._count_incomplete,
        )
        self._stores = Stores(
            appender=host.appender,
            seeker=host.seeker,
            topics=host.topics,
            partitions=partitions,
            limit=config.max_record_bytes,
        )
        self._owned: set[int] = set()
        self._polling: asyncio.Task[Mapping[TopicPartition, Sequence[ConsumerRecord]]] | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._revoking: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._assigned_once = asyncio.Event()
        self._confirmed_s = 0.0
        self._progress_s = 0.0
        self._assignments = 0
        self._unsettled_since_s: float | None = None
        self._unanswered_since_s: float | None = None
        self._is_broken = False
        self._failure: BaseException | None = None

    # -- membership

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group; returns when its first assignment, which may be empty, is restored."""
        self._host.check_running()
        self._listener = listener
        self._assigned_once.clear()
        await self._join()
        try:
            async with asyncio.timeout(_START_S):
                await self._assigned_once.wait()
        except TimeoutError:
            await self._part()
            await self._give_up_partitions()
            raise LogUnavailableError(f"group {self.group} did not settle within {_START_S:.0f} s") from None

    async def stop(self) -> None:
        """Leave the group. Idempotent."""
        self._host.leave(self)
        await self._part()

    async def _join(self) -> None:
        made = group_consumer(
            self._config,
            group=self._host.groups.name(self.group),
            instance_id=self._instance_id and f"{self._instance_id}.{self.group}",
            topics=len(self.topics),
            rebalance_timeout_s=_REBALANCE_TIMEOUT_S,
        )
        with translated(f"joining group {self.group}"):
            try:
                await made.start()
            except BaseException:
                await made.stop()
                raise
        self._consumer = made
        self._is_broken = False
        self._unanswered_since_s = None
        self._progress_s = self._unsettled_since_s = time.monotonic()
        made.subscribe(list(self._names), listener=_Rebalance(self, made))

    async def _part(self) -> None:
        """Close the client, whatever state it is in."""
        consumer, self._consumer = self._consumer, None
        self._close_gate()
        await self._stop_restoring()
        if consumer is not None:
            try:
                await close(consumer, within_s=_STOP_S)
            except (TimeoutError, KafkaError) as exc:
                logger.warning("group %s: closing the client: %r", self.group, exc)

    async def revoked(self) -> None:
        """Called before the group rebalances: stop delivering, let the stage commit what it has in hand."""
        self._unsettled_since_s = time.monotonic()
        self._close_gate()
        await self._stop_restoring()
        self._begin_revoking()
        if self._revoking is not None:
            await asyncio.wait({self._revoking}, timeout=self.revoked_within_s)
            if self._revoking.done():
                await self._finish_revoking()
            else:
                within_s = self.revoked_within_s
                logger.warning("group %s: work in hand was not committed within %.0f s", self.group, within_s)
        self._owned.clear()

    def is_client(self, consumer: Consumer) -> bool:
        """Return whether this is the client in use, and not one that was thrown away."""
        return self._consumer is consumer

    async def _stop_restoring(self) -> None:
        restoring, self._restoring = self._restoring, None
        if restoring is not None:
            restoring.cancel()
            await asyncio.gather(restoring, return_exceptions=True)

    def _begin_revoking(self) -> None:
        # where the stage is not done with the partitions before, it has not been told of these
        if self._revoking is None and self._owned and self._listener is not None:
            revoking = self._listener.on_revoked(sorted(self._owned))
            self._revoking = asyncio.create_task(revoking, name=f"{self.group}-revoke")

    async def _give_up_partitions(self) -> None:
        """Have the stage forget its partitions; it commits nothing more."""
        self._begin_revoking()
        self._owned.clear()
        await self._finish_revoking()

    async def _finish_revoking(self) -> None:
        revoking = self._revoking
        if revoking is None:
            return
        # whoever waits here may be cancelled; the stage is to finish all the same
        await asyncio.wait({revoking})
        if self._revoking is revoking:
            self._revoking = None
            if not revoking.cancelled() and (failure := revoking.exception()) is not None:
                logger.error("group %s: giving up its partitions failed", self.group, exc_info=failure)

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Called after the group rebalanced: restore in a task of its own, since heartbeats wait for the caller."""
        self._owned = {at.partition for at in partitions}
        self._assignments += 1
        self._unsettled_since_s = None
        self._confirmed_s = self._progress_s = time.monotonic()
        self._restoring = asyncio.create_task(self._restore(sorted(self._owned)), name=f"{self.group}-restore")

    def _close_gate(self) -> None:
        """Deliver nothing more."""
        self._delivery.close()
        self._drop_poll()
        self._changed.set()

    def _drop_poll(self) -> None:
        """Forget what the client may have found: it was found at positions that hold no longer."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            polling.add_done_callback(_look_at)

    async def _restore(self, numbers: Sequence[int]) -> None:
        began_s = time.monotonic()
        is_told = False
        while True:
            try:
                if not is_told:
                    # of the assignment before: what it has in hand must be gone before anything is restored
                    await self._finish_revoking()
                    self._stores.forget()
                    if numbers and self._listener is not None:
                        await self._listener.on_assigned(numbers)
                    is_told = True
                await self._open_gate(numbers)
            except (LogUnavailableError, KafkaError) as exc:
                logger.warning("group %s cannot restore yet: %s", self.group, exc)
                await asyncio.sleep(_RETRY_S)
            except PartitionLostError as exc:
                # the group moved on meanwhile: the next assignment restores
                logger.info("group %s stops restoring: %s", self.group, exc)
                return
            except asyncio.CancelledError:
                raise
            except BaseException as exc:  # noqa: BLE001 - handed to whoever fetches next
                self._failure = exc
                self._assigned_once.set()
                self._changed.set()
                return
            else:
                break
        self._assigned_once.set()
        self._changed.set()
        if numbers:
            took_s = time.monotonic() - began_s
            logger.info("group %s restored %d partitions in %.2f s", self.group, len(numbers), took_s)

    async def _open_gate(self, numbers: Sequence[int]) -> None:
        """Find every position, and only then, all at once, deliver from there."""
        consumer = self._running()
        mine = [TopicPartition(name, number) for number in numbers for name in self._names]
        if not mine:
            return
        bounds = await self._host.seeker.bounds(mine)
        stamps = await self._host.seeker.last_log_time_ms(bounds)
        positions: dict[TopicPartition, int] = {}
        new: dict[TopicPartition, int] = {}
        for at in mine:
            committed = await self._committed(consumer, at)
            positions[at] = self._position(at, committed, *bounds[at])
            if committed is None:
                new[at] = positions[at]
        if new:
            # so that the group has a lag in every partition from now on, wherever it is asked for
            await self._commit_to_group(numbers[0], new)
        self._drop_poll()
        for at, position in positions.items():
            consumer.seek(at, position)
            self._delivery.open(at, position=position, end=bounds[at][1], last_log_time_ms=stamps.get(at))
            if self._delivery.is_paused((self._names[at.topic], at.partition)):
                consumer.pause(at)

    def _position(self, at: TopicPartition, committed: int | None, begin: int, end: int) -> int:
        """Return where to read on, between the beginning and the end; what lies before the beginning is counted."""
        # a group that has committed nothing is new, or was forgotten: whatever its state says, it begins again
        in_state = self._stores.offset(at.partition, self._names[at.topic])
        position = 0 if committed is None else max(committed, in_state)
        if position > end:
            logger.error(
                "group %s had read %s up to %d, which now ends at %d: was the topic made anew? Going on at its end",
                *(self.group, at, position, end),
            )
            # nobody can tell what was in the place of what was read: all that is there now counts as passed over
            self._telemetry.count("clearwatch.dropped", end - begin, reason=f"log_shorter_{self.group}")
            return end
        if position < begin:
            self._count_deleted(begin - position if committed is not None else 0)
            return begin
        return position

    async def _committed(self, consumer: Consumer, at: TopicPartition) -> int | None:
        with translated(f"group {self.group} asking for its offsets"):
            offset = await self._answer(consumer.committed(at))
        return None if offset is None else int(offset)

    # -- delivery

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Fetch:
        """Return the next records; partitions take turns at being first."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            self._host.check_running()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._consumer is None or self._is_broken:
                await self._rejoin()
            self._changed.clear()
            self._absorb()
            self._delivery.give_up_parts(self._consumer)
            records = self._delivery.take(max_bytes)
            left_s = deadline_s - loop.time()
            if records or left_s <= 0:
                if not records:
                    # what the client found meanwhile is a tick of the event loop away
                    await self._watch()
                return self._delivery.fetched(records, self._consumer)
            await self._poll(left_s)

    async def _poll(self, left_s: float) -> None:
        """Wait for the client to find something, or for the assignment to change."""
        consumer = self._running()
        if self._polling is None:
            self._polling = asyncio.create_task(
                consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS), name=f"{self.group}-poll"
            )
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({self._polling, changing}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)

    def _absorb(self) -> None:
        """Take what the client has found; of partitions that are not positioned, nothing.

        Raises LogUnavailableError where the client failed: whatever its state is, the next fetch makes another.
        """
        if self._polling is None or not self._polling.done():
            return
        polled, self._polling = self._polling, None
        if polled.cancelled():
            return
        if (failure := polled.exception()) is not None:
            self._is_broken = True
            if not isinstance(failure, KafkaError):
                logger.error("group %s: the client failed", self.group, exc_info=failure)
            raise LogUnavailableError(f"group {self.group} cannot read: {failure!r}") from failure
        if self._delivery.absorb(polled.result()):
            self._progress_s = time.monotonic()

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        """Return the records at these offsets that are still stored."""
        return await self._host.seeker.read_at(TopicPartition(self._host.topics.name(topic), partition), topic, offsets)

    def pause(self, partitions: Sequence[OurPartition]) -> None:
        """Stop delivering these partitions, and fetching them."""
        self._delivery.pause(partitions)
        self._tell_client(partitions, is_paused=True)

    def resume(self, partitions: Sequence[OurPartition]) -> None:
        """Deliver these partitions again."""
        self._delivery.resume(partitions)
        self._tell_client(partitions, is_paused=False)
        self._changed.set()

    def _tell_client(self, partitions: Sequence[OurPartition], *, is_paused: bool) -> None:
        if self._consumer is None:
            return
        assigned = self._consumer.assignment()
        there = [at for t, n in partitions if (at := TopicPartition(self._host.topics.name(t), n)) in assigned]
        if there:
            (self._consumer.pause if is_paused else self._consumer.resume)(*there)

    # -- state and commits

    async def load_state(self, store: str, partition: int) -> Sequence[tuple[bytes, bytes]]:
        """Return every live entry of a store, after putting right what half a step left behind."""
        return await self._stores.load(store, partition)

    async def commit(self, partition: int, work: Work) -> None:
        """Produce, then change state, then move offsets; see the port's contract."""
        self._host.check_running()
        for record in work.produce:
            self._host.counts.check(record.topic, record.partition)
        for topic in work.next_offsets:
            self._host.counts.check(topic, partition)
        assignment = self._assignments
        self._check_owned(partition, assignment)
        if work.produce:
            await self._host.appender.append(work.produce)
        if work.state:
            await self._check_still_member(partition)
            await self._stores.prepare(work.store)
            self._check_owned(partition, assignment)
            await self._stores.write(work.store, partition, work.state, work.next_offsets)
        if work.next_offsets:
            self._check_owned(partition, assignment)
            await self._commit_offsets(partition, work.next_offsets)

    def _check_owned(self, partition: int, assignment: int) -> None:
        """Raise PartitionLostError where the group has rebalanced since, even if the partition came back, or is to."""
        if self._is_broken or partition not in self._owned or assignment != self._assignments:
            raise PartitionLostError(group=self.group, partition=partition)

    async def _check_still_member(self, partition: int) -> None:
        """Ask the group where this process may have slept through the loss of its partitions."""
        if time.monotonic() - self._confirmed_s < self._config.session_timeout_s / 2:
            return
        at = TopicPartition(self._host.topics.name(self.topics[0]), partition)
        committed = await self._committed(self._running(), at)
        await self._commit_to_group(partition, {at: committed or 0})

    async def _commit_offsets(self, partition: int, next_offsets: Mapping[str, int]) -> None:
        offsets: dict[TopicPartition, int] = {}
        for topic, offset in next_offsets.items():
            at = TopicPartition(self._host.topics.name(topic), partition)
            offsets[at] = self._delivery.committed_as(at, offset)
        await self._commit_to_group(partition, offsets)

    async def _commit_to_group(self, partition: int, offsets: Mapping[TopicPartition, int]) -> None:
        consumer = self._running()
        try:
            with translated(f"group {self.group} committing"):
                try:
                    await self._answer(consumer.commit(dict(offsets)))
                except (CommitFailedError, IllegalStateError) as exc:
                    self._unsettled_since_s = self._unsettled_since_s or time.monotonic()
                    raise PartitionLostError(group=self.group, partition=partition) from exc
        except LogUnavailableError:
            if partition not in self._owned:
                raise PartitionLostError(group=self.group, partition=partition) from None
            raise
        self._confirmed_s = time.monotonic()

    async def _answer(self, request: Awaitable[T]) -> T:
        """Wait for what the group answers, for as long as a caller may; raises what the client does, TimeoutError."""
        try:
            # the client itself would try for as long as the brokers are away, and through a rebalance
            async with asyncio.timeout(self._config.delivery_timeout_s):
                answer = await request
        except TimeoutError:
            await self._suspect()
            raise
        self._unanswered_since_s = None
        return answer

    # -- watchdog

    async def _suspect(self) -> None:
        """Give up a client that got no answer of its group, where the brokers have answered others for long enough.

        Who waits for that answer fetches nothing, so that `_watch` never sees it.
        """
        try:
            await self._ask_others()
        except LogUnavailableError:
            self._unanswered_since_s = None
            return
        now_s = time.monotonic()
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        elif now_s - self._unanswered_since_s > self.stalled_s and not self._is_broken:
            self._give_up_client("gets no answer")
            self._changed.set()

    async def _watch(self) -> None:
        """Throw away a client that has stalled while others get answers, and join anew."""
        consumer = self._consumer
        now_s = time.monotonic()
        if consumer is None or (self._restoring is not None and not self._restoring.done()):
            return
        for at in self._delivery.partitions():
            if at not in consumer.assignment():
                continue
            asked_ms = consumer.last_poll_timestamp(at)
            if asked_ms is not None and time.time() * 1000 - asked_ms < self.stalled_s * 1000:
                self._progress_s = now_s
        is_outside = self._unsettled_since_s is not None and now_s - self._unsettled_since_s > self.stalled_s
        is_waiting = self._delivery.is_open and not self._delivery.is_all_paused
        is_stalled = is_waiting and now_s - self._progress_s > self.stalled_s
        if not (is_outside or is_stalled):
            return
        self._progress_s = now_s
        if self._unsettled_since_s is not None:
            self._unsettled_since_s = now_s
        with contextlib.suppress(LogUnavailableError):
            # raises where the brokers are away: then nobody has stalled
            await self._ask_others()
            self._give_up_client("is in no group" if is_outside else "has not fetched")
            await self._rejoin()

    async def _ask_others(self) -> None:
        """Ask the brokers something by other clients. Raises LogUnavailableError where they are away."""
        await self._host.seeker.bounds([TopicPartition(name, 0) for name in self._names])

    def _give_up_client(self, what: str) -> None:
        """Have the next fetch join anew."""
        logger.error("group %s %s for %.0f s though the brokers answer: joining anew", self.group, what, self.stalled_s)
        self._telemetry.count("clearwatch.log.rejoins", group=self.group)
        self._is_broken = True

    async def _rejoin(self) -> None:
        """Make the client anew. Raises LogUnavailableError; the next fetch tries again."""
        await self._part()
        await self._give_up_partitions()
        await self._join()

    def _running(self) -> Consumer:
        self._host.check_running()
        if self._consumer is None:
            raise LogUnavailableError(f"group {self.group} has not joined")
        return self._consumer

    def _count_deleted(self, count: int) -> None:
        if count > 0:
            self._telemetry.count("clearwatch.dropped", count, reason=f"retention_{self.group}")

    def _count_incomplete(self, count: int) -> None:
        # never acknowledged: its producer's client sends it again
        self._telemetry.count("clearwatch.dropped", count, reason="record_incomplete")


def _look_at(polled: asyncio.Task[Mapping[TopicPartition, Sequence[ConsumerRecord]]]) -> None:
    """Take note of the outcome that nobody waits for any more."""
    if not polled.cancelled():
        polled.exception()


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc] # untyped base
    """Tells a reader what its client tells; a client that was thrown away has no say."""

    def __init__(self, reader: KafkaReader, consumer: Consumer) -> None:
        self._reader = reader
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop delivering; the argument is everything, since aiokafka's rebalancing is eager."""
        if self._reader.is_client(self._consumer):
            await self._reader.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin to restore."""
        if self._reader.is_client(self._consumer):
            self._reader.assigned(assigned)
