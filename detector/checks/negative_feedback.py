"""Somebody rated an answer as bad: a user's feedback, or an evaluator's verdict, that came as telemetry."""

import re
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import NO_DETAILS, Evaluation, Span, SpanKind
from core.model.trace import Trace
from detector.checks.finding import finding, quoted
from detector.checks.fingerprint import masked_name
from detector.checks.port import CLEAR, Answer, CheckConfig, Need, found
from detector.language.lexicon import frustrated
from detector.language.ratings import is_agreement, is_bad, is_refusal
from detector.language.words import plain

# members of an enum cost 100 ns to look up in Python 3.11
_EVALUATOR: Final = SpanKind.EVALUATOR
# what people say, as clients name it; anything else is an evaluator's, whose scale only its author knows
_OF_USERS: Final = re.compile(
    r"feedback|thumb|satisf|zufrieden|(?<![a-z])(?:ratings?|stars?|user.?scores?|csat|nps|votes?|reactions?|likes?|"
    r"bewertung|avis|opinion|valoracion|avaliacao|valutazione|beoordeling)(?![a-z])"
)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
# evaluators that ask whether something is wrong: their yes is bad
_OF_FAULTS: Final = re.compile(
    r"halluc|toxic|(?<![a-z])bias|harm(?!less)|(?<![a-z])hate|injection|jailbreak|(?<![a-z])pii|leak|violat|offens|profan|unsafe|"
    r"stereotyp|misuse|(?<![a-z])errors?(?![a-z])|refus|contradict|repetit|frustrat|irrelevan|off.?topic|fraud|nsfw|"
    r"violence|insecur|vulnerab"
)
_FREE_OF_IT: Final = re.compile(r"(?<![a-z])(?:non|not|no|without|free)(?![a-z])")
_MAX_NAME_CHARACTERS: Final = 60


class NegativeFeedbackConfig(CheckConfig):
    """Nothing to set."""


class NegativeFeedback:
    """Found where one of these holds for an evaluation on a span (`gen_ai.evaluation.result`, OpenInference's
    annotations, and what other dialects call it):

    - its label, taken whole, is a bad one ("incorrect", "thumbs down", "schlecht"; in a language of
      `detector.language.lexicon`);
    - its label is a no where its name asks for something good, or a yes where it asks for a fault
      ("hallucination: yes");
    - its name says that a user speaks (feedback, thumbs, rating, …), it has no label, and its score is 0 or below;
    - its name says that a user speaks, label and score say nothing bad, and its explanation shows a frustrated user.

    Blamed is the span that carries it; of an evaluator's own span the one above it. One finding for each name and span.
    Severity: low.

    Not findings: scores of evaluators without a label (nobody knows the scale), and of users above 0 (a 1 may be a
    thumb up, or one star of five); a no to "is it toxic"; people's ratings in MLflow (the issues stage reads those).
    """

    name = "negative_feedback"
    dimension = Dimension.RELEVANCE
    needs = (Need.EVALUATIONS,)

    def __init__(self, config: NegativeFeedbackConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each bad rating."""
        rated = [span for span in trace.spans if span.details is not NO_DETAILS and span.details.evaluations]
        if not rated:
            return CLEAR
        findings: dict[str, Finding] = {}
        for span in rated:
            for said in span.details.evaluations:
                if is_negative(said):
                    one = self._finding(trace, span, said)
                    findings.setdefault(one.finding_id, one)
        return found(list(findings.values()))

    def _finding(self, trace: Trace, span: Span, said: Evaluation) -> Finding:
        above = trace.by_id.get(span.parent_span_id) if span.kind is _EVALUATOR else None
        name = masked_name(said.name)[:_MAX_NAME_CHARACTERS]
        verdict = quoted(said.label) or (f"{said.score:g}" if said.score is not None else "")
        return finding(
            trace,
            self,
            culprit=above or span,
            others=[span],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"Answers are rated as bad: {name}" if name else "Answers are rated as bad",
            rationale=": ".join(part for part in (quoted(said.name), verdict, quoted(said.explanation)) if part),
            target=name,
            publish_at_once=False,
        )


def is_negative(said: Evaluation) -> bool:
    """Return whether an evaluation is clearly a bad one."""
    # user rating, userRating and Bewertung alike
    name = plain(_CAMEL.sub("_", said.name))
    is_of_user = _OF_USERS.search(name) is not None
    if said.label:
        if is_bad(said.label):
            return True
        asks_for_fault = not is_of_user and _OF_FAULTS.search(name) is not None and not _FREE_OF_IT.search(name)
        if is_agreement(said.label) if asks_for_fault else is_refusal(said.label):
            return True
    elif is_of_user and said.score is not None and said.score <= 0:
        return True
    return is_of_user and bool(said.explanation) and bool(frustrated(plain(said.explanation)))
