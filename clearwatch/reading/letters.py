"""`dead-letters list`, `show` and `replay`."""

import datetime
import re
import time
from collections import Counter
from typing import Final

import click
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clearwatch.letters import Replay
from clearwatch.reading.asking import as_json, asks, fail, print_json
from clearwatch.reading.source import Source
from clearwatch.reading.terminal import console, moment, safe
from sinks.records.views import LetterDetail, LetterRow

_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SHOWN_BYTES: Final = 256


def _since(_: click.Context, __: click.Parameter, text: str) -> float:
    """Return seconds since the epoch, from how long ago it was or from ISO 8601 (local, where it names no zone)."""
    if not text:
        return 0.0
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
        return time.time() - float(found[1]) * _UNITS_S[found[2]]
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is neither a time like 2026-01-31T12:00 nor an age like 30m, 2h, 1d"
        ) from None


_stage: Final = click.option("--stage", default="", metavar="NAME", help="Only of this stage or sink.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that a stage or sink could not use: see them, replay them."""


@dead_letters.command("list")
@_stage
@click.option("--since", default="", callback=_since, metavar="TIME", help="Not older: an age (30m, 2h, 1d) or a time.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The newest so many.")
@as_json
@asks
def list_(*, source: Source, stage: str, since: float, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first: where from, why, how large."""
    found = source.letters(stage=stage, since_s=since, limit=limit)
    if as_json:
        print_json(found)
    else:
        console().print(_list_view(found))


@dead_letters.command()
@click.argument("letter_id", metavar="ID")
@as_json
@asks
def show(*, source: Source, letter_id: str, as_json: bool) -> None:
    """Show one with its bytes (all of them, as base64, with --json). ID is as listed, or a unique prefix."""
    detail = source.letter(letter_id)
    if as_json:
        print_json(detail)
    else:
        console().print(_detail_view(detail))


@dead_letters.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Every one that was not replayed yet.")
@_stage
@click.option("--again", is_flag=True, help="Also what was replayed before.")
@as_json
@asks
def replay(*, source: Source, ids: tuple[str, ...], all_: bool, stage: str, again: bool, as_json: bool) -> None:
    """Put dead letters back where they came from, to be read again: after what failed on them was mended."""
    if bool(ids) == all_:
        fail("name either IDs or --all", code=2)
    if stage and not all_:
        fail("--stage goes with --all", code=2)
    done = source.replay(Replay(ids=ids, all_=all_, stage=stage, again=again))
    if as_json:
        print_json(done)
    else:
        lines = [safe(f"replayed {letter_id}") for letter_id in done.replayed]
        lines += [safe(f"not replayed: {left.id} {left.reason}", "yellow") for left in done.skipped]
        console().print(Group(*lines) if lines else Text("nothing to replay"))
    if ids and done.skipped:
        raise SystemExit(1)


def _list_view(letters: tuple[LetterRow, ...]) -> RenderableType:
    if not letters:
        return Text("no dead letters")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("ID", "When", "Stage", "Why", "State"):
        table.add_column(name, overflow="fold", no_wrap=name in ("ID", "When"))
    table.add_column("Size", justify="right", no_wrap=True)
    places = Counter(_place(letter) for letter in letters)
    for letter in letters:
        place = _place(letter)
        state = {"part": "part", "effect": "effect"}.get(letter.kind, "")
        if letter.replays:
            state = f"{state} replayed".strip()
        table.add_row(
            safe(place if places[place] == 1 else letter.id),
            moment(letter.at),
            safe(letter.stage),
            safe(f"{letter.error_type}: {letter.error}" if letter.error_type else letter.error),
            Text(state),
            f"{letter.size_bytes:,}",
        )
    return table


def _detail_view(letter: LetterDetail) -> RenderableType:
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    rows = (
        ("id", letter.id),
        ("when", moment(letter.at)),
        ("from", f"{letter.topic}[{letter.partition}]@{letter.offset} ({letter.kind}, schema {letter.schema})"),
        ("failed in", f"{letter.stage}, build {letter.build}"),
        ("error", f"{letter.error_type}: {letter.error}" if letter.error_type else letter.error),
        ("headers", ", ".join(f"{name}={value}" for name, value in sorted(letter.headers.items()))),
        ("key", letter.key.decode("utf-8", "replace")),
        ("replayed", f"{letter.replays} times, last {moment(letter.replayed_at)}" if letter.replayed_at else "never"),
    )
    for name, value in rows:
        if value:
            facts.add_row(name, safe(value))
    head = letter.value[:_SHOWN_BYTES]
    more = f", the first {len(head)} of them" if len(head) < letter.size_bytes else ""
    lines = [Text(f"{at:06x}  {_hex(head[at : at + 16])}") for at in range(0, len(head), 16)]
    return Group(facts, Padding(Text(f"{letter.size_bytes:,} bytes{more}", "dim"), (1, 0, 0, 0)), *lines)


def _hex(line: bytes) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
    return f"{line.hex(' '):<47}  {text}"


def _place(letter: LetterRow) -> str:
    return f"{letter.topic}:{letter.partition}:{letter.offset}"
