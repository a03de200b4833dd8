"""Settings of the issue registry: `detector.issues`."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class IssuesConfig(BaseModel):
    """When an issue is published, when its severity rises, and how much of its past is remembered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    publish_findings: int = Field(default=3, ge=1)
    """Findings that publish an issue which is not published at once."""
    publish_sessions: int = Field(default=2, ge=1)
    """Distinct sessions that publish it sooner."""
    medium_traces: int = Field(default=30, ge=1)
    """Distinct traces within `remember_s` that make an issue at least medium."""
    medium_sessions: int = Field(default=10, ge=1)
    """The same, in distinct sessions."""
    high_traces: int = Field(default=300, ge=1)
    """Distinct traces within `remember_s` that make an issue high."""
    high_sessions: int = Field(default=100, ge=1)
    """The same, in distinct sessions."""
    max_links_per_event: int = Field(default=100, ge=1)
    """Traces that one issue event names; later ones are in the next."""
    remember_s: float = Field(default=7.25 * 86400, gt=0)
    """How long a finding is known by its id: the 7 days that findings are kept, and 6 hours more."""
    max_findings_per_issue: int = Field(default=50_000, ge=10)
    """Findings of one issue remembered; beyond it the oldest are forgotten and its counts are called approximate."""
    max_findings: int = Field(default=200_000, ge=100)
    """Findings remembered in one partition (about 400 bytes each)."""
    max_issues: int = Field(default=20_000, ge=1)
    """Issues of one partition; beyond it the unpublished one unseen for longest goes, else new ones are refused."""

    @model_validator(mode="after")
    def _thresholds_rise(self) -> "IssuesConfig":
        for unit in ("traces", "sessions"):
            medium, high = getattr(self, f"medium_{unit}"), getattr(self, f"high_{unit}")
            if high <= medium:
                raise ValueError(f"`high_{unit}` ({high}) must exceed `medium_{unit}` ({medium})")
        if self.max_findings < self.max_findings_per_issue:
            raise ValueError(
                f"`max_findings` ({self.max_findings}) must not be below "
                f"`max_findings_per_issue` ({self.max_findings_per_issue})"
            )
        return self
