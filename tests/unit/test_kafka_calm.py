"""The filters of chatty loggers."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from core.log.kafka.calm import Calm, GivenUp


@pytest.fixture
def event_loop_log() -> Iterator[logging.Logger]:
    logger, given_up = logging.getLogger("asyncio"), GivenUp(errors=KafkaError)
    before = logger.filters[:]
    logger.filters[:] = [given_up]
    yield logger
    logger.filters[:] = before


def test_the_same_complaint_is_heard_once_with_a_count_and_another_one_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    logger = logging.getLogger("chatty.client")
    logger.addFilter(Calm(every_s=10.0))
    for _ in range(3):
        for second in range(30):
            now[0] += 0.01
            logger.warning("no broker, try %d", second)
        now[0] += 10.0
    logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == [
        "no broker, try 0",
        "no broker, try 0 (and 29 more like it)",
        "no broker, try 0 (and 29 more like it)",
        "something else",
    ]


async def commit_and_give_up() -> None:
    """Cancel a commit of the real client; its broker refuses it afterwards."""
    answer = asyncio.Event()

    async def refuse(*_: object, **__: object) -> None:
        await answer.wait()
        raise GroupLoadInProgressError

    coordinator = GroupCoordinator.__new__(GroupCoordinator)
    coordinator._client = SimpleNamespace(send=refuse)
    coordinator._commit_lock, coordinator._coordinator_lookup_lock = asyncio.Lock(), asyncio.Lock()
    coordinator._coordinator_dead_fut = asyncio.get_running_loop().create_future()
    coordinator.coordinator_id, coordinator.group_id = 1, "records"
    coordinator.generation, coordinator.member_id = 1, "member"
    offsets = {TopicPartition("traces", 0): OffsetAndMetadata(7, "")}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(coordinator.commit_offsets(None, offsets), 0.01)
    answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def lost_task_errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    gc.collect()
    return [record for record in caplog.records if record.name == "asyncio" and record.exc_info]


def test_what_becomes_of_a_commit_that_was_given_up_is_no_error_of_a_lost_task(
    caplog: pytest.LogCaptureFixture, event_loop_log: logging.Logger
) -> None:
    asyncio.run(commit_and_give_up())
    assert lost_task_errors(caplog) == []
    # without the filter it would be: an aiokafka or a Python that has no need of it shows itself here
    event_loop_log.filters.clear()
    asyncio.run(commit_and_give_up())
    assert [type(record.exc_info[1]) for record in lost_task_errors(caplog) if record.exc_info] == [
        GroupLoadInProgressError
    ]


def test_every_other_error_of_a_lost_task_is_logged(
    caplog: pytest.LogCaptureFixture, event_loop_log: logging.Logger
) -> None:
    async def lose() -> None:
        async def fail(error: Exception) -> None:
            raise error

        tasks = [asyncio.create_task(fail(ValueError())), asyncio.create_task(fail(GroupLoadInProgressError()))]
        await asyncio.sleep(0)
        del tasks

    asyncio.run(lose())
    assert {type(record.exc_info[1]) for record in lost_task_errors(caplog) if record.exc_info} == {
        ValueError,
        GroupLoadInProgressError,
    }
