"""`clearwatch up`: find or start MLflow, run the app, say where to look, stop cleanly."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from clearwatch.app import Addresses, App
from clearwatch.config import Config
from clearwatch.mlflow_server import MlflowServer, free_port, is_free, target_of
from clearwatch.plugins import load_plugins
from clearwatch.prices import load_prices
from clearwatch.roles import LOG_FILE, Roles, everything
from core.errors import ClearwatchError, LogUnavailableError, PermanentError
from core.log.database import FileLock, LogLockedError
from core.prices import PriceTable
from core.threads import unreturned
from detector.checks.plugin import Plugin

logger = logging.getLogger(__name__)


class StartError(PermanentError):
    """It cannot start as configured: exit 2."""


def run_up(config: Config, *, data_dir: Path, out: Console) -> None:
    """Run until SIGINT or SIGTERM.

    Raises StartError where the folder cannot be used, a port is taken or MLflow cannot be used, PluginError,
    PricesError, and what ended it afterwards: alone where it is one of our own errors, so that its message can be
    shown as it is.
    """
    _run(_up(config, data_dir, out, load_plugins(config.detector), load_prices(config.detector.prices_file)))


def run_role(config: Config, roles: Roles, *, data_dir: Path, out: Console) -> None:
    """Run one role on Kafka until SIGINT or SIGTERM. Raises as `run_up` does."""
    if config.log.kind != "kafka":
        raise StartError(
            f"`clearwatch {roles.name.replace('-', ' ', 1)}` is one of several processes, which share a log on Kafka:"
            " set `log.kind` to kafka and `log.kafka.bootstrap_servers`, or run everything with `clearwatch up`"
        )
    # where no trace is inspected, checks of one's own need not be there
    plugins = load_plugins(config.detector) if roles.stages else ()
    prices = load_prices(config.detector.prices_file) if "assemble" in roles.stages else None
    _run(_role(config, roles, data_dir, out, plugins, prices))


def _run(main: Coroutine[None, None, None]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
            _leave_behind(unreturned())
    except BaseExceptionGroup as group:
        if (cause := _only_cause(group)) is None:
            raise
        raise cause from group


def _leave_behind(calls: Sequence[str]) -> None:
    """End the process now where calls never return, which it would wait for: all else is closed."""
    if calls:
        logger.warning("ends without %s: what it had in hand is read again at the next start", "; ".join(calls))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _only_cause(group: BaseExceptionGroup[BaseException]) -> ClearwatchError | None:
    """Return the first of our errors in a group that holds nothing else."""
    ours, others = group.split(ClearwatchError)
    if others is not None:
        return None
    found: BaseException | None = ours
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, ClearwatchError) else None


async def _up(
    config: Config, data_dir: Path, out: Console, plugins: Sequence[Plugin], prices: PriceTable | None
) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    if config.log.kind == "sqlite":
        _refuse_folder(data_dir)
    server, mlflow_url = None, ""
    if config.sinks.mlflow.enabled:
        server, mlflow_url = await _mlflow(config, data_dir)
    _refuse_taken_ports(config, everything(config))
    app = App(
        config, roles=everything(config), data_dir=data_dir, mlflow_url=mlflow_url, plugins=plugins, prices=prices
    )
    try:
        if server is not None:
            await server.start()
        async with asyncio.TaskGroup() as tasks:
            if server is not None:
                tasks.create_task(_watch(server, out, stop), name="mlflow-watch")
            await app.run(stop, started=lambda addresses: _say(out, addresses, mlflow_url))
            stop.set()
    finally:
        if server is not None:
            await server.stop()


async def _role(
    config: Config, roles: Roles, data_dir: Path, out: Console, plugins: Sequence[Plugin], prices: PriceTable | None
) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    mlflow_url = config.sinks.mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if "mlflow" in roles.sinks and not mlflow_url.startswith(("http://", "https://")):
        raise StartError(
            "`sinks.mlflow.tracking_uri` (or MLFLOW_TRACKING_URI) must be the http address of an MLflow server"
            f"{f', not {mlflow_url}' if mlflow_url else ''}: only `clearwatch up` starts one"
        )
    _refuse_taken_ports(config, roles)
    app = App(config, roles=roles, data_dir=data_dir, mlflow_url=mlflow_url, plugins=plugins, prices=prices)
    await app.run(stop, started=lambda addresses: _say_role(out, roles, addresses))


async def _mlflow(config: Config, data_dir: Path) -> tuple[MlflowServer | None, str]:
    """Return the server to start, if one is to be started, and the address to write to."""
    mlflow = config.sinks.mlflow
    try:
        target = target_of(mlflow.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", ""), data_dir=data_dir)
    except PermanentError as exc:
        raise StartError(str(exc)) from exc
    if target.url:
        return None, target.url
    host, _, port = mlflow.local_listen.rpartition(":")
    server = MlflowServer(store=target.store, host=host, port=int(port), data_dir=data_dir)
    await server.wait_for_predecessor()
    if not is_free(host, int(port)):
        raise StartError(_taken("sinks.mlflow.local_listen", mlflow.local_listen))
    return server, server.url


def _refuse_folder(data_dir: Path) -> None:
    """Raise StartError where the folder cannot be written, or another `up` has it: before anything is started."""
    # the log takes the same lock for good; this look is early, so that the message comes before any port's
    lock = FileLock(str(data_dir / LOG_FILE))
    try:
        lock.acquire()
    except LogLockedError as exc:
        raise StartError(
            f"data folder {data_dir} is in use by another `clearwatch up`: stop it, or name another with --data-dir"
        ) from exc
    except LogUnavailableError as exc:
        cause = getattr(exc.__cause__, "strerror", "") or exc
        raise StartError(f"data folder {data_dir} cannot be written: {cause}: name another with --data-dir") from exc
    lock.release()


def _refuse_taken_ports(config: Config, roles: Roles) -> None:
    listens = {"ops.listen": config.ops.listen}
    if roles.collector:
        listens["collector.grpc.listen"] = config.collector.grpc.listen
        listens["collector.http.listen"] = config.collector.http.listen
    problems = []
    for key, listen in listens.items():
        host, _, port = listen.rpartition(":")
        if int(port) and not is_free(host.strip("[]"), int(port)):
            problems.append(_taken(key, listen))
    if problems:
        raise StartError("\n".join(problems))


def _taken(key: str, listen: str) -> str:
    host = listen.rpartition(":")[0]
    free = f"{host}:{free_port(host.strip('[]'))}"
    variable = "CLEARWATCH__" + key.upper().replace(".", "__")
    return f"`{key}` ({listen}) is taken by another process: stop it, or use a free one, e.g. {variable}={free}"


async def _watch(server: MlflowServer, out: Console, stop: asyncio.Event) -> None:
    """Say when MLflow is ready; without it everything goes on, and its sink keeps trying."""
    ready = asyncio.ensure_future(server.ready())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not ready.done():
        ready.cancel()
    elif ready.result():
        out.print(f"  MLflow is ready      {server.url}", highlight=False)
    else:
        logger.error("the local MLflow server ended; see %s", server.log_path)
        out.print(f"  MLflow did not start: see {server.log_path}; detection goes on without it", highlight=False)


def _say_role(out: Console, roles: Roles, addresses: Addresses) -> None:
    lines = [f"[bold]Clearwatch {roles.name} is up[/]"]
    if addresses.grpc:
        lines += [f"  OTLP/gRPC            {addresses.grpc}", f"  OTLP/HTTP            http://{addresses.http}"]
    if roles.stages:
        lines.append(f"  Stages               {', '.join(roles.stages)}")
    lines.append(f"  Status page          http://{addresses.ops}/")
    out.print("\n".join(lines), highlight=False, soft_wrap=True)


def _say(out: Console, addresses: Addresses, mlflow_url: str) -> None:
    lines = [
        "[bold]Clearwatch is up[/]",
        f"  OTLP/gRPC            {addresses.grpc}",
        f"  OTLP/HTTP            http://{addresses.http}",
        f"  Status page          http://{addresses.ops}/",
    ]
    if mlflow_url:
        lines.append(f"  Issues in MLflow     {mlflow_url}  (a local server takes some seconds to start)")
    lines += [
        "",
        f"  Point an application at it:  OTEL_EXPORTER_OTLP_ENDPOINT=http://{addresses.http}",
        "  or try it:                   clearwatch demo",
        "",
    ]
    out.print("\n".join(lines), highlight=False, soft_wrap=True)
