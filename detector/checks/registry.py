"""Runs every enabled check over a trace; a check that raises costs its own answer and nothing else."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from core.dialects.messages import unread_conversations
from core.model.finding import Dimension, Finding
from core.model.trace import Trace
from core.telemetry import Series, Telemetry
from detector.checks.causes import with_causes
from detector.checks.config import ChecksConfig
from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.port import CLEAR, UNKNOWN, Check, Outcome, answered
from detector.checks.text.scan import limit_text, unread_characters

__all__ = ["DEFAULT_CHECKS", "FAILED", "Checks", "Inspection"]

FAILED: Final = "failed"
"""The outcome of a check that raised."""

# what may come of asking a check; the place of each is its code: clear, which nearly all are, is 0
_OUTCOMES: Final = (Outcome.CLEAR.value, *(each.value for each in Outcome if each is not Outcome.CLEAR), FAILED)
_CODES: Final[Mapping[str, int]] = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
# combinations of answers whose counters are remembered
_COMBINATIONS: Final = 1_000

_log = logging.getLogger(__name__)


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks say of one version of a trace; `answers` maps check name to outcome."""

    findings: tuple[Finding, ...]
    answers: Mapping[str, str]


class Checks:
    """The enabled checks that ship, then `extra` ones, in that order; those of other `dimensions` do not run.

    Raises ValueError where two checks share a name: their fingerprints would collide.
    """

    def __init__(
        self,
        config: ChecksConfig,
        telemetry: Telemetry,
        *,
        extra: Sequence[Check] = (),
        dimensions: Collection[Dimension] = tuple(Dimension),
    ) -> None:
        sections = ((check, config.section(check.name)) for check in DEFAULT_CHECKS)
        made = (*(check.make(section) for check, section in sections if section.enabled), *extra)
        self._checks = {check.name: check for check in made if check.dimension in dimensions}
        if len({check.name for check in made}) != len(made):
            names = [check.name for check in made]
            raise ValueError(f"checks share a name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        self._config = config
        self._text_limits = config.text
        self._max_findings = config.max_findings_per_check
        self._telemetry = telemetry
        self._failures: dict[str, int] = {}
        self._known: dict[bytes, tuple[Mapping[str, str], Sequence[Series]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the checks that run."""
        return tuple(self._checks)

    def inspect(self, trace: Trace) -> Inspection:
        """Ask every check; never raises for what a check raises."""
        return self.inspect_all((trace,))[0]

    def inspect_all(self, traces: Sequence[Trace]) -> Sequence[Inspection]:
        """Ask every check of each trace, as `inspect` does: in half the time, for each check finds its code at hand."""
        numbered = tuple(enumerate(traces))
        findings: dict[int, list[Finding]] = {}
        codes = [bytearray(len(self._checks)) for _ in traces]
        for trace in traces:
            limit_text(trace, self._text_limits)
        for place, (name, check) in enumerate(self._checks.items()):
            inspect = check.inspect
            for number, trace in numbered:
                try:
                    answer = inspect(trace)
                    # nearly every one is one of these
                    if answer is CLEAR:
                        continue
                    if answer is not UNKNOWN:
                        answered(answer)
                except Exception:  # noqa: BLE001 - third parties write checks; one that fails must not cost the trace
                    self._failed(name, trace)
                    codes[number][place] = _CODES[FAILED]
                    continue
                codes[number][place] = _CODES[answer.outcome]
                if answer.findings:
                    findings.setdefault(number, []).extend(self._bounded(name, answer.findings))
        for trace in traces:
            if unread := unread_characters(trace):
                self._telemetry.count("clearwatch.dropped", unread, reason="text_not_scanned")
            if unread := unread_conversations(trace):
                self._telemetry.count("clearwatch.dropped", unread, reason="conversation_not_read")
        said = list(map(bytes, codes))
        for each, times in Counter(said).items():
            self._telemetry.count_each(self._combination(each)[1], times)
        return [
            Inspection(
                findings=self._causes_first(trace, findings[number]) if number in findings else (),
                answers=self._combination(said[number])[0],
            )
            for number, trace in numbered
        ]

    def _causes_first(self, trace: Trace, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return the findings without those that another explains; each of those is counted."""
        if len(findings) < 2 or not self._config.causes_first:
            return tuple(findings)
        stay, inhibited = with_causes(trace, findings)
        for each in inhibited:
            self._telemetry.count("clearwatch.findings.inhibited", check=each.finding.check, cause=each.cause)
        return stay

    def _combination(self, codes: bytes) -> tuple[Mapping[str, str], Sequence[Series]]:
        """Return answers and their counters; remembered, since few combinations cover nearly all traces."""
        known = self._known.get(codes)
        if known is None:
            answers = {name: _OUTCOMES[code] for name, code in zip(self._checks, codes, strict=True)}
            name = "clearwatch.check.answers"
            series = [self._telemetry.series(name, check=check, outcome=said) for check, said in answers.items()]
            if len(self._known) >= _COMBINATIONS:
                self._known.clear()
            known = self._known[codes] = answers, series
        return known

    def _failed(self, name: str, trace: Trace) -> None:
        """Count and, at 1, 10, 100, …, log the exception at hand: a check that always fails would fill the disk."""
        self._telemetry.count("clearwatch.check.failures", check=name)
        count = self._failures[name] = self._failures.get(name, 0) + 1
        if str(count).rstrip("0") == "1":
            _log.exception("check %s failed on trace %s (failure %d of it)", name, trace.trace_id, count)

    def _bounded(self, name: str, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        kept = findings[: self._max_findings]
        if len(kept) < len(findings):
            self._telemetry.count("clearwatch.dropped", len(findings) - len(kept), reason="findings_per_check")
        self._telemetry.count("clearwatch.findings", len(kept), check=name)
        return kept
