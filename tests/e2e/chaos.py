"""Kills and outages of a cluster on Kafka, a receiver of webhooks, and what must come out whatever happened."""

import contextlib
import http.server
import random
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from detector.baselines.measures import CHECKS as ADAPTIVE
from tests.broker.kafka import RunningKafka
from tests.e2e.census import Census, census
from tests.e2e.cluster import Cluster
from tests.e2e.failing import PROTOBUF, in_threads
from tests.e2e.harness import Up
from tests.http import CLIENT
from tests.integration.mlflow_server import RunningMlflow

SECRET = "whsec_Y2xlYXJ3YXRjaC1jaGFvcy10ZXN0LXNlY3JldA=="
_ATTEMPT_S = 30.0


class WebhookReceiver:
    """Takes every webhook and keeps (id, body), in the order in which they came."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((self.headers["webhook-id"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def bodies(self) -> Mapping[str, Sequence[bytes]]:
        """Return what came under each id."""
        found = defaultdict(list)
        for webhook_id, body in self.received:
            found[webhook_id].append(body)
        return found

    def __enter__(self) -> "WebhookReceiver":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="webhooks").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def settings(self) -> dict[str, str]:
        """Return what makes Clearwatch send here."""
        return {
            "CLEARWATCH__SINKS__WEBHOOK__ENABLED": "true",
            "CLEARWATCH__SINKS__WEBHOOK__URL": self.url,
            "CLEARWATCH__SINKS__WEBHOOK__SECRET": SECRET,
        }


def send(collectors: Sequence[Up], body: bytes, *, first: int = 0, timeout_s: float = 240.0) -> None:
    """Send to one collector after the other until one has acknowledged, as a balancer in front of them would."""
    deadline = time.monotonic() + timeout_s
    attempt = first
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            url = f"http://{collectors[attempt % len(collectors)].http}/v1/traces"
            answer = CLIENT.post(url, content=body, headers=PROTOBUF, timeout=_ATTEMPT_S)
            if answer.status_code == httpx.codes.OK:
                return
            assert answer.status_code in (429, 503), f"{answer.status_code} {answer.text}"
            assert "retry-after" in answer.headers
        attempt += 1
        time.sleep(0.1)
    raise AssertionError("never acknowledged")


def play(
    collectors: Sequence[Up], prompt: Sequence[bytes], late: Sequence[bytes], *, before: Callable[[int], None]
) -> None:
    """Send everything in order; `before(n)` is called before request n. Late is what comes when all is closed."""
    for number, body in enumerate([*prompt, *late]):
        if number == len(prompt):
            time.sleep(2.5)
        before(number)
        send(collectors, body, first=number)


class Killer:
    """Kills random processes of a cluster at random moments and starts them again at once; and the broker, once.

    A census kills every detector at one moment and looks at what they have committed before they start again.
    """

    def __init__(self, cluster: Cluster, *, requests: int, kills: int, seed: int, censuses: int = 1) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        broker_at, *moments = self._random.sample(range(requests), kills + 1 + censuses)
        self._broker_at = broker_at
        self._kill_at = set(moments[censuses:])
        self._census_at = set(moments[:censuses])
        self.killed: Counter[str] = Counter()
        self.found: list[Census] = []

    def __call__(self, number: int) -> None:
        """Do what is planned before this request."""
        broker = self._cluster.broker
        if number == self._broker_at and isinstance(broker, RunningKafka):  # one that was given is left alone
            broker.kill()
            time.sleep(self._random.uniform(0.5, 3.0))
            broker.start()
            self.killed["broker"] += 1
        if number in self._kill_at:
            self.kill_one()
        if number in self._census_at:
            self.take_census()

    def take_census(self) -> None:
        """Kill all detectors; whatever they have committed is in a version or in a checkpoint."""
        for detector in self._cluster.detectors:
            detector.kill()
        found = census(self._cluster.log_config)
        assert not found.lost, f"{len(found.lost)} of {found.committed} committed spans are nowhere: {found.lost[:3]}"
        self.found.append(found)
        for detector in self._cluster.detectors:
            detector.launch()

    def kill_one(self) -> None:
        """Kill one, after a while in which anything may be under way."""
        time.sleep(self._random.uniform(0, 1.5))
        victim = self._random.choice(self._cluster.processes)
        for process in self._cluster.processes:
            assert process.is_running, f"{process.command} ended by itself:\n{process.log_tail()}"
        victim.kill()
        victim.launch()
        self.killed[" ".join(victim.command)] += 1


def outcome(records: Path, ops: Up) -> dict[str, Any]:
    """Return what must be equal: trace versions, findings, issues and their counts, without the adaptive latency ones.

    What is slow depends on what was learned before, and so on the order in which traces of several partitions close,
    which no two live runs share.
    """
    with contextlib.closing(sqlite3.connect(f"file:{records}?mode=ro", uri=True)) as store:
        versions = dict(store.execute("SELECT trace_id, version FROM traces"))
    findings = [f for f in ops.export("findings") if f["check"] not in ADAPTIVE]
    issues = [i for i in ops.export("issues") if i["check"] not in ADAPTIVE]
    return {
        "versions": versions,
        "findings": {(f["trace_id"], f["check"], f["span_ids"][0], f["fingerprint"], f["issue_id"]) for f in findings},
        "issues": {i["issue_id"]: (i["trace_count"], i["session_count"], i["finding_count"]) for i in issues},
    }


def expect_equal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Assert equality with what differs, and not with thousands of rows, in the message."""
    for what in expected:
        here, there = found[what], expected[what]
        if isinstance(there, dict):
            here, there = set(here.items()), set(there.items())
        missing, added = there - here, here - there
        assert not missing, f"{what}: {len(missing)} missing, {len(added)} added: {list(missing)[:3]} {list(added)[:3]}"
        assert not added, f"{what}: {len(added)} added: {list(added)[:3]}"


def expect_once_in_mlflow(mlflow: RunningMlflow, ops: Up, *, least_issues: int) -> tuple[int, int]:
    """Assert that each issue and link is there once, as a real MLflow stores them; return how many there are."""
    ours = [issue["mlflow_issue_id"] for issue in ops.export("issues") if issue["mlflow_issue_id"]]
    filed = set(ours)
    marks = ", ".join("?" * len(filed))
    with contextlib.closing(sqlite3.connect(f"file:{mlflow.database}?mode=ro", uri=True)) as store:
        runs = store.execute(f"SELECT DISTINCT source_run_id FROM issues WHERE issue_id IN ({marks})", [*filed])  # noqa: S608
        (run,) = [row[0] for row in runs]
        names = [row[0] for row in store.execute("SELECT name FROM issues WHERE source_run_id = ?", (run,))]
        (experiment,) = store.execute("SELECT experiment_id FROM runs WHERE run_uuid = ?", (run,)).fetchone()
        in_experiment = "SELECT COUNT(*) FROM runs WHERE experiment_id = ?"
        (monitor_runs,) = store.execute(in_experiment, (experiment,)).fetchone()
        linked = f"assessment_type = 'issue' AND name IN ({marks})"
        links = list(store.execute(f"SELECT trace_id, name FROM assessments WHERE {linked}", [*filed]))  # noqa: S608
    assert monitor_runs == 1
    assert len(names) == len(set(names)) == len(ours) == len(filed) >= least_issues
    assert len(links) == len(set(links)) > 0
    return len(names), len(links)


def expect_once_by_webhook(receiver: WebhookReceiver, ops: Up) -> int:
    """Assert that every issue was told of, and that what came twice came with the same body; return how many did."""
    bodies = receiver.bodies()
    differing = {webhook_id: found for webhook_id, found in bodies.items() if len(set(found)) > 1}
    assert not differing, f"{len(differing)} ids with two bodies: {next(iter(differing.values()))}"
    told: Counter[str] = Counter()
    for found in bodies.values():
        event = httpx.Response(200, content=found[0]).json()
        if event["type"] == "issue.opened":
            told[event["data"]["issue"]["id"]] += 1
    assert set(told) == {issue["issue_id"] for issue in ops.export("issues")}
    assert set(told.values()) == {1}
    return len(receiver.received) - len(bodies)


@contextlib.contextmanager
def killing(kill: Callable[[], None], *, count: int, pause_s: Callable[[], float]) -> Iterator[None]:
    """Kill so often in a thread of its own while the block runs."""

    def work(_: int) -> None:
        for _ in range(count):
            time.sleep(pause_s())
            kill()

    join = in_threads(work, 1)
    try:
        yield
    finally:
        join()
