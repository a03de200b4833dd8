"""What is slow, what is learned from it, and that a restart forgets nothing."""

import random

import msgspec
import pytest

from core.log.port import StoredRecord, Work
from core.model.finding import Dimension, Finding, FindingKind, FindingRecord, Severity, Shift
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
        return [found for found in self.told(*rows, at_s=at_s, origin=origin) if isinstance(found, Finding)]

    def told(self, *rows: Measurement, at_s: float = NOW_S, origin: str = "live") -> list[Finding | Shift]:
        """Take rows and let the time pass in which they are gathered."""
        said = self.gather(*rows, at_s=at_s, origin=origin)
        return said + self.commit(self.processor.tick(at_s + self.config.gather_s))

    def gather(self, *rows: Measurement, at_s: float = NOW_S, origin: str = "live") -> list[Finding | Shift]:
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

    def commit(self, work: Work) -> list[Finding | Shift]:
        assert bool(work.state) <= bool(work.next_offsets), "state without its offset would be learned twice"
        for change in work.state:
            if change.value is None:
                self.state.pop(change.key, None)
            else:
                self.state[change.key] = change.value
        self.committed = work.next_offsets.get(MEASUREMENTS, self.committed)
        assert {record.topic for record in work.produce} <= {FINDINGS}
        said = [msgspec.msgpack.decode(record.value, type=FindingRecord) for record in work.produce]
        return [found for found in said if isinstance(found, Finding | Shift)]

    def kill(self) -> list[Finding | Shift]:
        """Restart from what is committed and read on from there."""
        self.processor = self._made()
        rest = self.log[self.committed :]
        return self.commit(self.processor.process(rest)) if rest else []


def warm(baselines: Baselines, usual_ms: float = 300.0, count: int = 60, **fields: object) -> None:
    for n in range(count):
        assert baselines.take(measured(n, usual_ms * (0.9 + n % 3 / 10), **fields)) == []


def test_a_new_key_learns_before_it_speaks() -> None:
    baselines = Baselines()
    for n in range(29):
        assert baselines.take(measured(n, 100.0)) == []
    assert baselines.take(measured(29, 60_000.0)) == []


@pytest.mark.parametrize(
    ("kind", "operation", "title"),
    [
        (SpanKind.RETRIEVER, "retriever:travel-guides", "Retrieval from travel-guides is slow"),
        (SpanKind.RETRIEVER, "retriever", "Retrieval is slow"),
        (SpanKind.LLM, "llm:gpt-4o", "LLM call to gpt-4o is slow"),
        (SpanKind.DB, "db:orders", "DB call to orders is slow"),
        (SpanKind.TOOL, "get_weather", "get_weather is slow"),
        (SpanKind.UNKNOWN, "llm:odd name", "shop is slow"),
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


def test_a_slow_call_that_is_no_five_times_the_usual_is_of_low_severity() -> None:
    baselines = Baselines()
    warm(baselines)
    (found,) = baselines.take(measured(99, 1_500.0))
    assert found.severity is Severity.LOW


def test_slow_calls_of_one_operation_share_a_fingerprint_and_no_id() -> None:
    baselines = Baselines()
    warm(baselines)
    (first,) = baselines.take(measured(98, 4_200.0))
    (second,) = baselines.take(measured(99, 1_900.0))
    assert first.fingerprint == second.fingerprint
    assert first.finding_id != second.finding_id


def test_one_call_is_not_slow_where_nobody_would_notice() -> None:
    baselines = Baselines()
    warm(baselines, usual_ms=10.0)
    assert baselines.take(measured(99, 900.0)) == []


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
    assert len(baselines.state) == 1  # their outcomes


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
        own_ms=1.0,
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


def test_what_is_gathered_is_judged_and_committed_at_once() -> None:
    baselines = Baselines(gather_s=2)
    baselines.gather(measured(0, 100.0), at_s=NOW_S)
    assert (baselines.committed, baselines.state) == (0, {})
    assert baselines.processor.next_wake_s() == NOW_S + 2
    baselines.gather(measured(1, 100.0), at_s=NOW_S + 2)
    assert (baselines.committed, len(baselines.state)) == (1, 2)  # its durations and its outcomes
    assert baselines.processor.next_wake_s() == NOW_S + 4
    baselines.commit(baselines.processor.tick(NOW_S + 3))
    assert baselines.committed == 1
    baselines.commit(baselines.processor.tick(NOW_S + 4))
    assert baselines.committed == 2
    assert baselines.processor.next_wake_s() is None


def test_many_measurements_are_judged_early() -> None:
    baselines = Baselines(gather_most=10)
    baselines.gather(*(measured(n, 100.0) for n in range(10)))
    assert baselines.committed == 1


def test_traces_that_arrive_together_are_judged_in_the_order_of_their_ends() -> None:
    def shifts(order: list[int]) -> list[str]:
        baselines = Baselines(gather_s=60)
        warm(baselines)
        said: list[Finding | Shift] = []
        for n in order:
            said += baselines.gather(measured(n, 1_500.0 if 300 <= n < 320 else 300.0), at_s=NOW_S + 999)
        said += baselines.commit(baselines.processor.tick(NOW_S + 9_999))
        return sorted(map(name_of, said))

    recorded = list(range(100, 500))
    # four partitions of spans, worked off one after the other
    assert shifts([n for part in range(4) for n in recorded if n % 4 == part]) == shifts(recorded)
    assert sum('"type":"shift"' in told for told in shifts(recorded)) == 2


def name_of(said: Finding | Shift) -> str:
    return msgspec.json.encode(said).decode()


@pytest.mark.parametrize("seed", range(5))
def test_kills_give_what_an_uninterrupted_run_gives(seed: int) -> None:
    chance = random.Random(seed)
    config = {"window": 40, "min_observations": 10, "gather_s": 7, "max_keys": 20}
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
            ids |= {name_of(said) for said in baselines.gather(*rows, at_s=NOW_S + step)}
        if chance.random() < 0.1:
            found[1].update(name_of(said) for said in killed.kill())
    found[0].update(name_of(said) for said in steady.commit(steady.processor.tick(NOW_S + 999)))
    found[1].update(name_of(said) for said in killed.commit(killed.processor.tick(NOW_S + 999)))
    assert found[0] == found[1]
    assert len(found[0]) > 5
    assert steady.state == killed.state


def test_keys_are_bounded_and_evictions_counted() -> None:
    baselines = Baselines(max_keys=3)
    baselines.take(*(measured(n, 100.0, operation=f"tool{n}") for n in range(5)))
    baselines.commit(baselines.processor.tick(NOW_S + 9))
    assert len(baselines.state) == 3
    assert baselines.telemetry.total("clearwatch.dropped", reason="baseline_evicted") == 7


def test_partitions_share_the_bound_and_address_findings_by_routing_key() -> None:
    stage = BaselinesStage(config=BaselinesConfig(max_keys=8), telemetry=Telemetry())
    processor = stage.processor(1, {MEASUREMENTS: 4, FINDINGS: 2})
    assert isinstance(processor, BaselinesProcessor)
    for offset, operation in enumerate(("a", "b", "c", "d", "e")):
        baselines = MeasurementBatch(measurements=(measured(1, 1.0, operation=operation),))
        record = StoredRecord(
            topic=MEASUREMENTS,
            partition=1,
            offset=offset,
            log_time_ms=1,
            value=msgspec.msgpack.encode(baselines),
            headers=headers(),
        )
        processor.process([record])
    assert len(processor.tick(9.0).state) == 10  # written or forgotten: two keys are what is left
    assert (stage.name, stage.topics, stage.store) == ("baselines", (MEASUREMENTS,), "state.baselines")


def test_a_lasting_shift_is_one_episode_with_figures_and_its_recovery_is_said() -> None:
    baselines = Baselines()
    warm(baselines, count=200)
    said = [baselines.told(measured(n, 900.0)) for n in range(1_000, 1_012)]
    findings = [found for step in said for found in step if isinstance(found, Finding)]
    (began,) = [found for step in said for found in step if isinstance(found, Shift)]
    assert {found.trace_id for found in findings} == {f"{n:032x}" for n in range(1_000, 1_012)}
    assert {found.fingerprint for found in findings} == {began.fingerprint}
    assert began.text == "retrieve_documents took 900 ms (median) instead of 300 ms"
    assert (began.began_ns, began.ended_ns) == (measured(1_000, 900.0).started_ns, 0)
    assert findings[-1].rationale == (
        "took 900 ms; since 08:16:40 UTC retrieve_documents took 900 ms (median) instead of 300 ms"
    )
    after = [found for n in range(2_000, 2_020) for found in baselines.told(measured(n, 300.0))]
    (ended,) = after
    assert isinstance(ended, Shift)
    assert ended.began_ns == began.began_ns
    assert ended.ended_ns == measured(1_011, 900.0).ended_ns
    assert ended.text.endswith("instead of 300 ms; 12 traces in 11.9 s")
    assert not ended.is_usual_now


def test_an_episode_that_stays_becomes_what_is_usual() -> None:
    baselines = Baselines(absorb_after=60, absorb_after_s=100)
    warm(baselines, count=200)
    said = [found for n in range(1_000, 1_200) for found in baselines.told(measured(n, 900.0))]
    shifts = [found for found in said if isinstance(found, Shift)]
    assert [(shift.ended_ns > 0, shift.is_usual_now) for shift in shifts] == [(False, False), (True, True)]
    assert isinstance(said[-1], Shift)
    assert len(baselines.take(*(measured(n, 2_700.0) for n in range(1_300, 1_304)))) == 4


def test_heavy_traffic_does_not_make_a_moment_of_an_incident_usual() -> None:
    baselines = Baselines(absorb_after=60)
    warm(baselines, count=200)
    said: list[Finding | Shift] = []
    for n in range(1_000, 1_600):
        started_ns = int((NOW_S + 1_000 + n / 100) * 1e9)
        row = measured(n, 900.0, started_ns=started_ns, ended_ns=started_ns + 900_000_000)
        said += baselines.gather(row, at_s=NOW_S + 1_000)
    said += baselines.commit(baselines.processor.tick(NOW_S + 2_000))
    assert sum(isinstance(found, Finding) for found in said) == 600
    assert [found.ended_ns for found in said if isinstance(found, Shift)] == [0]


def test_an_episode_that_nobody_continues_ends_with_the_next_trace() -> None:
    baselines = Baselines(run_gap_s=60)
    warm(baselines, count=200)
    said = [found for n in range(1_000, 1_010) for found in baselines.told(measured(n, 900.0))]
    (began,) = (found for found in said if isinstance(found, Shift))
    said = [found for n in range(1_100, 1_105) for found in baselines.told(measured(n, 900.0))]
    ended, again = (found for found in said if isinstance(found, Shift))
    assert (ended.began_ns, ended.ended_ns) == (began.began_ns, measured(1_009, 900.0).ended_ns)
    assert (again.began_ns, again.ended_ns) == (measured(1_100, 900.0).started_ns, 0)
    assert again.fingerprint == began.fingerprint


def test_slow_times_that_vary_do_not_become_usual_while_they_convince_or_last() -> None:
    chance = random.Random(1)
    baselines = Baselines()
    calls = ("search", "rank", "fetch")

    def rows(n: int, added_ms: float) -> list[Measurement]:
        return [
            measured(
                n,
                100 * chance.lognormvariate(0, 0.7) + chance.uniform(0.2, 1) * added_ms,
                operation=name,
                kind=SpanKind.UNKNOWN,
                trace_id=f"{n:032x}",
                span_id=f"{n:08x}{k:08x}",
            )
            for k, name in enumerate(calls)
        ]

    for n in range(300):
        baselines.told(*rows(n, 0.0))
    found: list[int] = []
    for window in range(4):
        first = 1_000 * (window + 1)
        found.append(sum(bool(baselines.told(*rows(n, 1_500.0))) for n in range(first, first + 30)))
        for n in range(first + 100, first + 130):
            baselines.told(*rows(n, 0.0))
    # those that convince are told together with the one that did
    assert min(found) >= 24


def test_slow_calls_among_quick_ones_of_a_trace_make_no_episode() -> None:
    baselines = Baselines()
    warm(baselines, count=200)
    for n in range(1_000, 1_050):
        rows = [
            measured(n, 900.0 if k == 0 else 300.0, span_id=f"{n:08x}{k:08x}", trace_id=f"{n:032x}") for k in range(4)
        ]
        assert baselines.told(*rows) == []


def test_a_small_lasting_shift_is_seen_by_its_level() -> None:
    chance = random.Random(3)
    baselines = Baselines()
    said = [
        found
        for n in range(1_400)
        for found in baselines.told(measured(n, (400 if n < 500 else 600) * chance.lognormvariate(0, 0.3)))
    ]
    began = [found for found in said if isinstance(found, Shift) and not found.ended_ns]
    assert len(began) == 1
    assert "retrieve_documents took" in began[0].text


def test_improvement_is_no_episode() -> None:
    baselines = Baselines()
    warm(baselines, count=300)
    assert [found for n in range(1_000, 1_300) for found in baselines.told(measured(n, 30.0))] == []


def test_failures_that_become_more_frequent_are_one_finding_of_a_rate_with_its_traces() -> None:
    baselines = Baselines()
    warm(baselines, count=200)
    said = [
        found for n in range(1_000, 1_040) for found in baselines.told(measured(n, 300.0, failed=True, is_fault=True))
    ]
    findings = [found for found in said if isinstance(found, Finding)]
    (began,) = [found for found in said if isinstance(found, Shift)]
    assert {found.check for found in findings} == {"error_rate"}
    assert {found.kind for found in findings} == {FindingKind.RATE}
    assert len(findings) < 12
    assert began.trace_ids[0] == f"{1_000:032x}"
    (ended,) = [found for n in range(2_000, 2_400) for found in baselines.told(measured(n, 300.0))]
    assert isinstance(ended, Shift)
    assert ended.ended_ns


@pytest.mark.parametrize(("of_100", "severity"), [(8, Severity.LOW), (50, Severity.MEDIUM)])
def test_a_risen_share_of_failures_is_told_as_measured(of_100: int, severity: Severity) -> None:
    baselines = Baselines()
    warm(baselines, count=500)

    def fails(n: int) -> bool:
        return n * of_100 // 100 > (n - 1) * of_100 // 100

    said = [
        found
        for n in range(1_000, 1_500)
        for found in baselines.told(measured(n, 300.0, failed=fails(n), is_fault=fails(n)))
    ]
    shift = next(found for found in said if isinstance(found, Shift))
    share = float(shift.text.partition("failed in ")[2].partition(" %")[0])
    assert share == pytest.approx(of_100, rel=0.3)
    assert {found.severity for found in said if isinstance(found, Finding)} == {severity}


@pytest.mark.parametrize("seed", range(4))
def test_kills_in_episodes_give_what_an_uninterrupted_run_gives(seed: int) -> None:
    chance = random.Random(seed)
    config = {"window": 60, "min_observations": 20, "gather_s": 5, "absorb_after": 40}
    steady, killed = Baselines(**config), Baselines(**config)
    said: tuple[list[str], list[str]] = ([], [])
    for step in range(900):
        times = 4 if 200 <= step % 400 < 200 + 40 * seed else 1
        fails = chance.random() < (0.5 if step % 300 > 250 else 0.01)
        row = measured(step, 300 * times * chance.lognormvariate(0, 0.2), failed=fails, is_fault=fails)
        for baselines, told in zip((steady, killed), said, strict=True):
            told += [name_of(found) for found in baselines.gather(row, at_s=NOW_S + step)]
        if chance.random() < 0.05:
            said[1].extend(name_of(found) for found in killed.kill())
    said[0].extend(name_of(found) for found in steady.commit(steady.processor.tick(NOW_S + 9_999)))
    said[1].extend(name_of(found) for found in killed.commit(killed.processor.tick(NOW_S + 9_999)))
    assert set(said[0]) == set(said[1])
    assert any('"type":"shift"' in told for told in said[0])
    assert steady.state == killed.state
