"""The session checks that ship. Adding one: a file, a line here, a test."""

import inspect
import sys
from typing import Final, Generic, Protocol, TypeVar

from core.model.finding import Dimension
from detector.checks.port import CheckConfig, Need, needs_of
from detector.sessions.checks.abandoned import Abandoned, AbandonedConfig
from detector.sessions.checks.contradiction import Contradiction, ContradictionConfig
from detector.sessions.checks.frustration import Frustration, FrustrationConfig
from detector.sessions.checks.port import SessionCheck
from detector.sessions.checks.repeated_answer import RepeatedAnswer, RepeatedAnswerConfig
from detector.sessions.checks.repeated_question import RepeatedQuestion, RepeatedQuestionConfig
from detector.sessions.checks.unanswered import Unanswered, UnansweredConfig

ConfigT = TypeVar("ConfigT", bound=CheckConfig, contravariant=True)


class SessionCheckClass(Protocol[ConfigT]):
    """A class of session checks: made from its configuration, named before it is made."""

    name: str
    dimension: Dimension
    __module__: str

    def __call__(self, config: ConfigT) -> SessionCheck:
        """Make the check."""
        ...


class DefaultSessionCheck(Generic[ConfigT]):
    """A session check that ships, with the model of its section in the configuration."""

    def __init__(self, check: SessionCheckClass[ConfigT], config: type[ConfigT]) -> None:
        self.name = check.name
        self.dimension = check.dimension
        self.needs: tuple[Need, ...] = needs_of(check)
        self.declares_needs = hasattr(check, "needs")
        self.config = config
        self.summary = (sys.modules[check.__module__].__doc__ or "").strip()
        self.conditions = inspect.getdoc(check) or ""
        self._check = check

    def make(self, config: CheckConfig) -> SessionCheck:
        """Make the check from its section. Raises TypeError for the section of another check."""
        if not isinstance(config, self.config):
            raise TypeError(f"check {self.name} takes {self.config.__name__}, not {type(config).__name__}")
        return self._check(config)


DEFAULT_SESSION_CHECKS: Final = (
    DefaultSessionCheck(RepeatedQuestion, RepeatedQuestionConfig),
    DefaultSessionCheck(Frustration, FrustrationConfig),
    DefaultSessionCheck(Unanswered, UnansweredConfig),
    DefaultSessionCheck(Contradiction, ContradictionConfig),
    DefaultSessionCheck(RepeatedAnswer, RepeatedAnswerConfig),
    DefaultSessionCheck(Abandoned, AbandonedConfig),
)
