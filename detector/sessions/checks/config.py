"""Configuration of the session checks: `detector.sessions.checks`, one section for each, named as the check is."""

from typing import TYPE_CHECKING

import pydantic

from detector.checks.port import CheckConfig
from detector.sessions.checks.defaults import DEFAULT_SESSION_CHECKS

if TYPE_CHECKING:
    _Sections = pydantic.BaseModel
else:
    # a section is made from each line of DEFAULT_SESSION_CHECKS, so that a new check needs no line here
    _Sections = pydantic.create_model("_Sections", **{c.name: (c.config, c.config()) for c in DEFAULT_SESSION_CHECKS})


class SessionChecksConfig(_Sections):
    """`detector.sessions.checks`: a section for each check, and what bounds them all."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    max_findings_per_check: int = pydantic.Field(default=20, ge=1)
    """Findings of one check in one session as it is kept; more are counted and dropped."""

    def section(self, name: str) -> CheckConfig:
        """Return the section of a check that ships. Raises AttributeError for an unknown name."""
        section = getattr(self, name)
        if not isinstance(section, CheckConfig):
            raise AttributeError(f"{name} is not the section of a check")
        return section
