"""Poison in the log of a real `clearwatch up`: listed, replayed, and stopped at where it is too much."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clearwatch.roles import LOG_FILE
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from tests.e2e.harness import START_S, Up, wait_for
from tests.http import CLIENT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

POISON = b"\x0a\xff\xff\xff\x7f"


def leave(data_dir: Path, *values: bytes, topic: str = topics.SPANS, partition: int = 2) -> None:
    """Append records to the log of an `up` that does not run."""

    async def append() -> None:
        log = SqliteLog(str(data_dir / LOG_FILE), config=LogConfig(), telemetry=Telemetry(), clock=SystemClock())
        await log.start()
        await log.append(
            [Record(topic=topic, partition=partition, value=v, key=b"k", headers=topics.headers()) for v in values]
        )
        await log.stop()

    asyncio.run(append())


def send(up: Up, *, trace_id: bytes) -> None:
    """Send a trace of one span."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = trace_id, b"\1" * 8, "root"
    span.start_time_unix_nano = time.time_ns() - 10**9
    span.end_time_unix_nano = time.time_ns()
    CLIENT.post(
        f"http://{up.http}/v1/traces",
        content=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    ).raise_for_status()


def letters(up: Up) -> list[dict[str, Any]]:
    found = up.get("/api/v1/dead-letters")["dead_letters"]
    return list(found)


def test_poison_is_listed_and_replayed_once_by_the_running_process(tmp_path: Path) -> None:
    leave(tmp_path, POISON)
    with Up(tmp_path).start() as up:
        wait_for(lambda: len(letters(up)) == 1, timeout_s=START_S, what=up.log_tail)
        listed = up.run("dead-letters", "list", "--ops", f"http://{up.ops}")
        assert listed.returncode == 0, listed.stderr
        assert "spans:2:0" in listed.stdout
        assert "SpanDecodeError" in listed.stdout
        shown = json.loads(up.run("dead-letters", "show", "spans", "--json").stdout)
        assert (shown["stage"], shown["key"], shown["size_bytes"]) == ("assemble", "aw==", len(POISON))
        assert up.status()["dead_letters"] == 1

        replayed = up.run("dead-letters", "replay", "spans:2:0")
        assert (replayed.returncode, replayed.stdout.startswith("replayed spans:2:0:")) == (0, True)
        wait_for(lambda: len(letters(up)) == 2, timeout_s=START_S, what=up.log_tail)
        assert [(each["offset"], each["replays"]) for each in letters(up)] == [(1, 0), (0, 1)]
        assert up.run("dead-letters", "replay", "spans:2:0").returncode == 1
        assert up.run("dead-letters", "replay", "--all", "--json").stdout.count("spans:2:1") == 1
        wait_for(lambda: up.status()["dead_letters"] == 3, timeout_s=START_S, what=up.log_tail)
        foreign = CLIENT.post(f"http://{up.ops}/api/v1/dead-letters/replay", content=b'{"all": true}')
        assert foreign.status_code == httpx.codes.FORBIDDEN


def test_a_log_full_of_poison_stops_its_partition_and_no_other(tmp_path: Path) -> None:
    leave(tmp_path, *[POISON] * 150, partition=2)
    up = Up(tmp_path)
    up.launch()
    with up:

        def stopped() -> bool:
            try:
                return bool(up.status().get("stopped"))
            except httpx.HTTPError:
                return False

        wait_for(stopped, timeout_s=START_S, what=up.log_tail)
        (reason,) = up.status()["stopped"]
        assert reason.startswith("assemble: stopped at spans[2]@100: 100 records in a row failed")
        ready = CLIENT.get(f"http://{up.ops}/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, [reason])
        wait_for(lambda: len(letters(up)) == 100, timeout_s=START_S, what=up.log_tail)
        assert up.status()["dead_letters"] == 100
        # to partition 0
        send(up, trace_id=bytes([7] * 14 + [0, 0]))
        wait_for(lambda: up.status()["traces"]["closed"] == 1, timeout_s=START_S, what=up.log_tail)
        assert up.status()["lag"]["assemble"] == 50
