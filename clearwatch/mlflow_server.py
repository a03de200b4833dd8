"""The local MLflow server that `up` starts when none is configured."""

import asyncio
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import msgspec

from core.errors import PermanentError

logger = logging.getLogger(__name__)

STORES = ("sqlite", "postgresql", "mysql", "mssql")
# how long a server that a killed `up` left behind may take to go; its guard gives it 5 s to end and 5 s to be killed
HANDOVER_S = 15.0


class MlflowTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracking URI asks for: a server to talk to (`url`) or a store to serve (`store`)."""

    url: str = ""
    store: str = ""


def target_of(tracking_uri: str, *, data_dir: Path) -> MlflowTarget:
    """Return what to do with a tracking URI; an empty one asks for a store in `data_dir`.

    Raises PermanentError for `file:` and `databricks`, which have no issues API (MLflow 3.17: FileStore has none, the
    Databricks store raises NotImplemented).
    """
    if not tracking_uri:
        return MlflowTarget(store=f"sqlite:///{(data_dir / 'mlflow.db').resolve()}")
    scheme = urlsplit(tracking_uri).scheme.split("+")[0]
    if scheme in ("http", "https"):
        return MlflowTarget(url=tracking_uri.rstrip("/"))
    if scheme in STORES:
        return MlflowTarget(store=tracking_uri)
    kind = "databricks" if tracking_uri.startswith("databricks") else "a file store"
    raise PermanentError(
        f"`sinks.mlflow.tracking_uri` ({tracking_uri}) is {kind}, which has no issues API: "
        "use an MLflow server (http://…) or a database (sqlite:///…, postgresql://…, mysql://…)"
    )


class MlflowServer:
    """Starts `mlflow server` over a store, under a guard process, and tells when it answers."""

    def __init__(self, *, store: str, host: str, port: int, data_dir: Path) -> None:
        self._store = store
        self._host = host
        self._port = port
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None
        self._output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the address to open in a browser."""
        return f"http://{self._host}:{self._port}"

    @property
    def log_path(self) -> Path:
        """Return the file that holds what the server prints."""
        return self._data_dir / "mlflow.log"

    async def wait_for_predecessor(self) -> None:
        """Let the server of a killed predecessor over the same data go; returns at once where there is none."""
        await asyncio.to_thread(self._wait_for_predecessor)

    def _wait_for_predecessor(self) -> None:
        deadline = time.monotonic() + HANDOVER_S
        try:
            command = Path(f"/proc/{int((self._data_dir / 'mlflow.pid').read_text())}/cmdline")
            while b"mlflow_guard" in command.read_bytes() and time.monotonic() < deadline:
                time.sleep(0.1)
        except (OSError, ValueError):
            return  # none was recorded, or it is gone

    async def start(self) -> None:
        """Start the server; it answers some seconds later (`ready`)."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._output = self.log_path.open("ab")
        command = [
            *(sys.executable, "-m", "clearwatch.mlflow_guard"),
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", self._store, "--host", self._host, "--port", str(self._port)),
            *("--artifacts-destination", str((self._data_dir / "mlartifacts").resolve()), "--workers", "2"),
        ]
        environment = os.environ | {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # its job consumers (scheduled judges, batch detection) cost 1.5 GB and do what we do
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            env=environment,
            start_new_session=True,
        )
        (self._data_dir / "mlflow.pid").write_text(str(self._process.pid))

    async def ready(self) -> bool:
        """Return True once it answers, False if it ended before."""
        assert self._process is not None  # noqa: S101 - `start` was called
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while self._process.returncode is None:
                try:
                    if (await client.get(f"{self.url}/health")).status_code == httpx.codes.OK:
                        return True
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.25)
        return False

    async def stop(self) -> None:
        """End the server and its workers. Idempotent."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
            (self._data_dir / "mlflow.pid").unlink(missing_ok=True)
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None


def is_free(host: str, port: int) -> bool:
    """Return whether a listener could bind this address now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str) -> int:
    """Return a port that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
