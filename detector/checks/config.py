"""Configuration of the checks: one section for each, named as the check is."""

from typing import TYPE_CHECKING

import pydantic

from detector.checks.defaults import DEFAULT_CHECKS
from detector.checks.port import CheckConfig
from detector.checks.text.scan import TextLimits

if TYPE_CHECKING:
    _Sections = pydantic.BaseModel
else:
    # a section is made from each line of DEFAULT_CHECKS, so that a new check needs no line here
    _Sections = pydantic.create_model("_Sections", **{c.name: (c.config, c.config()) for c in DEFAULT_CHECKS})


class ChecksConfig(_Sections):
    """`detector.checks`: a section for each check, and what bounds them all."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    text: TextLimits = TextLimits()
    """How much text the checks of text read; they share one scan of a trace."""
    max_findings_per_check: int = pydantic.Field(default=500, ge=1)
    """Findings of one check in one trace; more are counted and dropped. A looping agent of 10k spans needs no more."""

    causes_first: bool = True
    """Whether findings that are the consequence of another failure in their trace are left out and said with it."""

    def section(self, name: str) -> CheckConfig:
        """Return the section of a check that ships. Raises AttributeError for an unknown name."""
        section = getattr(self, name)
        if not isinstance(section, CheckConfig):
            raise AttributeError(f"{name} is not the section of a check")
        return section
