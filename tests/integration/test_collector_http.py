"""HTTP/1.1 as clients speak it, over both event loops: raw bytes in, raw bytes out."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from collector.http_listener import HttpServer
from collector.http_messages import HttpTimeouts
from collector.http_server import OtlpHttpService
from collector.receiver import Receiver
from collector.service import bind
from core.telemetry import Telemetry
from tests.integration.collector_kit import RecordingLog, make_config, make_request

pytestmark = pytest.mark.integration

BODY = bytes(make_request().SerializeToString())
TYPE = b"content-type: application/x-protobuf\r\n"
WHOLE = b"POST /v1/traces HTTP/1.1\r\nhost: t\r\n%bcontent-length: %d\r\n\r\n%b" % (TYPE, len(BODY), BODY)


class Rig:
    def __init__(self, log: RecordingLog, telemetry: Telemetry, server: HttpServer, port: int) -> None:
        self.log = log
        self.telemetry = telemetry
        self.server = server
        self.port = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *pieces: bytes) -> bytes:
        """Send pieces, then the end of input; return everything that is answered."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        found = await reader.read()
        writer.close()
        return found


@asynccontextmanager
async def serving(timeouts: HttpTimeouts | None = None, **values: Any) -> AsyncIterator[Rig]:
    log, telemetry = RecordingLog(), Telemetry()
    config = make_config(**values)
    receiver = Receiver(log=log, config=config, telemetry=telemetry)  # type: ignore[arg-type]
    server = HttpServer(OtlpHttpService(receiver=receiver, config=config, telemetry=telemetry), timeouts)
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    await server.start(listening)
    try:
        yield Rig(log, telemetry, server, port)
    finally:
        await server.stop(5)
        assert receiver.in_flight_bytes == 0
        assert server.connections == set()


Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    def run_it(scenario: Scenario) -> None:
        async def within() -> None:
            async with asyncio.timeout(20):
                await scenario()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(within())

    return run_it


Run = Callable[[Scenario], None]


def statuses(answered: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+)", answered)]


def test_pipelined_requests_are_answered_in_order_on_one_connection(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            wrong = b"GET /v1/traces HTTP/1.1\r\nhost: t\r\n\r\n"
            assert statuses(await rig.talk(WHOLE + wrong + WHOLE, WHOLE)) == [200, 405, 200, 200]
            assert len(rig.log.spans()) == 9

    run(scenario)


def test_a_request_may_arrive_byte_by_byte_or_in_chunks(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            assert statuses(await rig.talk(*(bytes((byte,)) for byte in WHOLE))) == [200]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(BODY[i : i + 7]), BODY[i : i + 7]) for i in range(0, len(BODY), 7))
            head = b"POST /v1/traces?a=b HTTP/1.1\r\nhost: t\r\n%btransfer-encoding: chunked\r\n\r\n" % TYPE
            trailer = b"0\r\ncontent-type: text/plain\r\n\r\n"
            assert statuses(await rig.talk(head + chunks + trailer + WHOLE)) == [200, 200]
            assert len(rig.log.spans()) == 9

    run(scenario)


def test_a_target_in_absolute_form_or_with_escapes_is_understood(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            for target in (b"http://t:4318/v1/traces", b"/v1/tr%61ces"):
                assert statuses(await rig.talk(WHOLE.replace(b"/v1/traces", target))) == [200]

    run(scenario)


def test_expect_100_is_told_to_continue_unless_the_body_is_too_large(run: Run) -> None:
    async def scenario() -> None:
        async with serving(max_request_bytes=2048) as rig:
            reader, writer = await rig.connect()
            head, body = WHOLE.split(b"\r\n\r\n", 1)
            writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\ndate: ")
            writer.close()
            head = re.sub(rb"content-length: \d+", b"content-length: 3000", head)
            answered = await rig.talk(head + b"\r\nexpect: 100-continue\r\n\r\n")
            assert statuses(answered) == [413]
            assert b"connection: close" in answered

    run(scenario)


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnothex\r\n",
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 0\r\n\r\nabc",
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\nabc",
        b"POST /v1/traces HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
        b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nx-a: b\r\n folded: c\r\ncontent-length: 0\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\nhost: t\ncontent-length: 0\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=[
        "no-http", "length", "length-and-chunked", "chunked-and-length", "chunk", "two-lengths", "list-of-lengths",
        "signed-length", "space-before-colon", "two-codings", "chunked-not-last", "folded", "bare-lf", "tls",
    ],
)  # fmt: skip
def test_what_is_not_http_is_400_after_what_came_before_it_and_closes(run: Run, sent: bytes) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            answered = await rig.talk(WHOLE + sent)
            assert statuses(answered) == [200, 400]
            assert answered.count(b"connection: close") == 1

    run(scenario)


def test_endless_headers_are_refused(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            reader, writer = await rig.connect()
            writer.write(b"POST /v1/traces HTTP/1.1\r\n")
            for number in range(100):
                writer.write(b"x-%d: %b\r\n" % (number, b"y" * 1000))
                await writer.drain()
                await asyncio.sleep(0)
            assert statuses(await reader.read()) == [400]
            writer.close()

    run(scenario)


@pytest.mark.parametrize("endless", [b"0\r\nx-trailer: ", b"1;extension="], ids=["trailer", "chunk-extension"])
def test_what_brings_no_body_is_bounded_as_headers_are(run: Run, endless: bytes) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            reader, writer = await rig.connect()
            writer.write(b"POST /v1/traces HTTP/1.1\r\n%btransfer-encoding: chunked\r\n\r\n%b" % (TYPE, endless))
            for _ in range(100):
                writer.write(b"y" * 10_000)
                await writer.drain()
                await asyncio.sleep(0)
            assert statuses(await reader.read()) == [400]
            writer.close()

    run(scenario)


def test_a_body_in_very_many_chunks_is_no_endless_header(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            log_text = bytes(make_request(text="x" * 200_000).SerializeToString())
            reader, writer = await rig.connect()
            writer.write(b"POST /v1/traces HTTP/1.1\r\n%btransfer-encoding: chunked\r\n\r\n" % TYPE)
            writer.write(
                b"".join(b"%x;e=1\r\n%b\r\n" % (2, log_text[i : i + 2]) for i in range(0, len(log_text) & ~1, 2))
            )
            writer.write(b"%x\r\n%b\r\n" % (1, log_text[-1:]) if len(log_text) % 2 else b"")
            writer.write(b"0\r\nx-trailer: ignored\r\n\r\n")
            writer.write_eof()
            assert statuses(await reader.read()) == [200]
            assert len(rig.log.spans()) == 3
            writer.close()

    run(scenario)


def test_an_offer_of_another_protocol_is_declined_and_the_body_is_stored(run: Run) -> None:
    """Java's HttpClient offers h2c with its first POST: an OK for a body that was taken for HTTP/2 would lose spans."""
    offer = b"host: t\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__"
    whole = WHOLE.replace(b"host: t", offer)
    chunked = whole.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    cut = whole.index(b"\r\n\r\n") + 4

    async def scenario() -> None:
        async with serving() as rig:
            for sent in (whole, chunked):
                assert statuses(await rig.talk(sent + WHOLE)) == [200, 200]
            assert statuses(await rig.talk(whole[:30], whole[30 : cut + 7], whole[cut + 7 :])) == [200]
            assert statuses(await rig.talk(whole * 2000)) == [200] * 2000
            assert len(rig.log.spans()) == 3 * (4 + 1 + 2000)
            closing = whole.replace(b"Upgrade, HTTP2", b"close, Upgrade, HTTP2")
            assert statuses(await rig.talk(closing + WHOLE)) == [200]

    run(scenario)


def test_a_client_of_http_1_0_is_not_told_to_continue(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            old = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"host: t", b"expect: 100-continue")
            assert statuses(await rig.talk(old)) == [200]

    run(scenario)


def test_a_fault_of_ours_is_500_counted_and_holds_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            rig.log.failure = ZeroDivisionError("a bug")
            assert statuses(await rig.talk(WHOLE)) == [500]
            assert rig.telemetry.total("clearwatch.collector.requests", status="500") == 1

    run(scenario)


def test_a_body_of_very_many_gzip_members_is_refused_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            body = gzip.compress(b"") * 100_000
            head = b"POST /v1/traces HTTP/1.1\r\n%bcontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            assert statuses(await rig.talk(head % (TYPE, len(body)) + body)) == [400]

    run(scenario)


def test_a_body_far_above_the_limit_is_413_and_its_client_reads_that(run: Run) -> None:
    async def scenario() -> None:
        async with serving(max_request_bytes=2048, max_in_flight_bytes=4096) as rig:
            for size in (3000, 1 << 20):
                head = b"POST /v1/traces HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n" % (TYPE, size)
                assert statuses(await rig.talk(head + bytes(size))) == [413]
            # the connection of a client that is read to the end goes on
            assert statuses(await rig.talk(head.replace(b"1048576", b"3000") + bytes(3000) + WHOLE))[0] == 413

    run(scenario)


def test_connection_close_http_1_0_head_and_tunnels_end_the_connection_after_the_answer(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            closing = WHOLE.replace(b"host: t", b"connection: close")
            old = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
            tunnel = b"CONNECT t:1 HTTP/1.1\r\nhost: t\r\n\r\nnot http"
            for sent, status in ((closing, 200), (old, 200), (tunnel, 404)):
                reader, writer = await rig.connect()
                writer.write(sent)
                answered = await reader.read()
                assert statuses(answered) == [status]
                assert b"connection: close" in answered
                writer.close()
            answered = await rig.talk(b"HEAD /v1/traces HTTP/1.1\r\nhost: t\r\n\r\n")
            assert statuses(answered) == [405]
            assert answered.endswith(b"\r\n\r\n")

    run(scenario)


def test_a_slow_request_is_408_and_an_idle_connection_is_closed(run: Run) -> None:
    async def scenario() -> None:
        fast = HttpTimeouts(request_s=0.2, keep_alive_s=0.2, linger_s=0.2, sweep_s=0.05)
        async with serving(fast) as rig:
            reader, writer = await rig.connect()
            writer.write(WHOLE + WHOLE[:-5])
            assert statuses(await reader.read()) == [200, 408]
            writer.close()
            reader, writer = await rig.connect()
            writer.write(WHOLE)
            assert statuses(await reader.read()) == [200]
            writer.close()

    run(scenario)


def test_a_client_that_goes_away_is_counted_and_holds_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            assert statuses(await rig.talk(WHOLE[:-5])) == []
            rig.log.gate = asyncio.Event()
            _, writer = await rig.connect()
            writer.write(WHOLE + WHOLE + WHOLE)
            await rig.log.entered.wait()
            writer.transport.abort()
            rig.log.gate.set()
            status = {"transport": "http", "status": "disconnected"}
            assert rig.telemetry.total("clearwatch.collector.requests", **status) == 1

    run(scenario)


def test_reading_stops_while_requests_wait_and_goes_on_after_them(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            rig.log.gate = asyncio.Event()
            reader, writer = await rig.connect()
            writer.write(WHOLE)
            await rig.log.entered.wait()
            for _ in range(200):
                writer.write(WHOLE * 50)
            (connection,) = rig.server.connections
            while not connection.is_paused:  # noqa: ASYNC110 - the kernel's buffers fill; nothing tells when
                await asyncio.sleep(0)
            rig.log.gate.set()
            writer.write_eof()
            assert statuses(await reader.read()) == [200] * 10_001
            writer.close()

    run(scenario)


def test_stop_answers_what_has_begun_with_close_and_cuts_off_the_rest_at_the_deadline(run: Run) -> None:
    async def scenario() -> None:
        async with serving() as rig:
            rig.log.gate = asyncio.Event()
            _, idle = await rig.connect()
            reader, writer = await rig.connect()
            writer.write(WHOLE)
            await rig.log.entered.wait()
            stopping = asyncio.create_task(rig.server.stop(10))
            await asyncio.sleep(0)
            rig.log.gate.set()
            answered = await reader.read()
            assert statuses(answered) == [200]
            assert b"connection: close" in answered
            await stopping
            idle.close()
            writer.close()
        async with serving() as rig:
            rig.log.gate = asyncio.Event()
            reader, writer = await rig.connect()
            writer.write(WHOLE)
            await rig.log.entered.wait()
            # begun, and cut off before its answer's task has run at all
            (connection,) = rig.server.connections
            rig.log.gate.set()
            assert statuses(await reader.readuntil(b"content-length: 0\r\n\r\n")) == [200]
            connection.data_received(WHOLE)
            connection.abort()
            await rig.server.stop(5)
            assert rig.server.connections == set()
            writer.close()
        async with serving() as rig:
            rig.log.gate = asyncio.Event()
            reader, writer = await rig.connect()
            writer.write(WHOLE)
            await rig.log.entered.wait()
            await rig.server.stop(0.05)
            assert rig.server.connections == set()
            writer.close()

    run(scenario)
