"""A session and its traces: only what a client called a session; a trace without a session id belongs to none.

Activity is log time: when the last span of a trace was appended, which a backlog keeps. A session is closed once
nothing was appended for `gap_s`; what comes within `gap_s` of its last activity belongs to it even then.

**Versions.** Of the versions of a trace the one with the most spans counts, of the same spans the one with the most
log records joined to them, then a final one before a provisional one, then the one that was closed later; a fragment
(late spans of a trace that is no longer remembered) never replaces anything but a smaller fragment. A withdrawn trace
leaves as if it had never come.

**Stitching.** Where no client names a session, the traces of one user may be taken for one (`stitch`). Such a session's
id begins with `stitched:` and names the user by a hash and when it began in log time, so a replay makes it again.
"""

import hashlib
from collections.abc import Collection
from typing import Final

import msgspec

from core.model.trace import TraceVersion, Turn

STITCHED: Final = "stitched:"
_OUTCOME_FOUND: Final = "found"


class TraceInSession(msgspec.Struct, frozen=True, array_like=True):
    """What a session keeps of one trace."""

    part: int
    span_count: int
    is_fragment: bool
    has_root: bool
    started_ns: int
    ended_ns: int
    error_count: int
    is_final: bool = False
    """False for provisional versions, and for those of a release that did not say."""
    closed_at_s: float = 0.0
    is_turn: bool = False
    """Whether something was said in it; `turn` is None then only where its text is no longer kept."""
    turn: Turn | None = None
    service: str = ""
    release: str = ""
    environment: str = ""
    found: tuple[str, ...] = ()
    """Names of the checks that found something in the trace itself."""
    log_count: int = 0


class SessionPart(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or a part of one that lasted longer than `max_s` or was resumed after a gap; the first part is 1."""

    routing_key: str
    session_id: str
    part: int = 1
    first_activity_s: float
    last_activity_s: float
    is_closed: bool = False
    named: str = ""
    """The id that findings bear, where it is not `session_id`: that of a stitched session."""
    origin: str = ""
    """Of the record taken last."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session part as it stands: counts are of distinct traces, `turn_count` of those whose root was seen."""

    routing_key: str
    session_id: str
    part: int
    is_closed: bool
    trace_count: int
    turn_count: int
    error_count: int
    first_seen_ns: int
    last_seen_ns: int


def in_session(version: TraceVersion, part: int) -> TraceInSession:
    """Return what a session keeps of a version."""
    return TraceInSession(
        part,
        version.span_count,
        version.fragment,
        version.has_root,
        version.started_ns,
        version.ended_ns,
        version.error_count,
        not version.provisional,
        version.closed_at_s,
        version.turn is not None,
        version.turn,
        version.service,
        version.release,
        version.environment,
        tuple(sorted(check for check, outcome in version.answers.items() if outcome == _OUTCOME_FOUND)),
        version.log_count,
    )


def replaces(new: TraceInSession, old: TraceInSession) -> bool:
    """Return whether a version takes the place of the one that is known."""
    if new.is_fragment != old.is_fragment:
        return old.is_fragment
    return _rank(new) > _rank(old)


def _rank(trace: TraceInSession) -> tuple[int, int, bool, float]:
    return trace.span_count, trace.log_count, trace.is_final, trace.closed_at_s


class Sessions:
    """Which session a trace stands under; assembly and the sessions stage must agree, for it decides the partition."""

    def __init__(self, *, stitch: bool, not_users: Collection[str]) -> None:
        self._stitch = stitch
        self._not_users = frozenset(not_users)

    def named(self, session_id: str, user_id: str) -> str:
        """Return the session id that was sent, else what stands for the user where stitching is on, else nothing."""
        if session_id or not self._stitch or not user_id or user_id.lower() in self._not_users:
            return session_id
        return f"{STITCHED}{hashlib.sha256(user_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def summary_of(part: SessionPart, traces: list[TraceInSession]) -> Session:
    """Return the session as its traces make it."""
    return Session(
        routing_key=part.routing_key,
        session_id=part.session_id,
        part=part.part,
        is_closed=part.is_closed,
        trace_count=len(traces),
        turn_count=sum(trace.has_root for trace in traces),
        error_count=sum(trace.error_count for trace in traces),
        first_seen_ns=min((trace.started_ns for trace in traces), default=0),
        last_seen_ns=max((trace.ended_ns for trace in traces), default=0),
    )
