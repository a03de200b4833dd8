"""When the receiver looks inside spans, and what it holds while it does."""

import asyncio
from typing import Any

import pytest

from collector.receiver import InvalidExperimentError, OverloadedError, Receiver
from core import topics
from core.errors import SpanDecodeError
from core.telemetry import Telemetry
from tests.integration.collector_kit import RecordingLog, make_config, make_request

GOOD = bytes(make_request().SerializeToString())
BAD_TEXT = bytes(make_request(text="hallo").SerializeToString()).replace(b"hallo", b"hal\xff\xfe")


def make_receiver(log: Any, **values: Any) -> Receiver:
    return Receiver(log=log, config=make_config(**values), telemetry=Telemetry())


@pytest.mark.parametrize("validate", ["auto", "full"])
async def test_bad_text_inside_a_span_is_refused_while_nothing_else_is_in_hand(validate: str) -> None:
    log = RecordingLog()
    with pytest.raises(SpanDecodeError):
        await make_receiver(log, validate=validate).take_traces(BAD_TEXT)
    assert log.records == []


@pytest.mark.parametrize(("validate", "refused"), [("auto", False), ("full", True), ("framing", False)])
async def test_only_full_validation_parses_a_request_beside_others(validate: str, refused: bool) -> None:
    log = RecordingLog()
    log.gate = asyncio.Event()
    receiver = make_receiver(log, validate=validate)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(receiver.take_traces(GOOD), name="in-hand")
        await log.entered.wait()
        second = asyncio.gather(receiver.take_traces(BAD_TEXT), return_exceptions=True)
        await asyncio.sleep(0)
        log.gate.set()
    (outcome,) = await second
    assert isinstance(outcome, SpanDecodeError) is refused
    assert len(log.records) == (3 if refused else 6)


async def test_framing_is_checked_in_every_mode() -> None:
    with pytest.raises(SpanDecodeError):
        await make_receiver(RecordingLog(), validate="framing").take_traces(GOOD[:-1])


async def test_headers_of_a_record_name_signal_and_experiment() -> None:
    log = RecordingLog()
    await make_receiver(log).take_traces(GOOD, "7")
    assert {tuple(r.headers.items()) for r in log.records} == {
        tuple(topics.headers(signal=topics.SIGNAL_TRACES, experiment="7").items())
    }


@pytest.mark.parametrize("experiment", ["7" * 129, "a\nb", "ü"])
async def test_an_impossible_experiment_is_refused(experiment: str) -> None:
    log = RecordingLog()
    with pytest.raises(InvalidExperimentError):
        await make_receiver(log).take_traces(GOOD, experiment)
    assert log.records == []


def test_the_bound_of_bytes_in_flight_is_exact() -> None:
    receiver = make_receiver(RecordingLog(), max_in_flight_bytes=2000, max_request_bytes=2000)
    receiver.reserve(2000)
    with pytest.raises(OverloadedError, match="2000 bytes are in flight"):
        receiver.reserve(1)
    receiver.release(2000)
    receiver.reserve(1)
    assert receiver.in_flight_bytes == 1
