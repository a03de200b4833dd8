"""Detectors that end: by a kill, one after the other by a restart, by an upgrade while records of both kinds come.

The bounds hold for a machine with a core to spare; on a busier one they are as much longer as a start takes longer.
"""

import asyncio
import re
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core import topics
from core.log.kafka.log import KafkaLog
from core.log.port import Record
from core.telemetry import Telemetry
from tests.broker.kafka import Broker
from tests.e2e.chaos import send
from tests.e2e.cluster import Cluster, running
from tests.e2e.failing import QUICK, issues_of, trace_body, trace_id_of
from tests.e2e.harness import START_S, Up, wait_for

RESTARTED_S = 15.0
TAKEN_OVER_S = 45.0
# enough for some in each of the twelve partitions
TRACES = 60

pytestmark = [pytest.mark.e2e, pytest.mark.needs_kafka, pytest.mark.timeout(600)]


def names(what: str) -> list[str]:
    return [f"{what}-{number}" for number in range(TRACES)]


def send_all(cluster: Cluster, what: str) -> list[str]:
    sent = names(what)
    for name in sent:
        send(cluster.collectors, trace_body(name))
    return sent


def closed(ops: Up) -> set[str]:
    """Return the traces that were judged: each has one finding."""
    return {row["trace_id"] for row in ops.get("/api/v1/findings?limit=5000")["findings"]}


def wait_for_all(cluster: Cluster, sent: Sequence[str], *, timeout_s: float) -> None:
    expected = {trace_id_of(name) for name in sent}
    ops = cluster.sinks["records"]
    wait_for(lambda: expected <= closed(ops), timeout_s=timeout_s, what=lambda: cluster.tell())


def slowness() -> float:
    """Return how many times longer a start takes here and now than the work in it."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-c", "import clearwatch.up"], check=True)
    return max(1.0, (time.monotonic() - began) / (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before))


def restore_times(up: Up) -> list[tuple[str, str, str]]:
    return re.findall(r"group (\w+) restored (\d+) partitions in ([\d.]+) s", up.log())


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.mark.chaos
def test_a_killed_detector_is_back_within_15_s_and_replaced_within_45_s(
    kafka_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, kafka_broker, prefix=prefix, collectors=1, detectors=2, sinks=("records",), **QUICK)
    with running(cluster):
        sent = send_all(cluster, "before")
        wait_for_all(cluster, sent, timeout_s=START_S)
        victim, survivor = cluster.detectors
        began = time.monotonic()
        victim.kill()
        victim.launch()
        sent += send_all(cluster, "restarted")
        wait_for_all(cluster, sent, timeout_s=2 * TAKEN_OVER_S)
        restarted_s = time.monotonic() - began
        began = time.monotonic()
        victim.kill()
        sent += send_all(cluster, "taken-over")
        wait_for_all(cluster, sent, timeout_s=2 * TAKEN_OVER_S)
        taken_over_s = time.monotonic() - began
        print(f"restarted: all processed after {restarted_s:.1f} s; restored {restore_times(victim)[-4:]}")
        print(f"taken over: all processed after {taken_over_s:.1f} s; restored {restore_times(survivor)[-4:]}")
        busy = slowness()
        print(f"a start takes {busy:.1f} times as long as its work")
        assert restarted_s < RESTARTED_S * busy
        assert taken_over_s < TAKEN_OVER_S * busy
        victim.launch()
        cluster.wait_until_idle()
        issues = issues_of(cluster.sinks["records"])
        assert [issue["trace_count"] for issue in issues] == [3 * TRACES]


@pytest.mark.chaos
def test_detectors_that_are_replaced_one_by_one_lose_nothing(kafka_broker: Broker, prefix: str, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, kafka_broker, prefix=prefix, collectors=1, detectors=2, sinks=("records",), **QUICK)
    with running(cluster):
        sent: list[str] = []
        for number in range(2):
            sent += send_all(cluster, f"before-{number}")
            new = cluster.add_detector()
            new.launch()
            sent += send_all(cluster, f"beside-{number}")
            new.wait_until_ready()
            old = cluster.detectors.pop(0)
            assert old.stop() == 0
            assert "Traceback" not in old.log()
        sent += send_all(cluster, "after")
        wait_for_all(cluster, sent, timeout_s=2 * TAKEN_OVER_S)
        status = cluster.wait_until_idle()
        issues = issues_of(cluster.sinks["records"])
        assert [issue["trace_count"] for issue in issues] == [len(sent)]
        assert status["dead_letters"] == 0


def append_of_next_release(cluster: Cluster, name: str) -> int:
    """Write a trace as the next release would; return its partition."""

    async def append() -> int:
        log = KafkaLog(config=cluster.log_config, instance_id="", telemetry=Telemetry())
        await log.start()
        try:
            partition = topics.partition_for_trace(bytes.fromhex(trace_id_of(name)), log.partitions(topics.SPANS))
            headers = {**topics.headers(signal=topics.SIGNAL_TRACES), topics.HEADER_SCHEMA: str(topics.SCHEMA + 1)}
            record = Record(topic=topics.SPANS, partition=partition, value=trace_body(name), headers=headers)
            await log.append([record])
            return partition
        finally:
            await log.stop()

    return asyncio.run(append())


def stopped(up: Up) -> list[str]:
    found: Mapping[str, Any] = up.status()
    return list(found.get("stopped", ()))


def test_an_upgrade_beside_the_old_release_loses_nothing_and_dead_letters_nothing(
    kafka_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, kafka_broker, prefix=prefix, collectors=1, detectors=1, sinks=("records",), **QUICK)
    (old,) = cluster.detectors
    records = cluster.sinks["records"]
    with running(cluster):
        sent = send_all(cluster, "before")
        wait_for_all(cluster, sent, timeout_s=START_S)
        partition = append_of_next_release(cluster, "newer")
        wait_for(lambda: bool(stopped(old)), timeout_s=START_S, what=old.log_tail)
        (why,) = stopped(old)
        assert f"assemble: stopped at {topics.SPANS}[{partition}]" in why
        assert f"has schema {topics.SCHEMA + 1}" in why
        assert why in old.not_ready()
        behind = send_all(cluster, "behind")
        elsewhere = {trace_id_of(name) for name in behind if not is_in(name, partition)}
        wait_for(lambda: elsewhere <= closed(records), timeout_s=START_S, what=old.log_tail)
        held_back = {trace_id_of(name) for name in ["newer", *behind]} - elsewhere
        assert len(held_back) > 1
        assert not held_back & closed(records)

        new = cluster.add_detector()
        new.module = "tests.e2e.newer"
        new.start()
        cluster.detectors.remove(old)
        assert old.stop() == 0
        # what the new one writes stops the old sink, which is upgraded in its turn, in its own place
        wait_for(lambda: bool(stopped(records)), timeout_s=START_S, what=cluster.tell)
        assert records.status()["dead_letters"] == 0
        assert records.stop() == 0
        records.module = "tests.e2e.newer"
        records.start()
        wait_for_all(cluster, [*sent, "newer", *behind], timeout_s=START_S)
        status = cluster.wait_until_idle()
        assert status["dead_letters"] == 0
        assert "stopped" not in status
        assert [i["trace_count"] for i in issues_of(records)] == [len(sent) + 1 + len(behind)]


def is_in(name: str, partition: int) -> bool:
    return topics.partition_for_trace(bytes.fromhex(trace_id_of(name)), 12) == partition
