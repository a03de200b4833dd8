"""Runs the checks over a recorded corpus without any service: `python -m tests.eval.offline CORPUS… [--out FOLDER]`.

CORPUS is a file of OTLP/JSON lines (`*.otlp.jsonl.gz`), one export request a line. All spans of a trace id make one
closed trace. Findings are written as `clearwatch export findings` writes them, so that the same scorer reads both; what
is printed is a summary: issues, their titles, and how each check answered.
"""

import argparse
import gzip
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collector.otlp_json import traces_from_json
from core.dialects import decode
from core.model.finding import Finding
from core.model.issue import issue_id_of
from core.model.span import Span
from core.model.trace import Trace
from core.otlp.wire import read_spans
from core.telemetry import Telemetry
from detector.checks.config import ChecksConfig
from detector.checks.registry import Checks


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


def inspect(traces: dict[str, Trace]) -> Iterator[tuple[Finding, ...]]:
    """Yield the findings of each trace; print how the checks answered and what they cost."""
    checks = Checks(ChecksConfig(), Telemetry())
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    took_s = 0.0
    for trace in traces.values():
        started_s = time.perf_counter()
        inspection = checks.inspect(trace)
        took_s += time.perf_counter() - started_s
        for check, outcome in inspection.answers.items():
            answers[check][outcome] += 1
        yield inspection.findings
    spans = sum(len(trace.spans) for trace in traces.values())
    print(f"{len(traces)} traces, {spans} spans, {took_s * 1e6 / max(1, spans):.1f} µs a span")
    for check, outcomes in answers.items():
        print(f"  {check:22s} " + "  ".join(f"{outcome} {n}" for outcome, n in sorted(outcomes.items())))


def main() -> int:
    """Write FOLDER/NAME.findings.jsonl for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    for corpus in given.corpora:
        name = corpus.name.removesuffix(".otlp.jsonl.gz")
        print(f"== {name}")
        found = [finding for findings in inspect(read_corpus(corpus)) for finding in findings]
        with (given.out / f"{name}.findings.jsonl").open("w") as out:
            out.writelines(json.dumps(exported(finding)) + "\n" for finding in found)
        issues = Counter((finding.title, finding.severity, finding.fingerprint) for finding in found)
        for (title, severity, fingerprint), count in issues.most_common():
            print(f"  {count:5d}  {severity:6s} {fingerprint[:8]} {title}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
