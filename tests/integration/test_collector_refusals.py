"""Bad input, overload and a failing log: OTLP's answer, a counter, and no effect on anything else."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from collector.service import AddressInUseError, Collector
from core import topics
from core.clock import SystemClock
from core.errors import LogFullError, LogUnavailableError
from core.telemetry import Telemetry
from tests.integration.collector_kit import RecordingLog, make_config, make_request, running

pytestmark = pytest.mark.integration

MIB = 1 << 20
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

GOOD = bytes(make_request().SerializeToString())
BAD_TEXT = bytes(make_request(text="hallo").SerializeToString()).replace(b"hallo", b"hal\xff\xfe")
NOT_OTLP = [GOOD[:-3], b"<html>", b"\x00", b"\xff" * 50, BAD_TEXT]
NOT_OTLP_IDS = ["truncated", "html", "zero", "ones", "bad-utf8"]


def _bytes(value: bytes) -> bytes:
    return value


class Rig:
    """A running collector, its log and its counters."""

    def __init__(self, collector: Collector, log: RecordingLog, telemetry: Telemetry, http: httpx.AsyncClient) -> None:
        self.collector = collector
        self.log = log
        self.telemetry = telemetry
        self.http = http

    async def export(self, body: bytes, method: str = TRACES, **metadata: str) -> bytes:
        """Call over gRPC. Raises AioRpcError."""
        options = [("grpc.max_send_message_length", -1)]
        async with aio.insecure_channel(f"127.0.0.1:{self.collector.grpc_port}", options=options) as channel:
            found = await channel.unary_unary(method, _bytes, _bytes)(body, metadata=tuple(metadata.items()))
        return bytes(found)

    async def refused(self, body: bytes, **metadata: str) -> tuple[grpc.StatusCode, Status]:
        """Return the status of a call that fails, and its details."""
        with pytest.raises(aio.AioRpcError) as caught:
            await self.export(body, **metadata)
        trailing: Any = caught.value.trailing_metadata() or ()
        details = dict(trailing).get("grpc-status-details-bin", b"")
        return caught.value.code(), Status.FromString(details)

    async def post(self, body: Any, headers: dict[str, str] = PROTOBUF, path: str = "/v1/traces") -> httpx.Response:
        """Call over HTTP."""
        return await self.http.post(path, content=body, headers=headers)

    def answered(self, transport: str, status: str) -> float:
        """Return how many requests got this answer."""
        return self.telemetry.total("clearwatch.collector.requests", transport=transport, status=status)


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    log, telemetry = RecordingLog(), Telemetry()
    async with running(log, telemetry, **getattr(request, "param", {})) as collector, httpx.AsyncClient() as http:
        http.base_url = httpx.URL(f"http://127.0.0.1:{collector.http_port}")
        found = Rig(collector, log, telemetry, http)
        yield found
        # whatever happened, the next request is taken and nothing stays reserved
        log.failure = None
        assert (await found.post(GOOD)).status_code == 200
        assert telemetry.snapshot()["clearwatch.collector.in_flight", ()] == 0


@pytest.mark.parametrize("body", NOT_OTLP, ids=NOT_OTLP_IDS)
async def test_undecodable_protobuf_is_400_and_invalid_argument(rig: Rig, body: bytes) -> None:
    answer = await rig.post(body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert Status.FromString(answer.content).code == 3
    code, status = await rig.refused(body)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (status.code, len(status.details)) == (3, 0)
    assert rig.log.records == []
    assert rig.answered("http", "400") == 1
    assert rig.answered("grpc", "INVALID_ARGUMENT") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [1]}',
        b'{"resourceSpans": [{"scopeSpans": {}}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 7}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": {}}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}',
        b'{"resourceSpans": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=range(13),
)
async def test_json_with_wrong_types_is_400_with_a_json_status(rig: Rig, body: bytes) -> None:
    answer = await rig.post(body, JSON)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == 3
    assert rig.log.records == []


async def test_json_takes_ids_in_either_case_numbers_as_strings_and_unknown_fields(rig: Rig) -> None:
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "name": "x",
        "kind": 2,
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": 1544712661000000000,
        "attributes": [{"key": "n", "value": {"intValue": "7"}}, {"key": "m", "value": {"intValue": 8}}],
        "surprise": {"a": [1]},
    }
    answer = await rig.post(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}), JSON)
    assert (answer.status_code, answer.content) == (200, b"{}")
    (stored,) = rig.log.spans()
    assert stored.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert stored.parent_span_id.hex() == "eee19b7ec3c1b173"
    assert stored.end_time_unix_nano - stored.start_time_unix_nano == 10**9
    assert [a.value.int_value for a in stored.attributes] == [7, 8]


async def test_partial_success_is_exact_in_both_encodings_and_transports(rig: Rig) -> None:
    request = make_request(5)
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[1].trace_id, spans[3].span_id = bytes(16), b"\x01" * 7
    body = request.SerializeToString()
    for content in ((await rig.post(body)).content, await rig.export(body)):
        assert ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans == 2
    as_json = {"spans": [{"traceId": "00" * 16, "spanId": "01" * 8}, {"traceId": "01" * 16, "spanId": "01" * 8}]}
    answer = await rig.post(json.dumps({"resourceSpans": [{"scopeSpans": [as_json]}]}), JSON)
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert len(rig.log.spans()) == 3 + 3 + 1
    assert rig.telemetry.total("clearwatch.collector.spans.rejected", reason="invalid_id") == 5
    assert rig.telemetry.total("clearwatch.collector.spans.received") == 7


async def test_future_and_negative_times_are_stored_as_they_are(rig: Rig) -> None:
    request = make_request(1)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.start_time_unix_nano, span.end_time_unix_nano = 2**64 - 1, 5
    assert (await rig.post(request.SerializeToString())).content == b""
    assert rig.log.spans()[0].start_time_unix_nano == 2**64 - 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/traces", PROTOBUF, 405),
        ("PUT", "/v1/logs", PROTOBUF, 405),
        ("POST", "/", PROTOBUF, 404),
        ("POST", "/v1/metrics", PROTOBUF, 404),
        ("POST", "/v1/traces", {"content-type": "text/plain"}, 415),
        ("POST", "/v1/traces", {}, 415),
        ("POST", "/v1/traces", PROTOBUF | {"content-encoding": "br"}, 415),
        ("POST", "/v1/traces", PROTOBUF | {"x-mlflow-experiment-id": "7" * 200}, 400),
    ],
)
async def test_wrong_method_path_and_headers(
    rig: Rig, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await rig.http.request(method, path, content=GOOD, headers=headers)
    assert answer.status_code == status
    assert rig.answered("http", str(status)) == 1
    assert rig.log.records == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_every_content_encoding_of_otlp_is_taken(rig: Rig, encoding: str) -> None:
    packed = {"gzip": gzip.compress(GOOD), "deflate": zlib.compress(GOOD), "identity": GOOD}[encoding]
    assert (await rig.post(packed, PROTOBUF | {"content-encoding": encoding})).status_code == 200
    assert len(rig.log.spans()) == 3


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_damaged_compressed_body_is_400(rig: Rig, encoding: str) -> None:
    packed = gzip.compress(GOOD) if encoding == "gzip" else zlib.compress(GOOD)
    for body in (packed[:-4], packed[:10], b"nonsense", b""):
        assert (await rig.post(body, PROTOBUF | {"content-encoding": encoding})).status_code == 400


async def test_a_gzip_bomb_is_413_and_resource_exhausted(rig: Rig) -> None:
    bomb = gzip.compress(bytes(200 * MIB), 9)
    answer = await rig.post(bomb, PROTOBUF | {"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert Status.FromString(answer.content).code == 8
    async with aio.insecure_channel(
        f"127.0.0.1:{rig.collector.grpc_port}",
        options=[("grpc.max_send_message_length", -1)],
        compression=grpc.Compression.Gzip,
    ) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(TRACES, _bytes, _bytes)(bytes(64 * MIB))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


async def test_seventeen_mib_are_413_whole_or_in_chunks_and_resource_exhausted_without_retry(rig: Rig) -> None:
    body = bytes(make_request(1, text="x" * 17 * MIB).SerializeToString())
    assert (await rig.post(body)).status_code == 413
    assert (await rig.post(_in_chunks(body))).status_code == 413
    code, status = await rig.refused(body)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(status.details) == 0
    assert rig.answered("grpc", "RESOURCE_EXHAUSTED") == 1
    assert rig.log.records == []


async def test_fifteen_mib_in_chunks_are_taken_as_records_of_bounded_size(rig: Rig) -> None:
    body = bytes(make_request(150, text="x" * 100_000).SerializeToString())
    assert (await rig.post(_in_chunks(body))).status_code == 200
    assert len(rig.log.spans()) == 150
    assert max(len(record.value) for record in rig.log.records) <= 900_000


@pytest.mark.parametrize(
    "failure",
    [LogUnavailableError("disk full", retry_after_s=2.5), LogFullError(stored_bytes=2, max_bytes=1)],
    ids=["unavailable", "full"],
)
async def test_a_log_that_cannot_store_is_503_and_unavailable_with_a_delay(
    rig: Rig, failure: LogUnavailableError
) -> None:
    rig.log.failure = failure
    answer = await rig.post(GOOD)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= failure.retry_after_s
    code, status = await rig.refused(GOOD)
    assert code is grpc.StatusCode.UNAVAILABLE
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds + info.retry_delay.nanos / 1e9 == failure.retry_after_s
    assert rig.telemetry.total("clearwatch.collector.spans.received") == 0


async def test_a_fault_of_ours_is_500_and_internal_and_tells_nothing_of_itself(rig: Rig) -> None:
    rig.log.failure = ZeroDivisionError("a secret")
    answer = await rig.post(GOOD)
    assert (answer.status_code, b"secret" in answer.content) == (500, False)
    with pytest.raises(aio.AioRpcError) as caught:
        await rig.export(GOOD)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert (rig.answered("http", "500"), rig.answered("grpc", "INTERNAL")) == (1, 1)


async def test_a_grpc_client_that_goes_away_holds_nothing_and_its_neighbours_are_answered(rig: Rig) -> None:
    rig.log.gate = asyncio.Event()
    async with aio.insecure_channel(f"127.0.0.1:{rig.collector.grpc_port}") as channel:
        calls = [channel.unary_unary(TRACES, _bytes, _bytes)(GOOD) for _ in range(2)]
        await rig.log.entered.wait()
        calls[0].cancel()
        staying = asyncio.ensure_future(calls[1])
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        rig.log.gate.set()
        assert await staying == b""


@pytest.mark.parametrize("rig", [{"max_in_flight_bytes": 40_000, "max_request_bytes": 30_000}], indirect=True)
async def test_more_bytes_in_flight_than_the_bound_are_429_and_resource_exhausted_with_a_delay(rig: Rig) -> None:
    rig.log.gate = asyncio.Event()
    body = make_request(1, text="x" * 25_000).SerializeToString()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(rig.post(body), name="first")
        await rig.log.entered.wait()
        answer = await rig.post(body)
        code, status = await rig.refused(body)
        rig.log.gate.set()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.details[0].Is(RetryInfo.DESCRIPTOR)
    assert (await first).status_code == 200
    assert rig.telemetry.total("clearwatch.dropped", reason="overloaded") == 2


async def test_logs_are_split_by_trace_and_those_without_one_are_counted(rig: Rig) -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for number in range(6):
        scope.log_records.add(trace_id=bytes(15) + bytes((number,)) if number else b"").body.string_value = "hello"
    body = request.SerializeToString()
    assert (await rig.post(body, path="/v1/logs")).content == b""
    assert await rig.export(body, LOGS) == b""
    ids = {}
    for record in rig.log.records:
        assert record.headers[topics.HEADER_SIGNAL] == topics.SIGNAL_LOGS
        for log in LogsData.FromString(record.value).resource_logs[0].scope_logs[0].log_records:
            ids[log.trace_id[-1]] = record.partition
    assert ids == {number: number % 4 for number in range(1, 6)}
    assert rig.telemetry.total("clearwatch.dropped", reason="log_without_trace") == 2
    assert (await rig.post(body[:-1], path="/v1/logs")).status_code == 400


async def test_a_taken_port_is_named_with_its_key() -> None:
    async with running(RecordingLog(), Telemetry()) as first:
        for key, port in (("grpc", first.grpc_port), ("http", first.http_port)):
            config = make_config(**{key: {"listen": f"127.0.0.1:{port}"}})
            second = Collector(log=RecordingLog(), config=config, telemetry=Telemetry(), clock=SystemClock())  # type: ignore[arg-type]
            with pytest.raises(AddressInUseError, match=f"collector.{key}.listen"):
                await second.start()


async def test_stop_finishes_requests_in_hand_and_frees_the_ports() -> None:
    log = RecordingLog()
    log.gate = asyncio.Event()
    async with running(log, Telemetry()) as collector, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{collector.http_port}/v1/traces"
        async with asyncio.TaskGroup() as tasks:
            in_hand = tasks.create_task(http.post(url, content=GOOD, headers=PROTOBUF), name="in-hand")
            await log.entered.wait()
            tasks.create_task(collector.stop(10), name="stop")
            await asyncio.sleep(0)
            log.gate.set()
        assert (await in_hand).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await http.post(url, content=GOOD)
