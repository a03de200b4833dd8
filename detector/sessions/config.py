"""Settings of the sessions stage: `detector.sessions`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detector.sessions.checks.config import SessionChecksConfig


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

    max_turns: int = Field(default=50, ge=1)
    """Turns of one part whose texts are kept, the latest ones."""
    compared_turns: int = Field(default=8, ge=1)
    """How many earlier turns a turn is compared with."""
    max_text_chars: int = Field(default=30_000_000, ge=1)
    """Characters of turns kept, over all partitions, a thousand for each turn added; they take about 4 bytes each.
    Beyond it the texts of the session unseen for longest go."""
    stitch: bool = False
    """Whether the traces of one user that name no session make one, as long as no gap parts them. Findings then bear a
    session id that begins with `stitched:`; traces are forwarded as they are. Where applications run several
    conversations of one user side by side, these are taken for one."""
    not_users: tuple[str, ...] = ("anonymous", "guest", "unknown", "default", "system", "user", "test", "0", "-1")
    """User ids, in lower case, that many people share: their traces are never stitched."""
    checks: SessionChecksConfig = SessionChecksConfig()

    @model_validator(mode="after")
    def _turns_are_compared(self) -> "SessionsConfig":
        if self.max_turns <= self.compared_turns:
            raise ValueError(f"`max_turns` ({self.max_turns}) must exceed `compared_turns` ({self.compared_turns})")
        return self

    @model_validator(mode="after")
    def _a_part_is_longer_than_a_gap(self) -> "SessionsConfig":
        if self.max_s < self.gap_s:
            raise ValueError(f"`max_s` ({self.max_s}) must not be below `gap_s` ({self.gap_s})")
        return self
