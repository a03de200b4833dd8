"""The ops server over real HTTP."""

import datetime
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr, ValidationError

from clearwatch.letters import Replay, Replayed
from clearwatch.ops.config import OpsConfig
from clearwatch.ops.server import OpsServer
from core import topics
from core.clock import ManualClock
from core.stops import StoppedPartition
from core.telemetry import Telemetry
from detector.catalogue import catalogue
from detector.config import DetectorConfig
from detector.issues.suppressions import SuppressionConfig
from sinks.records.store import RecordStore
from tests.unit.records_kit import (
    ISSUE,
    MLFLOW_ISSUE,
    NOW_S,
    TRACE,
    change,
    event,
    filed,
    finding,
    issue,
    link,
    store,
    trace,
)

EXPORTED = {
    "trace_id", "session_id", "span_ids", "check", "kind", "source", "category", "severity", "fingerprint", "issue_id",
    "title", "rationale", "observed_at",
}  # fmt: skip
# after the findings of the kit were observed
UNTIL = datetime.datetime.fromtimestamp(NOW_S + 60, datetime.UTC)


class Kit:
    """A server over an in-memory store, with a lag that the test sets."""

    def __init__(self, *, token: str = "", ready: tuple[str, ...] = ()) -> None:
        self.store: RecordStore = store()
        self.telemetry = Telemetry()
        self.clock = ManualClock(NOW_S)
        self.lag: dict[str, int] = {"records": 0}
        self.ready = ready
        self.asked: list[Replay] = []
        self.server = OpsServer(
            config=OpsConfig(listen="127.0.0.1:0", token=SecretStr(token) if token else None),
            store=self.store,
            telemetry=self.telemetry,
            version="1.2.3",
            lag=self.read_lag,
            instance="this",
            clock=self.clock,
            readiness=lambda: self.ready,
            replay=self.replay,
            checks=catalogue(DetectorConfig()),
            suppressions=(SuppressionConfig(check=("failed_span",), until=UNTIL, reason="known"),),
        )
        self.client = httpx.AsyncClient(trust_env=False)

    async def replay(self, asked: Replay) -> Replayed:
        self.asked.append(asked)
        return Replayed(replayed=asked.ids)

    async def post(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(self.server.url + path, content=body, headers=sent)

    async def read_lag(self) -> Mapping[str, int]:
        return self.lag

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(self.server.url + path, headers=headers)

    async def close(self) -> None:
        await self.client.aclose()
        await self.server.stop()
        await self.server.stop()
        self.store.close()


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    made = Kit()
    await made.server.start()
    yield made
    await made.close()


async def test_checks_tell_the_counts_of_all_processes(kit: Kit) -> None:
    other = Telemetry()
    other.count("clearwatch.check.answers", 5, check="failed_span", outcome="clear")
    kit.store.save_counters("other", other.snapshot(), now_s=NOW_S)
    kit.telemetry.count("clearwatch.check.answers", 2, check="failed_span", outcome="clear")
    kit.telemetry.count("clearwatch.check.answers", check="failed_span", outcome="found")
    checks = (await kit.get("/api/v1/checks")).json()["checks"]
    (failed_span,) = [check for check in checks if check["name"] == "failed_span"]
    assert failed_span["answers"] == {"clear": 7, "found": 1}


async def test_status_has_the_public_shape_to_the_letter(kit: Kit) -> None:
    kit.telemetry.count("clearwatch.collector.spans.received", 12)
    kit.telemetry.count("clearwatch.collector.spans.rejected", 2, reason="zero_id")
    kit.telemetry.count("clearwatch.dropped", 3, reason="event_limit")
    kit.telemetry.count("clearwatch.dead_letters", stage="assemble", reason="poison")
    kit.telemetry.gauge("clearwatch.traces.open", lambda: 4)
    kit.store.apply([change(trace(session_id="s1")), change(finding()), change(event(issue(), link("f1")))])
    kit.clock.advance(7.5)
    kit.lag = {"assemble": 0, "records": 1, "mlflow.outbox": 2}
    assert (await kit.get("/api/v1/status")).json() == {
        "version": "1.2.3",
        "uptime_s": 7.5,
        "spans": {"received": 12, "rejected": 2},
        "traces": {"open": 4, "closed": 1},
        "sessions": {"open": 1, "closed": 0},
        "findings": 1,
        "issues": {"pending": 1, "resolved": 0, "rejected": 0},
        "triage": {"judged": 0, "skipped": {}, "cost_usd": 0.0, "mode": "off"},
        "lag": {"assemble": 0, "mlflow.outbox": 2, "records": 1},
        "dead_letters": 1,
        "dropped": {"event_limit": 3},
    }


async def test_counters_add_up_over_starts_and_gauges_only_of_the_living(kit: Kit) -> None:
    received, open_traces = ("clearwatch.collector.spans.received", ()), ("clearwatch.traces.open", ())
    kit.telemetry.count(received[0], 5)
    kit.telemetry.gauge(open_traces[0], lambda: 1)
    kit.store.save_counters("dead", {received: 100.0, open_traces: 50.0}, now_s=NOW_S - 60)
    kit.store.save_counters("alive", {received: 10.0, open_traces: 2.0}, now_s=NOW_S - 1)
    kit.store.save_counters("this", {received: 3.0, open_traces: 9.0}, now_s=NOW_S - 1)
    found = (await kit.get("/api/v1/status")).json()
    assert found["spans"]["received"] == 115
    assert found["traces"]["open"] == 3


async def test_a_trace_on_its_way_from_open_to_the_records_is_never_out_of_sight(kit: Kit) -> None:
    """Whatever the moment at which it closes, one of lag, open and closed shows it."""
    for closes_at in range(4):
        step, made = 0, store()
        seen: dict[str, Any] = {"open": 1, "lag": 0}

        def advance(closes_at: int = closes_at, seen: dict[str, Any] = seen) -> None:
            nonlocal step
            if step == closes_at:
                seen |= {"open": 0, "lag": 1}
            elif step == closes_at + 1:
                made.apply([change(trace())])  # noqa: B023 - called within this round
                seen["lag"] = 0
            step += 1

        async def lag(seen: dict[str, Any] = seen, advance: Any = advance) -> Mapping[str, int]:
            found = {"records": seen["lag"]}
            advance()
            return found

        def read_open(seen: dict[str, Any] = seen, advance: Any = advance) -> float:
            found = seen["open"]
            advance()
            return float(found)

        kit.server._status._store, kit.server._status._lag = made, lag
        kit.telemetry.gauge("clearwatch.traces.open", read_open)
        found = (await kit.get("/api/v1/status")).json()
        assert found["lag"]["records"] or found["traces"]["open"] or found["traces"]["closed"], closes_at
        made.close()


async def test_issues_are_listed_filtered_and_shown_with_evidence(kit: Kit) -> None:
    kit.store.apply([change(trace()), change(event(issue(), link("f1"))), change(filed())])
    listed = (await kit.get("/api/v1/issues")).json()["issues"]
    assert [(i["issue_id"], i["mlflow_issue_id"]) for i in listed] == [(ISSUE, MLFLOW_ISSUE)]
    assert (await kit.get("/api/v1/issues?status=resolved")).json() == {"issues": []}
    assert (await kit.get("/api/v1/issues?status=odd")).status_code == 400
    shown = (await kit.get(f"/api/v1/issues/{MLFLOW_ISSUE}")).json()
    assert shown["evidence"][0]["trace"]["duration_s"] == 1.5
    missing = await kit.get("/api/v1/issues/ffff")
    assert (missing.status_code, missing.json()) == (404, {"error": "no issue has the id 'ffff'"})


async def test_findings_come_as_lines_or_in_pages(kit: Kit) -> None:
    kit.store.apply([change(finding(f"f{i:04}", observed_at_ns=i), offset=i) for i in range(1100)])
    kit.store.apply([change(event(issue(), link("f0000")))])
    streamed = await kit.get("/api/v1/findings", Accept="application/x-ndjson")
    rows = [msgspec.json.decode(line) for line in streamed.text.splitlines()]
    assert len(rows) == 1100
    assert set(rows[0]) >= EXPORTED
    assert (rows[0]["issue_id"], rows[1]["issue_id"]) == (ISSUE, None)
    assert (rows[0]["kind"], rows[0]["source"], rows[0]["severity"]) == ("fault", "rule", "high")
    paged, after = [], ""
    while after is not None:
        page = (await kit.get(f"/api/v1/findings?limit=500&after={after}")).json()
        paged += page["findings"]
        after = page["next"]
    assert paged == rows
    assert (await kit.get("/api/v1/findings?after=x")).status_code == 400


async def test_a_trace_is_shown_with_its_findings_by_mlflows_id(kit: Kit) -> None:
    kit.store.apply([change(trace()), change(finding())])
    found = (await kit.get(f"/api/v1/traces/tr-{TRACE}")).json()
    assert (found["trace"]["trace_id"], found["findings"][0]["finding_id"]) == (TRACE, "f1")
    assert list(found["suppressed"]) == ["f1"]


async def test_metrics_are_prometheus_text_of_the_catalogue(kit: Kit) -> None:
    kit.telemetry.count("clearwatch.collector.spans.received", 12)
    answer = await kit.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if line.startswith("clearwatch_collector_spans_received_total")]
    assert [line.rpartition(" ")[2] for line in lines] == ["12.0"]


async def test_readiness_gives_its_reasons(kit: Kit) -> None:
    assert (await kit.get("/readyz")).json() == {"ready": True, "reasons": []}
    kit.ready = ("starting",)
    answer = await kit.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["starting"])
    assert (await kit.get("/healthz")).text == "ok\n"


async def test_a_stopped_partition_is_not_ready_and_shown_with_what_to_do(kit: Kit) -> None:
    reason = "record of spans has schema 2, this release reads up to 1: upgrade before reading on"
    kit.telemetry.stops.add(StoppedPartition(group="assemble", topic="spans", partition=3, offset=41, reason=reason))
    answer = await kit.get("/readyz")
    shown = [f"assemble: stopped at spans[3]@41: {reason}"]
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": shown})
    assert (await kit.get("/api/v1/live")).json()["status"]["stopped"] == shown
    kit.telemetry.stops.forget("assemble", 3)
    assert (await kit.get("/readyz")).status_code == 200


async def test_records_that_cannot_be_read_are_503_with_a_delay(kit: Kit) -> None:
    with kit.store._database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE findings")
    answer = await kit.get("/api/v1/status")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "records cannot be read" in answer.json()["error"]


async def test_the_page_allows_nothing_but_itself(kit: Kit) -> None:
    answer = await kit.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "https://" not in answer.text
    assert "innerHTML" not in answer.text


async def test_another_name_for_this_machine_reads_nothing(kit: Kit) -> None:
    kit.store.apply([change(finding())])
    assert (await kit.get("/api/v1/findings", Host="rebound.example:9464")).status_code == 401
    assert (await kit.get("/api/v1/findings", Host=f"localhost:{kit.server.port}")).status_code == 200


async def test_a_token_guards_content_and_not_health() -> None:
    kit = Kit(token="s3cret")
    await kit.server.start()
    try:
        for path in ("/api/v1/status", "/api/v1/issues", "/api/v1/findings", f"/api/v1/traces/{TRACE}", "/api/v1/live"):
            assert (await kit.get(path)).status_code == 401
            assert (await kit.get(path, Authorization="Bearer wrong")).status_code == 401
        assert (await kit.get("/api/v1/status", Authorization="Bearer s3cret")).status_code == 200
        assert (await kit.get("/api/v1/status?token=s3cret")).status_code == 200
        assert (await kit.get("/healthz")).status_code == 200
    finally:
        await kit.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "[::]:1", "192.0.2.7:80", "example.org:80"])
def test_a_public_address_without_a_token_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match=r"`ops.token` must be set"):
        OpsConfig(listen=listen)
    assert OpsConfig(listen=listen, token=SecretStr("x")).port


@pytest.mark.parametrize("listen", ["9464", "localhost", "127.0.0.1:99999", ":80", "a:b"])
def test_an_address_without_host_or_port_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="must read host:port"):
        OpsConfig(listen=listen)


LETTER = topics.DeadLetter(
    topic=topics.SPANS, partition=3, offset=41, stage="assemble", error="bad span", error_type="SpanDecodeError",
    value=b"\x0a\xff", build="1.2.3",
)  # fmt: skip
REPLAY = "/api/v1/dead-letters/replay"
JSON = "application/json"


async def test_dead_letters_are_listed_and_shown_with_their_bytes(kit: Kit) -> None:
    kit.store.letters.take([(LETTER, int(NOW_S * 1000))])
    (listed,) = (await kit.get("/api/v1/dead-letters?stage=assemble&limit=5&since=0")).json()["dead_letters"]
    assert set(listed) == {
        "id", "at", "stage", "topic", "partition", "offset", "kind", "error_type", "error", "size_bytes", "schema",
        "build", "headers", "replays", "replayed_at",
    }  # fmt: skip
    assert (listed["at"], listed["error"], listed["size_bytes"]) == ("2023-11-14T22:13:20.000000Z", "bad span", 2)
    shown = (await kit.get("/api/v1/dead-letters/spans:3:41")).json()
    assert (shown["value"], shown["key"]) == ("Cv8=", "")
    assert (await kit.get("/api/v1/dead-letters/spans:4")).status_code == 404
    assert (await kit.get("/api/v1/dead-letters?since=nan")).status_code == 400
    assert (await kit.get("/api/v1/dead-letters?stage=issues")).json() == {"dead_letters": []}
    assert (await kit.get("/api/v1/live")).json()["dead_letters"] == [listed]


async def test_replaying_takes_ids_or_all(kit: Kit) -> None:
    answer = await kit.post(REPLAY, b'{"ids": ["spans:3:41"]}', content_type=JSON)
    assert (answer.status_code, answer.json()) == (200, {"replayed": ["spans:3:41"], "skipped": []})
    assert (await kit.post(REPLAY, b'{"all": true, "stage": "issues"}', content_type=JSON)).status_code == 200
    assert kit.asked == [Replay(ids=("spans:3:41",)), Replay(all_=True, stage="issues")]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"ids": ["a"], "all": true}', b'{"ids": [1]}', b"x" * (2 << 20)])
async def test_a_body_that_does_not_say_what_to_replay_replays_nothing(kit: Kit, body: bytes) -> None:
    assert (await kit.post(REPLAY, body, content_type=JSON)).status_code == 400
    assert kit.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": JSON, "origin": "https://evil.example"},
        {"content_type": JSON, "origin": "null"},
    ],
)
async def test_what_a_page_of_another_site_can_send_replays_nothing(kit: Kit, headers: dict[str, str]) -> None:
    assert (await kit.post(REPLAY, b'{"all": true}', **headers)).status_code == 403
    assert kit.asked == []


async def test_a_page_of_another_site_is_not_allowed_to_ask(kit: Kit) -> None:
    sent = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await kit.client.options(kit.server.url + REPLAY, headers=sent)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.status_code == 405
    rebound = await kit.post(
        REPLAY, b'{"all": true}', content_type=JSON, host="evil.example", origin="http://evil.example"
    )
    assert (rebound.status_code, kit.asked) == (401, [])
    assert (await kit.get(REPLAY)).status_code == 404
    assert (await kit.post(REPLAY, b'{"all": true}', content_type=JSON, origin=kit.server.url)).status_code == 200


async def test_replaying_asks_for_the_token_in_its_header() -> None:
    kit = Kit(token="secret")
    await kit.server.start()
    try:
        body = b'{"all": true}'
        assert (await kit.post(REPLAY, body, content_type=JSON)).status_code == 401
        assert (await kit.post(f"{REPLAY}?token=secret", body, content_type=JSON)).status_code == 401
        assert kit.asked == []
        assert (await kit.post(REPLAY, body, content_type=JSON, authorization="Bearer secret")).status_code == 200
    finally:
        await kit.close()


async def test_where_there_is_no_log_a_replay_is_to_be_tried_later() -> None:
    records = store()
    records.letters.take([(LETTER, 1)])
    server = OpsServer(
        config=OpsConfig(listen="127.0.0.1:0"), store=records, telemetry=Telemetry(), version="1",
        lag=Kit().read_lag,
    )  # fmt: skip
    await server.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(server.url + REPLAY, json={"all": True})
    await server.stop()
    records.close()
    assert answer.status_code == 503
