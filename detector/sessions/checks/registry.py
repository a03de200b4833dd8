"""Runs every enabled session check; a check that raises costs its own answer and nothing else."""

import logging
from collections.abc import Collection, Sequence

from core.model.finding import Dimension, Finding
from core.telemetry import Series, Telemetry
from detector.checks.port import answered
from detector.checks.registry import FAILED
from detector.sessions.checks.config import SessionChecksConfig
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS
from detector.sessions.checks.port import SessionCheck
from detector.sessions.conversation import Conversation

_log = logging.getLogger(__name__)


class SessionChecks:
    """The enabled session checks that ship, then `extra` ones; those of other `dimensions` do not run.

    Raises ValueError where two checks share a name: their fingerprints would collide.
    """

    def __init__(
        self,
        config: SessionChecksConfig,
        telemetry: Telemetry,
        *,
        extra: Sequence[SessionCheck] = (),
        dimensions: Collection[Dimension] = tuple(Dimension),
    ) -> None:
        sections = ((check, config.section(check.name)) for check in DEFAULT_SESSION_CHECKS)
        made = (*(check.make(section) for check, section in sections if section.enabled), *extra)
        names = [check.name for check in made]
        if len(set(names)) != len(names):
            raise ValueError(f"checks share a name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        self._checks = [check for check in made if check.dimension in dimensions]
        self._max_findings = config.max_findings_per_check
        self._telemetry = telemetry
        self._failures: dict[str, int] = {}
        self._answers: dict[tuple[str, str], Series] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the checks that run."""
        return tuple(check.name for check in self._checks)

    def inspect(self, conversation: Conversation) -> list[Finding]:
        """Ask every check, count the answers, return what was found; never raises for what a check raises."""
        found: list[Finding] = []
        answers: list[Series] = []
        for check in self._checks:
            try:
                answer = answered(check.inspect(conversation))
            except Exception:  # noqa: BLE001 - third parties write checks; one that fails must not cost the session
                self._failed(check.name, conversation)
                answers.append(self._series(check.name, FAILED))
                continue
            answers.append(self._series(check.name, str(answer.outcome)))
            kept = answer.findings[: self._max_findings]
            if len(kept) < len(answer.findings):
                dropped = len(answer.findings) - len(kept)
                self._telemetry.count("clearwatch.dropped", dropped, reason="findings_per_check")
            found += kept
        self._telemetry.count_each(answers)
        return found

    def _series(self, check: str, outcome: str) -> Series:
        """Return the counter of an answer; remembered, since making it costs more than counting."""
        known = self._answers.get((check, outcome))
        if known is None:
            known = self._telemetry.series("clearwatch.check.answers", check=check, outcome=outcome)
            self._answers[check, outcome] = known
        return known

    def _failed(self, name: str, conversation: Conversation) -> None:
        """Count and, at 1, 10, 100, …, log the exception at hand: a check that always fails would fill the disk."""
        self._telemetry.count("clearwatch.check.failures", check=name)
        count = self._failures[name] = self._failures.get(name, 0) + 1
        if str(count).rstrip("0") == "1":
            _log.exception("check %s failed on session %r (failure %d of it)", name, conversation.session_id, count)
