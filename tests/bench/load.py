"""Load on a receiver, and what the receiver's process paid for it: user plus system time of all threads, from /proc."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
from grpc import aio

SECONDS = 2.0
WARM_UP_S = 0.5
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Sender = Callable[[bytes], Awaitable[None]]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver: its process and its ports on this machine."""

    pid: int
    grpc_port: int
    http_port: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was acknowledged after the warm-up, and what it cost."""

    spans: int
    cpu_s: float
    wall_s: float

    @property
    def spans_a_cpu_s(self) -> float:
        """Return spans acknowledged per CPU-second of the receiver."""
        return self.spans / self.cpu_s


def cpu_s(pid: int) -> float:
    """Return CPU seconds of all threads of a process, ended ones included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the highest resident size of a process so far."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


async def grpc_load(
    at: Address, *, requests: Sequence[bytes], spans: int, connections: int, seconds: float = SECONDS
) -> Measured:
    """Send requests of `spans` spans over one channel, `connections` at a time."""
    async with aio.insecure_channel(f"127.0.0.1:{at.grpc_port}") as channel:
        export = channel.unary_unary(_EXPORT, bytes, bytes)

        async def send(body: bytes) -> None:
            await export(body)

        return await _measure(at, [send] * connections, requests, spans, seconds)


async def http_load(
    at: Address,
    *,
    requests: Sequence[bytes],
    spans: int,
    connections: int,
    gzipped: bool = False,
    seconds: float = SECONDS,
) -> Measured:
    """Send requests of `spans` spans over `connections` connections."""
    encoding = "content-encoding: gzip\r\n" if gzipped else ""
    head = f"POST /v1/traces HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-protobuf\r\n{encoding}"
    whole = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in requests]
    streams = [await asyncio.open_connection("127.0.0.1", at.http_port) for _ in range(connections)]

    def sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Sender:
        async def send(body: bytes) -> None:
            writer.write(body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
            said = await reader.readexactly(length)
            # more than an empty message, or one with an empty partial success, says what was refused
            if not answer.startswith(b"http/1.1 200") or said not in (b"", b"\n\x00"):
                raise RuntimeError(f"refused: {answer!r} {said!r}")

        return send

    try:
        return await _measure(at, [sender(*stream) for stream in streams], whole, spans, seconds)
    finally:
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()


async def _measure(
    at: Address, senders: Sequence[Sender], bodies: Sequence[bytes], spans: int, seconds: float
) -> Measured:
    """Send from all senders at once; the warm-up is left out of what is returned."""
    done = 0
    until = time.monotonic() + WARM_UP_S + seconds

    async def work(send: Sender, first: int) -> None:
        nonlocal done
        index = first
        while time.monotonic() < until:
            await send(bodies[index % len(bodies)])
            done += 1
            index += 1

    async with asyncio.TaskGroup() as tasks:
        for first, send in enumerate(senders):
            tasks.create_task(work(send, first), name=f"bench-client-{first}")
        await asyncio.sleep(WARM_UP_S)
        began_s, done_before, cpu_before_s = time.monotonic(), done, cpu_s(at.pid)
    return Measured(
        spans=(done - done_before) * spans, cpu_s=cpu_s(at.pid) - cpu_before_s, wall_s=time.monotonic() - began_s
    )
