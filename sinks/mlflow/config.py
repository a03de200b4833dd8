"""Section `sinks.mlflow`."""

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class MlflowConfig(BaseModel):
    """How spans and issues reach MLflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    tracking_uri: str = ""
    """HTTP address of the tracking server; empty: `MLFLOW_TRACKING_URI`, else a server that `up` starts itself."""
    local_listen: str = "127.0.0.1:5000"
    """Where the server that `up` starts listens."""
    ui_url: str = ""
    """Address that people open, where it differs from `tracking_uri` (a reverse proxy)."""
    # the three variables that MLflow's own client reads
    token: SecretStr = Field(default_factory=lambda: SecretStr(os.environ.get("MLFLOW_TRACKING_TOKEN", "")))
    """Bearer token; or use `username` and `password`."""
    username: str = Field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_USERNAME", ""))
    password: SecretStr = Field(default_factory=lambda: SecretStr(os.environ.get("MLFLOW_TRACKING_PASSWORD", "")))
    workspace: str = ""
    """Sent as X-MLFLOW-WORKSPACE where set."""
    deployment: str = Field(default="default", min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:/ -]+$")
    """One run per (experiment, deployment): give two monitors of the same applications different names."""
    forward: Literal["all", "none"] = "all"
    """`none` where the applications send their spans to MLflow themselves."""
    # 64 to 512 spans a request is where MLflow's ingestion is fastest; its cost is per trace
    batch_spans: int = Field(default=512, ge=1, le=10_000)
    batch_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    requests_in_flight: int = Field(default=2, ge=1, le=16)
    concurrency: int = Field(default=8, ge=1, le=64)
    """Effects on issues in flight at a time; one issue's are always in order."""
    max_links_per_issue: int = Field(default=50, ge=1)
    """The first so many traces of an issue are linked, later ones ever more rarely, besides the latest few."""
    # more pending effects than this and the sink stops reading: the log keeps the rest
    max_outbox: int = Field(default=20_000, ge=100)
    connect_timeout_s: float = Field(default=5.0, gt=0)
    # the first request on each worker of a fresh server took 7-8 s (lazy imports)
    timeout_s: float = Field(default=60.0, gt=0)
    poll_s: float = Field(default=30.0, gt=0)
    """How often people's edits of issues are read; MLflow has no webhook for them."""
    update_s: float = Field(default=30.0, ge=0)
    """An issue's description and severity are written at most this often."""
    refresh_s: float = Field(default=10.0, gt=0)
    """How often a run's tags and metrics are written."""
    running_s: float = Field(default=600.0, gt=0)
    """A run is RUNNING while traces arrived within this time, else FINISHED."""
    drain_s: float = Field(default=10.0, gt=0)
    """What is in flight at a stop may take this long."""
