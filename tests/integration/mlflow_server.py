"""A real MLflow server for tests: one process group on a free port, its store in a folder of the test's own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http import CLIENT
from tests.ports import free_port

# a start takes 10 s on an idle machine, and most of it is imports: a busy one needs far more
READY_S = 240.0


class RunningMlflow:
    """`mlflow server` over an SQLite file; `start` and `stop` may alternate, the store stays."""

    def __init__(self, folder: Path, *, command: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._prefix = command
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        """Return the SQLite file of its store."""
        return self._folder / "mlflow.db"

    def start(self, *, ready_s: float = READY_S, environment: dict[str, str] | None = None) -> float:
        """Start it and return the seconds until /health answered; raises TimeoutError with the log's end."""
        began = time.monotonic()
        arguments = (
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(self._folder / "artifacts")),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        )
        environment = {
            **os.environ,
            # with an installed litellm and no route to the internet the server never becomes ready without this
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **(environment or {}),
        }
        with (self._folder / "mlflow.log").open("ab") as output:
            self._process = subprocess.Popen(
                (*self._prefix, *arguments), env=environment, stdout=output, stderr=output, start_new_session=True
            )
        while time.monotonic() - began < ready_s:
            with contextlib.suppress(httpx.HTTPError):
                if CLIENT.get(f"{self.url}/health", timeout=2.0).status_code == 200:
                    return time.monotonic() - began
            if self._process.poll() is not None:
                break
            time.sleep(0.2)
        self.stop()
        raise TimeoutError(f"mlflow not ready after {ready_s} s:\n{(self._folder / 'mlflow.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End its whole process group and wait for it."""
        if self._process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        self._process = None


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMlflow]:
    """One server for the whole session; tests keep apart by experiment."""
    server = RunningMlflow(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()
