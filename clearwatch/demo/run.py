"""Run the demo against a collector and wait for what it made."""

import time
import uuid
from collections.abc import Callable
from typing import Final

import httpx
import msgspec
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from clearwatch.demo.agent import AGENT, TravelAgent, script
from core.errors import RetryableError

TURNS: Final = 200
# traffic takes 20 s, traces close 5 s after their root: within a minute there are issues, and a link where MLflow runs
TRAFFIC_S: Final = 20.0
DEADLINE_S: Final = 55.0
# a local MLflow server takes 10 to 50 s to start, by how busy the machine is
LINK_DEADLINE_S: Final = 120.0


class DemoIssue(msgspec.Struct, frozen=True):
    """What the ops API says of an issue, as far as the demo shows it."""

    issue_id: str
    title: str
    category: str
    severity: str
    trace_count: int
    url: str | None = None
    run_url: str | None = None
    """The issues page in MLflow; None until it is filed there."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo run led to."""

    traces: int
    spans: int
    issues: tuple[DemoIssue, ...]
    link: str
    """The issues page in MLflow, or "" where nothing has been filed there yet."""
    has_mlflow: bool
    """Whether anything writes to MLflow."""


def send_traffic(endpoint: str, *, protocol: str, progress: Callable[[int], None]) -> tuple[int, int]:
    """Export a demo's turns to `endpoint` over `grpc` or `http`; return (traces, spans).

    `progress` is called with 1 for each turn. Raises RetryableError where the collector did not take everything.
    """
    counting = _Counting(_exporter(endpoint, protocol))
    resource = Resource.create(
        {"service.name": AGENT, "service.version": "1.4.0", "deployment.environment.name": "demo"}
    )
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(counting, schedule_delay_millis=500, max_export_batch_size=256))
    started = time.monotonic()
    plays = script(TravelAgent(provider, seed=7), run_id=uuid.uuid4().hex[:6], turns=TURNS)
    for number, play in enumerate(plays, start=1):
        play()
        progress(1)
        time.sleep(max(0.0, started + TRAFFIC_S * number / len(plays) - time.monotonic()))
    provider.force_flush(10_000)
    provider.shutdown()
    if counting.failed:
        raise RetryableError(f"the collector at {endpoint} did not take {counting.failed} of the demo's spans")
    return len(plays), counting.exported


def wait_for_issues(
    ops_url: str, *, deadline: float, link_deadline: float, waiting: Callable[[str], None]
) -> tuple[tuple[DemoIssue, ...], bool]:
    """Poll the ops API until nothing is in flight and the demo's issues stand in MLflow; return whether any can, too.

    Deadlines are monotonic, the second for MLflow's link alone; `waiting` is told what is waited for. Raises
    httpx.HTTPError where the ops API does not answer.
    """
    with httpx.Client(base_url=ops_url, timeout=5.0, trust_env=False) as client:
        while True:
            # the status first: where it says idle, everything that it knows of stands in the list asked for next
            status = client.get("/api/v1/status").raise_for_status().json()
            has_mlflow = "mlflow" in status["lag"]
            payload = client.get("/api/v1/issues").raise_for_status().content
            rows = msgspec.json.decode(payload, type=dict[str, list[dict[str, object]]])["issues"]
            mine = [row for row in rows if row.get("service") == AGENT]
            found = tuple(msgspec.convert(row, DemoIssue, strict=False) for row in mine)
            is_done = _is_idle(status) and bool(found)
            is_linked = not has_mlflow or all(issue.run_url for issue in found)
            if (is_done and is_linked) or time.monotonic() >= (link_deadline if is_done else deadline):
                return found, has_mlflow
            waiting("waiting for MLflow, which may still be starting" if is_done else "waiting for issues")
            time.sleep(0.5)


def _is_idle(status: dict[str, dict[str, int]]) -> bool:
    # an outbox may hold refreshed counts back for a while; what the demo shows does not wait for these
    lag = [records for group, records in status["lag"].items() if not group.endswith(".outbox")]
    return status["traces"]["open"] == 0 and not any(lag)


def run(
    endpoint: str, ops_url: str, *, protocol: str, progress: Callable[[int], None], waiting: Callable[[str], None]
) -> Outcome:
    """Send the traffic, wait for the issues, and return what there is to show; see the functions above."""
    started = time.monotonic()
    traces, spans = send_traffic(endpoint, protocol=protocol, progress=progress)
    issues, has_mlflow = wait_for_issues(
        ops_url, deadline=started + DEADLINE_S, link_deadline=started + LINK_DEADLINE_S, waiting=waiting
    )
    link = next((issue.run_url for issue in issues if issue.run_url), "")
    return Outcome(traces=traces, spans=spans, issues=issues, link=link, has_mlflow=has_mlflow)


def _exporter(endpoint: str, protocol: str) -> SpanExporter:
    exporter: SpanExporter
    if protocol == "grpc":
        exporter = GrpcSpanExporter(endpoint=endpoint, insecure=True, timeout=10)
    else:
        exporter = HttpSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=10)
    return exporter


class _Counting(SpanExporter):
    """Counts what an exporter delivered, which the SDK tells nobody."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.exported = 0
        self.failed = 0

    def export(self, spans):  # type: ignore[no-untyped-def] # the SDK's own signature
        """Hand the batch on and count it."""
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._inner.force_flush(timeout_millis)
