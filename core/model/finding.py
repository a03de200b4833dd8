"""Findings, and everything else that changes an issue: the tagged union on the `findings` topic."""

import enum
import uuid
from typing import Final, TypeAlias

import msgspec

# fixed namespace of all our deterministic ids (uuid5); generated once, never changed
NAMESPACE = uuid.UUID("5f0d7a3e-6c1b-5d0e-9a52-3f6e2b8c4d11")


LATEST_NS: Final = 2**64 - 1
"""The latest time that a client can send (OTLP's are fixed64), and that can be written: some clocks are broken so."""


class Dimension(enum.StrEnum):
    """The six CLEARS dimensions, and cost, which rules alone look at."""

    CORRECTNESS = "correctness"
    LATENCY = "latency"
    EXECUTION = "execution"
    ADHERENCE = "adherence"
    RELEVANCE = "relevance"
    SAFETY = "safety"
    COST = "cost"


class Severity(enum.StrEnum):
    """MLflow's severities, without `not_an_issue`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class FindingKind(enum.StrEnum):
    """fault: one call failed; pattern: many calls together are wrong; rate: a share of calls is."""

    FAULT = "fault"
    PATTERN = "pattern"
    RATE = "rate"


class Source(enum.StrEnum):
    """Who found it."""

    RULE = "rule"
    JUDGE = "judge"


class Finding(msgspec.Struct, frozen=True, kw_only=True, tag="finding"):
    """One check, one trace (or session), one culprit.

    `finding_id` is uuid5 of (session or trace, check, culprit span, fingerprint): the same whichever version of the
    trace it was found in. `span_ids` names the culprit first.
    """

    finding_id: str
    check: str
    kind: FindingKind
    source: Source
    category: Dimension
    severity: Severity
    fingerprint: str
    routing_key: str
    title: str
    rationale: str
    trace_id: str = ""
    session_id: str = ""
    span_ids: tuple[str, ...] = ()
    service: str = ""
    target: str = ""
    error_type: str = ""
    release: str = ""
    environment: str = ""
    observed_at_ns: int = 0
    """End of the culprit span."""
    trace_started_ns: int = 0
    publish_at_once: bool = True
    """Rule errors and safety become an issue at once; others at 3 members or 2 sessions."""
    origin: str = "live"
    consequences: tuple[str, ...] = ()
    """Checks that would have fired because of this fault, and are not reported beside it."""


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, tag="withdrawal"):
    """A later version of the trace shows that this finding does not hold."""

    finding_id: str
    fingerprint: str
    routing_key: str
    trace_id: str
    reason: str


class Shift(msgspec.Struct, frozen=True, kw_only=True, tag="shift"):
    """An episode of an issue began or ended: told once, however many traces are in it. Their findings come before."""

    fingerprint: str
    routing_key: str
    began_ns: int
    """Start of its first trace: the episode's name."""
    ended_ns: int = 0
    """End of its last trace; 0 while it lasts."""
    is_usual_now: bool = False
    """Whether it ended because it stayed, rather than by recovery."""
    text: str
    """What was measured before and since, in figures."""
    trace_ids: tuple[str, ...] = ()


class HumanStatus(msgspec.Struct, frozen=True, kw_only=True, tag="human_status"):
    """A person changed an issue in MLflow; `at_s` is when it was seen there."""

    issue_id: str
    routing_key: str
    status: str
    at_s: float
    severity: str = ""
    name: str = ""


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag="feedback"):
    """A person's word on a trace in MLflow, in its latest state; a repeat has the same `feedback_id`, `changed_at`."""

    feedback_id: str
    """MLflow's assessment id."""
    trace_id: str
    routing_key: str
    kind: str
    """feedback or expectation."""
    name: str
    value: str
    """JSON, cut."""
    is_negative: bool = False
    """Clearly so: false, or a word for it; never by a number, whose scale nobody knows."""
    rationale: str = ""
    author: str = ""
    """Empty where MLflow does not say (an edit of our own feedback)."""
    span_id: str = ""
    session_id: str = ""
    contradicts: str = ""
    """MLflow's id of the issue whose feedback on this trace the person overrode or edited."""
    changed_at: str
    """RFC 3339, as MLflow writes it."""
    at_s: float
    """When it was read there."""


FindingRecord: TypeAlias = Finding | Withdrawal | Shift | HumanStatus | Feedback


def finding_id_of(*, unit: str, check: str, culprit: str, fingerprint: str) -> str:
    """Return the id of a finding: `unit` is the session id where the check speaks of a session, else the trace id."""
    return str(uuid.uuid5(NAMESPACE, f"finding|{unit}|{check}|{culprit}|{fingerprint}"))
