"""Roles on a real broker: as `up` on SQLite without kills, and the same with SIGKILLs and a broker that goes away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.broker.kafka import Broker
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

TURNS = 120
KILLS = 5
SEED = 11
# short enough for a test, long enough that a kill falls before, between and after closes
SETTINGS = {"CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "1.0"}

pytestmark = [pytest.mark.e2e, pytest.mark.needs_kafka, pytest.mark.timeout(1200)]

Requests = tuple[list[bytes], list[bytes]]


@pytest.fixture(scope="module")
def requests() -> Requests:
    return traffic.batches(traffic.spans(turns=TURNS), size=16, late_ratio=0.02, duplicate_ratio=0.05, seed=SEED)


@pytest.fixture(scope="module")
def expected(requests: Requests, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Return the outcome of one process on SQLite that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    with Up(folder, **SETTINGS).start() as up:
        play([up], *requests, before=lambda _: None)
        up.wait_until_idle()
        return outcome(folder / "records.sqlite3", up)


def test_kills_of_random_roles_and_of_the_broker_change_nothing(
    kafka_broker: Broker,
    mlflow_server: RunningMlflow,
    requests: Requests,
    expected: Mapping[str, Any],
    tmp_path: Path,
) -> None:
    with WebhookReceiver() as webhooks:
        cluster = Cluster(
            tmp_path,
            kafka_broker,
            prefix="chaos.",
            collectors=2,
            detectors=3,
            sinks=("records", "mlflow", "mlflow", "webhook"),
            mlflow_url=mlflow_server.url,
            **SETTINGS,
            **webhooks.settings(),
        )
        with running(cluster):
            killer = Killer(cluster, requests=sum(map(len, requests)), kills=KILLS, seed=SEED)
            play(cluster.collectors, *requests, before=killer)
            cluster.wait_until_idle()
            records = cluster.sinks["records"]
            expect_equal(outcome(tmp_path / "records.sqlite3", records), expected)
            assert len(expected["issues"]) >= 5
            expect_once_in_mlflow(mlflow_server, records, least_issues=len(expected["issues"]))
            expect_once_by_webhook(webhooks, records)
