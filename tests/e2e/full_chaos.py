"""`make chaos`: 3 detectors and 2 collectors, 22,000 spans of 3,000 traces, 20 kills, a broker restart; every seed.

CLEARWATCH_CHAOS_SEEDS names the seeds. Each is compared with one process on SQLite that nothing happened to.
"""

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.broker.kafka import RunningKafka, running_kafka
from tests.e2e import traffic
from tests.e2e.chaos import (
    Killer,
    WebhookReceiver,
    expect_equal,
    expect_once_by_webhook,
    expect_once_in_mlflow,
    outcome,
    play,
)
from tests.e2e.cluster import Cluster, running
from tests.e2e.harness import Up
from tests.integration.mlflow_server import RunningMlflow

TURNS = 3000
# beside those of a turn, so that there are 22,000
EXTRA_RATIO = 2.5
KILLS = 20
SINKS = ("records", "mlflow", "webhook")
SETTINGS = {"CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "1.0"}
COLUMNS = (
    "seed",
    "spans",
    "traces",
    "kills",
    "findings",
    "issues",
    "links",
    "repeats",
    "drain_s",
    "total_s",
    "outcome",
)


class Row(msgspec.Struct, kw_only=True):
    """One line of the table; `repeats` are webhooks that came again under the same id, with the same body."""

    seed: int
    spans: int = 0
    traces: int = 0
    kills: int = 0
    findings: int = 0
    issues: int = 0
    links: int = 0
    repeats: int = 0
    drain_s: float = 0.0
    total_s: float = 0.0
    outcome: str = "equal"


def main() -> int:
    """Run every seed and print the table; return 1 where one was not as it must be."""
    seeds = [int(seed) for seed in os.environ.get("CLEARWATCH_CHAOS_SEEDS", "1,2,3,4,5").split(",")]
    rows: list[Row] = []
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix=f"clearwatch-chaos-{seed}-"))
        row = Row(seed=seed)
        rows.append(row)
        began = time.monotonic()
        try:
            run(row, folder)
        except Exception:  # noqa: BLE001 - told in the table, and the next seed runs
            traceback.print_exc()
            row.outcome = f"FAILED, see {folder}"
        row.total_s = time.monotonic() - began
        print_table(rows)
    return int(any(row.outcome != "equal" for row in rows))


def run(row: Row, folder: Path) -> None:
    """Play one seed twice and compare."""
    finished = traffic.spans(turns=TURNS, extra_ratio=EXTRA_RATIO)
    requests = traffic.batches(finished, size=32, late_ratio=0.02, duplicate_ratio=0.05, seed=row.seed)
    row.spans, row.traces = len(finished), TURNS
    (folder / "whole").mkdir()
    with Up(folder / "whole", **SETTINGS).start() as up:
        play([up], *requests, before=lambda _: None)
        up.wait_until_idle()
        expected = outcome(folder / "whole" / "records.sqlite3", up)
    with servers(folder) as (broker, mlflow), WebhookReceiver() as webhooks:
        cluster = Cluster(
            folder,
            broker,
            prefix="chaos.",
            collectors=2,
            detectors=3,
            sinks=SINKS,
            mlflow_url=mlflow.url,
            **SETTINGS,
            **webhooks.settings(),
        )
        with running(cluster):
            killer = Killer(cluster, requests=sum(map(len, requests)), kills=KILLS, seed=row.seed, censuses=2)
            play(cluster.collectors, *requests, before=killer)
            began = time.monotonic()
            cluster.wait_until_idle(timeout_s=900)
            row.drain_s = time.monotonic() - began
            row.kills = sum(killer.killed.values())
            records = cluster.sinks["records"]
            found = outcome(folder / "records.sqlite3", records)
            row.findings = len(found["findings"])
            print(f"seed {row.seed}: {dict(killer.killed)} {killer.found}", flush=True)
            expect_equal(found, expected)
            row.issues, row.links = expect_once_in_mlflow(mlflow, records, least_issues=len(expected["issues"]))
            row.repeats = expect_once_by_webhook(webhooks, records)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[RunningKafka, RunningMlflow]]:
    """Run a broker and an MLflow server of this seed's own."""
    (folder / "mlflow").mkdir()
    mlflow = RunningMlflow(folder / "mlflow")
    with running_kafka(folder / "kafka") as broker:
        mlflow.start()
        try:
            yield broker, mlflow
        finally:
            mlflow.stop()


def print_table(rows: list[Row]) -> None:
    """Print the rows so far as Markdown."""
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    for row in rows:
        values = (getattr(row, name) for name in COLUMNS)
        lines.append(" | ".join(f"{value:.0f}" if isinstance(value, float) else str(value) for value in values))
    print("\n".join(f"| {line} |" for line in lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
