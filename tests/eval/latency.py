"""Latency over recorded traces with added delay: `python -m tests.eval.latency [CORPUS]`.

The traces go in log order through what measures, the baselines and the issues, without a service. The first half is
left as it is; in windows of three minutes of the later half one service is slower (`tests.eval.delays`). A trace is
positive where a span of it was delayed, and flagged where it carries a finding of the latency dimension, wherever in
the whole recording. An episode and an issue count for the window in which their first trace began.
"""

import gzip
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from core import topics
from core.log.port import StoredRecord, Work
from core.model.finding import Dimension, Finding, FindingRecord, Shift
from core.model.trace import Trace
from core.telemetry import Telemetry
from detector.assemble.measuring import Measurer
from detector.assemble.summary import summary
from detector.baselines.config import BaselinesConfig
from detector.baselines.stage import BaselinesStage
from tests.e2e.harness import Up
from tests.eval.delays import Delay, Window, delayed, stretches_of, windows_of
from tests.eval.offline import read_corpus

PARTITIONS: Final = {topics.MEASUREMENTS: 4, topics.FINDINGS: 4}
SEEDS: Final = range(8)
WINDOWS: Final = 6
# of a network, of a busy machine, and of one that three times as much is asked of; windows at random
DELAYS: Final = (
    Delay(ms=20),
    Delay(ms=100),
    Delay(ms=200),
    Delay(ms=200, by_operation=True),
    Delay(times=3),
)
# in every other stretch of the recording: of one service, or of any
STRETCHES: Final = (
    (Delay(ms=200), False),
    (Delay(ms=200), True),
    (Delay(ms=200, spread=0.9), True),
    (Delay(ms=200, is_moved=False), False),
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one recording."""

    positive: int
    flagged: int
    hit: int
    windows: int
    """Windows in which at least three traces were delayed."""
    told: int
    """Of them, those in which an episode began."""
    one: int
    """Of those, those with one episode of one issue, and no other issue in their delayed traces."""
    blamed: int
    """Findings in delayed traces whose culprit is of the delayed service."""
    findings: int
    """Findings in delayed traces."""
    strange: int
    """Episodes that began in no window."""


def said_of(traces: Iterable[Trace], config: BaselinesConfig | None = None) -> list[Finding | Shift]:
    """Return what the baselines say of traces, measured and read in the order of their ends."""
    telemetry = Telemetry()
    stage = BaselinesStage(config=config or BaselinesConfig(), telemetry=telemetry)
    processors = [stage.processor(number, PARTITIONS) for number in range(PARTITIONS[topics.MEASUREMENTS])]
    measurer = Measurer(telemetry, partitions=len(processors))
    decode = msgspec.msgpack.Decoder(FindingRecord).decode
    works: list[Work] = []
    for offset, trace in enumerate(sorted(traces, key=lambda found: found.ended_ns)):
        measurer.add(
            trace,
            trace.spans,
            routing_key=trace.routing_key,
            session_id=trace.session_id,
            root=trace.root,
            whole=summary(trace),
        )
        for record in measurer.take():
            stored = StoredRecord(
                topic=record.topic,
                partition=record.partition or 0,
                offset=offset,
                log_time_ms=trace.ended_ns // 1_000_000,
                value=record.value,
                headers=record.headers,
            )
            works.append(processors[stored.partition].process([stored]))
    works += [processor.tick(math.inf) for processor in processors]
    found = [decode(produced.value) for work in works for produced in work.produce]
    return [said for said in found if isinstance(said, Finding | Shift)]


def outcome_of(traces: Sequence[Trace], windows: Sequence[Window], config: BaselinesConfig | None = None) -> Outcome:
    """Delay the traces, run them, and count."""
    changed = [delayed(trace, windows) for trace in traces]
    positive = {trace.trace_id: spans for trace, spans in changed if spans}
    spans_of = {trace.trace_id: trace.by_id for trace, _ in changed}
    said = said_of([trace for trace, _ in changed], config)
    findings = [found for found in said if isinstance(found, Finding) and found.category is Dimension.LATENCY]
    began = [found for found in said if isinstance(found, Shift) and not found.ended_ns]
    flagged = {found.trace_id for found in findings}
    counted = told = one = 0
    for window in windows:
        inside = {trace.trace_id for trace in traces if trace.trace_id in positive and window.has(trace.started_ns)}
        if len(inside) < 3:
            continue
        counted += 1
        episodes = [shift for shift in began if window.has(shift.began_ns)]
        issues = {found.fingerprint for found in findings if found.trace_id in inside}
        told += bool(episodes)
        one += len(episodes) == 1 and len(issues) == 1
    service_of = {(found.trace_id, found.span_ids[0]): "" for found in findings if found.span_ids}
    for trace_id, span_id in service_of:
        service_of[trace_id, span_id] = spans_of[trace_id][span_id].service
    slow = {window.service for window in windows}
    in_positive = [found for found in findings if found.trace_id in positive and found.span_ids]
    return Outcome(
        positive=len(positive),
        flagged=len(flagged),
        hit=len(flagged & set(positive)),
        windows=counted,
        told=told,
        one=one,
        blamed=sum(service_of[found.trace_id, found.span_ids[0]] in slow for found in in_positive),
        findings=len(in_positive),
        strange=sum(not any(window.has(shift.began_ns) for window in windows) for shift in began),
    )


def write_delayed(corpus: Path, traces: Iterable[Trace], to: Path) -> None:
    """Write a corpus with the times of these traces, each request as it was recorded."""
    times = {span.span_id: (span.start_ns, span.end_ns) for trace in traces for span in trace.spans}
    with gzip.open(corpus) as lines, gzip.open(to, "wb", compresslevel=1) as out:
        for line in lines:
            request = json.loads(line)
            for resource in request["resourceSpans"]:
                for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
                    start_ns, end_ns = times[span["spanId"]]
                    span["startTimeUnixNano"], span["endTimeUnixNano"] = str(start_ns), str(end_ns)
            out.write(json.dumps(request).encode() + b"\n")


def report_live(corpus: Path, *, seed: int, delay: Delay, **settings: str) -> None:
    """Print the figures of a recording with delay that was sent to a running monitor at once."""
    traces = sorted(read_corpus(corpus).values(), key=lambda trace: trace.started_ns)
    windows = stretches_of(traces, seed=seed, delay=delay, one_service=False)
    changed = [delayed(trace, windows) for trace in traces]
    positive = {trace.trace_id for trace, spans in changed if spans}
    with tempfile.TemporaryDirectory(prefix="clearwatch-eval-") as work, Up(Path(work) / "data", **settings) as up:
        file = Path(work) / "delayed.otlp.jsonl.gz"
        write_delayed(corpus, (trace for trace, _ in changed), file)
        up.start()
        up.send(file)
        up.wait_until_idle(timeout_s=600)
        rows = [row for row in up.export("findings") if row["category"] == "latency"]
        issues = [row for row in up.export("issues") if row["category"] == "latency"]
    flagged = {row["trace_id"] for row in rows}
    hit = len(flagged & positive)
    print(
        f"sent to a running monitor, seed {seed}: precision {hit / max(1, len(flagged)):.2f}, "
        f"recall {hit / max(1, len(positive)):.2f} of {len(positive)} traces in {len(windows)} windows "
        f"on {len({window.service for window in windows})} services; {len(issues)} issues of latency"
    )
    for issue in issues:
        print(f"  {issue['trace_count']:4} traces  {issue['title']}: {issue['description'].splitlines()[2]}")


def main() -> int:
    """Print precision and recall for each kind of delay, summed over seeds, and the alarms without any delay."""
    folder = os.environ.get("CLEARWATCH_EVAL_DATA")
    if not folder:
        print("CLEARWATCH_EVAL_DATA is not set: point it at the folder of labelled corpora")
        return 0
    name = sys.argv[1] if len(sys.argv) > 1 else "nezha-ts.dev"
    report(Path(folder) / f"{name}.otlp.jsonl.gz")
    return 0


def report(corpus: Path) -> None:
    """Print the figures of one corpus."""
    traces = sorted(read_corpus(corpus).values(), key=lambda trace: trace.started_ns)
    print(f"{'delay':48} {'traces':>7} {'precision':>9} {'recall':>7} {'windows':>8} {'told':>5} {'as one':>7} "
          f"{'blamed':>7} {'strange':>8}")  # fmt: skip
    none = outcome_of(traces, ())
    print(f"{'none':48} {none.flagged} traces flagged, {none.strange} episodes, of {len(traces)} traces")
    for delay in DELAYS:
        _row(delay, "", [outcome_of(traces, windows_of(traces, seed=n, count=WINDOWS, delay=delay)) for n in SEEDS])
    for delay, one_service in STRETCHES:
        found = [stretches_of(traces, seed=n, delay=delay, one_service=one_service) for n in SEEDS]
        where = ", every other stretch" + (" of one service" if one_service else "")
        _row(delay, where, [outcome_of(traces, windows) for windows in found])


def _row(delay: Delay, where: str, outcomes: Sequence[Outcome]) -> None:
    total = {field: sum(getattr(o, field) for o in outcomes) for field in Outcome.__struct_fields__}
    label = f"{delay.ms:g} ms" if delay.ms else f"{delay.times:g} times"
    label += ", one operation" if delay.by_operation else ""
    label += f" ± {100 * delay.spread:g} %" if delay.spread else ""
    label += ", nothing moved" if not delay.is_moved else ""
    print(
        f"{label + where:48} {total['positive']:7} {total['hit'] / max(1, total['flagged']):9.2f} "
        f"{total['hit'] / max(1, total['positive']):7.2f} {total['windows']:8} {total['told']:5} {total['one']:7} "
        f"{total['blamed'] / max(1, total['findings']):7.2f} {total['strange'] / len(outcomes):8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
