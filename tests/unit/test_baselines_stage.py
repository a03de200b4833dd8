"""What is slow, what is learned from it, and that a restart forgets nothing."""

import random

import msgspec
import pytest

from core.log.port import StoredRecord, Work
from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.measurement import Measurement, MeasurementBatch
from core.model.span import SpanKind
from core.telemetry import Telemetry
from core.topics import FINDINGS, MEASUREMENTS, headers
from detector.baselines.config import BaselinesConfig
from detector.baselines.stage import BaselinesProcessor, BaselinesStage

NOW_S = 1_800_000_000.0


def measured(number: int, duration_ms: float, **fields: object) -> Measurement:
    started_ns = int((NOW_S + number) * 1e9)
    made = Measurement(
        routing_key="shop",
        service="shop",
        operation="retrieve_documents",
        kind=SpanKind.RETRIEVER,
        model="",
        duration_ms=duration_ms,
        failed=False,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        session_id="",
        started_ns=started_ns,
        ended_ns=started_ns + int(duration_ms * 1e6),
    )
    return msgspec.structs.replace(made, **fields)


class Baselines:
    """A processor and its committed state."""

    def __init__(self, **config: object) -> None:
        self.telemetry = Telemetry()
        self.config = BaselinesConfig.model_validate(config)
        self.state: dict[bytes, bytes] = {}
        self.offset = 0
        self.committed = 0
        self.log: list[StoredRecord] = []
        self.processor = self._made()

    def _made(self) -> BaselinesProcessor:
        made = BaselinesProcessor(
            config=self.config, finding_partitions=4, max_keys=self.config.max_keys, telemetry=self.telemetry
        )
        made.restore(list(reversed(self.state.items())))
        return made

    def take(self, *rows: Measurement, at_s: float = NOW_S, origin: str = "live") -> list[Finding]:
        record = StoredRecord(
            topic=MEASUREMENTS,
            partition=0,
            offset=len(self.log),
            log_time_ms=int(at_s * 1000),
            value=msgspec.msgpack.encode(MeasurementBatch(measurements=rows)),
            headers=headers(origin=origin),
        )
        self.log.append(record)
        return self.commit(self.processor.process([record]))

    def commit(self, work: Work) -> list[Finding]:
        assert bool(work.state) <= bool(work.next_offsets), "state without its offset would be learned twice"
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        self.committed = work.next_offsets.get(MEASUREMENTS, self.committed)
        assert {record.topic for record in work.produce} <= {FINDINGS}
        return [msgspec.msgpack.decode(record.value, type=Finding) for record in work.produce]

    def kill(self) -> list[Finding]:
        """Restart from what is committed and read on from there."""
        self.processor = self._made()
        rest = self.log[self.committed :]
        return self.commit(self.processor.process(rest)) if rest else []


def warm(baselines: Baselines, usual_ms: float = 300.0, count: int = 60, **fields: object) -> None:
    for n in range(count):
        assert baselines.take(measured(n, usual_ms * (0.9 + n % 3 / 10), **fields)) == []


def test_a_new_key_learns_before_it_speaks() -> None:
    baselines = Baselines()
    for n in range(49):
        assert baselines.take(measured(n, 100.0)) == []
    assert baselines.take(measured(49, 60_000.0)) == []


@pytest.mark.parametrize(
    ("kind", "operation", "title"),
    [
        (SpanKind.RETRIEVER, "retriever:travel-guides", "Retrieval from travel-guides is slow"),
        (SpanKind.RETRIEVER, "retriever", "Retrieval is slow"),
        (SpanKind.LLM, "llm:gpt-4o", "LLM call to gpt-4o is slow"),
        (SpanKind.DB, "db:orders", "DB call to orders is slow"),
        (SpanKind.TOOL, "get_weather", "get_weather is slow"),
        (SpanKind.UNKNOWN, "llm:odd name", "llm:odd name is slow"),
    ],
)
def test_a_title_names_what_is_slow(kind: SpanKind, operation: str, title: str) -> None:
    baselines = Baselines()
    warm(baselines, kind=kind, operation=operation)
    (found,) = baselines.take(measured(99, 4_200.0, kind=kind, operation=operation))
    assert found.title == title


def test_a_slow_call_is_found_with_its_figures() -> None:
    baselines = Baselines()
    warm(baselines)
    (found,) = baselines.take(measured(99, 4_200.0, session_id="s"))
    assert (found.check, found.kind, found.category) == ("slow_span", FindingKind.FAULT, Dimension.LATENCY)
    assert found.title == "retrieve_documents is slow"
    assert found.rationale == "took 4.2 s; p99 of the last 60 was 330 ms"
    assert found.span_ids == (f"{99:016x}",)
    assert (found.trace_id, found.session_id) == (f"{99:032x}", "s")
    assert not found.publish_at_once
    assert found.severity is Severity.MEDIUM


def test_what_nobody_waits_for_is_of_low_severity() -> None:
    baselines = Baselines()
    warm(baselines, usual_ms=10.0)
    (found,) = baselines.take(measured(99, 900.0))
    assert found.severity is Severity.LOW


def test_slow_calls_of_one_operation_share_a_fingerprint_and_no_id() -> None:
    baselines = Baselines()
    warm(baselines)
    (first,) = baselines.take(measured(98, 4_200.0))
    (second,) = baselines.take(measured(99, 1_900.0))
    assert first.fingerprint == second.fingerprint
    assert first.finding_id != second.finding_id


def test_twice_the_usual_is_not_slow_where_nobody_would_notice() -> None:
    baselines = Baselines()
    warm(baselines, usual_ms=10.0)
    assert baselines.take(measured(99, 90.0)) == []


def test_a_failed_call_is_neither_slow_nor_learned() -> None:
    baselines = Baselines()
    warm(baselines)
    for n in range(100, 200):
        assert baselines.take(measured(n, 60_000.0, failed=True)) == []
    assert len(baselines.take(measured(300, 4_200.0))) == 1


def test_one_spike_does_not_hide_the_next() -> None:
    baselines = Baselines()
    warm(baselines, count=200)
    assert len(baselines.take(measured(998, 3_600_000.0))) == 1
    assert len(baselines.take(measured(999, 4_200.0))) == 1


def test_a_lasting_shift_is_reported_and_then_usual() -> None:
    baselines = Baselines()
    warm(baselines, count=500)
    found = [bool(baselines.take(measured(n, 900.0))) for n in range(1_000, 1_100)]
    assert found[0]
    assert 3 <= sum(found) <= 20
    assert not any(found[20:])


def test_single_spikes_in_heavy_tailed_traffic_are_found_without_false_alarms() -> None:
    chance = random.Random(7)
    baselines = Baselines()
    spikes = set(chance.sample(range(200, 3_000), 12))
    alarms: set[int] = set()
    for n in range(3_000):
        usual_ms = 400 * chance.lognormvariate(0, 0.5)
        if baselines.take(measured(n, 10_000.0 if n in spikes else usual_ms)):
            alarms.add(n)
    assert spikes <= alarms
    assert len(alarms - spikes) <= 1


@pytest.mark.parametrize("kind", [SpanKind.AGENT, SpanKind.CHAIN, SpanKind.PROMPT, SpanKind.EVALUATOR])
def test_spans_that_hold_others_are_not_timed(kind: SpanKind) -> None:
    baselines = Baselines()
    warm(baselines, kind=kind)
    assert baselines.take(measured(99, 60_000.0, kind=kind)) == []
    assert baselines.state == {}


def test_of_nested_slow_spans_the_deepest_is_reported() -> None:
    baselines = Baselines()
    warm(baselines)
    warm(baselines, kind=SpanKind.UNKNOWN, operation="answer")
    inner = measured(99, 4_000.0)
    outer = msgspec.structs.replace(
        inner,
        kind=SpanKind.UNKNOWN,
        operation="answer",
        span_id="ff",
        started_ns=inner.started_ns - 5,
        duration_ms=4_001,
    )
    (found,) = baselines.take(outer, inner)
    assert found.span_ids == (inner.span_id,)


def test_a_slow_trace_is_a_finding_of_its_own() -> None:
    baselines = Baselines()
    warm(baselines, is_trace=True, operation="chat", kind=SpanKind.UNKNOWN)
    (found,) = baselines.take(measured(99, 9_000.0, is_trace=True, operation="chat", kind=SpanKind.UNKNOWN))
    assert (found.check, found.kind, found.title) == ("slow_trace", FindingKind.PATTERN, "Traces of chat are slow")


def test_models_have_limits_of_their_own() -> None:
    baselines = Baselines()
    warm(baselines, model="small")
    assert baselines.take(measured(99, 4_200.0, model="large")) == []


@pytest.mark.parametrize("origin", ["replay", "backfill"])
def test_only_live_measurements_are_learned(origin: str) -> None:
    baselines = Baselines()
    warm(baselines)
    assert baselines.take(measured(99, 4_200.0), origin=origin) == []
    assert baselines.telemetry.total("clearwatch.dropped", reason="measurement_not_live") == 1


def test_the_offset_moves_only_with_a_snapshot() -> None:
    baselines = Baselines(snapshot_every_s=2)
    baselines.take(measured(0, 100.0), at_s=NOW_S)
    assert (baselines.committed, baselines.state) == (0, {})
    assert baselines.processor.next_wake_s() == NOW_S + 2
    baselines.take(measured(1, 100.0), at_s=NOW_S + 2)
    assert (baselines.committed, len(baselines.state)) == (2, 1)
    assert baselines.processor.next_wake_s() is None
    baselines.take(measured(2, 100.0), at_s=NOW_S + 3)
    baselines.commit(baselines.processor.tick(NOW_S + 5))
    assert baselines.committed == 3


def test_many_measurements_make_a_snapshot_early() -> None:
    baselines = Baselines(snapshot_every=10)
    baselines.take(*(measured(n, 100.0) for n in range(10)))
    assert baselines.committed == 1


@pytest.mark.parametrize("seed", range(5))
def test_kills_give_what_an_uninterrupted_run_gives(seed: int) -> None:
    chance = random.Random(seed)
    config = {"window": 40, "min_observations": 10, "snapshot_every_s": 7, "max_keys": 6}
    steady, killed = Baselines(**config), Baselines(**config)
    found: tuple[set[str], set[str]] = (set(), set())
    for step in range(400):
        rows = [
            measured(
                step * 10 + n,
                300 * chance.lognormvariate(0, 0.4) * (50 if chance.random() < 0.02 else 1),
                operation=f"tool{chance.randrange(4 if chance.random() < 0.97 else 40)}",
                failed=chance.random() < 0.1,
            )
            for n in range(chance.randrange(1, 5))
        ]
        for baselines, ids in zip((steady, killed), found, strict=True):
            ids |= {finding.finding_id for finding in baselines.take(*rows, at_s=NOW_S + step)}
        if chance.random() < 0.1:
            found[1].update(finding.finding_id for finding in killed.kill())
    steady.commit(steady.processor.tick(NOW_S + 999))
    killed.commit(killed.processor.tick(NOW_S + 999))
    assert found[0] == found[1]
    assert len(found[0]) > 5
    assert steady.state == killed.state


def test_keys_are_bounded_and_evictions_counted() -> None:
    baselines = Baselines(max_keys=3)
    baselines.take(*(measured(n, 100.0, operation=f"tool{n}") for n in range(5)))
    baselines.commit(baselines.processor.tick(NOW_S + 9))
    assert len(baselines.state) == 3
    assert baselines.telemetry.total("clearwatch.dropped", reason="baseline_evicted") == 2


def test_partitions_share_the_bound_and_address_findings_by_routing_key() -> None:
    stage = BaselinesStage(config=BaselinesConfig(max_keys=8), telemetry=Telemetry())
    processor = stage.processor(1, {MEASUREMENTS: 4, FINDINGS: 2})
    assert isinstance(processor, BaselinesProcessor)
    assert processor._max_keys == 2
    assert (stage.name, stage.topics, stage.store) == ("baselines", (MEASUREMENTS,), "state.baselines")
