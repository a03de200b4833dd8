"""One trace being assembled: its items in order of arrival, the records that hold them, and when it is due.

An item is a span or a log record that belongs to one. Log records alone are no trace: they wait for a span.
"""

import enum
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from core.dialects.log_records import is_log
from core.model.trace import CloseReason
from core.otlp.wire import SpanSlice
from detector.assemble.config import AssembleConfig
from detector.assemble.entry import Entry, steps

# routing key, key on `traces`, session, version, findings, whether it was measured
Noted: TypeAlias = tuple[str, str, str, str, tuple[tuple[str, str], ...], bool]


class Action(enum.Enum):
    """What is to be done with a trace that is due."""

    CLOSE = "close"
    PUBLISH = "publish"
    """Provisionally; it stays open."""
    CHECKPOINT = "checkpoint"


class Due(msgspec.Struct, frozen=True, gc=False):
    """When a trace is due, and why."""

    at_s: float
    action: Action
    reason: CloseReason
    is_final: bool = True
    """False for a version that must not speak of absence: provisional, or closed early for want of room."""
    is_eviction: bool = False


class OpenTrace:
    """The mutable state of a trace between its first span and its close; changed by `Assembler` alone."""

    __slots__ = (
        "armed_s",
        "closed_at_s",
        "dropped_spans",
        "experiment",
        "findings",
        "first_append_s",
        "fresh_since_s",
        "has_root",
        "held_bytes",
        "is_capped",
        "is_fragment",
        "is_given_up",
        "is_measured",
        "last_append_s",
        "log_count",
        "missing",
        "offsets",
        "origin",
        "pin_at_s",
        "published",
        "published_at_s",
        "routing_key",
        "session_id",
        "size_bytes",
        "spans",
        "trace_id",
        "traces_key",
        "version",
    )

    def __init__(self, trace_id: bytes, *, now_s: float, origin: str) -> None:
        self.trace_id = trace_id
        self.spans: dict[bytes, SpanSlice | None] = {}
        """Its items, spans and log records (`core.dialects.log_records`); None where the bytes are in the log only."""
        self.log_count = 0
        """How many of the items are log records."""
        self.offsets: list[int] = []
        self.missing: list[int] = []
        """Records to be read again before the spans are complete."""
        self.first_append_s = now_s
        self.last_append_s = now_s
        self.fresh_since_s = now_s
        """Append of the first span that no version holds yet."""
        self.closed_at_s = 0.0
        """Of an earlier close: the spans since are late."""
        self.published = 0
        """That many of the spans stand in a version already."""
        self.published_at_s = 0.0
        self.pin_at_s = math.inf
        """Append of the first record that no state entry covers."""
        self.armed_s = math.inf
        self.size_bytes = 0
        self.held_bytes = 0
        self.has_root = False
        self.origin = origin
        self.experiment = ""
        self.routing_key = ""
        self.traces_key = ""
        self.session_id = ""
        self.version = ""
        self.findings: tuple[tuple[str, str], ...] = ()
        self.is_capped = False
        self.is_fragment = False
        self.is_given_up = False
        """Its last version could not be made."""
        self.is_measured = False
        self.dropped_spans = 0

    @property
    def is_late(self) -> bool:
        """Return whether it was closed before: what came since is late."""
        return self.closed_at_s > 0

    @property
    def span_count(self) -> int:
        """Return how many spans it has."""
        return len(self.spans) - self.log_count

    @property
    def is_only_logs(self) -> bool:
        """Return whether there are log records and no span has come: that is no trace yet."""
        return 0 < self.log_count == len(self.spans) and not self.is_late

    def span_ids(self) -> Iterable[bytes]:
        """Return the ids of its spans, in order of arrival."""
        return [key for key in self.spans if not is_log(key)] if self.log_count else self.spans

    def due(self, config: AssembleConfig) -> Due:
        """Return what happens next if nothing more comes, and when."""
        if self.is_late:
            # a burst of late spans makes one version; a stream of them makes versions ever further apart, for each
            # reads the whole trace again: a tenth of its age so far, at most provisional_every_s
            apart_s = min(config.provisional_every_s, (self.published_at_s - self.first_append_s) * 0.1)
            at_s = min(
                max(self.last_append_s + config.root_grace_s, self.published_at_s + apart_s),
                self.fresh_since_s + config.provisional_every_s,
            )
            reason, action, is_final = CloseReason.LATE, Action.CLOSE, True
        else:
            at_s, reason, action, is_final = self._next_close(config)
        checkpoint_s = self.pin_at_s + config.checkpoint_after_s
        if checkpoint_s < at_s:
            return Due(checkpoint_s, Action.CHECKPOINT, reason)
        return Due(at_s, action, reason, is_final)

    def _next_close(self, config: AssembleConfig) -> tuple[float, CloseReason, Action, bool]:
        if self.is_only_logs:
            at_s = min(self.last_append_s + config.log_wait_s, self.first_append_s + config.max_age_s)
            return at_s, CloseReason.IDLE, Action.CLOSE, True
        if self.has_root:
            at_s, reason = self.last_append_s + config.root_grace_s, CloseReason.ROOT
        else:
            at_s, reason = self.last_append_s + config.idle_s, CloseReason.IDLE
        if (aged_s := self.first_append_s + config.max_age_s) < at_s:
            at_s, reason = aged_s, CloseReason.AGE
        if len(self.spans) > self.published:
            published_s = max(
                (self.published_at_s or self.first_append_s) + config.provisional_every_s,
                self.fresh_since_s + config.root_grace_s,
            )
            if not self.has_root:
                published_s = min(published_s, self.last_append_s + config.provisional_s)
            if published_s < at_s:
                return published_s, CloseReason.PROVISIONAL, Action.PUBLISH, False
        return at_s, reason, Action.CLOSE, True

    def slices(self) -> list[SpanSlice]:
        """Return the items whose bytes are at hand, in order of arrival."""
        return [item for item in self.spans.values() if item is not None]

    def noted(self) -> Noted:
        """Return what publishing notes in it."""
        return (
            self.routing_key,
            self.traces_key,
            self.session_id,
            self.version,
            self.findings,
            self.is_measured,
        )

    def restore(self, noted: Noted) -> None:
        """Forget what a failed publication noted."""
        (
            self.routing_key,
            self.traces_key,
            self.session_id,
            self.version,
            self.findings,
            self.is_measured,
        ) = noted

    def entry(self) -> Entry:
        """Return what state keeps of it."""
        return Entry(
            closed_at_s=self.closed_at_s,
            first_append_s=self.first_append_s,
            last_append_s=self.last_append_s,
            offset_steps=steps(self.offsets),
            span_ids=tuple(self.spans),
            published=self.published,
            size_bytes=self.size_bytes,
            has_root=self.has_root,
            origin=self.origin,
            experiment=self.experiment,
            routing_key=self.routing_key,
            traces_key=self.traces_key,
            session_id=self.session_id,
            version=self.version,
            findings=self.findings,
            is_capped=self.is_capped,
            is_fragment=self.is_fragment,
            is_measured=self.is_measured,
            dropped_spans=self.dropped_spans,
            fresh_since_s=self.fresh_since_s,
            published_at_s=self.published_at_s,
            is_given_up=self.is_given_up,
            log_count=self.log_count,
        )


def reopened(trace_id: bytes, entry: Entry) -> OpenTrace:
    """Return an open trace whose bytes are all in the log, from what state kept of it."""
    trace = OpenTrace(trace_id, now_s=entry.first_append_s, origin=entry.origin)
    trace.spans = dict.fromkeys(entry.span_ids)
    trace.offsets = entry.offsets()
    trace.missing = list(trace.offsets)
    trace.last_append_s = entry.last_append_s
    trace.fresh_since_s = entry.fresh_since_s
    trace.closed_at_s = entry.closed_at_s
    trace.published = entry.published
    trace.published_at_s = entry.published_at_s
    trace.size_bytes = entry.size_bytes
    trace.has_root = entry.has_root
    trace.experiment = entry.experiment
    trace.routing_key = entry.routing_key
    trace.traces_key = entry.traces_key
    trace.session_id = entry.session_id
    trace.version = entry.version
    trace.findings = entry.findings
    trace.is_capped = entry.is_capped
    trace.is_fragment = entry.is_fragment
    trace.is_given_up = entry.is_given_up
    trace.is_measured = entry.is_measured
    trace.dropped_spans = entry.dropped_spans
    trace.log_count = entry.log_count
    return trace


def is_root(slices: Sequence[SpanSlice]) -> bool:
    """Return whether one of these has no parent."""
    # a list: a generator costs three times as much, and this is asked of every record
    return b"" in [item.parent_span_id for item in slices]
