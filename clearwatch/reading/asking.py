"""What every command that reads has in common: whom it asks, and how it answers and fails."""

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import click
import msgspec

from clearwatch.config import Config, ConfigError, load
from clearwatch.reading.source import ChecksSource, ReadingError, open_checks_source, open_source
from clearwatch.reading.terminal import safe


class _Open(Protocol):
    def __call__(self, *, config: Config, ops_url: str | None, data_dir: Path) -> ChecksSource: ...


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say whom to ask, and hand it the source as `source`."""
    return _asks(command, open_source)


def asks_for_checks(command: Callable[..., None]) -> Callable[..., None]:
    """Do the same for a command that is content with a `ChecksSource`."""
    return _asks(command, open_checks_source)


def _asks(command: Callable[..., None], opening: _Open) -> Callable[..., None]:
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
            fail(str(exc), code=2)
        if ops_url is not None and not ops_url.startswith(("http://", "https://")):
            fail(f"--ops ({ops_url}) must be an address like {config.ops.url}", code=2)
        try:
            with contextlib.closing(opening(config=config, ops_url=ops_url, data_dir=data_dir)) as source:
                command(source=source, **rest)
        except ReadingError as exc:
            fail(str(exc), code=1)

    return asking


as_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """Print one value as JSON on a line of its own."""
    click.echo(msgspec.json.encode(value))


def fail(message: str, *, code: int) -> NoReturn:
    """Say why on standard error, and exit."""
    for line in f"clearwatch: {message}".splitlines():
        click.echo(safe(line).plain, err=True)
    sys.exit(code)
