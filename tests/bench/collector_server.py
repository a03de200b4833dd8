"""The server process of the receiver's benchmark: prints its ports as JSON, runs until its stdin closes.

`clearwatch` is the collector over a file-backed SQLite log; `naive` is what one writes first: grpc.aio with parsed
messages, spans regrouped by trace as messages, one record for each trace, the same log.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

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
from core.log.port import Record
from core.log.sqlite import SqliteLog
from core.malloc import tune_malloc
from core.telemetry import Telemetry


class NaiveService(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
    def __init__(self, log: SqliteLog) -> None:
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


async def serve(kind: str, validate: str, path: str) -> None:
    telemetry, clock = Telemetry(), SystemClock()
    log = SqliteLog(path, config=LogConfig(), telemetry=telemetry, clock=clock)
    await log.start()
    if kind == "naive":
        server = aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(NaiveService(log), server)
        ports = {"grpc": server.add_insecure_port("127.0.0.1:0"), "http": 0}
        await server.start()
        await _until_stdin_closes(ports)
        await server.stop(1)
    else:
        free = {"listen": "127.0.0.1:0"}
        config = CollectorConfig.model_validate({"grpc": free, "http": free, "validate": validate})
        collector = Collector(log=log, config=config, telemetry=telemetry, clock=clock)
        await collector.start()
        await _until_stdin_closes({"grpc": collector.grpc_port, "http": collector.http_port})
        await collector.stop(5)
    await log.stop()


async def _until_stdin_closes(ports: dict[str, int]) -> None:
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["clearwatch", "naive"])
    parser.add_argument("--validate", default="auto")
    parser.add_argument("--no-malloc", action="store_true")
    options = parser.parse_args()
    if not options.no_malloc:
        tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(serve(options.kind, options.validate, str(Path(folder) / "log.sqlite")))


if __name__ == "__main__":
    main()
