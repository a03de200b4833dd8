"""The command line. Exit codes: 0 ok, 1 failed, 2 bad usage or configuration."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from clearwatch import logs
from clearwatch.config import Config, ConfigError, load
from clearwatch.reading import COMMANDS
from core.errors import ClearwatchError

if TYPE_CHECKING:
    from clearwatch.roles import Roles

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("clearwatch-data"),
    envvar="CLEARWATCH_DATA_DIR",
    show_default=True,
    help="Where the log and the records live.",
)
CONFIG = click.option(
    "--config", "config_path", type=click.Path(dir_okay=False), help="clearwatch.yaml (CLEARWATCH_CONFIG)."
)

out = Console()
err = Console(stderr=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clearwatch", prog_name="clearwatch")
def main() -> None:
    """Watch LLM and agent applications: OTLP in, issues in MLflow out, within seconds."""
    # an `mlflow server` beside an installed litellm never becomes ready without a route to the internet unless this
    # is set, and every process that we start inherits it
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def _role_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of everything that runs until it is stopped."""
    for option in (
        click.option("--log-format", type=click.Choice(["auto", "text", "json"]), default="auto"),
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info"),
        DATA_DIR,
        CONFIG,
    ):
        command = option(command)
    return command


@main.command()
@_role_options
def up(config_path: str | None, data_dir: Path, log_level: str, log_format: logs.LogFormat) -> None:
    """Run everything in one process; with no MLflow configured, start one."""
    from clearwatch.up import run_up

    _run_until_stopped(config_path, log_level, log_format, lambda config: run_up(config, data_dir=data_dir, out=out))


def _run_role(
    config_path: str | None,
    data_dir: Path,
    log_level: str,
    log_format: logs.LogFormat,
    choose: Callable[[Config], "Roles"],
) -> None:
    from clearwatch.up import run_role

    def run(config: Config) -> None:
        run_role(config, choose(config), data_dir=data_dir, out=out)

    _run_until_stopped(config_path, log_level, log_format, run)


def _run_until_stopped(
    config_path: str | None, log_level: str, log_format: logs.LogFormat, run: Callable[[Config], None]
) -> None:
    from clearwatch.plugins import PluginError
    from clearwatch.prices import PricesError
    from clearwatch.roles import RoleError
    from clearwatch.up import StartError
    from core.cycles import tune_cycles
    from core.log.kafka.topic_setup import TopicMismatchError
    from core.malloc import tune_malloc

    tune_malloc()
    tune_cycles()
    logs.setup(log_level, log_format)
    config = _load(config_path)
    try:
        run(config)
    except (StartError, RoleError, PluginError, PricesError, TopicMismatchError) as exc:
        _fail(str(exc), code=2)
    except ClearwatchError as exc:
        _fail(str(exc), code=1)


@main.command()
@_role_options
def collector(config_path: str | None, data_dir: Path, log_level: str, log_format: logs.LogFormat) -> None:
    """Run an OTLP receiver that writes to Kafka; any number of them, behind a load balancer."""
    from clearwatch.roles import Roles

    _run_role(config_path, data_dir, log_level, log_format, lambda _: Roles(name="collector", collector=True))


@main.command()
@_role_options
@click.option("--stages", default="", help="Names separated by commas; default: all.")
def detector(config_path: str | None, data_dir: Path, log_level: str, log_format: logs.LogFormat, stages: str) -> None:
    """Run the detector's stages on Kafka; any number of processes share the partitions."""
    from clearwatch import roles

    names = [name.strip() for name in stages.split(",") if name.strip()]
    _run_role(config_path, data_dir, log_level, log_format, lambda config: roles.detector(config, names))


@main.command()
@_role_options
@click.argument("name")
def sink(config_path: str | None, data_dir: Path, log_level: str, log_format: logs.LogFormat, name: str) -> None:
    """Run one sink (records, mlflow, webhook) on Kafka."""
    from clearwatch import roles

    _run_role(config_path, data_dir, log_level, log_format, lambda config: roles.sink(config, name))


@main.command()
@CONFIG
@click.option("--endpoint", help="OTLP endpoint; default: the configured one of `clearwatch up`.")
@click.option("--protocol", type=click.Choice(["grpc", "http"]), default="grpc", show_default=True)
@click.option("--ops", "ops_url", help="Ops API of the running process.")
def demo(config_path: str | None, endpoint: str | None, protocol: str, ops_url: str | None) -> None:
    """Send a minute of real agent traffic with faults, and show the issues it made."""
    import httpx

    from clearwatch.demo.run import TURNS, run

    config = _load(config_path)
    listen = config.collector.grpc.listen if protocol == "grpc" else config.collector.http.listen
    endpoint = endpoint or f"http://{listen}"
    ops_url = ops_url or f"http://{config.ops.listen}"
    try:
        httpx.get(f"{ops_url}/healthz", timeout=5.0, trust_env=False).raise_for_status()
    except httpx.HTTPError as exc:
        _fail(f"nothing answers at {ops_url} ({exc}): start `clearwatch up` first, or name it with --ops", code=1)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("agent turns", total=TURNS)

        def step(n: int) -> None:
            progress.advance(task, n)

        def waiting(for_what: str) -> None:
            progress.update(task, description=for_what)

        try:
            outcome = run(endpoint, ops_url, protocol=protocol, progress=step, waiting=waiting)
        except (ClearwatchError, httpx.HTTPError) as exc:
            _fail(str(exc), code=1)
    out.print(f"{outcome.spans} spans of {outcome.traces} traces sent to {endpoint}")
    for issue in outcome.issues:
        out.print(
            f"  [bold]{issue.severity:6}[/] {issue.category:11} {escape(issue.title)} "
            f"[dim]({issue.trace_count} traces)[/]",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.link:
        out.print(f"\nIssues in MLflow: {outcome.link}", soft_wrap=True)
    elif outcome.issues:
        why = "Not in MLflow yet (it may still be starting)" if outcome.has_mlflow else "Nothing writes to MLflow here"
        out.print(f"\n{why}: see {ops_url}/")
    else:
        _fail(f"no issue within the time of the demo: `clearwatch status` and {ops_url}/ say why", code=1)


@main.command()
@CONFIG
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--endpoint", help="OTLP/HTTP endpoint; default: the configured one of `clearwatch up`.")
@click.option("--rebase", is_flag=True, help="Shift all times so that the last span ends now.")
def send(config_path: str | None, files: tuple[Path, ...], endpoint: str | None, rebase: bool) -> None:
    """Send OTLP files (JSON lines or protobuf, also gzipped) to a collector."""
    from clearwatch import sending

    config = _load(config_path)
    endpoint = endpoint or f"http://{config.collector.http.listen}"
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:.0f} spans"))
    try:
        by_ns = 0
        if rebase:
            by_ns = time.time_ns() - max((sending.latest_ns(sending.read(path)) for path in files), default=0)
        with Progress(*columns, console=err) as progress:
            task = progress.add_task("sending", total=None)

            def requests() -> Iterable[sending.Request]:
                for path in files:
                    progress.update(task, description=f"sending {path.name}")
                    for request in sending.read(path):
                        if by_ns:
                            sending.shift(request, by_ns)
                        yield request

            sent = sending.send(requests(), endpoint, progress=lambda n: progress.advance(task, n))
    except ClearwatchError as exc:
        _fail(str(exc), code=1)
    seconds = time.monotonic() - started
    logs = f" and {sent.log_records} log records" if sent.log_records else ""
    what = f"{sent.items - sent.log_records} spans{logs} in {sent.requests} requests"
    out.print(f"{what} to {endpoint} in {seconds:.1f} s", highlight=False, soft_wrap=True)
    if sent.rejected:
        _fail(f"{sent.rejected} of them were rejected: {'; '.join(sent.reasons)}", code=1)


@main.command("check-config")
@CONFIG
def check_config(config_path: str | None) -> None:
    """Say whether the configuration can be used; list every problem."""
    from clearwatch.plugins import PluginError, load_plugins
    from clearwatch.prices import PricesError, load_prices

    config = _load(config_path)
    try:
        load_plugins(config.detector)
        load_prices(config.detector.prices_file)
    except (PluginError, PricesError) as exc:
        _fail(str(exc), code=2)
    out.print("configuration ok")
    now_s = time.time()
    for number, each in enumerate(config.detector.suppressions):
        if each.is_over(now_s):
            out.print(escape(f"detector.suppressions.{number} is over since {each}"), highlight=False, soft_wrap=True)


def _load(path: str | None) -> Config:
    try:
        return load(path)
    except ConfigError as exc:
        _fail(str(exc), code=2)


def _fail(message: str, *, code: int) -> NoReturn:
    err.print(f"[red]clearwatch:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


for command in COMMANDS:
    main.add_command(command)
