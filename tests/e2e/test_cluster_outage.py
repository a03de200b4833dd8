"""No broker: from the start, and for CLEARWATCH_CHAOS_OUTAGE_S in the middle, while real exporters send."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from tests.broker.kafka import RunningKafka
from tests.e2e.chaos import WebhookReceiver
from tests.e2e.cluster import Cluster
from tests.e2e.failing import QUICK, insist, post, trace_body, trace_id_of
from tests.e2e.harness import START_S, Up, wait_for

OUTAGE_S = float(os.environ.get("CLEARWATCH_CHAOS_OUTAGE_S", "20"))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# longer than the collector waits for an acknowledgement
REFUSED_FIRST_S = 20.0
REFUSED_THEN_S = 5.0

pytestmark = [pytest.mark.e2e, pytest.mark.needs_kafka, pytest.mark.timeout(600 + 3 * OUTAGE_S)]


class Application:
    """Makes traces all the time and sends them with a real SDK; its batches may wait for as long as it takes."""

    def __init__(self, name: str, exporter: SpanExporter) -> None:
        self.name = name
        self.made: set[str] = set()
        self._stop = threading.Event()
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        processor = BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=500)
        self._provider.add_span_processor(processor)
        self._thread = threading.Thread(target=self._work, name=name)

    def _work(self) -> None:
        tracer = self._provider.get_tracer("outage")
        while not self._stop.wait(0.05):
            with tracer.start_as_current_span("invoke_agent clerk") as root:
                with tracer.start_as_current_span("chat gpt-4o"):
                    pass
                self.made.add(f"{root.get_span_context().trace_id:032x}")

    def __enter__(self) -> "Application":
        self._thread.start()
        return self

    def finish(self) -> None:
        """Stop making traces and send what is left. Idempotent."""
        self._stop.set()
        self._thread.join()
        self._provider.force_flush()
        self._provider.shutdown()

    def __exit__(self, *_: object) -> None:
        self.finish()


@contextmanager
def applications(grpc_: Up, http: Up) -> Iterator[list[Application]]:
    """Run one for each transport."""
    patience_s = 60 + 2 * OUTAGE_S
    by_grpc = GrpcExporter(endpoint=f"http://{grpc_.grpc}", insecure=True, timeout=patience_s)
    by_http = HttpExporter(endpoint=f"http://{http.http}/v1/traces", timeout=patience_s)
    with Application("by-grpc", by_grpc) as first, Application("by-http", by_http) as second:
        yield [first, second]


def timed(call: Callable[[], None]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def refused_by_http(up: Up) -> None:
    answer = post(up, trace_body("refused"))
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert int(answer.headers["retry-after"]) >= 1


def refused_by_grpc(up: Up) -> None:
    with grpc.insecure_channel(up.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(EXPORT, request_serializer=bytes, response_deserializer=bytes)(
            trace_body("refused"), timeout=60
        )
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    (detail,) = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    info = RetryInfo()
    assert detail.Unpack(info)
    assert info.retry_delay.seconds >= 1


def stored(records: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{records}?mode=ro", uri=True)) as store:
        return {row[0] for row in store.execute("SELECT trace_id FROM traces")}


def test_no_broker_at_the_start_or_in_the_middle_is_survived_by_every_role_and_by_real_exporters(
    tmp_path: Path,
) -> None:
    broker = RunningKafka(tmp_path / "kafka")
    with WebhookReceiver() as webhooks:
        cluster = Cluster(
            tmp_path,
            broker,
            prefix="outage.",
            collectors=2,
            detectors=1,
            sinks=("records", "webhook"),
            **QUICK,
            **webhooks.settings(),
        )
        try:
            survive(cluster, broker, tmp_path / "records.sqlite3")
            broker.kill()
            # whatever each was doing, it ends in time and as asked
            for process in cluster.processes:
                process.signal(signal.SIGTERM)
            assert [process.wait() for process in cluster.processes] == [0] * len(cluster.processes)
        finally:
            cluster.stop()
            broker.stop()


def survive(cluster: Cluster, broker: RunningKafka, records: Path) -> None:
    for process in cluster.processes:
        process.launch()
    for process in cluster.processes:
        wait_for(lambda p=process: "waiting for the log" in p.not_ready(), timeout_s=START_S, what=process.log_tail)  # type: ignore[misc]
    broker.start()
    for process in cluster.processes:
        process.wait_until_ready()
    processes = [process.pid for process in cluster.processes]
    by_grpc, by_http = cluster.collectors
    insist(by_http, trace_body("before"))
    with applications(by_grpc, by_http) as apps:
        time.sleep(2)
        broker.kill()
        down_since = time.monotonic()
        for refused, up in ((refused_by_http, by_http), (refused_by_grpc, by_grpc)):
            first_s = timed(lambda r=refused, u=up: r(u))  # type: ignore[misc]
            assert first_s < REFUSED_FIRST_S
            assert timed(lambda r=refused, u=up: r(u)) < REFUSED_THEN_S  # type: ignore[misc]
        time.sleep(max(0.0, down_since + OUTAGE_S - time.monotonic()))
        broker.start()
        back = time.monotonic()
        insist(by_http, trace_body("after"))
        print(f"accepted {time.monotonic() - back:.1f} s after the broker was back")
        for app in apps:
            app.finish()
        cluster.wait_until_idle()
        print(f"idle {time.monotonic() - back:.1f} s after the broker was back")
        made = set().union(*(app.made for app in apps))
    for process, pid in zip(cluster.processes, processes, strict=True):
        assert process.is_running, process.log_tail()
        assert process.pid == pid
        assert process.not_ready() == ""
        assert "Traceback" not in process.log(), process.log()[-8000:]
    assert len(made) > 100
    missing = (made | {trace_id_of("before"), trace_id_of("after")}) - stored(records)
    assert not missing, f"{len(missing)} of {len(made)} traces are lost"
