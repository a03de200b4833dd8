"""An assistant gives the same answer, word for word, to different questions."""

import pydantic

from core.model.finding import Dimension, Finding
from detector.checks.finding import quoted
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation, TurnInSession


class RepeatedAnswerConfig(CheckConfig):
    """What is a repetition."""

    min_characters: int = pydantic.Field(default=60, ge=1)
    """Shorter answers ("Anything else?") repeat in sound sessions."""


class RepeatedAnswer:
    """Found where all of these hold for a turn and an earlier one, at most `compared_turns` before it:

    - both answers were sent whole, are equal but for case, accents and white space, and have `min_characters`;
    - both questions were sent and are not the same text;
    - neither turn ended in an error, or with calls of tools.

    Blamed is the later answer. Severity: low. Unknown where no question, or no answer, of the session was sent.

    Not findings: the same question asked again (`repeated_question` tells of it); a user who says thanks or goodbye and
    gets the usual words; short answers; answers that differ in a figure.
    """

    name = "repeated_answer"
    dimension = Dimension.RELEVANCE
    needs = (Need.SESSION, Need.CONTENT)

    def __init__(self, config: RepeatedAnswerConfig) -> None:
        self._config = config

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern for each answer that repeats an earlier one."""
        if not conversation.shows_questions or not conversation.shows_answers:
            return UNKNOWN
        findings: list[Finding] = []
        given: dict[str, list[tuple[int, TurnInSession]]] = {}
        for place, turn in enumerate(conversation.turns):
            if len(turn.answer) < self._config.min_characters or not self._counts(turn):
                continue
            alike = given.setdefault(turn.answered.plain, [])
            reach = place - conversation.compared_turns
            earlier = next(
                (one for at, one in reversed(alike) if at >= reach and one.asked.plain != turn.asked.plain), None
            )
            if earlier is not None and not turn.asked.is_thanks:
                findings.append(self._finding(conversation, earlier, turn))
            alike.append((place, turn))
        return found(findings)

    def _counts(self, turn: TurnInSession) -> bool:
        return bool(turn.question) and turn.shows_answer and not turn.failed and not turn.turn.calls_only

    def _finding(self, conversation: Conversation, earlier: TurnInSession, turn: TurnInSession) -> Finding:
        return session_finding(
            conversation,
            self,
            blamed=turn,
            title="The assistant repeats an answer word for word",
            rationale=f"asked {quoted(earlier.question)!r} and {quoted(turn.question)!r}, it said both times "
            f"{quoted(turn.answer)!r}",
        )
