"""Spans to findings about sessions through the real stages and the real embedded log."""

import asyncio
import json
from collections.abc import Sequence

import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from core import topics
from core.clock import ManualClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.model.finding import Finding, FindingRecord, Withdrawal
from core.runner import StageRunner
from core.telemetry import Telemetry
from detector.config import DetectorConfig
from detector.stages import stages
from tests.unit.dialect_spans import put

PARTITIONS = 4
NAMES = ("assemble", "sessions")


def turn(number: int, at_s: float, question: str, answer: str, **attributes: str) -> tuple[bytes, bytes]:
    """Return the trace id and the OTLP bytes of a trace of one LLM call."""
    data = TracesData()
    outer = data.resource_spans.add()
    put(outer.resource.attributes.add(key="service.name").value, "shop")
    trace_id = bytes([number]) * 16
    span = outer.scope_spans.add().spans.add(trace_id=trace_id, span_id=bytes([number]) * 8, name="chat")
    span.start_time_unix_nano, span.end_time_unix_nano = int(at_s * 1e9), int((at_s + 1) * 1e9)
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": question}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]),
    }
    for key, value in (said | attributes).items():
        put(span.attributes.add(key=key.replace("__", ".")).value, value)
    return trace_id, data.SerializeToString()


async def standing(config: DetectorConfig, traces: Sequence[tuple[bytes, bytes]]) -> dict[str, Finding]:
    """Append the traces, run both stages until every session is closed, return the findings that stand."""
    clock, telemetry = ManualClock(), Telemetry()
    log = SqliteLog(":memory:", config=LogConfig(partitions=PARTITIONS), telemetry=telemetry, clock=clock)
    await log.start()
    try:
        made = stages(config, telemetry)
        stop = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for name in NAMES:
                runner = StageRunner(made[name], log=log, telemetry=telemetry, clock=clock, fetch_timeout_s=0.02)
                tasks.create_task(runner.run(stop), name=name)
            for trace_id, value in traces:
                partition = topics.partition_for_trace(trace_id, PARTITIONS)
                await log.append(
                    [Record(topic=topics.SPANS, partition=partition, value=value, headers=topics.headers())]
                )
                clock.advance(30.0)
            while telemetry.total("clearwatch.sessions.closed") < 1 or any((await log.lag()).values()):
                clock.advance(10.0)
                await asyncio.sleep(0.01)
            stop.set()
        found: dict[str, Finding] = {}
        for partition in range(PARTITIONS):
            end = log.mirror.partitions[topics.FINDINGS, partition].next_offset
            for record in await log.reader("test", [topics.FINDINGS]).read_at(topics.FINDINGS, partition, range(end)):
                match msgspec.msgpack.decode(record.value, type=FindingRecord):
                    case Finding() as finding:
                        found[finding.finding_id] = finding
                    case Withdrawal() as gone:
                        del found[gone.finding_id]
        return found
    finally:
        await log.stop()


def conversation(**attributes: str) -> list[tuple[bytes, bytes]]:
    now_s = ManualClock().now_s()
    return [
        turn(1, now_s, "When is the next flight to Lisbon?", "There are many flights.", **attributes),
        turn(2, now_s + 30, "I asked when the next flight to Lisbon is.", "It leaves at nine.", **attributes),
        turn(3, now_s + 60, "That is wrong!", "I apologize for the mistake, it leaves at ten.", **attributes),
    ]


EXPECTED = {
    ("repeated_question", "01" * 16),
    ("user_frustration", "02" * 16),
    ("self_contradiction", "02" * 16),
}


@pytest.mark.parametrize("key", ["session__id", "gen_ai__conversation__id"])
async def test_what_the_turns_of_a_session_tell_is_found(key: str) -> None:
    found = (await standing(DetectorConfig(), conversation(**{key: "s-1"}))).values()
    assert {(finding.check, finding.trace_id) for finding in found} >= EXPECTED
    assert {finding.session_id for finding in found} == {"s-1"}


async def test_the_traces_of_a_user_meet_in_one_partition_and_are_stitched() -> None:
    config = DetectorConfig.model_validate({"sessions": {"stitch": True}})
    found = (await standing(config, conversation(user__id="ann"))).values()
    about_sessions = [finding for finding in found if finding.session_id]
    assert {(finding.check, finding.trace_id) for finding in about_sessions} == EXPECTED
    assert {finding.session_id.split(":")[0] for finding in about_sessions} == {"stitched"}
