"""Settings of the baselines: `detector.baselines`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BaselinesConfig(BaseModel):
    """How much is learned before a limit speaks, and what counts as high against it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantile: float = Field(default=0.99, gt=0, lt=1)
    """Of the values of a key: what a single one is compared with."""
    window: int = Field(default=500, ge=10)
    """Values remembered for each key."""
    min_observations: int = Field(default=30, ge=2)
    """A key is silent until it has learned as many. A run has to exceed most of them, several times in a row, so few
    are enough: of an operation that is rarely asked for they are an hour."""
    factor: float = Field(default=3.0, gt=1)
    """A single value is high at more than this many times the quantile. Measured: single spikes of 8 times are found
    without a false alarm."""
    min_excess_ms: float = Field(default=1_000.0, ge=0)
    """A single call, first token or trace is slow only if it is also as much above the quantile: a second is where
    people begin to wait, and retransmissions of a network (200 ms) are no news."""
    min_excess_tokens: float = Field(default=10_000.0, ge=0)
    """The same for the tokens of a call or a trace."""
    min_excess_usd: float = Field(default=0.1, ge=0)
    """The same for the cost of a call or a trace."""
    shift_quantile: float = Field(default=0.95, gt=0, lt=1)
    """What a run of values is compared with."""
    shift_factor: float = Field(default=1.3, gt=1)
    """A value counts for a run at more than this many times `shift_quantile`."""
    shift_excess_ms: float = Field(default=10.0, ge=0)
    """A duration counts for a run, and a shift of the level is told, only if it is also as much above. Measured: with
    half as much, recorded traffic without a fault has twice as many episodes."""
    shift_excess_tokens: float = Field(default=1_000.0, ge=0)
    """The same for tokens."""
    shift_excess_usd: float = Field(default=0.01, ge=0)
    """The same for cost."""
    evidence: float = Field(default=10.0, gt=0)
    """Logarithm of how much likelier a run must be than chance to begin an episode (CUSUM): three traces in a row of a
    group that never was slow, five of one that is slow in every tenth trace."""
    run_gap_s: float = Field(default=900.0, gt=0)
    """A run that nobody continues for as long is none, and an episode is over: what was slow an hour ago says little
    about now."""
    drift_delta: float = Field(default=1e-4, gt=0, lt=1)
    """Significance at which ADWIN sees a shift of the level. Measured: no false alarm in 10,000 log-normal values, a
    shift by 1.3 times seen after 175."""
    drift_ratio: float = Field(default=1.3, gt=1)
    """A shift of the level is told from as many times the level before."""
    absorb_after: int = Field(default=200, ge=10)
    """An episode with as many traces, that has lasted for `absorb_after_s`, has become what is usual: it ends, and its
    values are learned."""
    absorb_after_s: float = Field(default=3_600.0, ge=0)
    """The same in time: where traffic is heavy, hundreds of traces are a moment of an incident."""
    medium_factor: float = Field(default=5.0, gt=1)
    """More than this many times the quantile, and `medium_excess_ms` above it, is of medium severity; less is low."""
    medium_excess_ms: float = Field(default=1_000.0, ge=0)
    """A second is where people begin to wait."""
    max_keys: int = Field(default=10_000, ge=1)
    """Keys kept over all partitions (about 15 kB each at a full window); the longest unused go first."""
    gather_s: float = Field(default=2.0, gt=0)
    """Log time for which measurements are gathered, to be judged in the order in which their traces ended, and written
    with what was learned: partitions of `spans` that are worked off at once are tenths of a second apart."""
    gather_most: int = Field(default=10_000, ge=1)
    """Measurements after which a partition does not wait for as long."""

    @model_validator(mode="after")
    def _warm_up_fits(self) -> "BaselinesConfig":
        if self.min_observations > self.window:
            raise ValueError(f"`min_observations` ({self.min_observations}) must not exceed `window` ({self.window})")
        return self
