"""An OpenTelemetry Collector in Go that writes to Kafka: built by its builder from `builder.yaml`, run on free ports.

The binary is kept outside the tree, under XDG_CACHE_HOME, by the manifest's content. Building takes minutes the first
time and needs Go and its module proxy.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from tests.bench.load import Address
from tests.ports import free_port

MANIFEST: Final = Path(__file__).with_name("builder.yaml")
_BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder"
_READY_S: Final = 30.0


class PeerMissingError(Exception):
    """Go is missing, or the build failed: says what was wrong."""


def version() -> str:
    """Return the collector's version."""
    return str(yaml.safe_load(MANIFEST.read_text())["dist"]["version"])


def binary() -> Path:
    """Return the collector's binary, building it where it is not there yet. Raises PeerMissingError."""
    if shutil.which("go") is None:
        raise PeerMissingError("no `go`: install Go 1.26 or newer to build the OpenTelemetry Collector")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clearwatch"
    built = root / f"otelcol-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}"
    if built.exists():
        return built
    root.mkdir(parents=True, exist_ok=True)
    print(f"building the OpenTelemetry Collector {version()} (some minutes, once)", flush=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        done = subprocess.run(
            ("go", "run", f"{_BUILDER}@v{version()}", "--config", str(MANIFEST)),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PeerMissingError(f"the collector could not be built: {(done.stdout + done.stderr)[-3000:]}")
        (Path(folder) / "build" / "otelcol-kafka").replace(built)
    return built


@contextlib.contextmanager
def otelcol(*, brokers: str, topic: str, compression: str) -> Iterator[Address]:
    """Run the collector for the time of the block.

    It answers after the brokers' acknowledgement: no sending queue, no batch processor, acks of all in-sync replicas.
    Lingering, record size and compression are those that we run with.
    """
    grpc_port, http_port = free_port("127.0.0.1"), free_port("127.0.0.1")
    config = {
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"127.0.0.1:{grpc_port}", "max_recv_msg_size_mib": 16},
                    "http": {"endpoint": f"127.0.0.1:{http_port}"},
                }
            }
        },
        "exporters": {
            "kafka": {
                "brokers": [brokers],
                "traces": {"topic": topic},
                "partition_traces_by_id": True,
                "timeout": "10s",
                "sending_queue": {"enabled": False},
                "producer": {
                    "required_acks": -1,
                    "compression": compression,
                    "linger": "5ms",
                    "allow_auto_topic_creation": False,
                },
            }
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}},
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with (Path(folder) / "output").open("wb") as output:
            process = subprocess.Popen((str(binary()), "--config", f"file:{path}"), stdout=output, stderr=output)
        try:
            _wait(process, (grpc_port, http_port), Path(folder) / "output")
            yield Address(pid=process.pid, grpc_port=grpc_port, http_port=http_port)
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", ports: tuple[int, ...], output: Path) -> None:
    deadline_s = time.monotonic() + _READY_S
    for port in ports:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise PeerMissingError(f"the collector did not start: {output.read_text()[-3000:]}")
            time.sleep(0.05)
