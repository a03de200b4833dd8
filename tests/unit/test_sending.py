"""`send` reads what exporters write, shifts it, splits it, and says where a file is wrong."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clearwatch import sending
from core.errors import RetryableError

SPAN = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "eee19b7ec3c1b174",
    "name": "chat",
    "startTimeUnixNano": "1000",
    "endTimeUnixNano": "2000",
    "events": [{"timeUnixNano": "1500", "name": "exception"}],
}


def line(*spans: Mapping[str, object]) -> str:
    """Return one request as OTLP/JSON."""
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]})


def test_ids_in_hex_of_either_case_become_bytes() -> None:
    request = sending.from_json(line(SPAN), where="f:1")
    assert isinstance(request, ExportTraceServiceRequest)
    assert request.resource_spans[0].scope_spans[0].spans[0].trace_id.hex() == "5b8efff798038103d269b633813fc60c"


def test_gzipped_lines_and_protobuf_files_hold_the_same(tmp_path: Path) -> None:
    request = sending.from_json(line(SPAN), where="f:1")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(f"{line(SPAN)}\n\n".encode()))
    (tmp_path / "a.pb").write_bytes(request.SerializeToString())
    assert list(sending.read(tmp_path / "a.jsonl.gz")) == list(sending.read(tmp_path / "a.pb")) == [request]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"resourceMetrics": []}', '{"resourceSpans": 7}', '{"resourceSpans": [7]}']
)
def test_a_line_that_is_not_otlp_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{line(SPAN)}\n{text}\n")
    with pytest.raises(sending.FileError, match=r"bad\.jsonl:2"):
        list(sending.read(path))


def test_a_shift_moves_spans_and_events_alike() -> None:
    request = sending.from_json(line(SPAN), where="f:1")
    assert sending.latest_ns([request]) == 2000
    sending.shift(request, 500)
    assert isinstance(request, ExportTraceServiceRequest)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    assert (span.start_time_unix_nano, span.end_time_unix_nano, span.events[0].time_unix_nano) == (1500, 2500, 2000)


def test_a_request_above_the_limit_is_split_without_losing_a_span() -> None:
    many = [{**SPAN, "spanId": f"{number:016x}"} for number in range(1, 50)]
    request = sending.from_json(line(*many), where="f:1")
    parts = list(sending.split(request, max_bytes=500))
    assert len(parts) > 5
    assert sum(map(sending.count, parts)) == 49
    assert all(part.ByteSize() < 700 for part in parts)


def test_no_collector_is_an_error_that_says_what_to_do() -> None:
    request = sending.from_json(line(SPAN), where="f:1")
    with pytest.raises(RetryableError, match="clearwatch up"):
        sending.send([request], "http://127.0.0.1:9", progress=lambda _: None)


def test_log_records_are_shifted_by_whichever_time_they_have() -> None:
    logs = [{"timeUnixNano": "1000", "observedTimeUnixNano": "1100"}, {"observedTimeUnixNano": "1500"}]
    request = sending.from_json(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}), where="f:1")
    assert sending.latest_ns([request]) == 1500
    sending.shift(request, 500)
    assert isinstance(request, ExportLogsServiceRequest)
    records = request.resource_logs[0].scope_logs[0].log_records
    times = [(record.time_unix_nano, record.observed_time_unix_nano) for record in records]
    assert times == [(1500, 1600), (0, 2000)]
