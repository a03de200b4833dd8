"""A session and its traces: only what a client called a session; a trace without a session id belongs to none.

Activity is log time: when the last span of a trace was appended, which a backlog keeps. A session is closed once
nothing was appended for `gap_s`; what comes within `gap_s` of its last activity belongs to it even then.

**Versions.** Of the versions of a trace the one with the most spans counts; a fragment (late spans of a trace that is
no longer remembered) never replaces anything but a smaller fragment. A withdrawn trace leaves as if it had never come.
"""

import msgspec

from core.model.trace import TraceVersion


class TraceInSession(msgspec.Struct, frozen=True, array_like=True):
    """What a session keeps of one trace."""

    part: int
    span_count: int
    is_fragment: bool
    has_root: bool
    started_ns: int
    ended_ns: int
    error_count: int


class SessionPart(msgspec.Struct, frozen=True, kw_only=True):
    """A session, or a part of one that lasted longer than `max_s` or was resumed after a gap; the first part is 1."""

    routing_key: str
    session_id: str
    part: int = 1
    first_activity_s: float
    last_activity_s: float
    is_closed: bool = False


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
    )


def replaces(new: TraceInSession, old: TraceInSession) -> bool:
    """Return whether a version takes the place of the one that is known."""
    if new.is_fragment != old.is_fragment:
        return old.is_fragment
    return new.span_count > old.span_count


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
