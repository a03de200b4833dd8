"""Requests of one turn of the event loop become one append and share its outcome."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from collector.batching import AppendBatcher
from core.errors import LogUnavailableError
from core.log.port import Record
from tests.integration.collector_kit import RecordingLog


class CountingLog(RecordingLog):
    def __init__(self) -> None:
        super().__init__()
        self.appends: list[int] = []

    async def append(self, records: Sequence[Record]) -> None:
        self.appends.append(len(records))
        await super().append(records)


def record(number: int) -> Record:
    return Record(topic="spans", partition=0, value=bytes((number,)))


def make(log: Any) -> AppendBatcher:
    return AppendBatcher(log)


async def test_appends_of_one_turn_are_one_in_order() -> None:
    log = CountingLog()
    batcher = make(log)
    await asyncio.gather(*(batcher.append([record(number)]) for number in range(5)))
    await batcher.append([record(5)])
    assert log.appends == [5, 1]
    assert [r.value[0] for r in log.records] == list(range(6))


async def test_nobody_is_told_ok_before_the_log_has_it() -> None:
    log = CountingLog()
    log.gate = asyncio.Event()
    waiting = asyncio.gather(*(make(log).append([record(number)]) for number in range(3)))
    await log.entered.wait()
    assert not waiting.done()
    log.gate.set()
    await waiting


async def test_every_caller_gets_the_failure_and_the_next_append_is_tried() -> None:
    log = CountingLog()
    log.failure = LogUnavailableError("disk full")
    batcher = make(log)
    outcomes = await asyncio.gather(*(batcher.append([record(n)]) for n in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LogUnavailableError] * 3
    log.failure = None
    await batcher.append([record(9)])
    assert [r.value[0] for r in log.records] == [9]


async def test_a_cancelled_caller_does_not_cancel_its_neighbours() -> None:
    log = CountingLog()
    log.gate = asyncio.Event()
    batcher = make(log)
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(batcher.append([record(1)]), name="gone")
        stays = tasks.create_task(batcher.append([record(2)]), name="stays")
        await log.entered.wait()
        gone.cancel()
        log.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert stays.result() is None
    assert len(log.records) == 2
