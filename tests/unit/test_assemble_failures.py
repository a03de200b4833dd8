"""A trace that cannot be published costs itself only."""

from collections.abc import Sequence

import msgspec
import pytest

from core import topics
from core.dialects import decode
from core.log.port import Record, StoredRecord, Work
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import Span, SpanKind, ToolCall, Usage
from core.model.trace import Trace, TraceChunk, TraceRecord, TraceVersion
from core.otlp.wire import SpanSlice, read_spans
from core.stage import RecallNeeded
from core.telemetry import Telemetry
from detector.assemble.config import AssembleConfig
from detector.assemble.measuring import Measurer
from detector.assemble.stage import AssembleProcessor, AssembleStage
from detector.assemble.summary import summary
from tests.properties.assembler_model import PARTITIONS, START_S, Inspection, Rules, Sent, World, encoded

BAD = (2).to_bytes(16, "big").hex()


class Faulty:
    """Checks with a bug that shows in one trace, until it is mended."""

    def __init__(self) -> None:
        self.is_broken = True

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspection]:
        if self.is_broken and any(trace.trace_id == BAD for trace in traces):
            raise RuntimeError("no such luck")
        return Rules().inspect_all(traces)


def made(inspector: Faulty, telemetry: Telemetry) -> AssembleProcessor:
    processor = AssembleStage(inspector, AssembleConfig(), telemetry).processor(0, PARTITIONS)
    processor.restore([])
    return processor


def stored(offset: int, at_s: float, spans: Sequence[Sent]) -> StoredRecord:
    return StoredRecord(
        topic=topics.SPANS,
        partition=0,
        offset=offset,
        log_time_ms=round((START_S + at_s) * 1000),
        value=encoded(spans),
        headers=topics.headers(experiment="7"),
    )


def versions(work: Work) -> list[TraceVersion]:
    decode = msgspec.msgpack.Decoder(TraceRecord).decode
    found = [decode(record.value) for record in work.produce if record.topic == topics.TRACES]
    assert all(isinstance(item, TraceVersion | TraceChunk) for item in found)
    return [item for item in found if isinstance(item, TraceVersion)]


def letters(records: Sequence[Record]) -> list[topics.DeadLetter]:
    decode = msgspec.msgpack.Decoder(topics.DeadLetter).decode
    return [decode(record.value) for record in records if record.topic == topics.DEAD_LETTERS]


def three_traces() -> list[Sent]:
    return [Sent(number=10 * trace + n, parent=0 if n == 1 else 10 * trace + 1, trace=trace)
            for trace in (1, 2, 3) for n in (1, 2)]  # fmt: skip


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("CRITICAL", logger="detector.assemble.publication")
    return caplog


@pytest.mark.usefixtures("quiet")
def test_trace_that_cannot_be_published_stops_no_other() -> None:
    processor = made(Faulty(), Telemetry())
    processor.process([stored(0, 0, three_traces())])
    work = processor.tick(START_S + 10)
    assert sorted(found.trace_id[-1] for found in versions(work)) == ["1", "3"]
    assert work.next_offsets == {topics.SPANS: 1}
    assert processor.open_count == 0
    assert [letter.reason for letter in letters(work.produce)] == ["trace_not_published"]


@pytest.mark.parametrize("fault", [TypeError, KeyError, RecursionError, ValueError])
def test_a_span_that_a_dialect_stumbles_over_costs_itself_and_not_its_trace(fault: type[Exception]) -> None:
    def stumbling(piece: SpanSlice) -> Span:
        if piece.span_id.endswith(bytes([22])):
            raise fault("odd")
        return decode(piece)

    processor = AssembleStage(Rules(), AssembleConfig(), Telemetry(), decode=stumbling).processor(0, PARTITIONS)
    processor.restore([])
    processor.process([stored(0, 0, three_traces())])
    work = processor.tick(START_S + 10)
    assert sorted(found.trace_id[-1] for found in versions(work)) == ["1", "2", "3"]
    (letter,) = letters(work.produce)
    assert (letter.reason, letter.error_type) == ("span_not_decodable", fault.__name__)


@pytest.mark.usefixtures("quiet")
def test_dead_letter_of_a_trace_holds_its_spans_and_says_why() -> None:
    processor = made(Faulty(), Telemetry())
    processor.process([stored(0, 0, three_traces())])
    (letter,) = letters(processor.tick(START_S + 10).produce)
    assert letter.error == f"trace {BAD} was not published: RuntimeError: no such luck"
    assert (letter.stage, letter.error_type, letter.kind) == ("assemble", "TraceNotPublishedError", "record")
    assert letter.headers["experiment"] == "7"
    assert [item.span_id for item in read_spans(letter.value)[0]] == [n.to_bytes(8, "big") for n in (21, 22)]


@pytest.mark.usefixtures("quiet")
def test_trace_that_failed_is_published_whole_when_a_late_span_comes_and_the_fault_is_gone() -> None:
    inspector = Faulty()
    processor = made(inspector, Telemetry())
    first = stored(0, 0, three_traces())
    processor.process([first])
    assert all(found.trace_id != BAD for found in versions(processor.tick(START_S + 10)))
    inspector.is_broken = False
    late = stored(1, 20, [Sent(number=23, parent=21, trace=2, session="s")])
    processor.process([late])
    with pytest.raises(RecallNeeded):
        processor.tick(START_S + 30)
    processor.recalled([first])
    (version,) = versions(processor.tick(START_S + 30))
    assert (version.trace_id, version.span_count, version.session_id) == (BAD, 3, "s")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("after_s", [20.0, 4_000.0, 400_000.0])
def test_replayed_letter_of_a_trace_makes_the_version_that_failed(after_s: float, is_killed: bool) -> None:
    inspector = Faulty()
    world = World(inspector=inspector)
    world.append(0, three_traces(), experiment="7")
    world.run(until_s=10)
    (letter,) = letters(world.written)
    inspector.is_broken = False
    if is_killed:
        world.kill()
    for _ in range(2):  # the second changes nothing
        world.append_bytes(after_s, letter.value, **letter.headers)
        after_s += 30
        world.run(until_s=after_s)
    (version,) = [found for found in world.versions() if found.trace_id == BAD]
    assert (version.span_count, version.has_root, version.fragment, version.routing_key) == (
        2,
        True,
        False,
        "experiment:7",
    )
    rows = [row for row in world.measurements() if row.trace_id == BAD and not row.is_trace]
    assert len(rows) == len({row.span_id for row in rows}) == 2


@pytest.mark.usefixtures("quiet")
def test_provisional_version_that_fails_is_no_dead_letter_but_tried_again_at_the_close() -> None:
    inspector = Faulty()
    world = World(inspector=inspector)
    world.append(0, [Sent(number=22, parent=21, trace=2)])
    world.append(100, [Sent(number=1, trace=1)])
    world.run(until_s=110)
    assert letters(world.written) == []
    inspector.is_broken = False
    world.append(120, [Sent(number=21, trace=2)])
    world.run()
    version = world.final()[BAD]
    assert (version.span_count, version.fragment) == (2, False)
    chunks = [item for item in world.chunks() if (item.trace_id, item.version) == (BAD, version.version)]
    assert {item.span_id[-1] for chunk in chunks for item in read_spans(chunk.otlp)[0]} == {21, 22}


def test_measurement_that_cannot_be_encoded_costs_itself_only() -> None:
    telemetry = Telemetry()
    measurer = Measurer(telemetry, partitions=1)
    spans = [Span(trace_id="t", span_id=str(n), usage=Usage(input_tokens=2**70 if n == 3 else n)) for n in range(7)]
    whole = summary(Trace(trace_id="t", spans=spans[:1], version="v"))
    trace = Trace(trace_id="t", spans=spans, version="v")
    measurer.add(trace, spans, routing_key="k", session_id="", root=None, whole=whole)
    rows = [row for record in measurer.take() for row in measurements(record)]
    assert [row.span_id for row in rows] == ["0", "1", "2", "4", "5", "6"]
    assert telemetry.total("clearwatch.dropped", reason="measurement_not_encodable") == 1


def test_rows_read_as_measurements() -> None:
    measurer = Measurer(Telemetry(), partitions=1)
    root = Span(trace_id="t", span_id="r", name="root", kind=SpanKind.AGENT, agent="a", start_ns=10, end_ns=5_000_010,
                service="svc", release="1", environment="prod")  # fmt: skip
    tool = Span(trace_id="t", span_id="c", parent_span_id="r", kind=SpanKind.TOOL, tool=ToolCall(name="find"),
                start_ns=20, end_ns=9_000_010, service="svc", cost_usd=0.5, time_to_first_token_s=0.25,
                usage=Usage(input_tokens=3, output_tokens=4), model="m")  # fmt: skip
    trace = Trace(trace_id="t", spans=[root, tool], version="v")
    measurer.add(trace, [root, tool], routing_key="k", session_id="s", root=root, whole=summary(trace))
    first, second, third = [row for record in measurer.take() for row in measurements(record)]
    assert (first.operation, first.kind, first.duration_ms, first.is_trace) == ("agent:a", "agent", 5.0, False)
    assert (second.operation, second.kind, second.input_tokens, second.output_tokens) == ("find", "tool", 3, 4)
    assert (second.cost_usd, second.time_to_first_token_s, second.session_id, second.model) == (0.5, 0.25, "s", "m")
    assert (third.operation, third.kind, third.duration_ms, third.is_trace) == ("root", "unknown", 9.0, True)
    # the tool goes on for longer than the root, which owns what is left of it; the trace is the tool's
    assert (first.own_ms, second.own_ms) == (0.00001, 8.99999)
    assert third.own_ms == pytest.approx(0.00001)
    assert (third.started_ns, third.ended_ns, third.release, third.environment) == (10, 9_000_010, "1", "prod")
    assert measurer.take() == []


def measurements(record: Record) -> Sequence[Measurement]:
    return msgspec.msgpack.decode(record.value, type=MeasurementBatch).measurements


def test_usage_and_cost_count_at_the_deepest_span_and_cycles_end() -> None:
    call = Usage(input_tokens=5, output_tokens=7)
    spans = [
        Span(trace_id="t", span_id="a", usage=call, cost_usd=1.0),
        Span(trace_id="t", span_id="b", parent_span_id="a"),
        Span(trace_id="t", span_id="c", parent_span_id="b", usage=call, model="m"),
        Span(trace_id="t", span_id="x", parent_span_id="y"),
        Span(trace_id="t", span_id="y", parent_span_id="x", usage=call, model="l"),
    ]
    found = summary(Trace(trace_id="t", spans=spans, version="v"))
    # y is above itself: what lies in a circle counts nowhere
    assert (found.input_tokens, found.output_tokens, found.cost_usd, found.models) == (5, 7, 1.0, ("l", "m"))
