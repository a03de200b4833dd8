"""A person's bad rating in MLflow as a finding like any other, so that ratings of one name become one issue.

It has the name and the fingerprint's shape of the check `negative_feedback`, which reads the ratings that come as
telemetry. A rating that contradicts one of our own issues is no finding: it speaks of us, not of the application.
"""

from typing import Final

import msgspec

from core.model.finding import (
    Dimension,
    Feedback,
    Finding,
    FindingKind,
    Severity,
    Source,
    Withdrawal,
    finding_id_of,
)
from detector.checks.finding import quoted
from detector.checks.fingerprint import fingerprint_of, masked_name
from detector.language.ratings import is_bad

CHECK: Final = "negative_feedback"
_MAX_NAME_CHARACTERS: Final = 60


def finding_of(said: Feedback) -> Finding | None:
    """Return the finding of a rating that is bad; None for any other."""
    if (
        not (said.is_negative or _is_bad(said.value))
        or said.kind != "feedback"
        or said.contradicts
        or not said.trace_id
    ):
        return None
    name = masked_name(said.name)[:_MAX_NAME_CHARACTERS]
    return Finding(
        finding_id=_id_of(said),
        check=CHECK,
        kind=FindingKind.PATTERN,
        source=Source.RULE,
        category=Dimension.RELEVANCE,
        severity=Severity.LOW,
        fingerprint=_fingerprint_of(said),
        routing_key=said.routing_key,
        title=f"Answers are rated as bad: {name}" if name else "Answers are rated as bad",
        rationale=": ".join(part for part in (quoted(said.name), quoted(said.value), quoted(said.rationale)) if part),
        trace_id=said.trace_id,
        session_id=said.session_id,
        span_ids=(said.span_id,) if said.span_id else (),
        target=name,
        observed_at_ns=int(said.at_s * 1e9),
        publish_at_once=False,
    )


def _is_bad(value: str) -> bool:
    """Return whether a rating is a word for bad, in a language that the lexicon covers; `value` is JSON, maybe cut."""
    try:
        label = msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return is_bad(label)


def withdrawal_of(said: Feedback) -> Withdrawal:
    """Return what takes the finding of an earlier state of this rating back."""
    return Withdrawal(
        finding_id=_id_of(said),
        fingerprint=_fingerprint_of(said),
        routing_key=said.routing_key,
        trace_id=said.trace_id,
        reason="the rating was changed",
    )


def _fingerprint_of(said: Feedback) -> str:
    # MLflow does not say which service a trace is of; its experiment stands in the routing key
    target = masked_name(said.name)[:_MAX_NAME_CHARACTERS]
    return fingerprint_of(routing_key=said.routing_key, service="", check=CHECK, target=target)


def _id_of(said: Feedback) -> str:
    return finding_id_of(unit=said.trace_id, check=CHECK, culprit=said.feedback_id, fingerprint=_fingerprint_of(said))
