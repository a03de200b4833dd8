"""Reading the files of deploy/ in tests: documents, the metrics that /metrics really shows, the metrics of a query."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from click.testing import CliRunner

from clearwatch.cli import main
from clearwatch.ops.metrics import Metrics
from core.telemetry import CATALOGUE, Telemetry

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ROLES = ("collector", "detector", "sink")
OPS_PORT = 9464
# what Prometheus itself adds to every scrape, and `role`, which prometheus.yml and podmonitor.yaml add
SCRAPE_LABELS = {"instance", "job", "role"}


def document(path: Path) -> dict[str, Any]:
    """Return the only document of a YAML file."""
    (found,) = documents(path)
    return found


def documents(path: Path) -> list[dict[str, Any]]:
    """Return every document of a YAML file, merge keys resolved."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def exposed() -> dict[str, set[str]]:
    """Return every metric as a scrape of a running process shows it, with its label names."""
    telemetry = Telemetry()
    for name, metric in CATALOGUE.items():
        labels = dict.fromkeys(metric.labels, "x")
        if metric.kind == "counter":
            telemetry.count(name, 1, **labels)
        else:
            telemetry.gauge(name, lambda: 1.0, **labels)
    metrics = Metrics(telemetry=telemetry, version="0")
    text = metrics.text().decode()
    metrics.close()
    found = re.findall(r"^(clearwatch_\w+)\{(.*)\} ", text, flags=re.MULTILINE)
    return {name: set(re.findall(r"(\w+)=", labels)) for name, labels in found}


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield (metric, labels matched) of every selector of a PromQL query, Grafana's variables replaced first.

    Raises ValueError where it is not PromQL.
    """
    found: list[tuple[str, set[str]]] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(re.sub(r"\$__(rate_interval|range)\b", "5m", query)), pre_visit=visit)
    yield from found


def check_config(path: Path, environment: dict[str, str]) -> str:
    """Return what `clearwatch check-config` prints; fails where it refuses."""
    outcome = CliRunner(env={**environment, "CLEARWATCH_CONFIG": ""}).invoke(
        main, ["check-config", "--config", str(path)]
    )
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def is_a_role(arguments: list[str]) -> bool:
    """Return whether `clearwatch` with these arguments runs a role as the public contract names them."""
    match arguments:
        case ["collector"] | ["detector"] | ["sink", "records" | "mlflow" | "webhook"]:
            return True
    return False
