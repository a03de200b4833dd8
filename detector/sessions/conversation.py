"""A session as its checks see it: its last turns, oldest first, each with what was worked out of its text once."""

import functools
from collections.abc import Sequence
from typing import Final

import msgspec

from core.model.span import ContentState
from core.model.trace import Turn
from detector.sessions.said import Said
from detector.sessions.session import TraceInSession

# clients that name a message's speaker twice
_ONE_MESSAGE: Final = 2
_PRESENT, _TRUNCATED = ContentState.PRESENT, ContentState.TRUNCATED


class TurnInSession:
    """One trace of a session in which something was said. Immutable; its readings of the text are made when asked."""

    def __init__(self, trace_id: str, trace: TraceInSession, turn: Turn) -> None:
        self.trace_id = trace_id
        self.turn = turn
        self.started_ns = trace.started_ns
        self.ended_ns = trace.ended_ns
        self.is_final = trace.is_final and not trace.is_fragment
        """Whether its end is known: nothing is said of the answer of others."""
        self.service = trace.service
        self.release = trace.release
        self.environment = trace.environment
        self.found = frozenset(trace.found)
        self.order = (trace.started_ns, trace_id)
        self.question = "" if turn.goes_on else turn.question
        """What the user said; empty where nobody did, or it was not sent."""
        self.answer = turn.answer
        """The final answer; empty where there is none, or it was not sent."""
        self.has_history = turn.history > _ONE_MESSAGE
        """Whether its input shows that more had been said before."""
        self.failed = bool(turn.error_class)
        """Whether it ended in an error."""
        self.shows_answer = self.is_final and turn.answer_state is _PRESENT
        """Whether its answer is known as a whole, or known to be none."""

    @property
    def culprit(self) -> str:
        """Return the span that one would open first."""
        turn = self.turn
        return turn.error_span or turn.answer_span or turn.question_span

    @functools.cached_property
    def asked(self) -> Said:
        """Return the question with what is read out of it."""
        return Said(self.question)

    @functools.cached_property
    def answered(self) -> Said:
        """Return the answer with what is read out of it."""
        return Said(self.answer)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The last turns of a session part, in the order in which they started."""

    routing_key: str
    session_id: str
    """A stitched session's begins with `stitched:`."""
    part: int
    is_closed: bool
    """Whether it has been silent for `gap_s` of log time."""
    is_cut: bool
    """Whether turns before these are no longer kept."""
    turns: Sequence[TurnInSession]
    compared_turns: int
    """How far back a turn is compared with others."""

    @property
    def shows_questions(self) -> bool:
        """Return whether anything that a user said was sent."""
        return any(turn.question for turn in self.turns)

    @property
    def shows_answers(self) -> bool:
        """Return whether the text of any answer was sent."""
        return any(turn.turn.answer_state in (_PRESENT, _TRUNCATED) for turn in self.turns)

    def before(self, place: int) -> Sequence[TurnInSession]:
        """Return the turns that the one at `place` is compared with, the latest first."""
        return self.turns[max(0, place - self.compared_turns) : place][::-1]
