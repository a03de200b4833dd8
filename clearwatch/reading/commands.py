"""`status`, `checks`, `issues`, `issue show`, `export`. Exit codes: 0 ok, 1 failed, 2 bad usage or configuration."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click
import msgspec
from rich.live import Live

from clearwatch.reading.asking import as_json, asks, asks_for_checks, fail, print_json
from clearwatch.reading.letters import dead_letters
from clearwatch.reading.source import ChecksSource, Source
from clearwatch.reading.terminal import checks_view, console, issue_view, issues_view, status_view
from clearwatch.reading.trace_view import trace_view
from core.model.issue import IssueStatus

_WATCH_EVERY_S: Final = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Go on, every 2 seconds, until interrupted.")
@as_json
@asks
def status(*, source: Source, watch: bool, as_json: bool) -> None:
    """Show spans, traces, sessions, findings, issues, cost, lag and drops."""
    if as_json:
        print_json(source.status())
        while watch:
            time.sleep(_WATCH_EVERY_S)
            print_json(source.status())
        return
    view = status_view(source.status(), is_live=source.is_live)
    if not watch:
        console().print(view)
        return
    with contextlib.suppress(KeyboardInterrupt), Live(view, console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(_WATCH_EVERY_S)
            live.update(status_view(source.status(), is_live=source.is_live), refresh=True)


@click.command()
@as_json
@asks_for_checks
def checks(*, source: ChecksSource, as_json: bool) -> None:
    """List every check: dimension, what it needs, thresholds, and what it has answered."""
    found = source.checks()
    if as_json:
        print_json(found)
    else:
        console().print(checks_view(found))


@click.command()
@click.option("--status", "wanted", type=click.Choice([str(s) for s in IssueStatus]), default=None)
@as_json
@asks
def issues(*, source: Source, wanted: str | None, as_json: bool) -> None:
    """List the issues, the last seen first."""
    found = source.issues(wanted or "")
    if as_json:
        print_json(found)
    else:
        console().print(issues_view(found))


@click.group()
def issue() -> None:
    """One issue."""


@issue.command()
@click.argument("issue_id", metavar="ID")
@as_json
@asks
def show(*, source: Source, issue_id: str, as_json: bool) -> None:
    """Show one issue with its evidence. ID is ours, MLflow's (iss-…), hex, or a unique prefix."""
    detail = source.issue(issue_id)
    if as_json:
        print_json(detail)
    else:
        console().print(issue_view(detail))


@click.command()
@click.argument("trace_id", metavar="ID")
@click.option("--full", "is_full", is_flag=True, help="Texts of up to 4,000 characters instead of 160.")
@as_json
@asks
def trace(*, source: Source, trace_id: str, is_full: bool, as_json: bool) -> None:
    """Show one trace: what is wrong, then its spans, in one form whoever sent them. ID may be MLflow's (tr-…)."""
    found = source.trace(trace_id)
    if as_json:
        print_json(found)
    else:
        console().print(trace_view(found, is_full=is_full))


@click.command()
@click.argument("what", type=click.Choice(["findings", "issues"]))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@asks
def export(*, source: Source, what: str, output: Path | None) -> None:
    """Write all findings or issues as JSON lines; withdrawn findings are left out."""
    rows: Iterable[msgspec.Struct] = source.findings() if what == "findings" else source.issues("")
    encode = msgspec.json.Encoder().encode
    try:
        with _writing(output) as file:
            for row in rows:
                file.write(encode(row) + b"\n")
    except BrokenPipeError:
        raise  # the reader of our output has gone: click ends quietly
    except OSError as exc:
        fail(f"{output or 'standard output'} cannot be written: {exc.strerror}", code=1)


@contextlib.contextmanager
def _writing(output: Path | None) -> Iterator[IO[bytes]]:
    """Open standard output, or a file that takes its name only when it is whole."""
    if output is None:
        stream = sys.stdout.buffer
        yield stream
        stream.flush()
        return
    partial = output.with_name(f"{output.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


COMMANDS: Final[tuple[click.Command, ...]] = (status, checks, issues, issue, trace, export, dead_letters)
