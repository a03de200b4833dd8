"""A user asks the same thing again, in the same words or in others: the answer before was none to them."""

import pydantic

from core.model.finding import Dimension, Finding
from detector.checks.finding import quoted
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.language.words import alike
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation, TurnInSession


class RepeatedQuestionConfig(CheckConfig):
    """When two questions are the same."""

    min_words: int = pydantic.Field(default=3, ge=1)
    """Words that carry something which both must have; equal texts need half as many."""
    min_ratio: float = pydantic.Field(default=0.6, gt=0, le=1)
    """Of the longer question's such words, the share that the shorter one holds."""
    max_words: int = pydantic.Field(default=60, ge=1)
    """Longer messages are documents and forms, which differ in a line and mean something else."""
    min_pause_s: float = pydantic.Field(default=5.0, ge=0)
    """Where no history shows that the second was said after the answer: nobody reads and types faster."""


class RepeatedQuestion:
    """Found where all of these hold for a turn and an earlier one, at most `compared_turns` before it:

    - both questions were sent, and ask the same: equal when normalised, or each telling word of the shorter one stands
      in the longer one, with `min_words` and `min_ratio`;
    - the earlier turn was answered, and did not end in an error;
    - the earlier answer asked nothing back, unless the two are equal;
    - the second was said after that answer: its input holds more messages of the user than the earlier one's; or no
      history is sent, they differ at least in spelling, and `min_pause_s` passed, or both are turns of an agent and
      their words differ.

    Blamed is the answer of the latest such turn. Severity: low. Unknown where no question of the session was sent.

    Not findings: a yes or a no to what the assistant asked; what was missing, added to the question because the
    assistant asked for it; retries after an error, or where no answer came; the same message in several traces of
    one turn (calls of a bare client, an answer made anew); "yes", "continue", "next page"; questions that differ in
    a name or a number on both sides; long texts that are pasted again; the very same text where no history shows that
    a conversation went on: probes, tests and retries send them, all under one session id.
    """

    name = "repeated_question"
    dimension = Dimension.RELEVANCE
    needs = (Need.SESSION, Need.CONTENT)

    def __init__(self, config: RepeatedQuestionConfig) -> None:
        self._config = config

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern for each answer after which its question was asked again."""
        if not conversation.shows_questions:
            return UNKNOWN
        blamed: dict[str, Finding] = {}
        telling = [turn.asked.telling for turn in conversation.turns]
        for place, turn in enumerate(conversation.turns):
            if not turn.question or turn.asked.polarity or len(turn.asked.all) > self._config.max_words:
                continue
            own = telling[place]
            for at in range(place - 1, max(0, place - conversation.compared_turns) - 1, -1):
                other = telling[at]
                # nearly all pairs end here
                if not (other <= own or own <= other):
                    continue
                earlier = conversation.turns[at]
                if self._is_asked_again(earlier, turn):
                    # of several repetitions the first one tells
                    blamed.setdefault(earlier.trace_id, self._finding(conversation, earlier, turn))
                    break
        return found(list(blamed.values()))

    def _is_asked_again(self, earlier: TurnInSession, turn: TurnInSession) -> bool:
        if not earlier.question or not earlier.answer or earlier.failed:
            return False
        if not alike(earlier.asked, turn.asked, min_words=self._config.min_words, min_ratio=self._config.min_ratio):
            return False
        if earlier.asked.plain != turn.asked.plain and earlier.answered.asks_back:
            return False
        return _is_after(earlier, turn, self._config)

    def _finding(self, conversation: Conversation, earlier: TurnInSession, turn: TurnInSession) -> Finding:
        return session_finding(
            conversation,
            self,
            blamed=earlier,
            title="Users ask the same question again",
            rationale=f"after this answer the user asked again: {quoted(turn.question)!r}, before: "
            f"{quoted(earlier.question)!r}",
        )


def _is_after(earlier: TurnInSession, turn: TurnInSession, config: RepeatedQuestionConfig) -> bool:
    """Return whether the second question was said in view of the first one's answer."""
    if turn.turn.history > earlier.turn.history:
        return True
    if turn.has_history or turn.started_ns < earlier.ended_ns or earlier.question == turn.question:
        return False
    if earlier.turn.is_whole and turn.turn.is_whole and earlier.asked.plain != turn.asked.plain:
        return True
    return turn.started_ns - earlier.ended_ns >= config.min_pause_s * 1e9
