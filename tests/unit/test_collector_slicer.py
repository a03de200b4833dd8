"""The slicer's promises, one by one."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.slicer import slice_traces
from core.errors import SpanDecodeError

LIMIT = 900_000


def request_of(*trace_ids: bytes, text: str = "x") -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, trace_id in enumerate(trace_ids, 1):
        scope.spans.add(trace_id=trace_id, span_id=number.to_bytes(8, "big"), name=text)
    return bytes(request.SerializeToString())


def test_a_request_for_one_partition_passes_through_untouched() -> None:
    data = request_of(b"\x01" * 16, b"\x01" * 16)
    sliced = slice_traces(data, partitions=4, max_record_bytes=LIMIT)
    assert [part.value for part in sliced.parts] == [data]
    assert sliced.parts[0].value is data


def test_an_empty_request_makes_no_record() -> None:
    sliced = slice_traces(b"", partitions=4, max_record_bytes=LIMIT)
    assert (sliced.parts, sliced.accepted, sliced.rejected) == ((), 0, 0)


def test_rejected_spans_are_counted_and_left_out() -> None:
    data = request_of(b"\x01" * 16, bytes(16), b"\x01" * 8, b"", b"\x01" * 16)
    sliced = slice_traces(data, partitions=1, max_record_bytes=LIMIT)
    assert (sliced.accepted, sliced.rejected) == (2, 3)
    kept = ExportTraceServiceRequest.FromString(sliced.parts[0].value).resource_spans[0].scope_spans[0].spans
    assert [span.span_id[-1] for span in kept] == [1, 5]


def test_a_single_span_above_the_limit_goes_alone() -> None:
    small, large = b"\x01" * 16, b"\x02" * 16
    data = request_of(small) + request_of(large, text="y" * 5000) + request_of(small)
    sliced = slice_traces(data, partitions=1, max_record_bytes=2000)
    assert sliced.accepted == 3
    assert sorted(len(part.value) > 2000 for part in sliced.parts) == [False, False, True]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_truncated_request_is_refused(cut: int) -> None:
    data = request_of(b"\x01" * 16, b"\x02" * 16)
    with pytest.raises(SpanDecodeError):
        slice_traces(data[:-cut], partitions=4, max_record_bytes=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\xff" * 11,
        b"\x00",
        b"\x0c",
        b"\x0b\x0b",
        b"\x0e\x00",
        b"\x0f\x00",
        b"\x0b" * 200,
        b"\x09\x00",
        b"\x13\x1c",
        b"<html>",
    ],
    ids=lambda data: data[:8].hex(),
)
def test_bytes_that_are_not_protobuf_are_refused(data: bytes) -> None:
    with pytest.raises(SpanDecodeError):
        slice_traces(data, partitions=4, max_record_bytes=LIMIT)
