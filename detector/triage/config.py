"""Configuration of LLM triage. The keys are part of the public contract; this release has the rules only."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BudgetConfig(BaseModel):
    """Hard limits of what judging may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_hour: float = Field(default=1.0, ge=0)
    """Most that judging may cost in an hour."""
    usd_per_day: float = Field(default=10.0, ge=0)
    """Most that judging may cost in a day."""


class TriageConfig(BaseModel):
    """Which model judges, how often, and for how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    """The litellm name of the judge, e.g. openai/gpt-5-mini. Empty: rules only."""
    api_base: str = ""
    """Where an OpenAI-compatible server answers, if not at the provider."""
    quiet_s: float = Field(default=60.0, gt=0)
    """A session is judged when it has been quiet for this long."""
    sample_rate: float = Field(default=0.05, ge=0, le=1)
    """Share of all units that is judged whatever the rules say."""
    budget: BudgetConfig = BudgetConfig()

    @model_validator(mode="after")
    def _refuse_what_is_not_there(self) -> "TriageConfig":
        if self.model:
            raise ValueError(
                f"`model` ({self.model!r}) asks for a judge, and this release has rule checks only: leave it empty"
            )
        return self
