"""The server process of the receiver's benchmark: prints its ports as JSON, runs until its stdin closes.

`clearwatch` is the collector over a file-backed SQLite log, or over the brokers at `--brokers`; `naive` is what one
writes first: grpc.aio with parsed messages, spans regrouped by trace as messages, one record for each trace, into the
same log or with the same client and settings to the brokers.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import uvloop
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from collector.config import CollectorConfig
from collector.service import Collector
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.kafka.client import Producer, encode_headers, producer
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig
from core.log.port import Log, Record
from core.log.sqlite import SqliteLog
from core.malloc import tune_malloc
from core.telemetry import Telemetry


class Destination(Protocol):
    """What a naive receiver writes to."""

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic."""
        ...

    async def append(self, records: Sequence[Record]) -> None:
        """Return when the records are durable."""
        ...


class NaiveKafka:
    """A producer, used as its documentation shows: send each record, wait for all."""

    def __init__(self, made: Producer, prefix: str, partitions: int) -> None:
        self._producer = made
        self._prefix = prefix
        self._partitions = partitions

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of the one topic that there is."""
        return self._partitions

    async def append(self, records: Sequence[Record]) -> None:
        """Return when every record is acknowledged."""
        sent = [
            await self._producer.send(
                self._prefix + r.topic, r.value, partition=r.partition, headers=encode_headers(r.headers)
            )
            for r in records
        ]
        await asyncio.gather(*sent)


class NaiveService(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    def __init__(self, log: Destination) -> None:
        self._log = log

    async def Export(self, request: ExportTraceServiceRequest, _: object) -> ExportTraceServiceResponse:  # noqa: N802
        traces: dict[bytes, TracesData] = {}
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                here: dict[bytes, list[Any]] = {}
                for span in scope.spans:
                    here.setdefault(span.trace_id, []).append(span)
                for trace_id, spans in here.items():
                    own = traces.setdefault(trace_id, TracesData()).resource_spans.add(schema_url=resource.schema_url)
                    own.resource.CopyFrom(resource.resource)
                    own_scope = own.scope_spans.add(schema_url=scope.schema_url)
                    own_scope.scope.CopyFrom(scope.scope)
                    own_scope.spans.extend(spans)
        count = self._log.partitions(topics.SPANS)
        await self._log.append(
            [
                Record(
                    topic=topics.SPANS,
                    partition=topics.partition_for_trace(trace_id, count),
                    value=data.SerializeToString(),
                    headers=topics.headers(signal=topics.SIGNAL_TRACES),
                )
                for trace_id, data in traces.items()
            ]
        )
        return ExportTraceServiceResponse()


async def serve(options: argparse.Namespace, path: str) -> None:
    telemetry, clock = Telemetry(), SystemClock()
    log: Log
    if options.brokers:
        log = KafkaLog(config=kafka_config(options), instance_id="", telemetry=telemetry)
    else:
        log = SqliteLog(path, config=LogConfig(), telemetry=telemetry, clock=clock)
    await log.start()
    if options.kind == "naive":
        await _serve_naively(options, log)
    else:
        free = {"listen": "127.0.0.1:0"}
        config = CollectorConfig.model_validate({"grpc": free, "http": free, "validate": options.validate})
        collector = Collector(log=log, config=config, telemetry=telemetry, clock=clock)
        await collector.start()
        await _until_stdin_closes({"grpc": collector.grpc_port, "http": collector.http_port})
        await collector.stop(5)
    await log.stop()


def kafka_config(options: argparse.Namespace) -> LogConfig:
    """Return the log's configuration for a bench on brokers."""
    return LogConfig(
        kind="kafka",
        partitions=options.partitions,
        max_bytes=options.max_bytes,
        kafka=KafkaConfig(
            bootstrap_servers=options.brokers, topic_prefix=options.prefix, compression=options.compression
        ),
    )


async def _serve_naively(options: argparse.Namespace, log: Log) -> None:
    made: Producer | None = None
    destination: Destination = log
    if options.brokers:
        made = producer(kafka_config(options).kafka)
        await made.start()
        destination = NaiveKafka(made, options.prefix, options.partitions)
    server = aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(NaiveService(destination), server)
    ports = {"grpc": server.add_insecure_port("127.0.0.1:0"), "http": 0}
    await server.start()
    await _until_stdin_closes(ports)
    await server.stop(1)
    if made is not None:
        await made.stop()


async def _until_stdin_closes(ports: dict[str, int]) -> None:
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["clearwatch", "naive"])
    parser.add_argument("--validate", default="auto")
    parser.add_argument("--no-malloc", action="store_true")
    parser.add_argument("--brokers", default="", help="write to Kafka instead of SQLite")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--compression", default="none")
    parser.add_argument("--max-bytes", type=int, default=512 * 1024**2)
    options = parser.parse_args()
    if not options.no_malloc:
        tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(serve(options, str(Path(folder) / "log.sqlite")))


if __name__ == "__main__":
    main()
