"""From the OTLP answer for a trace's last span to its issue in MLflow.

Usage: `python -m tests.bench.delay [traces] [per minute]`.

Every trace fails in a tool of its own, so each makes a new issue; the delay is MLflow's created_timestamp minus the
time of the collector's answer. The MLflow server is the one that `up` starts, warm before the first trace.
"""

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import httpx
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from tests.e2e.harness import Up, wait_for
from tests.ports import free_port


def request(number: int) -> bytes:
    """Return a rooted trace of three spans in which tool number `number` fails."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "delay-bench"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")
    word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
    with tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
            pass
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": f"tool_{word}"}
        with tracer.start_as_current_span(f"execute_tool tool_{word}", attributes=tool) as span:
            span.set_status(Status(StatusCode.ERROR, "backend answered no"))
    body: bytes = encode_spans(exporter.get_finished_spans()).SerializeToString()
    provider.shutdown()
    return body


def measure(traces: int, per_minute: float, data_dir: Path) -> list[float]:
    """Return the delays in seconds, ascending."""
    listen = f"127.0.0.1:{free_port('127.0.0.1')}"
    settings = {"CLEARWATCH__SINKS__MLFLOW__ENABLED": "true", "CLEARWATCH__SINKS__MLFLOW__LOCAL_LISTEN": listen}
    answered: dict[str, float] = {}
    with Up(data_dir, **settings).start() as up:
        wait_for(lambda: _is_up(listen), timeout_s=90, what=up.log_tail)
        for number in range(-3, traces):  # three to warm MLflow up
            body = request(number + 3)
            answer = httpx.post(
                f"http://{up.http}/v1/traces",
                content=body,
                headers={"content-type": "application/x-protobuf"},
                trust_env=False,
            )
            answer.raise_for_status()
            if number >= 0:
                answered[str(number + 3)] = time.time()
            time.sleep(20 if number == -1 else 60 / per_minute)
        up.wait_until_idle()
        with sqlite3.connect(f"file:{data_dir / 'mlflow.db'}?mode=ro", uri=True) as store:
            created = dict(store.execute("SELECT name, created_timestamp FROM issues"))
    delays = []
    for suffix, at_s in answered.items():
        word = "tool_" + "".join(chr(ord("a") + int(digit)) for digit in suffix)
        stamps = [stamp for name, stamp in created.items() if word in name.replace(":", " ").split()]
        if not stamps:
            raise SystemExit(f"no issue for {word}: {sorted(created)}")
        delays.append(stamps[0] / 1000 - at_s)
    return sorted(delays)


def _is_up(listen: str) -> bool:
    try:
        return httpx.get(f"http://{listen}/health", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def main() -> int:
    """Print the distribution."""
    traces = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    per_minute = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    with tempfile.TemporaryDirectory(prefix="clearwatch-delay-") as work:
        delays = measure(traces, per_minute, Path(work))
    for share in (0.0, 0.5, 0.9, 0.95, 0.99, 1.0):
        at = min(len(delays) - 1, round(share * (len(delays) - 1)))
        print(f"p{share * 100:<5.0f} {delays[at]:6.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
