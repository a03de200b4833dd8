"""What the checks cost: µs a span for each alone, and for all through the registry.

The traces of `bench_decode` (8 spans, 1.8 KB each), decoded beforehand: sound ones, as nearly all traffic is, the same
with a failed tool in every trace, and the same whose models ask for their tool calls and send what they were offered.
Each round inspects fresh `Trace` values, since they remember their tree: a check alone pays for it, together they share
it. Process CPU time. Usage: `python -m tests.bench.bench_checks`.
"""

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from core.dialects import decode
from core.model.span import Content, ContentState, Details, Span, SpanError, SpanKind
from core.model.trace import Trace
from core.otlp.wire import read_spans
from core.telemetry import Telemetry
from detector.assemble.stage import BATCH_TRACES
from detector.checks.config import ChecksConfig
from detector.checks.fingerprint import fingerprint_of
from detector.checks.port import Check
from detector.checks.registry import DEFAULT_CHECKS, Checks
from detector.checks.text.needles import prepare
from detector.checks.text.scan import scan_of
from detector.config import DetectorConfig
from detector.rules.budgets import OverBudget
from detector.rules.rule import rule_checks
from tests.bench.bench_decode import _WORDS as WORDS
from tests.bench.bench_decode import _trace

TRACES = 200
ROUNDS = 7
_OF_CALLS = ("invalid_tool_arguments", "unknown_tool", "call_loop", "sequential_calls")
_PARAMETERS = {
    "type": "object",
    "properties": {name: {"type": "string", "description": "What is asked for. " * 8} for name in ("city", "text")},
    "required": ["city"],
}
_DEFINITIONS = msgspec.json.encode(
    [
        {"type": "function", "function": {"name": name, "parameters": _PARAMETERS}}
        for name in ("get_weather", "search_flights", "book_flight", "cancel", "refund")
    ]
)
MESSAGE = (
    "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o in organization org-x1 on tokens per min: "
    "Limit 30000, Used 29871. Please try again in 2.3s.', 'type': 'tokens'}} at https://api.example.org/v1/chat"
)


def run() -> list[tuple[str, float, str]]:
    """Return (measure, value, unit) rows: medians of the rounds."""
    sound = [[decode(piece) for piece in read_spans(_trace(random.Random(seed)))[0]] for seed in range(TRACES)]
    faulty = [_with_a_failed_tool(spans) for spans in sound]
    asking = [_asking(spans) for spans in sound]
    config = ChecksConfig()
    rows = [
        (f"{check.name} alone", _us_a_span(sound, check.make(config.section(check.name)).inspect), "µs/span")
        for check in DEFAULT_CHECKS
    ]
    rows += [(name, _us_a_span(sound, check.inspect), "µs/span") for name, check in _of_ones_own()]
    everything = Checks(config, Telemetry())
    rows.append(
        ("building the tree of Trace", _us_a_span(sound, lambda trace: (trace.children, trace.orphans)), "µs/span")
    )
    rows += _text_scan(sound)
    rows.append(("all checks, sound traces", _us_a_batch(sound, everything), "µs/span"))
    rows.append(("all checks, sound traces one by one", _us_a_span(sound, everything.inspect), "µs/span"))
    rows.append(("all checks, a failed tool in each trace", _us_a_batch(faulty, everything), "µs/span"))
    for check in DEFAULT_CHECKS:
        if check.name in _OF_CALLS:
            inspect = check.make(config.section(check.name)).inspect
            rows.append((f"{check.name} alone, calls and definitions", _us_a_span(asking, inspect), "µs/span"))
    rows.append(("fingerprint of a finding", _us_a_fingerprint(), "µs"))
    return rows


def _of_ones_own() -> list[tuple[str, Check]]:
    """Return rules and budgets that find nothing here."""
    rule = {"title": "Mine", "dimension": "execution"}
    config = DetectorConfig.model_validate(
        {
            "rules": [
                {**rule, "name": "of_spans", "field": "duration_ms", "op": ">", "value": 1e9},
                {**rule, "name": "of_calls", "kind": "llm", "field": "input_tokens", "op": ">", "value": 1e9},
                {**rule, "name": "of_attributes", "attribute": "app.amount", "op": ">", "value": 1},
                {**rule, "name": "of_traces", "field": "trace.duration_ms", "op": ">", "value": 1e9},
            ],
            "budgets": [{"component": kind, "max_ms": 1e9} for kind in ("llm", "tool", "trace")],
        }
    )
    named = [(f"rule {check.name}", check) for check in rule_checks(config.rules)]
    return [*named, ("budgets of llm, tool, trace", OverBudget(config.budgets))]


def _text_scan(sound: Sequence[Sequence[Span]]) -> list[tuple[str, float, str]]:
    """Return what the scan costs that the checks of text share: on these spans, and on one long conversation."""
    prepare()
    kilobytes = sum(len(c.text) for spans in sound for span in spans for c in (span.input, span.output)) / 1024
    a_span = _us_a_span(sound, scan_of)
    rng, said, call = random.Random(1), [], sound[0][0]
    calls: list[Span] = []
    for turn in range(50):
        said.append({"role": "user", "content": " ".join(rng.choices(WORDS, k=300))})
        content = Content(state=ContentState.PRESENT, text=json.dumps(said))
        calls.append(msgspec.structs.replace(call, span_id=f"{turn:016x}", input=content))
    conversation = sum(len(span.input.text) for span in calls) / 1024
    return [
        ("text scan, sound traces", a_span, "µs/span"),
        ("text scan, sound traces (bar: 4)", a_span * sum(map(len, sound)) / kilobytes, "µs/KB"),
        ("text scan, 50 calls of one conversation", _us_a_span([calls], scan_of) * len(calls) / conversation, "µs/KB"),
    ]


def _asking(spans: Sequence[Span]) -> list[Span]:
    """Return the spans with each tool's call in the answer of the LLM call before it, and five definitions there."""
    made = list(spans)
    for n, span in enumerate(spans):
        tool = next((later.tool for later in spans[n:] if later.kind is SpanKind.TOOL), None)
        if span.kind is SpanKind.LLM and tool is not None:
            # a new string each time, as decoding makes it: its hash is not known yet
            details = Details(tool_definitions=_DEFINITIONS.decode())
            output = msgspec.structs.replace(span.output, tool_calls=(tool,))
            made[n] = msgspec.structs.replace(span, output=output, details=details)
    return made


def _with_a_failed_tool(spans: Sequence[Span]) -> list[Span]:
    at = next((n for n, span in enumerate(spans) if span.kind is SpanKind.TOOL), len(spans) - 1)
    error = SpanError(error_type="RateLimitError", message=MESSAGE)
    return [msgspec.structs.replace(span, error=error) if n == at else span for n, span in enumerate(spans)]


def _us_a_span(traces: Sequence[Sequence[Span]], work: Callable[[Trace], object]) -> float:
    spans = sum(map(len, traces))
    took: list[float] = []
    for _ in range(ROUNDS):
        fresh = [Trace(trace_id=found[0].trace_id, spans=found) for found in traces]
        started = time.process_time_ns()
        for trace in fresh:
            work(trace)
        took.append((time.process_time_ns() - started) / 1e3 / spans)
    return statistics.median(took)


def _us_a_batch(traces: Sequence[Sequence[Span]], checks: Checks) -> float:
    """Return what a span costs where traces are inspected as many at a time as assembly does under load."""
    took: list[float] = []
    for _ in range(ROUNDS):
        fresh = [Trace(trace_id=found[0].trace_id, spans=found) for found in traces]
        started = time.process_time_ns()
        for at in range(0, len(fresh), BATCH_TRACES):
            checks.inspect_all(fresh[at : at + BATCH_TRACES])
        took.append((time.process_time_ns() - started) / 1e3 / sum(map(len, traces)))
    return statistics.median(took)


def _us_a_fingerprint() -> float:
    count = 2_000
    started = time.process_time_ns()
    for _ in range(count):
        fingerprint_of(
            routing_key="travel", service="travel", check="failed_span", target="llm:gpt-4o", message=MESSAGE
        )
    return (time.process_time_ns() - started) / 1e3 / count


if __name__ == "__main__":
    for measure, value, unit in run():
        print(f"{measure:45s} {value:8.2f} {unit}")
