"""`clearwatch up` as a child process on free ports, and what tests ask of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.http import CLIENT
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
# a start takes 2 s of a processor; beside a build, and a second worker that starts a whole cluster, it took 42 s
START_S = 240.0


class Up:
    """One `clearwatch up` over a data folder; may be killed and started again on the same ports.

    Or one role, where `command` is set to it.
    """

    def __init__(self, data_dir: Path, *, mlflow_url: str = "", **settings: str) -> None:
        self.data_dir = data_dir
        self.command: tuple[str, ...] = ("up",)
        self.module = "clearwatch"
        self.grpc = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.http = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.ops = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("CLEARWATCH__", "MLFLOW_", "OTEL_"))
        }
        self.environment |= {
            "CLEARWATCH__COLLECTOR__GRPC__LISTEN": self.grpc,
            "CLEARWATCH__COLLECTOR__HTTP__LISTEN": self.http,
            "CLEARWATCH__OPS__LISTEN": self.ops,
            **settings,
        }
        if mlflow_url:
            self.environment["MLFLOW_TRACKING_URI"] = mlflow_url
        else:
            self.environment.setdefault("CLEARWATCH__SINKS__MLFLOW__ENABLED", "false")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether it was started and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout_s: float = START_S) -> "Up":
        """Start it and wait until it is ready; where that fails it is ended, for no `with` has it yet."""
        self.launch()
        try:
            self.wait_until_ready(timeout_s=timeout_s)
        except BaseException:
            if self.is_running:
                self.kill()
            raise
        return self

    def wait_until_ready(self, *, timeout_s: float = START_S) -> None:
        """Wait until it says that it is ready."""
        wait_for(self._is_ready, timeout_s=timeout_s, what=lambda: self.log_tail())

    def launch(self) -> None:
        """Start it without waiting."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.command, "--data-dir", str(self.data_dir)],
                env=self.environment,
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(
                f"`{' '.join(self.command)}` ended with {self._process.returncode}:\n{self.log_tail()}"
            )
        try:
            return CLIENT.get(f"http://{self.ops}/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """Return what it printed, over all its lives."""
        return self._output.read_text(errors="replace")

    def log_tail(self) -> str:
        """Return the end of what it printed."""
        return self.log()[-4000:]

    @property
    def _output(self) -> Path:
        return self.data_dir / "up.log"

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """SIGTERM it, wait, and return its exit code; a no-op where it does not run."""
        if self._process is None:
            return 0
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, sign: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(sign)

    def wait(self) -> int:
        """Wait until it has ended by itself, at most a minute, and return its exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._process = None
        return code

    def __enter__(self) -> "Up":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def get(self, path: str) -> Any:
        """Return an answer of the ops API."""
        return CLIENT.get(f"http://{self.ops}{path}", timeout=30.0).raise_for_status().json()

    def status(self) -> Any:
        """Return /api/v1/status."""
        return self.get("/api/v1/status")

    def not_ready(self) -> str:
        """Return what it says is missing before it is ready; empty where it is ready, or does not answer."""
        try:
            answer = CLIENT.get(f"http://{self.ops}/readyz", timeout=5.0)
        except httpx.HTTPError:
            return ""
        return "; ".join(answer.json()["reasons"])

    def wait_until_idle(self, *, timeout_s: float = 120.0) -> Any:
        """Wait until no trace is open and nothing lags; return the status then."""
        last: list[Any] = [None]

        def is_idle() -> bool:
            last[0] = self.status()
            return last[0]["traces"]["open"] == 0 and not any(last[0]["lag"].values())

        wait_for(is_idle, timeout_s=timeout_s, what=lambda: f"{json.dumps(last[0])}\n{self.log_tail()}")
        return last[0]

    def run(self, *arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run another clearwatch command with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "clearwatch", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=ROOT,
            check=False,
        )

    def send(self, *files: Path) -> None:
        """Send corpora with `clearwatch send`."""
        done = self.run("send", "--endpoint", f"http://{self.http}", "--rebase", *map(str, files), timeout_s=300)
        assert done.returncode == 0, done.stdout + done.stderr

    def export(self, what: str) -> list[dict[str, Any]]:
        """Return what `clearwatch export` prints, asked for as it asks: a process for each would take seconds."""
        if what == "issues":
            return list(self.get("/api/v1/issues")["issues"])
        lines = {"accept": "application/x-ndjson"}
        answer = CLIENT.get(f"http://{self.ops}/api/v1/{what}", headers=lines, timeout=60.0).raise_for_status()
        return [json.loads(line) for line in answer.content.splitlines()]


def wait_for(condition: Callable[[], bool], *, timeout_s: float, what: Callable[[], str]) -> None:
    """Poll until `condition` holds; fail with `what()` at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what()}")
        time.sleep(0.1)
