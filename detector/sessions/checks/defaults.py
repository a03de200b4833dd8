"""The session checks that ship. Adding one: a file, a line here, a test."""

from typing import Final

from detector.checks.shipped import ShippedCheck
from detector.sessions.checks.abandoned import Abandoned, AbandonedConfig
from detector.sessions.checks.contradiction import Contradiction, ContradictionConfig
from detector.sessions.checks.frustration import Frustration, FrustrationConfig
from detector.sessions.checks.repeated_answer import RepeatedAnswer, RepeatedAnswerConfig
from detector.sessions.checks.repeated_question import RepeatedQuestion, RepeatedQuestionConfig
from detector.sessions.checks.unanswered import Unanswered, UnansweredConfig

DEFAULT_SESSION_CHECKS: Final = (
    ShippedCheck(RepeatedQuestion, RepeatedQuestionConfig),
    ShippedCheck(Frustration, FrustrationConfig),
    ShippedCheck(Unanswered, UnansweredConfig),
    ShippedCheck(Contradiction, ContradictionConfig),
    ShippedCheck(RepeatedAnswer, RepeatedAnswerConfig),
    ShippedCheck(Abandoned, AbandonedConfig),
)
