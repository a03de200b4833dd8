"""What real clients export of one application under injected faults: how many faults are found, how many false alarms.

The samples are `dialects/NAME.otlp.jsonl.gz` in the data folder (`NAME.logs.otlp.jsonl.gz` beside it where a client
sends content as log records) with `NAME.labels.jsonl`: trace id and scenario. Not every client shows every fault:
`hidden_in` says which scenarios a sample's telemetry cannot tell, and why; those are printed and not counted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

# words of which one stands in the check or category of a finding that fits the scenario
FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "401": ("auth", "error", "fail"),
    "429": ("rate", "error", "fail"),
    "429retry-exhausted": ("rate", "error", "fail"),
    "500": ("error", "fail", "5xx"),
    "503html": ("error", "fail", "5xx"),
    "badjson": ("argument", "json", "tool", "error"),
    "badobj": ("schema", "json", "error", "fail"),
    "badschema": ("schema", "json"),
    "connrefused": ("connection", "error", "fail"),
    "ctx": ("context", "error", "fail"),
    "empty": ("empty",),
    "filter": ("filter", "safety", "empty", "guard"),
    "garbage": ("error", "fail", "parse", "schema", "json"),
    "length": ("length", "_cut", "truncat"),
    "loop": ("loop", "repeat", "runaway", "step", "limit", "error"),
    "looprec": ("loop", "repeat", "runaway", "step", "limit", "error", "fail"),
    "pii": ("pii", "secret", "privacy", "safety"),
    "quota": ("quota", "rate", "error", "fail"),
    "rag0": ("document", "retriev", "empty"),
    "refusal": ("refusal", "safety"),
    "responses-429": ("rate", "error", "fail"),
    "softrefusal": ("refusal", "safety"),
    "stream-429": ("rate", "error", "fail"),
    "stream-abandoned": ("stream", "incomplete", "abandon", "error"),
    "stream-cut": ("stream", "incomplete", "error", "fail"),
    "stream-slowttft": ("first", "ttft", "latency", "slow"),
    "toolerr": ("tool", "error", "fail"),
    "unknowntool": ("tool",),
}
CLEAN: Final = frozenset(
    {"ok", "tool", "tools2", "stream", "stream-tool", "responses", "reason", "json", "obj", "rag2", "emb", "resp"}
)
_OF_CONTENT: Final = frozenset(
    {"badjson", "badobj", "badschema", "empty", "loop", "pii", "rag0", "refusal", "softrefusal", "unknowntool"}
)


class Tally(msgspec.Struct):
    """What was found of one sample."""

    sample: str
    shown: int = 0
    """Traces with a fault that the telemetry can show."""
    found: int = 0
    missed: Counter[str] = msgspec.field(default_factory=Counter)
    hidden: Counter[str] = msgspec.field(default_factory=Counter)
    clean: int = 0
    alarms: Counter[str] = msgspec.field(default_factory=Counter)
    """Checks that spoke on clean traces."""
    alarmed: int = 0
    """Clean traces with a finding."""


def samples_in(folder: Path) -> list[Path]:
    """Return the labelled samples of spans, in order."""
    spans = (path for path in sorted(folder.glob("dialects/*.otlp.jsonl.gz")) if ".logs." not in path.name)
    return [path for path in spans if labels_of(path).exists() and labels_of(path).stat().st_size]


def labels_of(sample: Path) -> Path:
    """Return the file of a sample's labels."""
    return sample.with_name(sample.name.replace(".otlp.jsonl.gz", ".labels.jsonl"))


def logs_of(sample: Path) -> Path | None:
    """Return the file with the log records of a sample, if it has any."""
    logs = sample.with_name(sample.name.replace(".otlp.", ".logs.otlp."))
    return logs if logs.exists() else None


def hidden_in(sample: str, scenario: str) -> str:
    """Return why this sample's telemetry cannot show this scenario; "" where it can.

    Read off the samples by hand: what is listed has no trace in any attribute, event or status that they hold.
    """
    if scenario == "429once" and not sample.startswith("vercel"):
        return "the client tries again inside its one span, which ends well"
    if scenario in _OF_CONTENT and "nocontent" in sample:
        return "no content is sent"
    return _HIDDEN.get((sample, scenario), "")


_HIDDEN: Final[Mapping[tuple[str, str], str]] = {
    ("openai_v2", "stream-slowttft"): "no time to first token is sent",
    ("openai_v2", "refusal"): "the text of a refusal is not sent: its events show an empty answer",
    ("langfuse_sdk", "length"): "the client sends no finish reason",
    ("traceloop_openai_v0_40", "badschema"): "the form that was asked for is not sent",
    ("traceloop_openai_v0_40", "stream-abandoned"): "the call's span is never ended, so never sent",
}


def tally(sample: Path, findings: Sequence[Mapping[str, Any]]) -> Tally:
    """Compare what was found, as `clearwatch export findings` says it, with a sample's labels."""
    said: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        said[str(finding.get("trace_id"))].add(f"{finding['check']} {finding.get('category', '')}".lower())
    result = Tally(sample=sample.name.removesuffix(".otlp.jsonl.gz"))
    for line in labels_of(sample).read_text().splitlines():
        label = json.loads(line)
        scenario, checks = str(label["scenario"]), said[str(label["trace_id"])]
        if scenario in CLEAN:
            result.clean += 1
            result.alarmed += bool(checks)
            result.alarms.update(check.partition(" ")[0] for check in checks)
        elif scenario in FITTING:
            if hidden_in(result.sample, scenario):
                result.hidden[scenario] += 1
                continue
            result.shown += 1
            if any(word in check for check in checks for word in FITTING[scenario]):
                result.found += 1
            else:
                result.missed[scenario] += 1
    return result


def table(tallies: Sequence[Tally]) -> str:
    """Return the figures as text: a line for each sample, then all of them together."""
    lines = [f"{'sample':32s} {'found':>9s}  {'alarms':>7s}  missed | alarms | hidden"]
    for each in tallies:
        words = " | ".join(
            " ".join(f"{name}×{n}" if n > 1 else name for name, n in sorted(counts.items())) or "-"
            for counts in (each.missed, each.alarms, each.hidden)
        )
        lines.append(f"{each.sample:32s} {each.found:4d}/{each.shown:<4d}  {each.alarmed:3d}/{each.clean:<3d}  {words}")
    found, shown = sum(t.found for t in tallies), sum(t.shown for t in tallies)
    alarmed, clean = sum(t.alarmed for t in tallies), sum(t.clean for t in tallies)
    lines.append(
        f"together {found}/{shown} = {100 * found / max(1, shown):.1f} % found, "
        f"{alarmed}/{clean} = {100 * alarmed / max(1, clean):.1f} % of clean traces with a finding"
    )
    return "\n".join(lines)
