"""A user is not content with the assistant, and says so."""

import pydantic

from core.model.finding import Dimension, Finding
from detector.checks.finding import quoted
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation, TurnInSession


class FrustrationConfig(CheckConfig):
    """What is read."""

    max_characters: int = pydantic.Field(default=600, ge=20)
    """Longer messages hold texts that others wrote."""


class Frustration:
    """Found where all of these hold for a turn:

    - its question was sent, is at most `max_characters` long, and holds, outside of quotations and code, words of
      discontent aimed at the assistant, in a language of `detector.language.lexicon`, or asks for a person where the
      answer before did not offer one;
    - something was said to the user before: an earlier turn of the session, or messages in its own input.

    Blamed is the answer before it, where it is kept, else the turn itself. Severity: low. Unknown where no question of
    the session was sent.

    Not findings: complaints about something else than the assistant, which are what support is for; a first message; a
    yes to being handed over; quoted text, and text to be translated or summed up where it is longer.
    """

    name = "user_frustration"
    dimension = Dimension.RELEVANCE
    needs = (Need.SESSION, Need.CONTENT)

    def __init__(self, config: FrustrationConfig) -> None:
        self._config = config

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern for each answer that a user was discontented with."""
        if not conversation.shows_questions:
            return UNKNOWN
        blamed: dict[str, Finding] = {}
        for place, turn in enumerate(conversation.turns):
            if not turn.question or len(turn.question) > self._config.max_characters:
                continue
            if not turn.asked.is_frustrated and not turn.asked.wants_human:
                continue
            earlier = next((other for other in conversation.before(place) if other.answer or other.failed), None)
            if (earlier is not None or turn.has_history) and self._shows(turn, earlier):
                about = earlier or turn
                blamed.setdefault(
                    about.trace_id,
                    session_finding(
                        conversation,
                        self,
                        blamed=about,
                        title="Users are frustrated with the assistant",
                        rationale=f"the user said {quoted(turn.question)!r} to it",
                    ),
                )
        return found(list(blamed.values()))

    def _shows(self, turn: TurnInSession, earlier: TurnInSession | None) -> bool:
        if turn.asked.is_frustrated:
            return True
        return turn.asked.wants_human and not (earlier is not None and earlier.answered.speaks_of_human)
