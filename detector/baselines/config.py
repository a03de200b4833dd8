"""Settings of the latency baselines: `detector.baselines`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BaselinesConfig(BaseModel):
    """How much is learned before a limit speaks, and what counts as slow against it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantile: float = Field(default=0.99, gt=0, lt=1)
    """Of the durations of a key: what it is compared with."""
    window: int = Field(default=500, ge=10)
    """Durations remembered for each key."""
    min_observations: int = Field(default=50, ge=2)
    """A key is silent until it has learned as many."""
    factor: float = Field(default=2.0, gt=1)
    """Slow is more than this many times the quantile. Measured: single spikes of 8 times are found without a false
    alarm."""
    min_excess_ms: float = Field(default=100.0, ge=0)
    """Slow is also at least this much above the quantile: below it nobody would notice."""
    medium_factor: float = Field(default=5.0, gt=1)
    """More than this many times the quantile, and `medium_excess_ms` above it, is of medium severity; less is low."""
    medium_excess_ms: float = Field(default=1_000.0, ge=0)
    """A second is where people begin to wait."""
    max_keys: int = Field(default=10_000, ge=1)
    """Keys kept over all partitions (about 12 kB each at a full window); the longest unused go first."""
    snapshot_every_s: float = Field(default=2.0, gt=0)
    """Log time between two snapshots: what a crash learns again."""
    snapshot_every: int = Field(default=5_000, ge=1)
    """Measurements between two snapshots, where they come faster."""

    @model_validator(mode="after")
    def _warm_up_fits(self) -> "BaselinesConfig":
        if self.min_observations > self.window:
            raise ValueError(f"`min_observations` ({self.min_observations}) must not exceed `window` ({self.window})")
        return self
