"""Runs the checks over a recorded corpus without any service: `python -m tests.eval.offline CORPUS… [--out FOLDER]`.

CORPUS is a file of OTLP/JSON lines (`*.otlp.jsonl.gz`), one export request a line. All spans of a trace id make one
closed trace. Findings are written as `clearwatch export findings` writes them, so that the same scorer reads both; what
is printed is a summary: issues, their titles, and how each check answered.
"""

import argparse
import gzip
import itertools
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from collector.otlp_json import traces_from_json
from core.dialects import decode
from core.log.port import StoredRecord
from core.model.finding import Finding, FindingRecord, Withdrawal
from core.model.issue import issue_id_of
from core.model.span import Span
from core.model.trace import Trace, TraceVersion
from core.otlp.wire import read_spans
from core.telemetry import Telemetry
from core.topics import TRACES, headers
from detector.assemble.config import AssembleConfig
from detector.assemble.turn import turn_of
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks
from detector.sessions.config import SessionsConfig
from detector.sessions.stage import SessionsStage


def read_corpus(path: Path) -> dict[str, Trace]:
    """Return the traces of a corpus by trace id."""
    spans: dict[str, list[Span]] = defaultdict(list)
    with gzip.open(path) as lines:
        for line in lines:
            if not line.strip():
                continue
            pieces, failures = read_spans(traces_from_json(line))
            for failure in failures:
                print(f"{path.name}: not read: {failure.reason}", file=sys.stderr)
            for piece in pieces:
                span = decode(piece)
                spans[span.trace_id].append(span)
    return {trace_id: Trace(trace_id=trace_id, spans=found) for trace_id, found in spans.items()}


def exported(finding: Finding) -> dict[str, Any]:
    """Return a finding in the shape of the public export."""
    return {
        "trace_id": finding.trace_id,
        "session_id": finding.session_id,
        "span_ids": list(finding.span_ids),
        "check": finding.check,
        "kind": str(finding.kind),
        "source": str(finding.source),
        "category": str(finding.category),
        "severity": str(finding.severity),
        "fingerprint": finding.fingerprint,
        "issue_id": issue_id_of(routing_key=finding.routing_key, fingerprint=finding.fingerprint),
        "title": finding.title,
        "rationale": finding.rationale,
        "observed_at": finding.observed_at_ns / 1e9,
    }


def inspect(
    traces: dict[str, Trace], answered: dict[str, Mapping[str, str]] | None = None
) -> Iterator[tuple[Finding, ...]]:
    """Yield the findings of each trace, note its answers; print how the checks answered and what they cost."""
    checks = Checks(ChecksConfig(), Telemetry())
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    took_s = 0.0
    for trace in traces.values():
        started_s = time.perf_counter()
        inspection = checks.inspect(trace)
        took_s += time.perf_counter() - started_s
        for check, outcome in inspection.answers.items():
            answers[check][outcome] += 1
        if answered is not None:
            answered[trace.trace_id] = inspection.answers
        yield inspection.findings
    spans = sum(len(trace.spans) for trace in traces.values())
    print(f"{len(traces)} traces, {spans} spans, {took_s * 1e6 / max(1, spans):.1f} µs a span")
    for check, outcomes in answers.items():
        print(f"  {check:22s} " + "  ".join(f"{outcome} {n}" for outcome, n in sorted(outcomes.items())))


def versions(traces: Iterable[Trace], answers: Mapping[str, Mapping[str, str]]) -> list[TraceVersion]:
    """Return the traces as assembly publishes them, in the order in which they ended; `answers` by trace id."""
    config = AssembleConfig()
    made = [
        TraceVersion(
            trace_id=trace.trace_id,
            version=trace.version,
            routing_key=trace.routing_key,
            span_count=len(trace.spans),
            close_reason=trace.close_reason,
            has_root=trace.root is not None,
            session_id=trace.session_id,
            user_id=trace.user_id,
            service=(trace.root or trace.spans[0]).service,
            started_ns=trace.started_ns,
            ended_ns=trace.ended_ns,
            closed_at_s=trace.ended_ns / 1e9 + config.root_grace_s,
            last_append_s=trace.ended_ns / 1e9,
            error_count=len(trace.failed_spans),
            answers=answers.get(trace.trace_id, {}),
            turn=turn_of(trace, chars=config.turn_chars),
        )
        for trace in traces
    ]
    return sorted(made, key=lambda version: (version.ended_ns, version.trace_id))


def inspect_sessions(found: Iterable[TraceVersion]) -> list[Finding]:
    """Return the findings that stand when every session has closed; print how the checks answered."""
    config, telemetry = SessionsConfig(), Telemetry()
    processor = SessionsStage(config=config, telemetry=telemetry).processor(0, {TRACES: 1})
    standing: dict[str, Finding] = {}
    started_s = time.perf_counter()
    records = [
        StoredRecord(
            topic=TRACES,
            partition=0,
            offset=offset,
            log_time_ms=version.ended_ns // 1_000_000,
            value=msgspec.msgpack.encode(version),
            headers=headers(),
        )
        for offset, version in enumerate(found)
    ]
    works = [processor.process([record]) for record in records]
    if records:
        works.append(processor.tick(records[-1].log_time_ms / 1000 + 3 * config.gap_s))
    for produced in itertools.chain.from_iterable(work.produce for work in works):
        match msgspec.msgpack.decode(produced.value, type=FindingRecord):
            case Finding() as finding:
                standing[finding.finding_id] = finding
            case Withdrawal() as withdrawal:
                del standing[withdrawal.finding_id]
    took_s = time.perf_counter() - started_s
    print(f"sessions: {took_s * 1e6 / max(1, len(records)):.0f} µs a trace")
    answers = {labels: n for (name, labels), n in telemetry.snapshot().items() if name == "clearwatch.check.answers"}
    for labels, count in sorted(answers.items()):
        print("  " + " ".join(value for _, value in labels) + f" {count:g}")
    return list(standing.values())


def main() -> int:
    """Write FOLDER/NAME.findings.jsonl for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    for corpus in given.corpora:
        name = corpus.name.removesuffix(".otlp.jsonl.gz")
        print(f"== {name}")
        traces = read_corpus(corpus)
        answered: dict[str, Mapping[str, str]] = {}
        found = [finding for findings in inspect(traces, answered) for finding in findings]
        found += inspect_sessions(versions(traces.values(), answered))
        with (given.out / f"{name}.findings.jsonl").open("w") as out:
            out.writelines(json.dumps(exported(finding)) + "\n" for finding in found)
        issues = Counter((finding.title, finding.severity, finding.fingerprint) for finding in found)
        for (title, severity, fingerprint), count in issues.most_common():
            print(f"  {count:5d}  {severity:6s} {fingerprint[:8]} {title}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
