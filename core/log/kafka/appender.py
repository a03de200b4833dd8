"""Appending: records to the brokers, acknowledged by all in-sync replicas, within a time that a caller can wait for.

The client's idempotent producer tries until it succeeds. A caller does not wait that long: after
`delivery_timeout_s` it is refused as retryable, though its records may still arrive (at least once). Until they do,
every further append is refused at once, so an outage costs memory for one batch a partition and no more.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from core.errors import LogUnavailableError
from core.log.kafka.chunks import split
from core.log.kafka.client import KafkaError, Producer, connecting, encode_headers, producer, translated
from core.log.kafka_config import KafkaConfig
from core.log.port import Record

logger = logging.getLogger(__name__)

_RETRY_AFTER_S: Final = 2.0
# what an acknowledged write may take to close before it is left alone
_CLOSE_S: Final = 5.0


class Appender:
    """Owns the producer: makes it anew where the brokers will not take more from it. Used in one event loop."""

    def __init__(self, config: KafkaConfig, *, name: Callable[[str], str]) -> None:
        self._config = config
        self._name = name
        self._producer: Producer | None = None
        self._overdue: set[asyncio.Future[object]] = set()
        self._replacing = asyncio.Lock()
        self._has_gap = False
        self._waiting: set[asyncio.Timeout] = set()

    async def start(self) -> None:
        """Connect. Raises LogUnavailableError."""
        made = producer(self._config)
        with translated(connecting(self._config)):
            try:
                await made.start()
            except BaseException:
                await made.stop()
                raise
        self._producer = made

    async def append(self, records: Sequence[Record]) -> None:
        """Return once every record is acknowledged. Raises LogUnavailableError."""
        limit = self._config.max_record_bytes
        whole: list[Record] = []
        for record in records:
            if len(record.value) <= limit:
                whole.append(record)
            else:
                whole += split(record, limit, uuid.uuid4().hex)
        await self._deliver([(record, False) for record in whole])

    async def append_state(self, records: Sequence[tuple[Record, bool]]) -> None:
        """Append to a compacted topic, in order; a record may be a tombstone. Raises LogUnavailableError."""
        await self._deliver(records)

    async def stop(self) -> None:
        """Send what waits, for a few seconds, and close. Idempotent."""
        made, self._producer = self._producer, None
        if made is not None:
            await _close(made)
            # who still waits for a closed producer waits for nothing
            for deadline in list(self._waiting):
                deadline.reschedule(asyncio.get_running_loop().time())

    async def _deliver(self, records: Sequence[tuple[Record, bool]]) -> None:
        """Send records, each with whether it is a tombstone, and wait for all of them."""
        if self._has_gap and self._producer is not None:
            await self._replace(self._producer)
        made = self._producer
        if made is None:
            raise LogUnavailableError("the log is not running")
        if self._overdue:
            raise LogUnavailableError("the brokers do not acknowledge", retry_after_s=_RETRY_AFTER_S)
        sent: list[asyncio.Future[object]] = []
        deadline = asyncio.timeout(self._config.delivery_timeout_s)
        try:
            async with deadline:
                self._waiting.add(deadline)
                await self._send(made, records, sent)
                for future in sent:
                    # one answer settles all that went in one request: as a rule only the first is waited for
                    if not future.done():
                        await asyncio.wait((future,))
        except TimeoutError as exc:
            for future in sent:
                if not future.done():
                    self._overdue.add(future)
                future.add_done_callback(self._settle)
            raise LogUnavailableError(
                f"the brokers did not acknowledge within {self._config.delivery_timeout_s:g} s",
                retry_after_s=_RETRY_AFTER_S,
            ) from exc
        except asyncio.CancelledError:
            for future in sent:
                future.add_done_callback(_consume)
            raise
        except KafkaError as exc:
            for future in sent:
                future.add_done_callback(_consume)
            await self._replace(made)
            raise LogUnavailableError(f"cannot append: {exc!r}", retry_after_s=_RETRY_AFTER_S) from exc
        finally:
            self._waiting.discard(deadline)
        failures = [failure for future in sent if (failure := future.exception()) is not None]
        if failures:
            await self._replace(made)
            raise LogUnavailableError(f"cannot append: {failures[0]!r}", retry_after_s=_RETRY_AFTER_S) from failures[0]

    async def _send(
        self, made: Producer, records: Sequence[tuple[Record, bool]], sent: list[asyncio.Future[object]]
    ) -> None:
        """Give records to the producer, which makes one batch a partition of them; add their outcomes to `sent`."""
        # by identity, since the records of an append share theirs
        encoded: dict[int, Sequence[tuple[str, bytes]]] = {}
        for record, is_tombstone in records:
            headers = encoded.get(id(record.headers))
            if headers is None:
                headers = encoded[id(record.headers)] = encode_headers(record.headers)
            outcome = await made.send(
                self._name(record.topic),
                None if is_tombstone else record.value,
                key=record.key or None,
                partition=record.partition,
                headers=headers,
            )
            sent.append(outcome)

    def _settle(self, future: asyncio.Future[object]) -> None:
        self._overdue.discard(future)
        if not future.cancelled() and future.exception() is not None:
            self._has_gap = True

    async def _replace(self, failed: Producer) -> None:
        """Make a new producer: one that has failed a batch has a gap in its sequence and may never go on."""
        async with self._replacing:
            if self._producer is not failed:
                return
            logger.warning("the producer failed; making a new one")
            with contextlib.suppress(LogUnavailableError):
                await self.start()
                self._has_gap = False
                await _close(failed)


def _consume(future: asyncio.Future[object]) -> None:
    """Look at the outcome that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


async def _close(made: Producer) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await made.stop()
    except (TimeoutError, KafkaError) as exc:
        logger.warning("closing the producer: %r", exc)
