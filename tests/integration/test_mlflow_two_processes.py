"""Two processes of the MLflow sink over a real broker, against a real MLflow server: each effect is one process's."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from core.errors import LogUnavailableError
from core.log.config import LogConfig
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Record
from core.telemetry import Telemetry
from tests.broker.kafka import Broker
from tests.integration.mlflow_kit import (
    Api,
    a_link,
    an_issue,
    event_record,
    new_trace_id,
    running,
    trace_records,
    until,
)
from tests.integration.mlflow_server import RunningMlflow

pytestmark = [pytest.mark.integration, pytest.mark.needs_kafka, pytest.mark.timeout(400)]

SERVICES = 6
TRACES = 5


@asynccontextmanager
async def a_log(config: LogConfig) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(config=config, instance_id="", telemetry=Telemetry())
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def insist(log: KafkaLog, records: Sequence[Record]) -> None:
    """Append until it is acknowledged, as a stage does: a busy machine's broker may take its time."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await log.append(records)
            except LogUnavailableError as exc:
                await asyncio.sleep(exc.retry_after_s)


async def test_a_second_process_that_joins_and_leaves_makes_no_second_run_issue_or_link(
    kafka_broker: Broker, mlflow_server: RunningMlflow, api: Api, service: str
) -> None:
    config = LogConfig(
        partitions=4,
        kafka=KafkaConfig(bootstrap_servers=kafka_broker.bootstrap_servers, topic_prefix=f"t{uuid.uuid4().hex[:8]}."),
    )
    services = [f"{service}-{number}" for number in range(SERVICES)]
    sent: dict[str, list[str]] = {name: [] for name in services}

    async def send(log: KafkaLog) -> None:
        for name in services:
            for _ in range(TRACES):
                trace_id = new_trace_id()
                sent[name].append(trace_id)
                count = len(sent[name])
                issue = an_issue(name, trace_count=count, finding_count=count, sequence=count)
                await insist(log, trace_records(log, name, trace_id))
                await insist(log, [event_record(log, issue, links=[a_link(trace_id)])])

    def is_linked() -> bool:
        return all(len(api.assessments(trace_id)) == 2 for ids in sent.values() for trace_id in ids)

    def is_counted() -> bool:
        return all(api.tags(name)["total_traces"] == str(2 * TRACES) for name in services)

    async with AsyncExitStack() as first, a_log(config) as log, a_log(config) as other:
        await first.enter_async_context(running(log, mlflow_server.url))
        await send(log)
        async with running(other, mlflow_server.url) as (two, _):
            await send(other)
            # asked in a thread: the loop is both processes'
            await until(lambda: asyncio.to_thread(is_linked))
            await until(lambda: asyncio.to_thread(is_counted))
            # the first one ends with whatever it has in hand; the second has all the partitions then
            await first.aclose()
            await send(other)
            await until(lambda: asyncio.to_thread(is_linked), seconds=120)
            await until(lambda: two.waiting() == 0, seconds=120)
    for name in services:
        experiment_id = api.experiment(name)
        assert len(api.runs(experiment_id)) == 1
        (issue,) = api.issues(experiment_id)
        assert issue["trace_count"] == 3 * TRACES
