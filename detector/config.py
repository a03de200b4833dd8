"""The section `detector`, put together from the sections of its parts."""

from pydantic import BaseModel, ConfigDict, Field

from core.model.finding import Dimension
from detector.assemble.config import AssembleConfig
from detector.baselines.config import BaselinesConfig
from detector.checks.config import ChecksConfig
from detector.issues.config import IssuesConfig
from detector.sessions.config import SessionsConfig


class DetectorConfig(BaseModel):
    """What is looked for, in what, and how it is grouped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assemble: AssembleConfig = AssembleConfig()
    checks: ChecksConfig = ChecksConfig()
    sessions: SessionsConfig = SessionsConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    issues: IssuesConfig = IssuesConfig()
    dimensions: tuple[Dimension, ...] = tuple(Dimension)
    """The CLEARS dimensions that are judged; findings of others are not looked for."""
    purpose: str = Field(default="", max_length=4_000)
    """What the application is for, in the words of those who run it; told to the judge."""
    max_age_s: float = Field(default=86_400.0, gt=0)
    """Findings of older traces are stored and counted, and never raise an alert."""
