"""Tables for the terminal. What applications sent is text, never markup or control sequences."""

import datetime
import sys
import unicodedata
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clearwatch.ops.checks import ChecksShape
from clearwatch.ops.shapes import IssueDetailShape, IssueShape
from clearwatch.ops.status import Status
from detector.catalogue import Threshold

_OUTCOMES: Final = ("found", "clear", "suspicious", "unknown", "failed")
SEVERITY_STYLE: Final = {"high": "bold red", "medium": "yellow", "low": "cyan"}
_UNWATCHED_WIDTH: Final = 160  # columns where the output is not a terminal
_MAX_TITLE: Final = 400
_SHOWN_VALUES: Final = 4  # of a threshold that is a list


def console() -> Console:
    """Return a console for standard output."""
    return Console(width=None if sys.stdout.isatty() else _UNWATCHED_WIDTH, highlight=False, markup=False)


def safe(text: str, style: str = "", *, limit: int = _MAX_TITLE) -> Text:
    """Return text on one line without anything that moves the cursor, colours, or turns the direction of writing."""
    return Text("".join(_shown(c) for c in text[:limit]), style=style)


def _shown(character: str) -> str:
    if character in "\n\r\t":
        return " "
    # Cc: control, Cf: format (bidi overrides, zero width), Cs: surrogates, Zl, Zp: line and paragraph separators
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def status_view(status: Status, *, is_live: bool) -> RenderableType:
    """Return the status as a table."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    if is_live:
        running = f"up {_lasting(status.uptime_s)}"
    elif status.lag:
        running = "not asked: this is what its processes wrote into the records"
    else:
        running = "not running: this is what the records say"
    table.add_row("clearwatch", safe(f"{status.version}, {running}"))
    table.add_row("spans", f"{status.spans.received:,} received, {status.spans.rejected:,} rejected")
    table.add_row("traces", f"{status.traces.open:,} open, {status.traces.closed:,} closed")
    table.add_row("sessions", f"{status.sessions.open:,} open, {status.sessions.closed:,} closed")
    table.add_row("findings", f"{status.findings:,}")
    table.add_row("issues", ", ".join(f"{n:,} {name}" for name, n in status.issues.items()))
    triage = status.triage
    skipped = "".join(f", {n:,} skipped ({reason})" for reason, n in sorted(triage.skipped.items()))
    table.add_row("triage", safe(f"{triage.mode}: {triage.judged:,} judged{skipped}, ${triage.cost_usd:.2f}"))
    if is_live or status.lag:
        behind = {group: n for group, n in status.lag.items() if n}
        lag = ", ".join(f"{group} {n:,}" for group, n in behind.items()) or "none: everything is worked off"
        table.add_row("lag", safe(lag, "yellow" if behind else ""))
    table.add_row("dead letters", Text(f"{status.dead_letters:,}", "bold red" if status.dead_letters else ""))
    dropped = ", ".join(f"{reason} {n:,}" for reason, n in status.dropped.items())
    table.add_row("dropped", safe(dropped or "nothing"))
    if status.suppressed:
        held = ", ".join(f"{n:,} ({reason})" for reason, n in status.suppressed.items())
        table.add_row("suppressed", safe(f"findings: {held}", "yellow"))
    if status.inhibited:
        told = ", ".join(f"{check} {n:,}" for check, n in status.inhibited.items())
        table.add_row("inhibited", safe(f"findings that another explains: {told}"))
    if status.failed_checks:
        told = ", ".join(f"{check} {n:,} times" for check, n in status.failed_checks.items())
        table.add_row("failed checks", safe(f"{told}: the log of the process says why", "bold red"))
    for reason in status.stopped:
        table.add_row("stopped", safe(reason, "bold red"))
    return table


def checks_view(told: ChecksShape) -> RenderableType:
    """Return the checks as a table, and the suppressions; counts are empty where nothing was answered."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("Check", no_wrap=True)
    table.add_column("Dimension", no_wrap=True)
    table.add_column("Needs", overflow="fold")
    table.add_column("Thresholds", overflow="fold", min_width=36)
    for name in _OUTCOMES:
        table.add_column(name.capitalize(), justify="right", no_wrap=True)
    for name in ("Findings", "Inhibited", "Suppressed"):
        table.add_column(name, justify="right", no_wrap=True)
    group = ""
    for check in told.checks:
        if check.group != group:
            group = check.group
            table.add_section()
            table.add_row(Text(f"of {group}" if group != "plug-ins" else group, "dim"))
        style = "" if check.enabled else "dim"
        counts = (check.answers.get(outcome, 0) for outcome in _OUTCOMES)
        took = [f"takes {check.mean_ms:.3g} ms each"] if check.mean_ms is not None else []
        limits = ", ".join([*(f"{key} {_plain(value)}" for key, value in check.thresholds.items()), *took])
        table.add_row(
            safe(check.name, style),
            Text(check.dimension, style),
            Text(", ".join(check.needs)),
            safe(limits) if check.enabled else Text("off", "dim"),
            *(
                Text(f"{n:,}" if n else "", "bold red" if o == "failed" else "")
                for o, n in zip(_OUTCOMES, counts, strict=True)
            ),
            f"{check.findings:,}" if check.findings else "",
            f"{check.inhibited:,}" if check.inhibited else "",
            Text(f"{check.suppressed:,}" if check.suppressed else "", "yellow"),
        )
    return Group(table, _suppressions(told)) if told.suppressions else table


def _suppressions(told: ChecksShape) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="Suppressions", title_justify="left")
    for name in ("Reason", "Matches"):
        table.add_column(name, overflow="fold")
    table.add_column("Until", no_wrap=True)
    table.add_column("Suppressed", justify="right", no_wrap=True)
    for each in told.suppressions:
        matches = ", ".join(f"{name} {' or '.join(values)}" for name, values in each.matches.items())
        until = f"{moment(each.until)}{' (over)' if each.is_over else ''}"
        table.add_row(
            safe(each.reason), safe(matches), Text(until, "dim" if each.is_over else ""), f"{each.suppressed:,}"
        )
    return table


def _plain(value: Threshold) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, tuple):
        return str(value)
    shown = " ".join(value[:_SHOWN_VALUES]) or "none"
    return shown if len(value) <= _SHOWN_VALUES else f"{shown} … ({len(value)})"


def issues_view(issues: tuple[IssueShape, ...]) -> RenderableType:
    """Return issues as a table, and where MLflow lists them."""
    if not issues:
        return Text("no issues")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("ID", "Severity", "Dimension", "Issue", "State"):
        table.add_column(name, overflow="fold" if name == "Issue" else "ellipsis", no_wrap=name != "Issue")
    for name in ("Traces", "Sessions", "Last seen"):
        table.add_column(name, justify="right", no_wrap=True)
    for issue in issues:
        state = issue.state if issue.status == "pending" else str(issue.status)
        what = safe(issue.title)
        where = " · ".join(part for part in (issue.service, issue.target) if part)
        if where:
            what.append("\n").append_text(safe(where, "dim"))
        table.add_row(
            issue.issue_id[:8],
            Text(issue.severity, SEVERITY_STYLE.get(issue.severity, "")),
            Text(issue.category),
            what,
            Text(state, "bold red" if state in ("regressed", "escalating") else ""),
            f"{issue.trace_count:,}",
            f"{issue.session_count:,}",
            moment(issue.last_seen),
        )
    links = sorted({issue.run_url for issue in issues if issue.run_url})
    return Group(table, *(safe(f"in MLflow: {link}") for link in links))


def issue_view(detail: IssueDetailShape) -> RenderableType:
    """Return one issue with its evidence."""
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    state = detail.state if detail.status == "pending" else ""
    rows = (
        ("id", detail.issue_id),
        ("status", " · ".join(part for part in (detail.status, state) if part)),
        ("severity", detail.severity),
        ("dimension", detail.category),
        ("where", " · ".join(dict.fromkeys(p for p in (detail.routing_key, detail.service, detail.target) if p))),
        ("error", detail.error_type),
        ("found by", f"{detail.check} ({detail.source})"),
        ("seen in", f"{detail.trace_count:,} traces, {detail.session_count:,} sessions"),
        ("first, last seen", f"{moment(detail.first_seen)}, {moment(detail.last_seen)}"),
        ("releases", " … ".join(dict.fromkeys(r for r in (detail.first_release, detail.last_release) if r))),
        ("mlflow", f"{detail.mlflow_issue_id} {detail.url or ''}" if detail.mlflow_issue_id else "not filed yet"),
    )
    for name, value in rows:
        if value:
            facts.add_row(name, safe(value, SEVERITY_STYLE.get(value, "") if name == "severity" else ""))
    parts: list[RenderableType] = [safe(detail.title, "bold"), facts]
    if detail.description:
        lines = [safe(line) for line in detail.description.splitlines()]
        parts.append(Padding(Group(*lines), (1, 0, 0, 0)))
    shown = f"evidence: {len(detail.evidence):,} of {detail.evidence_total:,}, the newest first"
    parts += [Padding(Text(shown, "dim"), (1, 0, 0, 0)), _evidence_table(detail)]
    for said in detail.feedback:
        verdict = "contradicts this: " if said.contradicts else "negative: " if said.is_negative else ""
        who = said.author or "somebody"
        parts.append(safe(f"{who} on {said.trace_id}: {verdict}{said.name} = {said.value} {said.rationale}".rstrip()))
    return Group(*parts)


def _evidence_table(detail: IssueDetailShape) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("Observed", "Trace", "Root", "Why"):
        table.add_column(name, overflow="fold", no_wrap=name == "Observed")
    for each in detail.evidence:
        root = ""
        if each.trace is not None:
            root = f"{each.trace.root_name} ({each.trace.duration_s:.2f} s, {each.trace.span_count} spans)"
        table.add_row(moment(each.observed_at), safe(each.trace_id), safe(root), safe(each.rationale))
    return table


def moment(rfc3339: str) -> str:
    """Return a time for people: local, to the second."""
    return f"{datetime.datetime.fromisoformat(rfc3339).astimezone():%Y-%m-%d %H:%M:%S}"


def _lasting(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
