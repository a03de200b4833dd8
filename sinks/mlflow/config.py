"""Section `sinks.mlflow`."""

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class MlflowConfig(BaseModel):
    """How spans and issues reach MLflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: nothing goes to MLflow, and `up` starts no server."""
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
    """With `password`: HTTP basic authentication."""
    password: SecretStr = Field(default_factory=lambda: SecretStr(os.environ.get("MLFLOW_TRACKING_PASSWORD", "")))
    """With `username`."""
    workspace: str = ""
    """Sent as X-MLFLOW-WORKSPACE where set."""
    deployment: str = Field(default="default", min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:/ -]+$")
    """One run per (experiment, deployment): give two monitors of the same applications different names."""
    forward: Literal["all", "flagged", "none"] = "all"
    """`flagged`: only traces with a finding, and `forward_share` of the rest; the others can still be sent later, for
    as long as the log has them. `none` where the applications send their spans to MLflow themselves."""
    forward_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the traces without a finding that `flagged` forwards all the same; decided by the trace id."""
    max_held: int = Field(default=50_000, ge=100)
    """Traces of one partition that `flagged` remembers (some 400 bytes each), so that they can be sent later."""
    # 64 to 512 spans a request is where MLflow's ingestion is fastest; its cost is per trace
    batch_spans: int = Field(default=512, ge=1, le=10_000)
    """Spans of one request, at most."""
    batch_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    """Bytes of one request, at most."""
    requests_in_flight: int = Field(default=2, ge=1, le=16)
    """Requests with spans at a time."""
    concurrency: int = Field(default=8, ge=1, le=64)
    """Effects on issues in flight at a time; one issue's are always in order."""
    max_links_per_issue: int = Field(default=50, ge=1)
    """The first so many traces of an issue are linked, later ones ever more rarely, besides the latest few."""
    max_issues: int = Field(default=2_000, ge=10)
    """Issues of one partition kept with their links (some 15 KB each), and ten times as many without (1 KB); beyond
    that the one unchanged for longest is forgotten, and found again in MLflow when it comes back."""
    # more pending effects than this and the sink stops reading: the log keeps the rest
    max_outbox: int = Field(default=20_000, ge=100)
    """Effects waiting beyond which the sink reads no more; the log keeps the rest."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """For a connection."""
    # the first request on each worker of a fresh server took 7-8 s (lazy imports)
    timeout_s: float = Field(default=60.0, gt=0)
    """For an answer: the first one of a fresh server's worker takes 7 to 8 s."""
    poll_s: float = Field(default=30.0, gt=0)
    """How often people's edits of issues are read; MLflow has no webhook for them."""
    feedback_traces: int = Field(default=200, ge=0, le=2_000)
    """Traces of an experiment that are looked at for people's feedback at each poll, half of them new ones; 0: none."""
    feedback_window_s: float = Field(default=86_400.0, gt=0)
    """How far back traces are looked at."""
    update_s: float = Field(default=30.0, ge=0)
    """An issue's description and severity are written at most this often, and once more when it falls quiet."""
    refresh_s: float = Field(default=10.0, gt=0)
    """How often a run's tags and metrics are written."""
    running_s: float = Field(default=600.0, gt=0)
    """A run is RUNNING while traces arrived within this time, else FINISHED."""
    drain_s: float = Field(default=10.0, gt=0)
    """What is in flight at a stop may take this long."""

    @model_validator(mode="after")
    def _shares_what_is_left(self) -> "MlflowConfig":
        fields = type(self).model_fields
        given = [name for name in ("forward_share", "max_held") if getattr(self, name) != fields[name].default]
        if given and self.forward != "flagged":
            names = " and ".join(f"`{name}`" for name in given)
            raise ValueError(f"{names} only mean something with `forward: flagged`; `forward` is {self.forward}")
        return self
