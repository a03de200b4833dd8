"""Real OpenTelemetry SDKs send to the collector over every transport, and the log holds what they sent."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from collector.service import Collector
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from tests.integration.collector_kit import running, spans_in, stored_records

pytestmark = pytest.mark.integration

TRACES = 20


@pytest.fixture
async def log() -> AsyncIterator[SqliteLog]:
    found = SqliteLog(":memory:", config=LogConfig(), telemetry=Telemetry(), clock=SystemClock())
    await found.start()
    yield found
    await found.stop()


def make_exporter(kind: str, compressed: bool, collector: Collector) -> SpanExporter:
    headers = {"x-mlflow-experiment-id": "42"}
    exporter: SpanExporter
    if kind == "grpc":
        exporter = GrpcExporter(
            endpoint=f"http://127.0.0.1:{collector.grpc_port}",
            insecure=True,
            headers=headers,
            compression=grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression,
        )
    else:
        exporter = HttpExporter(
            endpoint=f"http://127.0.0.1:{collector.http_port}/v1/traces",
            headers=headers,
            compression=Compression.Gzip if compressed else Compression.NoCompression,
        )
    return exporter


def send_traces(exporter: SpanExporter) -> set[tuple[int, int]]:
    """Send 20 traces of three spans; return their (trace id, span id)."""
    provider = TracerProvider(resource=Resource.create({"service.name": "python-agent"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("python-tracer")
    sent = set()
    for _ in range(TRACES):
        with tracer.start_as_current_span("agent") as root:
            for name in ("chat", "tool ü"):
                with tracer.start_as_current_span(name, attributes={"text": "hello " * 50}) as child:
                    sent.add((child.get_span_context().trace_id, child.get_span_context().span_id))
            sent.add((root.get_span_context().trace_id, root.get_span_context().span_id))
    assert provider.force_flush(10_000)
    provider.shutdown()
    return sent


def ids(spans: list[Any]) -> list[tuple[int, int]]:
    return [(int.from_bytes(s.trace_id, "big"), int.from_bytes(s.span_id, "big")) for s in spans]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", ["grpc", "http"])
async def test_python_sdk_spans_are_stored_once_with_their_experiment(
    kind: str, compressed: bool, log: SqliteLog
) -> None:
    telemetry = Telemetry()
    async with running(log, telemetry) as collector:
        sent = await asyncio.to_thread(send_traces, make_exporter(kind, compressed, collector))
    records = await stored_records(log)
    assert sorted(ids(spans_in(records))) == sorted(sent)
    assert len(sent) == 3 * TRACES
    for record in records:
        assert record.headers == topics.headers(signal=topics.SIGNAL_TRACES, experiment="42")
        for span in spans_in([record]):
            assert topics.partition_for_trace(span.trace_id, log.partitions(topics.SPANS)) == record.partition
    assert telemetry.total("clearwatch.collector.spans.received") == len(sent)


def js_modules() -> Path:
    """Return a folder with the JavaScript SDK, installed once for each package.json, outside the tree."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("NODE IS MISSING: the JavaScript exporter is not tested; install node and npm")
    package = Path(__file__).parents[1] / "js" / "package.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "clearwatch" / f"js-{hashlib.sha256(package.read_bytes()).hexdigest()[:16]}"
    if not (folder / ".installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(package, folder)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=100)
        (folder / ".installed").touch()
    return folder


@pytest.mark.needs_node
@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_javascript_sdk_json_is_stored_as_protobuf(compression: str, log: SqliteLog) -> None:
    modules = await asyncio.to_thread(js_modules)
    script = Path(__file__).parents[1] / "js" / "export.cjs"
    async with running(log, Telemetry()) as collector:
        url = f"http://127.0.0.1:{collector.http_port}/v1/traces"
        process = await asyncio.create_subprocess_exec(
            "node", str(script), str(modules), url, compression, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    records = await stored_records(log)
    spans = {span.name: span for span in spans_in(records)}
    assert set(spans) == {"agent", "tool — grüße 🙂", "chat"}
    root, tool = spans["agent"], spans["tool — grüße 🙂"]
    assert {span.trace_id.hex() for span in spans.values()} == {output.decode().strip()}
    assert tool.parent_span_id == root.span_id
    assert tool.status.code == 2
    assert tool.events[0].name == "exception"
    assert [link.span_id for link in spans["chat"].links] == [root.span_id]
    values = {a.key: a.value for a in root.attributes}
    assert values["gen_ai.usage.input_tokens"].int_value == 12
    assert values["ratio"].double_value == 0.5
    assert values["ok"].bool_value is True
    assert records[0].headers[topics.HEADER_EXPERIMENT] == "42"
