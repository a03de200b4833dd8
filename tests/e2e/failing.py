"""Requests with known findings, small disks, and clients that retry: what tests of failures share."""

import contextlib
import hashlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from detector.baselines.measures import CHECKS as ADAPTIVE
from tests.e2e.harness import START_S, Up, wait_for
from tests.http import CLIENT
from tests.ports import free_port

PROTOBUF = {"content-type": "application/x-protobuf"}
MIB = 1 << 20
QUICK = {"CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "0.5"}


def trace_id_of(name: str) -> str:
    """Return the trace id, in hex, of a trace made by `trace_request`."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def trace_request(name: str, *, pad_bytes: int = 0, service: str = "shop") -> Any:
    """Return the request of a finished trace: an agent, and a model call that failed with a rate limit."""
    trace_id = bytes.fromhex(trace_id_of(name))
    now_ns = time.time_ns()
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    scope = resource.scope_spans.add()
    root = scope.spans.add(trace_id=trace_id, span_id=trace_id[:8], name="invoke_agent clerk")
    root.start_time_unix_nano, root.end_time_unix_nano = now_ns - 2 * 10**9, now_ns
    root.attributes.add(key="gen_ai.operation.name").value.string_value = "invoke_agent"
    call = scope.spans.add(
        trace_id=trace_id, span_id=trace_id[8:], parent_span_id=trace_id[:8], name="chat gpt-4o", kind=3
    )
    call.start_time_unix_nano, call.end_time_unix_nano = now_ns - 10**9, now_ns - 10**8
    for key, value in (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o"),
        ("error.type", "RateLimitError"),
    ):
        call.attributes.add(key=key).value.string_value = value
    if pad_bytes:
        call.attributes.add(key="note").value.string_value = "x" * pad_bytes
    call.status.code = Status.STATUS_CODE_ERROR
    call.status.message = "Error code: 429 - Rate limit reached for gpt-4o"
    return request


def trace_body(name: str, *, pad_bytes: int = 0, service: str = "shop") -> bytes:
    """Return `trace_request` as bytes."""
    return bytes(trace_request(name, pad_bytes=pad_bytes, service=service).SerializeToString())


def post(up: Up, body: bytes | str, headers: dict[str, str] | None = None, path: str = "/v1/traces") -> httpx.Response:
    """Send one request, once."""
    return CLIENT.post(
        f"http://{up.http}{path}",
        content=body,
        headers=PROTOBUF if headers is None else headers,
        timeout=60,
    )


def insist(up: Up, body: bytes, *, pause_s: float = 0.1, timeout_s: float = START_S) -> list[httpx.Response]:
    """Send until it is acknowledged, as an exporter does; return the refusals before."""
    refusals: list[httpx.Response] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            answer = post(up, body)
            if answer.status_code == httpx.codes.OK:
                return refusals
            refusals.append(answer)
        time.sleep(pause_s)
    raise AssertionError(f"never acknowledged: {[r.status_code for r in refusals[-3:]]}\n{up.log_tail()}")


def in_threads(work: Callable[[int], None], count: int) -> Callable[[], None]:
    """Run `work(number)` in so many threads; the returned call joins them and raises what they raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as exc:  # noqa: BLE001 - raised again in the test
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(n,), name=f"client-{n}") for n in range(count)]
    for thread in threads:
        thread.start()

    def join() -> None:
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    return join


def answers(up: Up) -> set[tuple[str, str, str]]:
    """Return what was found, without what differs from trace to trace: (trace, check, fingerprint)."""
    found = up.export("findings")
    return {(f["trace_id"], f["check"], f["fingerprint"]) for f in found if f["check"] not in ADAPTIVE}


def issues_of(up: Up) -> list[dict[str, Any]]:
    """Return the issues, but those that depend on what was learned before and so on the machine's speed."""
    return [issue for issue in up.export("issues") if issue["check"] not in ADAPTIVE]


def are_told(up: Up, count: int) -> bool:
    """Return whether so many findings, and one issue with as many traces, can be read: topics are copied apart."""
    return len(answers(up)) == count and [issue["trace_count"] for issue in issues_of(up)] == [count]


def expect_each_found(up: Up, names: list[str]) -> None:
    """Assert that exactly these traces were found, each with the one finding it holds, in one issue."""
    found = answers(up)
    assert {f[0] for f in found} == {trace_id_of(name) for name in names}
    assert len(found) == len(names)
    assert len({f[1:] for f in found}) == 1
    (issue,) = issues_of(up)
    assert issue["trace_count"] == len(names)


def metric(up: Up, name: str, **labels: str) -> float:
    """Return the sum of a metric of /metrics over the series with these labels; 0 where there is none."""
    text = CLIENT.get(f"http://{up.ops}/metrics", timeout=30).raise_for_status().text
    found = 0.0
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
            found += float(value)
    return found


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a disk of this size; skips where that is not permitted."""
    folder.mkdir(parents=True)
    options = f"size={size_bytes}"
    done = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)), capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"NOT TESTED: no right to mount a small disk ({done.stderr.decode().strip()})")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits; return the file to remove."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return filler


def eventually(condition: Callable[[], bool], up: Up, *, timeout_s: float = 120.0) -> None:
    """Wait for a condition; fail with the end of what `up` printed."""
    wait_for(condition, timeout_s=timeout_s, what=up.log_tail)


class FlakyRoute:
    """An address in front of a server on this machine: refuses while closed, passes bytes on while open."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: _Relay | None = None

    def open(self) -> None:
        """Let everything through."""
        self._server = _Relay(("127.0.0.1", self._port), self._target)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="route").start()

    def close(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    def __enter__(self) -> "FlakyRoute":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Relay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], target: int) -> None:
        super().__init__(address, _Passing)
        self.target = target
        self._sockets: set[socket.socket] = set()

    def joined(self, *sockets: socket.socket) -> None:
        self._sockets.update(sockets)

    def left(self, *sockets: socket.socket) -> None:
        self._sockets.difference_update(sockets)

    def cut(self) -> None:
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Passing(socketserver.BaseRequestHandler):
    server: _Relay
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as target:
            self.server.joined(self.request, target)
            back = threading.Thread(target=_pump, args=(target, self.request), daemon=True)
            back.start()
            _pump(self.request, target)
            back.join()
            self.server.left(self.request, target)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
