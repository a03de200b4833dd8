"""`status`, `issues`, `issue show`, `export`. Exit codes: 0 ok, 1 failed, 2 bad usage or configuration."""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import click
import msgspec
from rich.live import Live

from clearwatch.config import ConfigError, load
from clearwatch.reading.source import ReadingError, Source, open_source
from clearwatch.reading.terminal import console, issue_view, issues_view, safe, status_view
from core.model.issue import IssueStatus

_WATCH_EVERY_S: Final = 2.0


def _asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say whom to ask, and hand it the source as `source`."""

    @click.option("--config", "config_path", type=click.Path(dir_okay=False), help="clearwatch.yaml.")
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("clearwatch-data"),
        envvar="CLEARWATCH_DATA_DIR",
        show_default=True,
        help="Where to read the records if nothing runs.",
    )
    @click.option("--ops", "ops_url", metavar="URL", help="The process to ask.  [default: `ops.listen`]")
    @functools.wraps(command)
    def asking(*, config_path: str | None, data_dir: Path, ops_url: str | None, **rest: Any) -> None:
        try:
            config = load(config_path)
        except ConfigError as exc:
            _fail(str(exc), code=2)
        if ops_url is not None and not ops_url.startswith(("http://", "https://")):
            _fail(f"--ops ({ops_url}) must be an address like {config.ops.url}", code=2)
        try:
            with contextlib.closing(open_source(config=config, ops_url=ops_url, data_dir=data_dir)) as source:
                command(source=source, **rest)
        except ReadingError as exc:
            _fail(str(exc), code=1)

    return asking


_as_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--watch", is_flag=True, help="Go on, every 2 seconds, until interrupted.")
@_as_json
@_asks
def status(*, source: Source, watch: bool, as_json: bool) -> None:
    """Show spans, traces, sessions, findings, issues, cost, lag and drops."""
    if as_json:
        _print_json(source.status())
        while watch:
            time.sleep(_WATCH_EVERY_S)
            _print_json(source.status())
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
@click.option("--status", "wanted", type=click.Choice([str(s) for s in IssueStatus]), default=None)
@_as_json
@_asks
def issues(*, source: Source, wanted: str | None, as_json: bool) -> None:
    """List the issues, the last seen first."""
    found = source.issues(wanted or "")
    if as_json:
        _print_json(found)
    else:
        console().print(issues_view(found))


@click.group()
def issue() -> None:
    """One issue."""


@issue.command()
@click.argument("issue_id", metavar="ID")
@_as_json
@_asks
def show(*, source: Source, issue_id: str, as_json: bool) -> None:
    """Show one issue with its evidence. ID is ours, MLflow's (iss-…), hex, or a unique prefix."""
    detail = source.issue(issue_id)
    if as_json:
        _print_json(detail)
    else:
        console().print(issue_view(detail))


@click.command()
@click.argument("what", type=click.Choice(["findings", "issues"]))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of stdout.")
@_asks
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
        _fail(f"{output or 'standard output'} cannot be written: {exc.strerror}", code=1)


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


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value))


def _fail(message: str, *, code: int) -> NoReturn:
    for line in f"clearwatch: {message}".splitlines():
        click.echo(safe(line).plain, err=True)
    sys.exit(code)


COMMANDS: Final[tuple[click.Command, ...]] = (status, issues, issue, export)
