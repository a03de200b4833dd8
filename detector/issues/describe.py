"""What an issue says of itself, from facts alone: plain text, the counts in the first line."""

import datetime

from core.model.finding import Severity
from core.model.issue import Issue
from detector.issues.config import IssuesConfig

RANK = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2}
# one screen of a description; the evidence stands in full on its link
_MAX_EXAMPLE = 1_000


def description_of(issue: Issue, *, example: str, approximate: bool) -> str:
    """Return the description: counts and times first, then where, since which release, and the latest evidence."""
    counts = _counts(issue, approximate=approximate)
    lines = [f"Seen in {counts} since {_when(issue.first_seen_ns)}, last {_when(issue.last_seen_ns)}."]
    where = [f"check {issue.check} ({issue.source})"]
    where += [f"{word} {value}" for word, value in _facts(issue) if value]
    lines.append(_sentence(", ".join(where)))
    if issue.first_release:
        same = issue.last_release == issue.first_release
        lines.append(
            f"Release {issue.first_release}."
            if same
            else f"First in release {issue.first_release}, last in {issue.last_release}."
        )
    if issue.regressed_at_s:
        lines.append(
            f"Resolved at {_when(int(issue.resolved_at_s * 1e9))}, "
            f"found again at {_when(int(issue.regressed_at_s * 1e9))}."
        )
    if issue.episode:
        again = f" It is episode {issue.episodes}." if issue.episodes > 1 else ""
        lines.append(f"{_sentence(state_of(issue))}{again}")
    if example:
        cut = example if len(example) <= _MAX_EXAMPLE else example[: _MAX_EXAMPLE - 1] + "…"
        lines.append(f"Latest: {cut}")
    return "\n".join(lines)


def state_of(issue: Issue) -> str:
    """Return what its last episode is: since when, or until when, with figures; "" where it never had one."""
    if not issue.episode:
        return ""
    began = _when(issue.episode_began_ns)
    if not issue.episode_ended_ns:
        return f"worse since {began}: {issue.episode}"
    if issue.is_usual_now:
        return f"worse since {began}, and by now this is the usual: {issue.episode}"
    return f"recovered at {_when(issue.episode_ended_ns)}; from {began}: {issue.episode}"


def severity_of(base: Severity, *, traces: int, sessions: int, config: IssuesConfig) -> Severity:
    """Return the severity: that of the gravest finding, raised by how many traces and sessions it has hit lately."""
    reached = Severity.LOW
    if traces >= config.medium_traces or sessions >= config.medium_sessions:
        reached = Severity.MEDIUM
    if traces >= config.high_traces or sessions >= config.high_sessions:
        reached = Severity.HIGH
    return max(base, reached, key=RANK.__getitem__)


def _counts(issue: Issue, *, approximate: bool) -> str:
    about = "about " if approximate else ""
    traces, sessions = _plural(issue.trace_count, "trace"), _plural(issue.session_count, "session")
    if issue.trace_count and issue.session_count:
        return f"{about}{traces} of {sessions}"
    return about + (sessions if issue.session_count else traces)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _facts(issue: Issue) -> tuple[tuple[str, str], ...]:
    return (("service", issue.service), ("target", issue.target), ("error", issue.error_type))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _when(time_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, tz=datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
