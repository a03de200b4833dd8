"""An assistant contradicts what it said before in the same session."""

import pydantic

from core.model.finding import Dimension, Finding
from detector.checks.finding import quoted
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.language.words import Words, alike
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation, TurnInSession


class ContradictionConfig(CheckConfig):
    """When two questions are the same: as in `repeated_question`."""

    min_words: int = pydantic.Field(default=3, ge=1)
    """Words that carry something which both must have."""
    min_ratio: float = pydantic.Field(default=0.6, gt=0, le=1)
    """Of the longer question's such words, the share that the shorter one holds."""


class Contradiction:
    """Found where one of these holds for the answer of a turn whose end is known, after an earlier answer:

    - it takes back, in its first 300 characters, what was said before ("I apologize for the mistake", "I was
      wrong"; in a language of `detector.language.lexicon`), and the user had not come back after an error;
    - it gives, in a sentence with "actually" or the like, figures for something that the answer before gave other
      figures for: the sentences share `min_words` telling words and no figure;
    - the same question (as `repeated_question` tells) was answered with a yes before and with a no now, or the other
      way round.

    Blamed is the earlier answer, which one of the two shows to be wrong. Severity: low: only a judge can tell which.
    Unknown where no two answers of the session were sent.

    Not findings: contradictions in other words, which no list of words can see; an answer that changes because the user
    asked something else; apologies for a delay, or for not being able to help.
    """

    name = "self_contradiction"
    dimension = Dimension.CORRECTNESS
    needs = (Need.SESSION, Need.CONTENT)

    def __init__(self, config: ContradictionConfig) -> None:
        self._config = config

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern for each answer that a later one contradicts."""
        if sum(1 for turn in conversation.turns if turn.answer) < 2:
            return UNKNOWN if not conversation.shows_answers else found([])
        blamed: dict[str, Finding] = {}
        for place, turn in enumerate(conversation.turns):
            said = turn.answered
            if not turn.shows_answer or not (said.takes_back or said.polarity or said.corrected):
                continue
            earlier, what = self._contradicted(conversation, place, turn)
            if earlier is not None:
                blamed.setdefault(
                    earlier.trace_id,
                    session_finding(
                        conversation,
                        self,
                        blamed=earlier,
                        title="Answers are contradicted later in the session",
                        rationale=f"{what}: {quoted(turn.answer)!r}",
                    ),
                )
        return found(list(blamed.values()))

    def _contradicted(
        self, conversation: Conversation, place: int, turn: TurnInSession
    ) -> tuple[TurnInSession | None, str]:
        before = conversation.before(place)
        previous = next((other for other in before if other.answer and not other.turn.calls_only), None)
        if previous is None:
            return None, ""
        if turn.answered.takes_back and not before[0].failed:
            return previous, "the next answer took it back"
        if self._is_corrected(previous, turn):
            return previous, "the next answer gave other figures for it"
        now = turn.answered.polarity
        if now and turn.question:
            for other in before:
                if other.answered.polarity == -now and alike(
                    other.asked, turn.asked, min_words=self._config.min_words, min_ratio=self._config.min_ratio
                ):
                    return other, "the same question was answered the other way round later"
        return None, ""

    def _is_corrected(self, previous: TurnInSession, turn: TurnInSession) -> bool:
        """Return whether an answer gives other figures for what the one before it told."""
        for new, figures in turn.answered.corrected:
            for old, others in previous.answered.figures:
                if figures.isdisjoint(others) and len(_words(new) & _words(old)) >= self._config.min_words:
                    return True
        return False


def _words(sentence: Words) -> frozenset[str]:
    return frozenset(word for word in sentence.telling if word.isalpha())
