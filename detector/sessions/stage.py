"""The sessions stage: keeps which traces make a session, when it ends, and what its turns together tell.

**Time** is the latest append time of a span seen in the partition, and at its end the log time of the runner: a backlog
ends sessions where live traffic would have. **State** (a changelog): `s` + session -> `SessionPart`, `t` + session +
trace -> `TraceInSession`, `f` + session -> the findings that stand. A closed part is kept for another `gap_s`, where a
late version finds it; then it goes.

**Findings** are worked out anew from the turns that are kept, in the order in which they started, with every change of
a session and at its close: what is new is written, what no longer holds is withdrawn. So the order of arrival does not
matter. Where turns went for want of room, the first `compared_turns` of the kept ones are settled: they lack what they
would be compared with, so nothing about them is written or withdrawn any more. A crash repeats findings under the same
ids.
"""

import heapq
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from core import topics
from core.log.port import Record, StateChange, StoredRecord, Work
from core.model.finding import Dimension, Finding, Withdrawal
from core.model.trace import TraceChunk, TraceRecord, TraceVersion, TraceWithdrawal
from core.stage import Processor, Recall
from core.telemetry import Telemetry
from detector.said import record_of
from detector.sessions.checks.port import SessionCheck
from detector.sessions.checks.registry import SessionChecks
from detector.sessions.config import SessionsConfig
from detector.sessions.session import (
    Session,
    SessionPart,
    Sessions,
    TraceInSession,
    in_session,
    replaces,
    summary_of,
)
from detector.sessions.turns import Turns

STORE: Final = "state.sessions"
_SESSION: Final = b"s"
_TRACE: Final = b"t"
_FINDINGS: Final = b"f"
_Key = tuple[str, str]


class SessionsProcessor:
    """The sessions of one partition."""

    def __init__(
        self,
        *,
        config: SessionsConfig,
        checks: SessionChecks,
        max_text_chars: int,
        finding_partitions: int,
        telemetry: Telemetry,
    ) -> None:
        self._config = config
        self._checks = checks
        self._finding_partitions = finding_partitions
        self._telemetry = telemetry
        self._sessions = Sessions(stitch=config.stitch, not_users=config.not_users)
        self._texts = Turns(config=config, max_chars=max_text_chars)
        self._standing: dict[_Key, dict[str, tuple[str, str]]] = {}
        self._produced: list[Record] = []
        self._decoder = msgspec.msgpack.Decoder(TraceRecord)
        self._parts: dict[_Key, SessionPart] = {}
        self._traces: dict[_Key, dict[str, TraceInSession]] = {}
        self._due: list[tuple[float, _Key]] = []
        self._scheduled: set[_Key] = set()
        self._unseen: list[tuple[float, _Key]] = []
        self._changes: dict[bytes, bytes | None] = {}
        self._now_s = 0.0
        self.open_count = 0

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Return the sessions kept, closed ones included until they are forgotten."""
        return tuple(summary_of(part, list(self._traces[key].values())) for key, part in self._parts.items())

    def restore(self, entries: Sequence[tuple[bytes, bytes]]) -> Recall | None:
        """Take committed state."""
        for key, value in sorted(entries):  # sessions stand before traces
            kind, rest = key[:1], key[1:]
            if kind == _FINDINGS:
                named = msgspec.msgpack.decode(rest, type=_Key)
                self._standing[named] = msgspec.msgpack.decode(value, type=dict[str, tuple[str, str]])
            elif kind == _SESSION:
                part = msgspec.msgpack.decode(value, type=SessionPart)
                session = (part.routing_key, part.session_id)
                self._parts[session] = part
                self._traces[session] = {}
                self._now_s = max(self._now_s, part.last_activity_s)
                self.open_count += not part.is_closed
                self._schedule(session)
            elif kind == _TRACE:
                routing_key, session_id, trace_id = msgspec.msgpack.decode(rest, type=tuple[str, str, str])
                trace = msgspec.msgpack.decode(value, type=TraceInSession)
                if (routing_key, session_id) in self._traces:
                    self._traces[routing_key, session_id][trace_id] = trace
        for session in sorted(self._parts, key=lambda key: (self._parts[key].last_activity_s, key)):
            for trace_id, trace in self._traces[session].items():
                self._texts.put(session, trace_id, trace)
        return None

    def recalled(self, records: Sequence[StoredRecord]) -> None:
        """Take nothing: this stage never asks."""

    def process(self, records: Sequence[StoredRecord]) -> Work:
        """Take trace versions and withdrawals; raises msgspec.DecodeError for a record that is neither."""
        for record in records:
            match self._decoder.decode(record.value):
                case TraceVersion() as version if named := self._sessions.named(version.session_id, version.user_id):
                    at_s = version.last_append_s or record.log_time_ms / 1000
                    self._let_pass(at_s)
                    origin = record.headers.get(topics.HEADER_ORIGIN, topics.ORIGIN_LIVE)
                    self._take((version.routing_key, named), version, at_s, origin)
                case TraceWithdrawal() as withdrawal:
                    self._withdraw(withdrawal)
                case TraceVersion() | TraceChunk():
                    pass
        return self._work({topics.TRACES: records[-1].offset + 1})

    def tick(self, now_s: float) -> Work:
        """Close and forget what is due."""
        self._let_pass(now_s)
        return self._work({})

    def next_wake_s(self) -> float | None:
        """Return when the next session may be due."""
        return self._due[0][0] if self._due else None

    def _take(self, key: _Key, version: TraceVersion, at_s: float, origin: str) -> None:
        part = self._parts.get(key)
        known = self._traces[key].get(version.trace_id) if part is not None else None
        if part is None or (known is None and self._is_over(part, at_s)):
            part = self._begin(key, part, at_s, is_stitched=not version.session_id)
        trace = in_session(version, part.part)
        traces = self._traces[key]
        if known is not None and not replaces(trace, known):
            return
        if known is None and len(traces) >= self._config.max_traces:
            self._telemetry.count("clearwatch.dropped", reason="session_trace_limit")
        else:
            self._put_trace(key, version.trace_id, trace)
        self._put(
            key,
            msgspec.structs.replace(
                part,
                first_activity_s=min(part.first_activity_s, at_s),
                last_activity_s=max(part.last_activity_s, at_s),
                origin=origin if origin != topics.ORIGIN_LIVE else "",
            ),
        )
        if trace.is_turn or (known is not None and known.is_turn):
            self._inspect(key)
            self._keep_texts_within_bounds(key)

    def _is_over(self, part: SessionPart, at_s: float) -> bool:
        """Return whether activity at this time belongs to the next part."""
        return at_s - part.last_activity_s > self._config.gap_s or at_s - part.first_activity_s > self._config.max_s

    def _begin(self, key: _Key, before: SessionPart | None, at_s: float, *, is_stitched: bool) -> SessionPart:
        if before is not None:
            # a part that only became too old has not fallen silent
            self._close(key, is_silent=at_s - before.last_activity_s > self._config.gap_s)
            self._forget_traces(key)
        elif len(self._parts) >= self._config.max_open:
            oldest = self._unseen_for_longest()
            self._close(oldest, is_silent=False)
            self._forget(oldest)
            self._telemetry.count("clearwatch.dropped", reason="session_evicted")
        part = SessionPart(
            routing_key=key[0],
            session_id=key[1],
            part=before.part + 1 if before is not None else 1,
            first_activity_s=at_s,
            last_activity_s=at_s,
            # log time of the first append, which a replay reads again
            named=f"{key[1]}:{int(at_s * 1000)}" if is_stitched else "",
        )
        self._traces[key] = {}
        self._put(key, part)
        self._schedule(key)
        self.open_count += 1
        return part

    def _unseen_for_longest(self) -> _Key:
        """Return the session with the earliest last activity.

        Sorted are all of them at once, and again when those are used up or have been seen since: to look through all
        for each one that goes would cost 15 ms with 50,000.
        """
        while True:
            if not self._unseen:
                self._unseen = sorted(((part.last_activity_s, k) for k, part in self._parts.items()), reverse=True)
            seen_s, key = self._unseen.pop()
            part = self._parts.get(key)
            if part is not None and part.last_activity_s == seen_s:
                return key

    def _withdraw(self, withdrawal: TraceWithdrawal) -> None:
        key = (withdrawal.routing_key, withdrawal.session_id or withdrawal.stitched)
        if withdrawal.trace_id not in self._traces.get(key, {}):
            return  # it stood under no session, or its session is forgotten
        del self._traces[key][withdrawal.trace_id]
        self._changes[_trace_key(key, withdrawal.trace_id)] = None
        self._texts.remove(key, withdrawal.trace_id)
        if key in self._standing or self._texts.has(key):
            self._inspect(key)
        if not self._traces[key]:
            self.open_count -= not self._parts[key].is_closed
            self._forget(key)

    # -- time

    def _let_pass(self, now_s: float) -> None:
        self._now_s = max(self._now_s, now_s)
        while self._due and self._due[0][0] <= self._now_s:
            _, key = heapq.heappop(self._due)
            self._scheduled.discard(key)
            part = self._parts.get(key)
            if part is None:
                continue
            idle_s = self._now_s - part.last_activity_s
            if idle_s > 2 * self._config.gap_s:
                self._close(key)
                self._forget(key)
            else:
                if idle_s > self._config.gap_s:
                    self._close(key)
                self._schedule(key)

    def _schedule(self, key: _Key) -> None:
        if key in self._scheduled:
            return  # looked at once more when that time comes
        self._scheduled.add(key)
        part = self._parts[key]
        gaps = 2 if part.is_closed else 1
        # a millisecond past the gap: at exactly `gap_s` a session still goes on
        heapq.heappush(self._due, (part.last_activity_s + gaps * self._config.gap_s + 0.001, key))

    def _close(self, key: _Key, *, is_silent: bool = True) -> None:
        part = self._parts[key]
        if not part.is_closed:
            self._put(key, msgspec.structs.replace(part, is_closed=True))
            self.open_count -= 1
            self._telemetry.count("clearwatch.sessions.closed")
            if is_silent and self._texts.has(key):
                self._inspect(key)

    # -- findings

    def _inspect(self, key: _Key) -> None:
        """Write what is found for the first time, and withdraw what no longer is."""
        part = self._parts[key]
        conversation = self._texts.conversation(key, part)
        found = {finding.finding_id: finding for finding in self._checks.inspect(conversation)}
        standing = self._standing.get(key, {})
        if not found and not standing:
            return
        is_open_to = self._texts.unsettled(key)
        for finding_id, (fingerprint, trace_id) in list(standing.items()):
            if finding_id not in found and is_open_to(trace_id):
                del standing[finding_id]
                self._produced.append(
                    self._record(
                        Withdrawal(
                            finding_id=finding_id,
                            fingerprint=fingerprint,
                            routing_key=key[0],
                            trace_id=trace_id,
                            reason="the session as it is known now no longer has it",
                        ),
                        part.origin,
                    )
                )
        for finding_id, finding in found.items():
            if finding_id not in standing and is_open_to(finding.trace_id):
                standing[finding_id] = (finding.fingerprint, finding.trace_id)
                self._telemetry.count("clearwatch.findings", check=finding.check)
                if part.origin:
                    finding = msgspec.structs.replace(finding, origin=part.origin)
                self._produced.append(self._record(finding, part.origin))
        self._standing[key] = standing
        self._changes[_findings_key(key)] = msgspec.msgpack.encode(standing) if standing else None
        if not standing:
            del self._standing[key]

    def _record(self, value: Finding | Withdrawal, origin: str) -> Record:
        return record_of(value, partitions=self._finding_partitions, origin=origin or topics.ORIGIN_LIVE)

    def _keep_texts_within_bounds(self, key: _Key) -> None:
        """Let go the texts of old turns of this session, and of the sessions unseen for longest."""
        for session, trace_id in self._texts.overflow(key):
            trace = self._traces[session][trace_id]
            self._traces[session][trace_id] = without = msgspec.structs.replace(trace, turn=None)
            self._changes[_trace_key(session, trace_id)] = msgspec.msgpack.encode(without)
            reason = "session_turn_limit" if session == key else "session_turns_evicted"
            self._telemetry.count("clearwatch.dropped", reason=reason)

    # -- state

    def _put(self, key: _Key, part: SessionPart) -> None:
        self._parts[key] = part
        self._changes[_session_key(key)] = msgspec.msgpack.encode(part)

    def _put_trace(self, key: _Key, trace_id: str, trace: TraceInSession) -> None:
        self._traces[key][trace_id] = trace
        self._texts.put(key, trace_id, trace)
        self._changes[_trace_key(key, trace_id)] = msgspec.msgpack.encode(trace)

    def _forget(self, key: _Key) -> None:
        self._forget_traces(key)
        del self._traces[key], self._parts[key]
        self._changes[_session_key(key)] = None

    def _forget_traces(self, key: _Key) -> None:
        for trace_id in self._traces[key]:
            self._changes[_trace_key(key, trace_id)] = None
        self._texts.forget(key)
        # they stand for good
        if self._standing.pop(key, None) is not None:
            self._changes[_findings_key(key)] = None

    def _work(self, next_offsets: Mapping[str, int]) -> Work:
        changes = tuple(StateChange(key=key, value=value) for key, value in self._changes.items())
        self._changes.clear()
        produced = tuple(self._produced)
        self._produced.clear()
        return Work(store=STORE, state=changes, next_offsets=next_offsets, produce=produced)


def _findings_key(key: _Key) -> bytes:
    return _FINDINGS + msgspec.msgpack.encode(key)


def _session_key(key: _Key) -> bytes:
    return _SESSION + msgspec.msgpack.encode(key)


def _trace_key(key: _Key, trace_id: str) -> bytes:
    return _TRACE + msgspec.msgpack.encode((*key, trace_id))


class SessionsStage:
    """Traces -> sessions by explicit id, and what their turns together tell."""

    def __init__(
        self,
        *,
        config: SessionsConfig,
        telemetry: Telemetry,
        dimensions: Collection[Dimension] = tuple(Dimension),
        extra: Sequence[SessionCheck] = (),
    ) -> None:
        self._config = config
        self._checks = SessionChecks(config.checks, telemetry, extra=extra, dimensions=dimensions)
        self._telemetry = telemetry
        self._processors: weakref.WeakSet[SessionsProcessor] = weakref.WeakSet()
        telemetry.gauge("clearwatch.sessions.open", lambda: sum(p.open_count for p in list(self._processors)))

    @property
    def name(self) -> str:
        """Return `sessions`."""
        return "sessions"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the one topic it reads."""
        return (topics.TRACES,)

    @property
    def store(self) -> str:
        """Return `state.sessions`."""
        return STORE

    def processor(self, partition: int, partitions: Mapping[str, int]) -> Processor:
        """Make the processor of a partition."""
        own = partitions[topics.TRACES]
        processor = SessionsProcessor(
            config=self._config,
            checks=self._checks,
            max_text_chars=max(1, self._config.max_text_chars // own),
            finding_partitions=partitions.get(topics.FINDINGS, own),
            telemetry=self._telemetry,
        )
        self._processors.add(processor)
        return processor
