"""Requests of log records are split by trace: nothing is lost, nothing stands in a foreign partition."""

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from collector.logs import split_logs
from core.otlp.wire import read_log_records
from core.topics import partition_for_trace

TRACE_IDS = st.one_of(
    st.binary(min_size=16, max_size=16).filter(any), st.sampled_from([b"", bytes(16), b"\x01" * 15, b"\x07" * 16])
)
RECORDS = st.lists(
    # resource, scope, trace id, length of the body
    st.tuples(st.integers(0, 2), st.integers(0, 2), TRACE_IDS, st.integers(0, 300)),
    max_size=30,
)
MAX_BYTES = 400


@settings(max_examples=100, deadline=None)
@given(drawn=RECORDS, partitions=st.integers(1, 5))
def test_every_record_with_a_trace_stands_once_in_the_partition_of_its_trace(
    drawn: list[tuple[int, int, bytes, int]], partitions: int
) -> None:
    request = LogsData()
    for number, (resource, scope, trace_id, size) in enumerate(drawn):
        while len(request.resource_logs) <= resource:
            request.resource_logs.add().resource.attributes.add(key="service.name")
        outer = request.resource_logs[resource]
        while len(outer.scope_logs) <= scope:
            outer.scope_logs.add().scope.name = f"scope {len(outer.scope_logs)}"
        record = outer.scope_logs[scope].log_records.add(trace_id=trace_id, time_unix_nano=number)
        record.body.string_value = "x" * size
    parts, kept, without_trace = split_logs(
        request.SerializeToString(), partitions=partitions, max_record_bytes=MAX_BYTES
    )
    wanted = sorted(
        (record.trace_id, record.SerializeToString(), outer.resource.SerializeToString(), inner.scope.name)
        for outer in request.resource_logs
        for inner in outer.scope_logs
        for record in inner.log_records
        if len(record.trace_id) == 16 and any(record.trace_id)
    )
    found = []
    for part in parts:
        assert not read_log_records(part.value)[1]
        data = LogsData.FromString(part.value)
        records = [
            (record, outer.resource, inner.scope)
            for outer in data.resource_logs
            for inner in outer.scope_logs
            for record in inner.log_records
        ]
        assert {partition_for_trace(record.trace_id, partitions) for record, _, _ in records} == {part.partition}
        # a record alone may be larger
        assert len(records) == 1 or sum(record.ByteSize() for record, _, _ in records) <= MAX_BYTES
        found += [(r.trace_id, r.SerializeToString(), o.SerializeToString(), s.name) for r, o, s in records]
    assert sorted(found) == wanted
    assert (kept, without_trace) == (len(wanted), len(drawn) - len(wanted))
