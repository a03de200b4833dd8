"""A question gets no answer: nothing, or only an apology or a failure."""

import pydantic

from core.model.finding import Dimension, Finding
from core.model.span import ContentState
from detector.checks.finding import quoted
from detector.checks.port import UNKNOWN, Answer, CheckConfig, Need, found
from detector.sessions.checks.finding import session_finding
from detector.sessions.conversation import Conversation, TurnInSession

_PRESENT = ContentState.PRESENT


class UnansweredConfig(CheckConfig):
    """What is an answer."""

    max_answer_characters: int = pydantic.Field(default=240, ge=1)
    """Longer ones say more than that they say nothing."""
    explained_by: tuple[str, ...] = (
        *("failed_span", "tool_failure", "zero_documents", "empty_output", "incomplete_stream", "output_cut"),
        *("content_filter", "refusal", "canned_answer", "guardrail_tripped", "step_limit"),
        *(
            "repeated_tool_call",
            "call_loop",
            "similar_calls",
            "runaway_trace",
            "invalid_tool_arguments",
            "unknown_tool",
        ),
    )
    """Checks of traces: what one of them found in the same trace is not told again."""


class Unanswered:
    """Found where all of these hold for a turn whose end is known:

    - its question was sent and asks something (a question mark, or a word that questions begin with);
    - there is no answer although texts are sent and an LLM was called, or the answer is at most `max_answer_characters`
      long, asks nothing back, and says only that something failed, or that it is not known (in a language of
      `detector.language.lexicon`);
    - the turn is over: a later one was asked, or the session is closed;
    - no check in `explained_by` found something in the trace.

    Blamed is the turn itself. Severity: low. Unknown where no question, or no answer, of the session was sent.

    Not findings: turns that end with calls of tools (the answer stands in a later trace); turns that ended in an error;
    answers that say what is missing and ask for it; messages that ask nothing ("thank you").
    """

    name = "unanswered_question"
    dimension = Dimension.RELEVANCE
    needs = (Need.SESSION, Need.CONTENT)

    def __init__(self, config: UnansweredConfig) -> None:
        self._config = config
        self._explained = frozenset(config.explained_by)

    def inspect(self, conversation: Conversation) -> Answer:
        """Return one pattern for each question without an answer."""
        if not conversation.shows_questions or not conversation.shows_answers:
            return UNKNOWN
        findings: list[Finding] = []
        last_asked = max((place for place, turn in enumerate(conversation.turns) if turn.question), default=0)
        for place, turn in enumerate(conversation.turns):
            is_over = conversation.is_closed or place < last_asked
            if is_over and (what := self._lack(turn)):
                findings.append(
                    session_finding(
                        conversation,
                        self,
                        blamed=turn,
                        title="Questions stay without an answer",
                        rationale=f"the user asked {quoted(turn.question)!r}; {what}",
                    )
                )
        return found(findings)

    def _lack(self, turn: TurnInSession) -> str:
        if not turn.question or not turn.is_final or turn.failed or turn.turn.calls_only:
            return ""
        if turn.found & self._explained or not turn.asked.is_question:
            return ""
        if not turn.answer.strip():
            said = turn.turn.answer_state is _PRESENT and turn.turn.answer_span
            return "no text came back" if said else ""
        if len(turn.answer) > self._config.max_answer_characters or turn.answered.asks_back:
            return ""
        return f"the answer was {quoted(turn.answer)!r}" if turn.answered.says_no_answer else ""
