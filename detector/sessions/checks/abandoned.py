"""A session ends on an error: the last thing that the user saw was a failure, and nothing came after it."""

from typing import Final

import pydantic

from core.model.finding import Dimension
from core.model.span import ErrorClass
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation

_CANCELLED: Final = str(ErrorClass.CANCELLED)


class AbandonedConfig(CheckConfig):
    """What counts as a session that somebody left."""

    min_turns: int = pydantic.Field(default=2, ge=1)
    """A single call with a session id of its own is no conversation: the failure itself is reported."""


class Abandoned:
    """Found where all of these hold:

    - the session is closed: silent for `gap_s` of log time;
    - it has at least `min_turns` turns;
    - its last turn is final and ended in an error: its root failed, or its last LLM call did without an answer.

    Blamed is the deepest span that failed last. Severity: low, for the failure is reported by itself. Needs no text.

    Not findings: turns that somebody cancelled; errors that the agent recovered from; a failed turn after which the
    user came back; a session that is still open.
    """

    name = "abandoned_after_error"
    dimension = Dimension.EXECUTION
    needs = (Need.SESSION,)

    def __init__(self, config: AbandonedConfig) -> None:
        self._config = config

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern where the user did not come back."""
        turns = conversation.turns
        if not conversation.is_closed or len(turns) < self._config.min_turns:
            return CLEAR
        last = max(turns, key=lambda turn: (turn.ended_ns, turn.order))
        if not last.failed or not last.is_final or last.turn.error_class == _CANCELLED:
            return CLEAR
        return found(
            [
                session_finding(
                    conversation,
                    self,
                    blamed=last,
                    title="Users leave after an error",
                    rationale=f"the last of {len(turns)} turns ended in an error ({last.turn.error_class}), and nobody "
                    "came back",
                    error_type=last.turn.error_class,
                )
            ]
        )
