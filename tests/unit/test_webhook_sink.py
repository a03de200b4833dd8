"""The webhook sink against a real HTTP server that verifies as the specification says."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from clearwatch.letters import Replay, replay
from core import topics
from core.clock import SystemClock
from core.log.config import LogConfig
from core.log.port import Log, Record
from core.log.sqlite import SqliteLog
from core.model.finding import Dimension, FindingKind, Severity, Source
from core.model.issue import Issue, IssueEvent, IssueEventKind, IssueFiled, IssueStatus, event_id_of
from core.telemetry import Telemetry
from sinks.records.sink import RecordsSink
from sinks.records.store import RecordStore
from sinks.webhook import WebhookConfig, WebhookSink
from sinks.webhook.sink import STORE

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Receiver:
    """Answers with `statuses` in order, then 204; keeps what it verified."""

    def __init__(self, statuses: Sequence[int] = (), retry_after: str = "") -> None:
        self._statuses = list(statuses)
        self._retry_after = retry_after
        self.url = ""
        self.calls: list[tuple[float, dict[str, str], bytes]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        Webhook(SECRET).verify(body, headers)
        self.calls.append((time.monotonic(), headers, body))
        status = self._statuses.pop(0) if self._statuses else 204
        extra = f"retry-after: {self._retry_after}\r\n" if self._retry_after else ""
        extra += f"location: {self.url}\r\n" if status // 100 == 3 else ""
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n{extra}\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def open_log() -> AsyncIterator[Log]:
    log = SqliteLog(":memory:", config=LogConfig(partitions=1), telemetry=Telemetry(), clock=SystemClock())
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


@asynccontextmanager
async def running(log: Log, url: str, pauses_s: tuple[float, ...] = (0.05,) * 5) -> AsyncIterator[Telemetry]:
    telemetry = Telemetry()
    config = WebhookConfig(enabled=True, url=SecretStr(url), secret=SecretStr(SECRET), pauses_s=pauses_s)
    sink = WebhookSink(log=log, config=config, telemetry=telemetry, clock=SystemClock())
    stop = asyncio.Event()
    task = asyncio.create_task(sink.run(stop), name="sink")
    try:
        yield telemetry
    finally:
        stop.set()
        await task


@asynccontextmanager
async def records(log: Log, store: RecordStore) -> AsyncIterator[None]:
    stop = asyncio.Event()
    sink = RecordsSink(log=log, store=store, telemetry=Telemetry(), clock=SystemClock())
    task = asyncio.create_task(sink.run(stop), name="records")
    try:
        yield
    finally:
        stop.set()
        await task


def an_event(
    sequence: int = 1,
    *,
    kind: IssueEventKind = IssueEventKind.OPENED,
    status: IssueStatus = IssueStatus.PENDING,
    muted: bool = False,
    issue_id: str = "i1",
    text: str = "The tool timed out.",
) -> IssueEvent:
    issue = Issue(
        issue_id=issue_id,
        routing_key="shop",
        title="Tool search_orders fails",
        description=text,
        category=Dimension.EXECUTION,
        severity=Severity.HIGH,
        kind=FindingKind.FAULT,
        source=Source.RULE,
        check="tool_failure",
        fingerprint="f" * 32,
        status=status,
        sequence=sequence,
    )
    event_id = event_id_of(issue_id=issue_id, sequence=sequence)
    return IssueEvent(event_id=event_id, kind=kind, issue=issue, at_s=time.time(), muted=muted)


FILED = IssueFiled(
    issue_id="i1",
    routing_key="shop",
    mlflow_issue_id="iss-1",
    experiment_id="1",
    run_id="r",
    url="http://mlflow/#/x?selectedIssueId=iss-1",
    run_url="http://mlflow/#/x",
    at_s=0.0,
)


async def append(log: Log, *values: IssueEvent | IssueFiled) -> None:
    records = [
        Record(topic=topics.ISSUES, partition=0, value=msgspec.msgpack.encode(v), headers=topics.headers())
        for v in values
    ]
    await log.append(records)


async def until_calls(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(20):
        while len(receiver.calls) < count:  # noqa: ASYNC110 - the receiver is a server, it has no event to wait for
            await asyncio.sleep(0.02)


async def until_sent(telemetry: Telemetry, count: int) -> None:
    async with asyncio.timeout(20):
        while telemetry.total("clearwatch.sink.sent") < count:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.02)


async def test_an_opened_issue_is_posted_signed_with_its_link_and_why() -> None:
    async with Receiver().running() as receiver, open_log() as log, running(log, receiver.url):
        event = an_event()
        await append(log, event, FILED)
        await until_calls(receiver, 1)
    _, headers, body = receiver.calls[0]
    found = json.loads(body)
    assert headers["webhook-id"] == event.event_id
    assert found["type"] == "issue.opened"
    assert found["timestamp"].endswith("Z")
    assert found["data"]["url"] == FILED.url
    assert found["data"]["why"] == "a new issue"
    assert found["data"]["issue"]["severity"] == "high"


async def test_an_event_that_its_stage_wrote_twice_is_told_once() -> None:
    async with Receiver().running() as receiver, open_log() as log:
        async with running(log, receiver.url) as telemetry:
            await append(log, FILED, an_event(3), an_event(3))
            await until_sent(telemetry, 1)
        async with running(log, receiver.url) as telemetry:
            await append(log, an_event(3), an_event(4, kind=IssueEventKind.ESCALATED))
            await until_sent(telemetry, 1)
    assert [headers["webhook-id"] for _, headers, _ in receiver.calls] == [
        event_id_of(issue_id="i1", sequence=3),
        event_id_of(issue_id="i1", sequence=4),
    ]


async def test_every_attempt_says_the_same_even_where_the_link_became_known_in_between_and_after_a_restart() -> None:
    async with Receiver([500]).running() as receiver, open_log() as log:
        async with running(log, receiver.url, pauses_s=(2.0,)):
            await append(log, an_event())
            await until_calls(receiver, 1)
        await append(log, FILED)
        async with running(log, receiver.url):
            await until_calls(receiver, 2)
    (_, first, body), (_, second, again) = receiver.calls
    assert first["webhook-id"] == second["webhook-id"]
    assert body == again


async def test_muted_rejected_and_uninteresting_events_are_not_told() -> None:
    async with Receiver().running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        await append(
            log,
            FILED,
            an_event(1, muted=True),
            an_event(2, kind=IssueEventKind.SEEN),
            an_event(3, kind=IssueEventKind.ESCALATED, status=IssueStatus.REJECTED),
            an_event(4, kind=IssueEventKind.REGRESSED),
        )
        await until_sent(telemetry, 1)
        assert telemetry.total("clearwatch.dropped", reason="webhook_muted") == 2
    assert [json.loads(body)["type"] for _, _, body in receiver.calls] == ["issue.regressed"]


@pytest.mark.parametrize("status", [302, 400, 429, 500, 502, 503, 504])
async def test_a_failure_is_tried_again_under_the_same_id(status: int) -> None:
    failing = Receiver([status, status])
    async with failing.running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        await append(log, FILED, an_event())
        await until_sent(telemetry, 1)
    assert len(receiver.calls) == 3
    assert len({headers["webhook-id"] for _, headers, _ in receiver.calls}) == 1


async def test_retry_after_is_honoured() -> None:
    failing = Receiver([429], retry_after="1")
    async with failing.running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        await append(log, FILED, an_event())
        await until_sent(telemetry, 1)
    assert receiver.calls[1][0] - receiver.calls[0][0] >= 1.0


async def test_410_disables_the_endpoint() -> None:
    async with Receiver([410]).running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        await append(log, FILED, an_event(1))
        await until_calls(receiver, 1)
        await append(log, an_event(2, kind=IssueEventKind.REGRESSED))
        async with asyncio.timeout(10):
            while telemetry.total("clearwatch.dead_letters") < 2:  # noqa: ASYNC110 - counters have no event
                await asyncio.sleep(0.02)
    assert len(receiver.calls) == 1


async def test_an_alert_that_was_given_up_is_replayed_with_its_id_and_body() -> None:
    store = RecordStore("sqlite://")
    store.open()
    async with Receiver([500] * 2).running() as receiver, open_log() as log:
        async with running(log, receiver.url, pauses_s=(0.01,)) as telemetry, records(log, store):
            await append(log, FILED, an_event(1))
            while not (letters := store.letters.latest()):  # noqa: ASYNC110 - the records have no event
                await asyncio.sleep(0.02)
            assert (letters[0].kind, letters[0].stage, letters[0].topic) == ("effect", "sink.webhook", STORE)
            done = await replay(Replay(all_=True), book=store.letters, log=log, clock=SystemClock())
            assert done.replayed == (letters[0].id,)
            await until_sent(telemetry, 1)
        lag = await log.lag()
    assert (lag["webhook"], lag["records"]) == (0, 0)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.calls}) == 1
    assert len({body for _, _, body in receiver.calls}) == 1
    assert len(receiver.calls) == 3
    store.close()


async def test_what_is_no_issue_record_is_a_dead_letter_and_a_hundred_and_one_stop_the_partition() -> None:
    async with Receiver().running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        poison = Record(topic=topics.ISSUES, partition=0, value=b"?", headers=topics.headers())
        await log.append([poison])
        await append(log, FILED, an_event(1))
        await until_sent(telemetry, 1)
        assert telemetry.total("clearwatch.dead_letters", stage="sink.webhook", reason="undecodable") == 1
        await log.append([poison] * 120)
        await append(log, an_event(2, kind=IssueEventKind.REGRESSED))
        async with asyncio.timeout(10):
            while telemetry.total("clearwatch.dead_letters") < 100:  # noqa: ASYNC110 - counters have no event
                await asyncio.sleep(0.02)
        (stopped,) = telemetry.stops.now()
        assert (stopped.group, stopped.offset) == ("webhook", 3 + 99)
        assert "clearwatch dead-letters list --stage sink.webhook" in stopped.reason
        assert (await log.lag())["webhook"] == 22
    assert len(receiver.calls) == 1


async def test_alerts_of_one_issue_keep_their_order_while_another_issue_goes_ahead() -> None:
    other = msgspec.structs.replace(FILED, issue_id="i2")
    async with Receiver([500]).running() as receiver, open_log() as log, running(log, receiver.url) as telemetry:
        await append(log, FILED, other, an_event(1))
        await until_calls(receiver, 1)
        await append(log, an_event(2, kind=IssueEventKind.REGRESSED), an_event(1, issue_id="i2"))
        await until_sent(telemetry, 3)
    mine = [json.loads(body) for _, _, body in receiver.calls]
    order = [found["type"] for found in mine if found["data"]["issue"]["id"] == "i1"]
    assert order == ["issue.opened", "issue.opened", "issue.regressed"]


async def test_an_alert_that_was_not_delivered_is_sent_after_a_restart_and_only_once() -> None:
    async with open_log() as log:
        async with running(log, "http://127.0.0.1:9/nobody", pauses_s=(0.3,) * 50) as telemetry:
            await append(log, FILED, an_event())
            async with asyncio.timeout(10):
                while telemetry.total("clearwatch.sink.failed") < 1:  # noqa: ASYNC110 - counters have no event
                    await asyncio.sleep(0.02)
        async with Receiver().running() as receiver:
            async with running(log, receiver.url) as telemetry:
                await until_sent(telemetry, 1)
            async with running(log, receiver.url):
                await append(log, an_event(2, kind=IssueEventKind.ESCALATED))
                await until_calls(receiver, 2)
    assert [json.loads(body)["type"] for _, _, body in receiver.calls] == ["issue.opened", "issue.escalated"]


async def test_the_payload_stays_under_20_kb_whatever_the_issue_says() -> None:
    async with Receiver().running() as receiver, open_log() as log, running(log, receiver.url):
        await append(log, FILED, an_event(text="€\u0000" * 100_000))
        await until_calls(receiver, 1)
    assert len(receiver.calls[0][2]) < 20_000


@pytest.mark.parametrize(
    ("url", "secret"), [("", SECRET), ("ftp://x", SECRET), ("http://x", "whsec_!!"), ("http://x", "whsec_a2s=")]
)
def test_a_webhook_that_cannot_work_is_refused_at_start(url: str, secret: str) -> None:
    with pytest.raises(ValidationError):
        WebhookConfig(enabled=True, url=SecretStr(url), secret=SecretStr(secret))


async def test_a_record_of_a_newer_release_stops_its_partition_and_is_not_skipped() -> None:
    async with Receiver().running() as receiver, open_log() as log:
        async with running(log, receiver.url) as telemetry:
            newer = topics.headers() | {topics.HEADER_SCHEMA: str(topics.SCHEMA + 1)}
            await append(log, FILED, an_event(1))
            await until_sent(telemetry, 1)
            await log.append([Record(topic=topics.ISSUES, partition=0, value=b"?", headers=newer)])
            await append(log, an_event(2, kind=IssueEventKind.REGRESSED))
            await asyncio.sleep(0.5)
        assert (await log.lag())["webhook"] == 2
    assert len(receiver.calls) == 1
