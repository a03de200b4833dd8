"""The webhook sink: issue events worth telling, posted as Standard Webhooks 1.0.

https://www.standardwebhooks.com: the id is the event's and constant over every attempt, the timestamp is the
attempt's, the signature covers both; 2xx is success; redirects are failures and not followed; 410 disables the
endpoint until the next start; everything else is tried again on the schedule, Retry-After honoured.

An event is told once, even where its stage wrote it twice (its number says so), and always in the same words: the
body is committed before it is sent for the first time, for the link in it may become known between two attempts.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import httpx
import msgspec
from standardwebhooks import Webhook

from core import topics
from core.clock import Clock
from core.errors import PartitionLostError, PermanentError, RetryableError
from core.log.port import Log, StateChange, StoredRecord, Work
from core.model.issue import EffectAgain, IssueEvent, IssueFiled, IssueRecord, IssueStatus
from core.telemetry import Telemetry
from sinks.delivery import Done, Entry, Outbox, Schedule, WaitError, taken_back
from sinks.poison import Poison
from sinks.reading import join, let_go, take_next, take_up
from sinks.webhook.config import WebhookConfig
from sinks.webhook.payload import WORTH_TELLING, Alert, alert_of, body_of

logger = logging.getLogger(__name__)

GROUP: Final = "webhook"
STORE: Final = "state.sink.webhook"
_URL_PREFIX: Final = b"u/"
_TOLD_PREFIX: Final = b"n/"
_BODY_PREFIX: Final = b"b/"
_FETCH_BYTES: Final = 1024 * 1024
_FETCH_TIMEOUT_S: Final = 0.2
# how long an alert waits for the link into MLflow; a new issue is filed within a second or two
_WAIT_FOR_URL_S: Final = 5.0
_GONE: Final = 410
_RETRY_AFTER_MAX_S: Final = 86_400.0


class WebhookGoneError(PermanentError):
    """The endpoint answered 410: it wants no more."""


class _Told:
    """What is kept of one partition: links into MLflow, the last event of each issue, bodies on their way."""

    def __init__(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        self.urls: dict[str, str] = {}
        self.sequences: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        for key, value in entries:
            prefix, name = key[:2], key[2:].decode()
            if prefix == _URL_PREFIX:
                self.urls[name] = value.decode()
            elif prefix == _TOLD_PREFIX:
                self.sequences[name] = int(value)
            elif prefix == _BODY_PREFIX:
                self.bodies[name] = value


class WebhookSink:
    """Implements `sinks.port.Sink`."""

    def __init__(self, *, log: Log, config: WebhookConfig, telemetry: Telemetry, clock: Clock) -> None:
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._signer = Webhook(config.secret.get_secret_value())
        self._http = httpx.AsyncClient(timeout=config.timeout_s, follow_redirects=False)
        self._reader = log.reader(GROUP, [topics.ISSUES], essential=False)
        self._decode = msgspec.msgpack.Decoder(IssueRecord).decode
        self._poison = Poison(stage=f"sink.{GROUP}", group=GROUP, telemetry=telemetry)
        self._owned: dict[int, _Told] = {}
        self._taking = asyncio.Lock()
        self._is_disabled = False
        self._outbox = Outbox(
            sink=GROUP,
            store=STORE,
            reader=self._reader,
            deliver=self._deliver,
            policy=Schedule(pauses_s=config.pauses_s),
            telemetry=telemetry,
            clock=clock,
            concurrency=config.concurrency,
            given_up=self._given_up,
        )

    @property
    def name(self) -> str:
        """Return the consumer group and metric label."""
        return GROUP

    def waiting(self) -> int:
        """Return how many alerts are persisted and not yet delivered."""
        return self._outbox.waiting()

    async def on_assigned(self, partitions: Sequence[int]) -> None:
        """Load links and waiting alerts of these partitions."""
        take_up(self._reader, [topics.ISSUES], partitions)
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            self._owned[partition] = _Told(entries)
            self._outbox.restore(partition, entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish what is in flight in these partitions and forget them."""
        async with self._taking:
            await self._outbox.release(partitions)
            for partition in partitions:
                self._owned.pop(partition, None)
            let_go(self._telemetry, GROUP, partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`; what is in flight then has `drain_s`, the rest stays in the outbox."""
        if not await join(self._reader, self, stop, sink=GROUP, telemetry=self._telemetry):
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._outbox.run(stop), name="webhook-outbox")
                while not stop.is_set():
                    await self._step()
                await asyncio.wait([sending], timeout=self._config.drain_s)
                sending.cancel()
        finally:
            await self._reader.stop()
            await self._http.aclose()

    async def _step(self) -> None:
        await take_next(
            self._reader,
            self._take,
            is_full=self._outbox.is_full(),
            max_bytes=_FETCH_BYTES,
            timeout_s=_FETCH_TIMEOUT_S,
            sink=GROUP,
            telemetry=self._telemetry,
        )

    async def _take(self, partition: int, records: Sequence[StoredRecord]) -> None:
        async with self._taking:
            told = self._owned.get(partition)
            if told is not None:
                await self._put(partition, told, records)

    async def _put(self, partition: int, told: "_Told", records: Sequence[StoredRecord]) -> None:
        entries: list[Entry] = []
        state: list[StateChange] = []
        decoded = self._poison.decoded(records, self._decode, self._reader.pause)
        for record, found in decoded.found:
            if isinstance(found, EffectAgain):
                if found.sink == GROUP:
                    entries.append(taken_back(found, offset=record.offset, now_s=self._clock.now_s()))
                continue
            if isinstance(found, IssueFiled):
                told.urls[found.issue_id] = found.url
                state.append(StateChange(key=_URL_PREFIX + found.issue_id.encode(), value=found.url.encode()))
            elif self._is_worth_telling(found) and found.issue.sequence > told.sequences.get(found.issue.issue_id, 0):
                alert = alert_of(found)
                key, sequence = found.issue.issue_id, found.issue.sequence
                told.sequences[key] = sequence
                state.append(StateChange(key=_TOLD_PREFIX + key.encode(), value=str(sequence).encode()))
                entries.append(
                    Entry(
                        position=(record.offset, 0),
                        entry_id=alert.event_id,
                        lane=alert.issue.issue_id,
                        body=msgspec.msgpack.encode(alert),
                        created_s=self._clock.now_s(),
                    )
                )
        if decoded.next_offset is None:
            return
        next_offsets = {topics.ISSUES: decoded.next_offset}
        work = Work(produce=tuple(decoded.letters), state=tuple(state), next_offsets=next_offsets)
        await self._outbox.put(partition, entries, work)
        self._poison.count(len(decoded.letters), reason="undecodable")

    def _is_worth_telling(self, event: IssueEvent) -> bool:
        if event.kind not in WORTH_TELLING:
            return False
        if event.muted or event.issue.status is IssueStatus.REJECTED:
            self._telemetry.count("clearwatch.dropped", reason="webhook_muted")
            return False
        return True

    async def _deliver(self, partition: int, entry: Entry) -> Done:
        alert = msgspec.msgpack.decode(entry.body, type=Alert)
        if self._is_disabled:
            raise WebhookGoneError("the endpoint answered 410 before")
        told = self._owned.get(partition)
        if told is None:
            raise PartitionLostError(group=GROUP, partition=partition)
        key = _BODY_PREFIX + alert.event_id.encode()
        if alert.event_id not in told.bodies:
            url = told.urls.get(alert.issue.issue_id, "")
            if not url and self._clock.now_s() - entry.created_s < _WAIT_FOR_URL_S:
                raise WaitError("the issue is not in mlflow yet", retry_after_s=0.2)
            body = body_of(alert, url=url)
            await self._outbox.commit(partition, Work(state=(StateChange(key=key, value=body),)))
            told.bodies[alert.event_id] = body
        await self._post(alert.event_id, told.bodies[alert.event_id])
        self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what=alert.type)
        told.bodies.pop(alert.event_id, None)
        return Done(state=(StateChange(key=key, value=None),))

    def _given_up(self, entry: Entry) -> tuple[StateChange, ...]:
        for told in self._owned.values():
            told.bodies.pop(entry.entry_id, None)
        return (StateChange(key=_BODY_PREFIX + entry.entry_id.encode(), value=None),)

    async def _post(self, event_id: str, body: bytes) -> None:
        # the library reads the wall time out of the datetime as if it were UTC, so it has to be in UTC
        at = datetime.fromtimestamp(self._clock.now_s(), tz=UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "clearwatch",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._signer.sign(msg_id=event_id, timestamp=at, data=body.decode()),
        }
        try:
            reply = await self._http.post(self._config.url.get_secret_value(), content=body, headers=headers)
        except httpx.HTTPError as exc:
            raise RetryableError(f"webhook endpoint does not answer: {type(exc).__name__}", retry_after_s=0.0) from exc
        if reply.is_success:
            return
        if reply.status_code == _GONE:
            self._is_disabled = True
            logger.error("the webhook endpoint answered 410: disabled until the next start")
            raise WebhookGoneError("the endpoint answered 410")
        raise RetryableError(f"webhook endpoint answered {reply.status_code}", retry_after_s=_retry_after_s(reply))


def _retry_after_s(reply: httpx.Response) -> float:
    text = reply.headers.get("retry-after", "")
    return min(_RETRY_AFTER_MAX_S, float(text)) if re.fullmatch(r"\d{1,9}", text) else 0.0
