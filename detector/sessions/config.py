"""Settings of the sessions stage: `detector.sessions`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SessionsConfig(BaseModel):
    """When a session ends, and how much of it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gap_s: float = Field(default=1800.0, gt=0)
    """Inactivity that ends a session."""
    max_s: float = Field(default=86_400.0, gt=0)
    """A session that goes on for longer continues as its next part."""
    max_traces: int = Field(default=2_000, ge=1)
    """Traces known by id in one part; later ones are dropped from it and counted."""
    max_open: int = Field(default=50_000, ge=1)
    """Sessions kept in one partition; beyond it the one unseen for longest is closed."""

    @model_validator(mode="after")
    def _a_part_is_longer_than_a_gap(self) -> "SessionsConfig":
        if self.max_s < self.gap_s:
            raise ValueError(f"`max_s` ({self.max_s}) must not be below `gap_s` ({self.gap_s})")
        return self
