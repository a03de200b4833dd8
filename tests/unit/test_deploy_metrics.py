"""Dashboard and alert rules ask only for what /metrics shows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.deploy_kit import DEPLOY, SCRAPE_LABELS, document, exposed, selectors

DASHBOARD = json.loads((DEPLOY / "grafana/clearwatch.json").read_text(encoding="utf-8"))
RULES = [rule for group in document(DEPLOY / "prometheus/alerts.yml")["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), list(_queries()))
def test_queries_ask_for_metrics_and_labels_that_are_exposed(where: str, query: str) -> None:
    known = exposed() | {"up": set()}
    found = list(selectors(query))
    assert found, where
    for metric, labels in found:
        assert metric in known, f"{where}: {metric}"
        assert labels <= known[metric] | SCRAPE_LABELS, f"{where}: {metric} {labels}"


@pytest.mark.parametrize(("where", "query"), list(_queries()))
def test_what_is_grouped_by_is_a_label_of_the_metric(where: str, query: str) -> None:
    known = exposed() | {"up": set()}
    labels = set().union(*(known[metric] for metric, _ in selectors(query))) | SCRAPE_LABELS
    grouped = {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", query) for name in names.split(",")}
    assert grouped <= labels, where


def test_every_metric_of_the_catalogue_is_on_the_dashboard() -> None:
    shown = {metric for panel in PANELS for target in panel["targets"] for metric, _ in selectors(target["expr"])}
    assert set(exposed()) - shown == set()


def test_panels_do_not_overlap_and_fill_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_variables_that_queries_use_are_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {"__rate_interval", "__range"}
    assert used <= defined


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            kept = {n.strip() for names in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for n in names.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_alerts_have_a_severity_and_say_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        kept = _labels(rule)
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert used <= kept, rule["alert"]


def test_every_alert_has_a_place_in_the_tests_of_rules_or_one_plain_threshold() -> None:
    tested = {
        case["alertname"]
        for test in document(DEPLOY / "prometheus/alerts.test.yml")["tests"]
        for case in test["alert_rule_test"]
    }
    assert tested <= {rule["alert"] for rule in RULES}
    compound = {rule["alert"] for rule in RULES if re.search(r"\b(unless|and)\b", rule["expr"])}
    # the same expressions as ClearwatchDeadLetters and ClearwatchLagGrowing, of other metrics
    assert compound - tested == {"ClearwatchStageFailing", "ClearwatchOutboxGrowing"}


def _labels(rule: dict[str, Any]) -> set[str]:
    found = {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for name in names.split(",")}
    return found or SCRAPE_LABELS
