"""The only file that imports aiokafka: its clients made as we need them, its errors as ours.

Traps of aiokafka 0.14 that the rest of this package is built around, each measured:

- an assignment is active before `on_partitions_assigned` has returned, so records come before state is restored: the
  reader delivers nothing of a partition that it has not positioned itself (`reader`);
- `seek_to_beginning` right after `assign` may land at the end: positions are always sought by number;
- no heartbeat is sent while `on_partitions_assigned` runs: it returns at once, and restores in a task of its own;
- an idempotent producer never gives up: what it did not acknowledge in time is refused to the caller, and the next
  caller is refused at once until it was acknowledged after all (`producer`);
- a write to a closed connection, which asyncio ignores, is a RuntimeError in uvloop (aiokafka issue 1038): it ended the
  client's task that keeps its picture of the cluster, without a word, and everything that asks for one waited for ever
  (`_closing_what_is_closed`).
"""

import asyncio
import functools
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer as Consumer
from aiokafka import AIOKafkaProducer as Producer
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient as Admin
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    NotControllerError,
    OffsetOutOfRangeError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from core.errors import LogUnavailableError
from core.log.kafka.calm import Calm, GivenUp
from core.log.kafka.oauth import TokenSource
from core.log.kafka_config import KafkaConfig

__all__ = [
    "Admin",
    "CommitFailedError",
    "ConfigResource",
    "ConfigResourceType",
    "Consumer",
    "ConsumerRebalanceListener",
    "ConsumerRecord",
    "DeleteGroupsRequest",
    "IllegalStateError",
    "InvalidReplicationFactorError",
    "KafkaError",
    "NewTopic",
    "NotControllerError",
    "OffsetOutOfRangeError",
    "Producer",
    "RequestTimedOutError",
    "TopicAlreadyExistsError",
    "TopicPartition",
    "close",
    "connecting",
    "for_code",
    "group_consumer",
    "make_admin",
    "producer",
    "seeking_consumer",
    "translated",
]

T = TypeVar("T")

# a fetch of one partition; what waits in memory is at most this for each partition, decompressed
_PARTITION_FETCH_BYTES: Final = 1024**2
_FETCH_BYTES: Final = 16 * 1024**2
# how long a broker may hold a fetch that finds nothing: how fresh our knowledge of a partition's end is
FETCH_WAIT_MS: Final = 500
# a reader of known offsets never waits for new records, but its last fetch may hold up its next
_SEEK_WAIT_MS: Final = 20
_HEARTBEATS_A_SESSION: Final = 6
# our own watchdog sees a stalled reader; a sink that waits for its peer is none
_MAX_POLL_INTERVAL_MS: Final = 24 * 3_600_000
_REQUEST_TIMEOUT_MS: Final = 10_000
_BATCH_BYTES: Final = 512 * 1024


# with no broker, each client complains ten times a second
Calm(every_s=10.0).attach("aiokafka")
logging.getLogger("asyncio").addFilter(GivenUp(errors=KafkaError))


def _closing_what_is_closed(write: Callable[..., T]) -> Callable[..., T]:
    """Return a connection's method that takes a closed transport in any event loop as it does in asyncio's.

    Raises aiokafka's KafkaConnectionError, which its client answers by connecting again.
    """

    @functools.wraps(write)
    def written(connection: AIOKafkaConnection, *args: Any, **kwargs: Any) -> T:
        writer = connection._writer  # noqa: SLF001 - aiokafka offers no way to give it a connection of one's own
        try:
            return write(connection, *args, **kwargs)
        except RuntimeError as exc:
            if writer is None or not writer.transport.is_closing():
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=exc)
            raise KafkaConnectionError(f"{connection!r} is closed: {exc}") from exc

    return written


AIOKafkaConnection.send = _closing_what_is_closed(AIOKafkaConnection.send)
AIOKafkaConnection._send_sasl_token = _closing_what_is_closed(AIOKafkaConnection._send_sasl_token)  # noqa: SLF001


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the client's errors into LogUnavailableError that says what was being done."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as exc:
        raise LogUnavailableError(f"{doing}: {str(exc) or type(exc).__name__}", retry_after_s=2.0) from exc


def connecting(config: KafkaConfig) -> str:
    """Return what is being done, with the keys to look at: aiokafka says no more than that it could not connect."""
    how = f"connecting to {config.bootstrap_servers}"
    if config.sasl.mechanism:
        how += f" as {config.sasl.username or config.sasl.oauth.client_id} by {config.sasl.mechanism}"
    keys = [key for key, is_set in (("sasl", config.sasl.mechanism), ("tls", config.tls.enabled)) if is_set]
    return how + (f" (see {' and '.join(f'`log.kafka.{key}`' for key in keys)}, and the log)" if keys else "")


def producer(config: KafkaConfig) -> Producer:
    """Return a producer, not started: acks=all, idempotent."""
    return Producer(
        **_common(config),
        acks="all",
        enable_idempotence=True,
        compression_type=None if config.compression == "none" else config.compression,
        linger_ms=config.linger_ms,
        max_batch_size=min(_BATCH_BYTES, config.max_record_bytes),
        # checked against the value before compression, with room for key and headers
        max_request_size=config.max_record_bytes + 64 * 1024,
    )


def group_consumer(
    config: KafkaConfig, *, group: str, instance_id: str, topics: int, rebalance_timeout_s: float
) -> Consumer:
    """Return a member of a group over so many co-partitioned topics, not started and not subscribed.

    Sticky assignment may give the same partition of two topics to two members. Who reads several topics needs them
    together, so such a group is assigned by range, which does.
    """
    session_ms = int(config.session_timeout_s * 1000)
    return Consumer(
        **_common(config),
        group_id=group,
        group_instance_id=instance_id or None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(StickyPartitionAssignor if topics == 1 else RangePartitionAssignor,),
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // _HEARTBEATS_A_SESSION,
        rebalance_timeout_ms=int(rebalance_timeout_s * 1000),
        max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )


async def close(consumer: Consumer, *, within_s: float) -> None:
    """Close a consumer; one that does not get to its end in time is taken apart. Raises KafkaError, TimeoutError."""
    try:
        async with asyncio.timeout(within_s):
            await consumer.stop()
    except BaseException:
        # given up half way, its tasks would go on: heartbeats keep its place in the group
        await _take_apart(consumer)
        raise


async def _take_apart(consumer: Consumer) -> None:
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001
    tasks = [
        task
        for owner, name in (
            (coordinator, "_coordination_task"),
            (coordinator, "_heartbeat_task"),
            (coordinator, "_commit_refresh_task"),
            (fetcher, "_fetch_task"),
        )
        if (task := getattr(owner, name, None)) is not None
    ]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await consumer._client.close()  # noqa: SLF001


def seeking_consumer(config: KafkaConfig) -> Consumer:
    """Return a consumer without a group, not started: for reading at given offsets."""
    return Consumer(
        **_common(config),
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=_SEEK_WAIT_MS,
    )


def make_admin(config: KafkaConfig) -> Admin:
    """Return an admin client, not started."""
    return Admin(**_common(config))


def headers_of(record: ConsumerRecord[bytes, bytes]) -> dict[str, str]:
    """Return a record's headers as text."""
    return {name: value.decode("utf-8", "replace") for name, value in record.headers}


def encode_headers(headers: Mapping[str, str]) -> Sequence[tuple[str, bytes]]:
    """Return headers as the client wants them."""
    return [(name, value.encode()) for name, value in headers.items()]


def _common(config: KafkaConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": config.servers(),
        "client_id": "clearwatch",
        "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        "security_protocol": _security_protocol(config),
    }
    if config.tls.enabled:
        options["ssl_context"] = _ssl_context(config)
    sasl = config.sasl
    if sasl.mechanism:
        options["sasl_mechanism"] = sasl.mechanism
        if sasl.mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = _TokenProvider(TokenSource(sasl.oauth))
        else:
            options["sasl_plain_username"] = sasl.username
            options["sasl_plain_password"] = sasl.password.get_secret_value()
    return options


def _security_protocol(config: KafkaConfig) -> str:
    if config.sasl.mechanism:
        return "SASL_SSL" if config.tls.enabled else "SASL_PLAINTEXT"
    return "SSL" if config.tls.enabled else "PLAINTEXT"


def _ssl_context(config: KafkaConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.tls.ca_file or None)
    context.check_hostname = config.tls.verify_hostname
    if config.tls.cert_file:
        context.load_cert_chain(
            config.tls.cert_file, config.tls.key_file, config.tls.key_password.get_secret_value() or None
        )
    return context


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # untyped base
    """Gives aiokafka the tokens of a TokenSource."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """Return a token that is valid now."""
        return await self._source.token()
