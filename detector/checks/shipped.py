"""A check that ships, of traces or of sessions: its class with the model of its section in the configuration."""

import inspect
import sys
from typing import Generic, Protocol, TypeVar

from core.model.finding import Dimension
from detector.checks.port import CheckConfig, Need, needs_of

ConfigT = TypeVar("ConfigT", bound=CheckConfig, contravariant=True)
MadeT = TypeVar("MadeT", covariant=True)


class CheckClass(Protocol[ConfigT, MadeT]):
    """A class of checks: made from its configuration, named before it is made."""

    name: str
    dimension: Dimension
    __module__: str

    def __call__(self, config: ConfigT) -> MadeT:
        """Make the check."""
        ...


class ShippedCheck(Generic[ConfigT, MadeT]):
    """What can be said of a check before it is made, and making it."""

    def __init__(self, check: CheckClass[ConfigT, MadeT], config: type[ConfigT]) -> None:
        self.name = check.name
        self.dimension = check.dimension
        self.needs: tuple[Need, ...] = needs_of(check)
        self.declares_needs = hasattr(check, "needs")
        self.config = config
        self.summary = (sys.modules[check.__module__].__doc__ or "").strip()
        self.conditions = inspect.getdoc(check) or ""
        self._check = check

    def make(self, config: CheckConfig) -> MadeT:
        """Make the check from its section. Raises TypeError for the section of another check."""
        if not isinstance(config, self.config):
            raise TypeError(f"check {self.name} takes {self.config.__name__}, not {type(config).__name__}")
        return self._check(config)
