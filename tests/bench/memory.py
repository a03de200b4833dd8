"""Memory of `up` while a million spans pass through: `python -m tests.bench.memory [spans]`.

The corpora in CLEARWATCH_EVAL_DATA (else generated traffic) are sent again and again with fresh trace ids to an `up`
with default settings and no MLflow; what is printed is the process's resident memory, read from /proc.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clearwatch import sending
from tests.e2e import traffic
from tests.e2e.harness import Up


def requests() -> list[ExportTraceServiceRequest]:
    """Return what is repeated."""
    folder = os.environ.get("CLEARWATCH_EVAL_DATA")
    if not folder:
        prompt, _ = traffic.batches(traffic.spans(turns=400), size=64, late_ratio=0, duplicate_ratio=0, seed=1)
        return [ExportTraceServiceRequest.FromString(body) for body in prompt]
    found: list[ExportTraceServiceRequest] = []
    for path in sorted(Path(folder).glob("*.otlp.jsonl.gz")):
        for request in sending.read(path):
            if isinstance(request, ExportTraceServiceRequest):
                found.extend(r for r in sending.split(request) if isinstance(r, ExportTraceServiceRequest))
    return found


def fresh(templates: list[ExportTraceServiceRequest], spans: int) -> Iterator[tuple[int, bytes]]:
    """Yield (spans, request bytes) until `spans` are made; each round has trace ids of its own."""
    made = 0
    for turn in range(1, 1_000_000):
        mask = turn.to_bytes(4, "big")
        for request in templates:
            count = 0
            for span in (s for r in request.resource_spans for x in r.scope_spans for s in x.spans):
                # the last bytes stay, so that the spread over partitions does too
                span.trace_id = mask + span.trace_id[4:]
                count += 1
            yield count, request.SerializeToString()
            made += count
            if made >= spans:
                return


def resident_bytes(pid: int) -> int:
    """Return VmRSS."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Print memory over time and its peak; return 1 where it went above 500 MB."""
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    templates, peak, sent, refused, shown = requests(), 0, 0, 0, 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clearwatch-memory-") as work, Up(Path(work) / "data").start() as up:
        print(f"at start {resident_bytes(up.pid) / 1e6:.0f} MB", flush=True)
        with httpx.Client(base_url=f"http://{up.http}", timeout=60, trust_env=False) as client:
            headers = {"content-type": "application/x-protobuf"}
            for count, body in fresh(templates, spans):
                while (
                    answer := client.post("/v1/traces", content=body, headers=headers)
                ).status_code != httpx.codes.OK:
                    refused += 1
                    time.sleep(float(answer.headers.get("retry-after", "1")))
                sent += count
                peak = max(peak, now := resident_bytes(up.pid))
                if sent - shown >= spans / 20:
                    shown = sent
                    print(
                        f"{sent:>9} spans {now / 1e6:5.0f} MB  {sent / (time.monotonic() - started):6.0f}/s", flush=True
                    )
        status = up.wait_until_idle(timeout_s=3600)
        peak = max(peak, resident_bytes(up.pid))
        print(
            f"{sent} spans, {status['traces']['closed']} traces, {status['issues']['pending']} issues, "
            f"{refused} requests refused and retried, dropped {status['dropped']}"
        )
        print(f"peak {peak / 1e6:.0f} MB in {time.monotonic() - started:.0f} s")
    return int(peak > 500e6)


if __name__ == "__main__":
    sys.exit(main())
