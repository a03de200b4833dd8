"""Consumer groups as the brokers see them: which there are, what they committed, how to delete one."""

import asyncio
from collections.abc import Mapping
from typing import Final

from core.errors import GroupInUseError, LogUnavailableError
from core.log.kafka.client import Admin, DeleteGroupsRequest, TopicPartition, for_code, make_admin, translated
from core.log.kafka_config import KafkaConfig

_DEFAULT_PREFIX: Final = "clearwatch."
_NOT_THERE: Final = "GroupIdNotFound"
_NOT_EMPTY: Final = "NonEmptyGroup"


class Groups:
    """Asks the brokers with a client of its own, one question at a time. Used in one event loop."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._prefix = config.topic_prefix or _DEFAULT_PREFIX
        self._admin: Admin | None = None
        self._asking = asyncio.Lock()

    def name(self, group: str) -> str:
        """Return a group's name on the brokers."""
        return self._prefix + group

    async def committed(self) -> Mapping[str, Mapping[TopicPartition, int]]:
        """Return what every group of ours has committed. Raises LogUnavailableError."""
        async with self._asking:
            with translated("asking for the groups' offsets"):
                admin = await self._client()
                try:
                    names = sorted(name for name, *_ in await admin.list_consumer_groups())
                    return {
                        name.removeprefix(self._prefix): {
                            at: meta.offset
                            for at, meta in (await admin.list_consumer_group_offsets(name)).items()
                            if meta.offset >= 0
                        }
                        for name in names
                        if name.startswith(self._prefix)
                    }
                except BaseException:
                    await self._close()
                    raise

    async def forget(self, group: str) -> None:
        """Delete a group and its offsets; nothing where it is not there.

        Raises GroupInUseError where it has members, LogUnavailableError.
        """
        async with self._asking:
            with translated(f"forgetting group {group}"):
                admin = await self._client()
                try:
                    node = await admin.find_coordinator(self.name(group))
                    # aiokafka has the request and no method for it
                    response = await admin._send_request(DeleteGroupsRequest([self.name(group)]), node)  # noqa: SLF001
                except BaseException:
                    await self._close()
                    raise
        for _, code in response.results:
            if for_code(code).__name__ == _NOT_EMPTY:
                raise GroupInUseError(group)
            if code and for_code(code).__name__ != _NOT_THERE:
                raise LogUnavailableError(f"cannot forget group {group}: {for_code(code).__name__}")

    async def stop(self) -> None:
        """Close the client. Idempotent."""
        async with self._asking:
            await self._close()

    async def _client(self) -> Admin:
        if self._admin is None:
            made = make_admin(self._config)
            try:
                await made.start()
            except BaseException:
                await made.close()
                raise
            self._admin = made
        return self._admin

    async def _close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()
