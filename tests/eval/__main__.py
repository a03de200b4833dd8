"""`make eval`: every corpus through a running `clearwatch up`, scored against its labels.

`python -m tests.eval NAME…` takes some of them; `dialects` is the name of all framework samples.

Latency is measured once more with delay added to one service at a time (`tests.eval.latency`). Reads the folder in
CLEARWATCH_EVAL_DATA; the scorer is `eval/score.py` beside that folder (or CLEARWATCH_EVAL_SCORER).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from detector.baselines.measures import CHECKS as ADAPTIVE
from tests.e2e.harness import Up
from tests.eval.delays import Delay
from tests.eval.latency import report, report_live
from tests.eval.scenarios import logs_of, samples_in, table, tally

CORPORA = (
    "trail-openinference.dev",
    "trail-genai.dev",
    "tau-airline.dev",
    "whowhen.dev",
    "nezha-ts.dev",
    "dialects.dev",
)

# the corpora come at once: a trace without a root need not wait for half an hour of silence
QUICK = {"CLEARWATCH__DETECTOR__ASSEMBLE__IDLE_S": "8", "CLEARWATCH__DETECTOR__ASSEMBLE__PROVISIONAL_S": "4"}


def main() -> int:
    """Print a block of figures for each corpus; return 0, or 1 where something was lost."""
    folder = os.environ.get("CLEARWATCH_EVAL_DATA")
    if not folder:
        print("CLEARWATCH_EVAL_DATA is not set: point it at the folder of labelled corpora")
        return 0
    data = Path(folder)
    scorer = Path(os.environ.get("CLEARWATCH_EVAL_SCORER", data.parent / "eval" / "score.py"))
    names = (
        [name for name in sys.argv[1:] if name != "dialects"]
        if sys.argv[1:]
        else [name for name in CORPORA if (data / f"{name}.otlp.jsonl.gz").exists()]
    )
    lost = 0
    templates: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="clearwatch-eval-") as work, Up(Path(work) / "data", **QUICK) as up:
            up.start(timeout_s=180)
            up.send(data / f"{name}.otlp.jsonl.gz")
            status = up.wait_until_idle(timeout_s=600)
            findings = Path(work) / "findings.jsonl"
            rows = up.export("findings")
            findings.write_text("".join(json.dumps(row) + "\n" for row in rows))
            templates[name] = sorted({(row["check"], row["fingerprint"]) for row in rows})
            print(f"== {name}")
            figures = {key: status[key] for key in ("spans", "traces", "sessions", "findings", "issues", "dropped")}
            print(json.dumps(figures | {"dead_letters": status["dead_letters"]}))
            lost += status["dead_letters"]
            if scorer.exists():
                command = [sys.executable, str(scorer), str(data / name), str(findings)]
                print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if not sys.argv[1:] or "dialects" in sys.argv[1:]:
        lost += _scenarios(data)
    if "nezha-ts.dev" in names:
        print("== nezha-ts.dev with added delay", flush=True)
        report(data / "nezha-ts.dev.otlp.jsonl.gz")
        report_live(data / "nezha-ts.dev.otlp.jsonl.gz", seed=0, delay=Delay(ms=200), **QUICK)
    pair = [templates.get(f"trail-{dialect}.dev") for dialect in ("openinference", "genai")]
    if all(pair):
        one, other = ({(check, key) for check, key in rules or ()} for rules in pair)
        differing = sorted(check for check, _ in one ^ other)
        told = [check for check in differing if check not in ADAPTIVE]
        learned = [check for check in differing if check in ADAPTIVE]
        print(f"same issues from both TRAIL dialects: {not told} ({len(one)} and {len(other)})")
        # what is learned depends on the order of traces
        print(f"  differing: {', '.join(told) or 'none'}; of what is learned: {', '.join(learned) or 'none'}")
    return int(lost > 0)


def _scenarios(data: Path) -> int:
    """Send the framework samples to one monitor, print what was found; return what was lost.

    They are one application's: its service, its tools and even its session ids repeat from one sample to the next.
    """
    samples = samples_in(data)
    if not samples:
        return 0
    with tempfile.TemporaryDirectory(prefix="clearwatch-eval-") as work, Up(Path(work) / "data", **QUICK) as up:
        up.start(timeout_s=180)
        for sample in samples:
            up.send(*(file for file in (logs_of(sample), sample) if file is not None))
        lost = int(up.wait_until_idle(timeout_s=600)["dead_letters"])
        findings = up.export("findings")
    print("== framework samples")
    print(table([tally(sample, findings) for sample in samples]))
    return lost


if __name__ == "__main__":
    sys.exit(main())
