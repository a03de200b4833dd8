"""Topics at start: made where they are missing, checked where they are there, refused where they do not fit.

What must hold of a topic: append times of the broker's (closing runs on them), records as large as we write, deletion
for streams and compaction for state, the same number of partitions for all that are read together.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from core import topics
from core.errors import LogUnavailableError, PermanentError
from core.log.config import LogConfig
from core.log.kafka.client import (
    Admin,
    ConfigResource,
    ConfigResourceType,
    InvalidReplicationFactorError,
    NewTopic,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    connecting,
    for_code,
    make_admin,
    translated,
)

logger = logging.getLogger(__name__)

STATE_PREFIX: Final = "state."
DEFAULT_PARTITIONS: Final = 12
# headers, key and the batch around a record
_OVERHEAD_BYTES: Final = 128 * 1024
# of `log.max_bytes`, by topic; what is left is for state
_SHARE: Final = {topics.SPANS: 0.5, topics.TRACES: 0.3, topics.MEASUREMENTS: 0.05, topics.TRIAGE: 0.05}
_OTHER_SHARE: Final = 0.02
# state is read whole at a restart: kept short by compacting often; a half-written step is repaired well before
_STATE: Final = {
    "cleanup.policy": "compact",
    "segment.ms": str(3_600_000),
    "segment.bytes": str(32 * 1024**2),
    "min.cleanable.dirty.ratio": "0.2",
    "min.compaction.lag.ms": str(600_000),
    "delete.retention.ms": str(24 * 3_600_000),
}
_VISIBLE_S: Final = 15.0
# brokers that are starting count as too few replicas
_NOT_YET: Final = (InvalidReplicationFactorError, NotControllerError, RequestTimedOutError)


class TopicMismatchError(PermanentError):
    """A topic is there and cannot serve: what is wrong with it, and what to do."""


class Topics:
    """Makes and checks topics. Names are ours without the prefix."""

    def __init__(self, config: LogConfig) -> None:
        self._config = config
        self._known_stores: set[str] = set()
        self._making = asyncio.Lock()

    def name(self, topic: str) -> str:
        """Return a topic's name on the brokers."""
        return self._config.kafka.topic_prefix + topic

    async def prepare(self) -> Mapping[str, int]:
        """Make or check every topic; return their partition counts.

        Raises TopicMismatchError, LogUnavailableError.
        """
        admin = make_admin(self._config.kafka)
        with translated(connecting(self._config.kafka)):
            try:
                await admin.start()
                existing = await self._existing(admin)
                wanted = self._wanted_partitions(existing)
                await self._create(admin, {t: (n, self._stream(t)) for t, n in wanted.items() if t not in existing})
                found = await self._visible(admin, list(wanted))
                self._check_partitions(found)
                for topic in wanted:
                    await self._check_configs(admin, topic, self._stream(topic))
                return found
            finally:
                await admin.close()

    async def prepare_store(self, store: str, partitions: int) -> None:
        """Make or check the compacted topic of a store, once. Raises TopicMismatchError, LogUnavailableError."""
        topic = store_topic(store)
        async with self._making:
            if topic in self._known_stores:
                return
            admin = make_admin(self._config.kafka)
            with translated(f"preparing {topic}"):
                try:
                    await admin.start()
                    existing = await self._existing(admin, (topic,))
                    if topic not in existing:
                        await self._create(admin, {topic: (partitions, self._compacted())})
                    found = await self._visible(admin, [topic])
                    if found[topic] != partitions:
                        raise TopicMismatchError(
                            f"topic {self.name(topic)} has {found[topic]} partitions where the stage's input has"
                            f" {partitions}: delete it, and the stage reads what its input still holds again"
                        )
                    await self._check_configs(admin, topic, self._compacted())
                finally:
                    await admin.close()
            self._known_stores.add(topic)

    async def _existing(self, admin: Admin, names: tuple[str, ...] = tuple(topics.RETENTION_H)) -> dict[str, int]:
        there = set(await admin.list_topics())
        ours = [topic for topic in names if self.name(topic) in there]
        return await self._counts(admin, ours)

    async def _counts(self, admin: Admin, names: list[str]) -> dict[str, int]:
        if not names:
            return {}
        described = await admin.describe_topics([self.name(topic) for topic in names])
        by_name = {found["topic"]: found for found in described if not found["error_code"]}
        return {t: len(by_name[self.name(t)]["partitions"]) for t in names if self.name(t) in by_name}

    def _wanted_partitions(self, existing: Mapping[str, int]) -> dict[str, int]:
        asked = self._config.partitions
        found = {count for topic, count in existing.items() if topic != topics.DEAD_LETTERS}
        count = asked or (max(found) if found else DEFAULT_PARTITIONS)
        return dict.fromkeys(topics.RETENTION_H, count) | {topics.DEAD_LETTERS: 1}

    def _check_partitions(self, found: Mapping[str, int]) -> None:
        counts = {self.name(topic): count for topic, count in found.items() if topic != topics.DEAD_LETTERS}
        if len(set(counts.values())) > 1:
            raise TopicMismatchError(
                "topics must have the same number of partitions, but have "
                + ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
            )
        asked = self._config.partitions
        there = next(iter(counts.values()))
        if asked is not None and asked != there:
            raise TopicMismatchError(
                f"`log.partitions` is {asked} but the topics have {there}: leave it out, or use another"
                " `log.kafka.topic_prefix` (more partitions would part the traces that are open)"
            )

    async def _create(self, admin: Admin, wanted: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
        if not wanted:
            return
        made = []
        for topic, (count, configs) in wanted.items():
            new = NewTopic(self.name(topic), num_partitions=count, replication_factor=1, topic_configs=dict(configs))
            # -1, the brokers' default, is valid in the protocol (KIP-464) but not for aiokafka's constructor
            new.replication_factor = self._config.kafka.replication_factor
            made.append(new)
        response = await admin.create_topics(made)
        for name, code, message in [error[:3] for error in response.topic_errors]:
            error = for_code(code)
            if error in _NOT_YET:
                raise LogUnavailableError(f"cannot create topic {name} yet: {message or error.__name__}")
            if code and error is not TopicAlreadyExistsError:  # another process was first
                raise TopicMismatchError(f"cannot create topic {name}: {message or error.__name__}")
        logger.info("created topics %s", ", ".join(sorted(self.name(topic) for topic in wanted)))

    async def _visible(self, admin: Admin, names: list[str]) -> dict[str, int]:
        """Return the partition counts once every topic is known to the brokers."""
        deadline = asyncio.get_running_loop().time() + _VISIBLE_S
        while True:
            found = await self._counts(admin, names)
            if len(found) == len(names) and all(found.values()):
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise LogUnavailableError(f"the brokers do not show {', '.join(sorted({*names} - {*found}))} yet")
            await asyncio.sleep(0.2)

    def _stream(self, topic: str) -> dict[str, str]:
        share = _SHARE.get(topic, _OTHER_SHARE)
        partitions = 1 if topic == topics.DEAD_LETTERS else self._config.partitions or DEFAULT_PARTITIONS
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(int(self._config.hours_kept(topic) * 3_600_000)),
            "retention.bytes": str(max(1, int(self._config.max_bytes * share / partitions))),
            "max.message.bytes": str(self._least_message_bytes()),
        }

    def _compacted(self) -> dict[str, str]:
        return _STATE | {"max.message.bytes": str(self._least_message_bytes())}

    def _least_message_bytes(self) -> int:
        return self._config.kafka.max_record_bytes + _OVERHEAD_BYTES

    async def _check_configs(self, admin: Admin, topic: str, wanted: Mapping[str, str]) -> None:
        name = self.name(topic)
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        found = {entry[0]: entry[1] or "" for response in described for r in response.resources for entry in r[4]}
        problems = [
            f"`{key}` is {found[key]!r}, must be {wanted[key]!r}"
            for key in ("cleanup.policy", "message.timestamp.type")
            if key in wanted and key in found and found[key] != wanted[key]
        ]
        least = self._least_message_bytes()
        if int(found.get("max.message.bytes") or least) < least:
            problems.append(
                f"`max.message.bytes` is {found['max.message.bytes']}, must be {least} or more"
                " (or lower `log.kafka.max_record_bytes`)"
            )
        if problems:
            raise TopicMismatchError(f"topic {name} does not fit: {'; '.join(problems)}: change it with kafka-configs")
        if int(found.get("min.insync.replicas") or 1) < 2 and topic == topics.SPANS:
            logger.warning(
                "topic %s has `min.insync.replicas` 1: a record counts as durable once one broker has it", name
            )
        kept_ms = int(found.get("retention.ms") or -1)
        if "retention.ms" in wanted and 0 <= kept_ms < int(wanted["retention.ms"]):
            logger.warning(
                "topic %s keeps records %.1f h, `log` asks for %s ms", name, kept_ms / 3.6e6, wanted["retention.ms"]
            )


def store_topic(store: str) -> str:
    """Return our name of the topic behind a store."""
    return store if store.startswith(STATE_PREFIX) else STATE_PREFIX + store
