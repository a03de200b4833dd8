"""How a session check words what it found: one constructor, so that fingerprints, ids and bounds are the same."""

from core.model.finding import Finding, FindingKind, Severity, Source, finding_id_of
from detector.checks.finding import MAX_NAME_CHARACTERS
from detector.checks.fingerprint import fingerprint_of
from detector.sessions.checks.port import SessionCheck
from detector.sessions.conversation import Conversation, TurnInSession


def session_finding(
    conversation: Conversation,
    check: SessionCheck,
    *,
    blamed: TurnInSession,
    title: str,
    rationale: str,
    severity: Severity = Severity.LOW,
    span_id: str = "",
    error_type: str = "",
) -> Finding:
    """Return the finding of a check about one turn; its culprit is `span_id`, by default that of the turn's answer.

    A session stands for the whole application: the fingerprint holds its service and its agent, where one is named,
    and nothing that was said.
    """
    culprit = span_id or blamed.culprit
    fingerprint = fingerprint_of(
        routing_key=conversation.routing_key,
        service=blamed.service,
        check=check.name,
        target=blamed.turn.agent,
        error_type=error_type,
    )
    return Finding(
        finding_id=finding_id_of(
            unit=conversation.session_id,
            check=check.name,
            # a span id is unique within its trace only
            culprit=f"{blamed.trace_id}|{culprit}",
            fingerprint=fingerprint,
        ),
        check=check.name,
        kind=FindingKind.PATTERN,
        source=Source.RULE,
        category=check.dimension,
        severity=severity,
        fingerprint=fingerprint,
        routing_key=conversation.routing_key,
        title=title,
        rationale=rationale,
        trace_id=blamed.trace_id,
        session_id=conversation.session_id,
        span_ids=(culprit,) if culprit else (),
        service=blamed.service,
        target=blamed.turn.agent[:MAX_NAME_CHARACTERS],
        error_type=error_type,
        release=blamed.release,
        environment=blamed.environment,
        observed_at_ns=blamed.ended_ns,
        trace_started_ns=blamed.started_ns,
        publish_at_once=False,
    )
