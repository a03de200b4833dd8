"""Which MLflow `up` uses, and that the one it starts never outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clearwatch.mlflow_server import target_of
from core.errors import PermanentError


def test_nothing_configured_serves_a_database_in_the_data_folder(tmp_path: Path) -> None:
    assert target_of("", data_dir=tmp_path).store == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_server_is_used_and_a_database_is_served(tmp_path: Path) -> None:
    assert target_of("http://mlflow:5000/", data_dir=tmp_path).url == "http://mlflow:5000"
    assert target_of("postgresql+psycopg2://u@h/db", data_dir=tmp_path).store == "postgresql+psycopg2://u@h/db"


@pytest.mark.parametrize("uri", ["file:./mlruns", "databricks", "databricks://profile", "./mlruns"])
def test_stores_without_issues_are_refused_with_the_reason(tmp_path: Path, uri: str) -> None:
    with pytest.raises(PermanentError, match="no issues API"):
        target_of(uri, data_dir=tmp_path)


def test_the_guard_ends_the_whole_group_when_its_parent_is_gone(tmp_path: Path) -> None:
    pid_file = tmp_path / "worker.pid"
    # a master with a worker that ignores SIGTERM, as a hung server would
    worker = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    master = (
        f"import subprocess,sys; w = subprocess.Popen([sys.executable, '-c', {worker!r}]); "
        f"open({str(pid_file)!r}, 'w').write(str(w.pid)); w.wait()"
    )
    guard = subprocess.Popen(
        [sys.executable, "-m", "clearwatch.mlflow_guard", sys.executable, "-c", master], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    worker_pid = int(pid_file.read_text())
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait(timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(worker_pid, 0)
