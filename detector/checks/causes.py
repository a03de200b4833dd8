"""Root cause first: where one failure makes other checks fire, one finding stays and names the others.

A consequence is not reported beside its cause: it would be a second issue for a problem that goes away with the first.
It is counted (`clearwatch.findings.inhibited`), and the cause says it in its rationale and in `consequences`.

**Rules.** Each row of `RULES` says: a finding of one of these checks, about a span that stands in this relation to the
culprit of the cause, is its consequence. A cause that is itself a consequence passes its consequences on. Causes are
faults of single calls; the first in start order takes a consequence that two could have made.
"""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core.model.finding import Finding
from core.model.span import ErrorClass, Span
from core.model.trace import Trace
from detector.checks.errors import PROVIDER_CLASSES
from detector.checks.steps import owner_of

# more than these are counted in the sentence, not listed
_LISTED: Final = 5
# a loop may fail thousands of times; consequences of its later rounds stand alone then
_MAX_CAUSES: Final = 64


class Relation(enum.Enum):
    """Where the culprit of a consequence stands, seen from the culprit of its cause."""

    HERE = enum.auto()
    """It is that span, or one above it."""
    BELOW = enum.auto()
    """It stands below that span, and is the last of its kind there: what it did not finish is told above it."""
    CALL = enum.auto()
    """One of its spans is that span: two words for one call."""
    TOLD = enum.auto()
    """It is one of the spans of the cause: the step that failed for what the cause says."""
    AFTER = enum.auto()
    """It is above it, or begins after its end in the run of the same agent."""
    MOSTLY = enum.auto()
    """At least half of its spans are culprits of findings with the cause's fingerprint: they repeat what fails."""


class Rule(msgspec.Struct, frozen=True):
    """Findings of `consequences` are consequences of one of `causes`, where the relation holds."""

    causes: frozenset[str]
    consequences: frozenset[str]
    relation: Relation
    only: Collection[ErrorClass] | None = None
    """Classes of the error of the cause's culprit for which it holds; None: whatever it is."""


_FAILURES: Final = frozenset({"failed_span", "tool_failure"})
_STOPPED: Final = frozenset({"content_filter", "guardrail_tripped"})

RULES: Final = (
    # arguments that do not fit make the tool fail: one call, one fault
    Rule(frozenset({"tool_failure"}), frozenset({"invalid_tool_arguments", "unknown_tool"}), Relation.CALL),
    # the step fails because its model asked for a tool that is not there (OpenAI agents)
    Rule(frozenset({"unknown_tool"}), frozenset({"failed_span"}), Relation.TOLD),
    # arguments that a framework refused by their schema are no answer (Genkit)
    Rule(frozenset({"invalid_tool_arguments"}), frozenset({"output_schema"}), Relation.HERE),
    # a call that failed has no answer, or half of one, and its time says nothing
    Rule(
        _FAILURES,
        frozenset(
            {"empty_output", "incomplete_stream", "output_schema", "slow_first_token", "timeline_gap", "zero_documents"}
        ),
        Relation.HERE,
    ),
    # some clients end the call's span before its stream has broken, and the agent's alone tells of it
    Rule(_FAILURES, frozenset({"empty_output", "incomplete_stream"}), Relation.BELOW, PROVIDER_CLASSES),
    # a budget of somebody's own says it in their figures: one slow call, one issue
    Rule(frozenset({"over_budget"}), frozenset({"slow_first_token"}), Relation.CALL),
    # trying again what fails
    Rule(
        _FAILURES,
        frozenset({"retries", "repeated_tool_call", "similar_calls", "call_loop", "sequential_calls", "runaway_trace"}),
        Relation.MOSTLY,
    ),
    # without its provider or tool an agent cannot do what it said, and apologises
    Rule(
        _FAILURES,
        frozenset({"empty_output", "refusal", "canned_answer", "announced_call", "skipped_plan"}),
        Relation.AFTER,
        PROVIDER_CLASSES,
    ),
    # what was stopped is empty, or a refusal
    Rule(_STOPPED, frozenset({"empty_output", "refusal", "output_schema", "incomplete_stream"}), Relation.AFTER),
    Rule(_STOPPED, frozenset({"empty_output", "refusal"}), Relation.BELOW),
    # half a stream is no JSON
    Rule(frozenset({"incomplete_stream"}), frozenset({"output_schema", "invalid_tool_arguments"}), Relation.HERE),
    # an answer that is cut is no JSON, and so are the arguments of its calls
    Rule(
        frozenset({"output_cut"}),
        frozenset({"output_schema", "invalid_tool_arguments", "empty_output"}),
        Relation.HERE,
    ),
)


class Inhibited(msgspec.Struct, frozen=True):
    """A consequence that is not reported, and the check of its cause."""

    finding: Finding
    cause: str


def with_causes(
    trace: Trace, findings: Sequence[Finding], rules: Iterable[Rule] = RULES
) -> tuple[tuple[Finding, ...], tuple[Inhibited, ...]]:
    """Return the findings that stay, causes naming their consequences, and those that do not; pure.

    The order of findings does not matter for what stays.
    """
    if len(findings) < 2:
        return tuple(findings), ()
    rules = tuple(rules)
    in_order = sorted(findings, key=lambda finding: (_start_of(trace, finding), finding.finding_id))
    may_cause = [f for f in in_order if any(f.check in rule.causes for rule in rules)][:_MAX_CAUSES]
    may_follow = [f for f in in_order if any(f.check in rule.consequences for rule in rules)]
    if not may_cause or not may_follow:
        return tuple(findings), ()
    failing: dict[str, set[str]] = {}
    for each in in_order:
        failing.setdefault(each.fingerprint, set()).update(each.span_ids[:1])
    causes: dict[str, Finding] = {}
    for finding in may_follow:
        cause = next((each for each in may_cause if _is_cause(trace, each, finding, failing, rules)), None)
        if cause is not None:
            causes[finding.finding_id] = cause
    if not causes:
        return tuple(findings), ()
    consequences: dict[str, list[Finding]] = {}
    inhibited: list[Inhibited] = []
    for finding in in_order:
        if finding.finding_id in causes:
            root = _root_of(finding, causes)
            if root.finding_id == finding.finding_id:  # a circle of rules: nobody gives way
                del causes[finding.finding_id]
                continue
            consequences.setdefault(root.finding_id, []).append(finding)
            inhibited.append(Inhibited(finding, root.check))
    stay = (finding for finding in findings if finding.finding_id not in causes)
    return tuple(_with(finding, consequences.get(finding.finding_id, ())) for finding in stay), tuple(inhibited)


def _root_of(finding: Finding, causes: Mapping[str, Finding]) -> Finding:
    passed = {finding.finding_id}
    root = finding
    while (cause := causes.get(root.finding_id)) is not None:
        if cause.finding_id in passed:
            return finding
        passed.add(cause.finding_id)
        root = cause
    return root


def _with(cause: Finding, made: Sequence[Finding]) -> Finding:
    if not made:
        return cause
    titles = list(dict.fromkeys(finding.title for finding in made))
    more = f" and {len(titles) - _LISTED} more" if len(titles) > _LISTED else ""
    return msgspec.structs.replace(
        cause,
        rationale=f"{cause.rationale} Its consequences: {'; '.join(titles[:_LISTED])}{more}.",
        consequences=tuple(sorted({finding.check for finding in made})),
    )


def _is_cause(
    trace: Trace, cause: Finding, finding: Finding, failing: Mapping[str, Collection[str]], rules: Iterable[Rule]
) -> bool:
    if cause is finding:
        return False
    return any(
        cause.check in rule.causes
        and finding.check in rule.consequences
        and _is_of_class(trace, cause, rule.only)
        and _is_related(trace, cause, finding, failing, rule.relation)
        for rule in rules
    )


def _is_of_class(trace: Trace, cause: Finding, only: Collection[ErrorClass] | None) -> bool:
    if only is None:
        return True
    culprit = _culprit_of(trace, cause)
    return culprit is not None and culprit.error is not None and culprit.error.error_class in only


def _is_related(
    trace: Trace, cause: Finding, finding: Finding, failing: Mapping[str, Collection[str]], relation: Relation
) -> bool:
    source, other = _culprit_of(trace, cause), _culprit_of(trace, finding)
    if source is None or other is None:
        return False
    match relation:
        case Relation.CALL:
            return source.span_id in finding.span_ids
        case Relation.TOLD:
            return other.span_id in cause.span_ids
        case Relation.HERE:
            return _is_at_or_above(trace, other, source)
        case Relation.BELOW:
            return _is_last_below(trace, other, source)
        case Relation.AFTER:
            if _is_at_or_above(trace, other, source):
                return True
            return other.start_ns >= source.end_ns and owner_of(trace, other) == owner_of(trace, source)
        case Relation.MOSTLY:
            same = sum(span_id in failing[cause.fingerprint] for span_id in finding.span_ids)
            return 2 * same >= len(finding.span_ids)


def _is_last_below(trace: Trace, other: Span, source: Span) -> bool:
    if other is source or not _is_at_or_above(trace, source, other):
        return False
    return not any(span.start_ns >= other.end_ns and span.kind is other.kind for span in trace.spans)


def _is_at_or_above(trace: Trace, other: Span, span: Span) -> bool:
    passed: set[str] = set()
    at: Span | None = span
    while at is not None and at.span_id not in passed:
        if at.span_id == other.span_id:
            return True
        passed.add(at.span_id)
        at = trace.by_id.get(at.parent_span_id)
    return False


def _culprit_of(trace: Trace, finding: Finding) -> Span | None:
    return trace.by_id.get(finding.span_ids[0]) if finding.span_ids else None


def _start_of(trace: Trace, finding: Finding) -> int:
    culprit = _culprit_of(trace, finding)
    return culprit.start_ns if culprit is not None else 0
