"""Configuration of trace assembly: section `detector.assemble`."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class AssembleConfig(BaseModel):
    """When a trace closes, how long it is remembered, and how much may be held. Seconds are of log time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root_grace_s: float = Field(default=5.0, gt=0)
    """Silence after the last span that closes a trace whose root has been seen."""
    provisional_s: float = Field(default=60.0, gt=0)
    """Silence after which a trace without a root is published provisionally."""
    provisional_every_s: float = Field(default=300.0, gt=0)
    """How often a long trace that grows is published provisionally."""
    idle_s: float = Field(default=1800.0, gt=0)
    """Silence that closes a trace without a root."""
    max_age_s: float = Field(default=21_600.0, gt=0)
    """How long a trace may stay open at all."""
    remember_s: float = Field(default=900.0, gt=0)
    """How long a closed trace with a root takes late spans in."""
    remember_rootless_s: float = Field(default=21_600.0, gt=0)
    """How long a closed trace without a root waits for it."""
    forgotten_s: float = Field(default=86_400.0, gt=0)
    """How long it is known that a trace was closed once: what comes then is a fragment."""
    log_wait_s: float = Field(default=600.0, gt=0)
    """How long log records wait for the first span of their trace."""
    checkpoint_after_s: float = Field(default=60.0, gt=0)
    """How long records of an open trace may hold back the committed offset."""
    max_spans: int = Field(default=50_000, gt=0)
    """Of one trace, and as many log records; those beyond it are refused and counted."""
    max_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    """Bytes of spans and log records of one trace."""
    max_open: int = Field(default=100_000, gt=0)
    """Open traces, over all partitions; beyond it the one touched longest ago is published early."""
    max_open_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    """Bytes of spans held, over all partitions; beyond it they are read from the log again when needed."""
    max_remembered: int = Field(default=500_000, gt=0)
    """Closed traces, over all partitions; beyond it the oldest takes no late spans in any more."""
    max_forgotten: int = Field(default=500_000, gt=0)
    """Traces, over all partitions, that are known to have been closed once."""
    chunk_bytes: int = Field(default=800_000, ge=1024)
    """Size of one chunk of a trace's OTLP bytes; stays under a broker's 1 MB."""

    turn_chars: int = Field(default=2_000, ge=100, le=20_000)
    """Of the user's last message and of the final answer of a trace that belongs to a session: so many characters of
    their head, and as many of their tail, are what checks of sessions read."""

    def share(self, partitions: int) -> Self:
        """Return the configuration of one partition: limits that hold over all are split evenly."""
        limits = ("max_open", "max_open_bytes", "max_remembered", "max_forgotten")
        return self.model_copy(update={limit: -(-getattr(self, limit) // partitions) for limit in limits})

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = [
            f"`{small}` ({getattr(self, small)}) must not exceed `{large}` ({getattr(self, large)})"
            for small, large in (
                ("root_grace_s", "idle_s"),
                ("root_grace_s", "provisional_every_s"),
                ("provisional_s", "idle_s"),
                ("idle_s", "max_age_s"),
                # a replay starts at most checkpoint_after_s back: what was closed since must still be known
                ("checkpoint_after_s", "remember_s"),
                ("remember_s", "remember_rootless_s"),
                ("checkpoint_after_s", "forgotten_s"),
            )
            if getattr(self, small) > getattr(self, large)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self
