"""The webhook sink: issue events worth telling, posted as Standard Webhooks 1.0.

https://www.standardwebhooks.com: the id is the event's and constant over every attempt, the timestamp is the
attempt's, the signature covers both; 2xx is success; redirects are failures and not followed; 410 disables the
endpoint until the next start; everything else is tried again on the schedule, Retry-After honoured.
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
from core.errors import PermanentError, RetryableError
from core.log.port import Log, StateChange, StoredRecord, Work
from core.model.issue import IssueEvent, IssueFiled, IssueRecord, IssueStatus
from core.telemetry import Telemetry
from sinks.delivery import Done, Entry, Outbox, Schedule, WaitError
from sinks.reading import join, take_next
from sinks.webhook.config import WebhookConfig
from sinks.webhook.payload import WORTH_TELLING, Alert, alert_of, body_of

logger = logging.getLogger(__name__)

GROUP: Final = "webhook"
STORE: Final = "state.sink.webhook"
_URL_PREFIX: Final = b"u/"
_FETCH_BYTES: Final = 1024 * 1024
_FETCH_TIMEOUT_S: Final = 0.2
# how long an alert waits for the link into MLflow; a new issue is filed within a second or two
_WAIT_FOR_URL_S: Final = 5.0
_GONE: Final = 410
_RETRY_AFTER_MAX_S: Final = 86_400.0


class WebhookGoneError(PermanentError):
    """The endpoint answered 410: it wants no more."""


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
        self._urls: dict[str, str] = {}
        self._partitions: dict[str, int] = {}
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
        for partition in partitions:
            entries = await self._reader.load_state(STORE, partition)
            for key, value in entries:
                if key.startswith(_URL_PREFIX):
                    issue_id = key.removeprefix(_URL_PREFIX).decode()
                    self._urls[issue_id], self._partitions[issue_id] = value.decode(), partition
            self._outbox.restore(partition, entries)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Finish what is in flight in these partitions and forget them."""
        await self._outbox.release(partitions)
        for issue_id in [i for i, partition in self._partitions.items() if partition in partitions]:
            del self._partitions[issue_id], self._urls[issue_id]

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
        entries: list[Entry] = []
        state: list[StateChange] = []
        for record in records:
            try:
                found = self._decode(record.value)
            except msgspec.DecodeError:
                self._telemetry.count("clearwatch.dropped", reason="webhook_undecodable_record")
                continue
            if isinstance(found, IssueFiled):
                self._urls[found.issue_id], self._partitions[found.issue_id] = found.url, partition
                state.append(StateChange(key=_URL_PREFIX + found.issue_id.encode(), value=found.url.encode()))
            elif self._is_worth_telling(found):
                alert = alert_of(found)
                entries.append(
                    Entry(
                        position=(record.offset, 0),
                        entry_id=alert.event_id,
                        lane=alert.issue.issue_id,
                        body=msgspec.msgpack.encode(alert),
                        created_s=self._clock.now_s(),
                    )
                )
        work = Work(state=tuple(state), next_offsets={topics.ISSUES: records[-1].offset + 1})
        await self._outbox.put(partition, entries, work)

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
        url = self._urls.get(alert.issue.issue_id, "")
        if not url and self._clock.now_s() - entry.created_s < _WAIT_FOR_URL_S:
            raise WaitError("the issue is not in mlflow yet", retry_after_s=0.2)
        await self._post(alert.event_id, body_of(alert, url=url))
        self._telemetry.count("clearwatch.sink.sent", sink=GROUP, what=alert.type)
        return Done()

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
