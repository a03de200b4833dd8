"""Ratings that came as telemetry, and those that people gave in MLflow."""

import msgspec
import pytest

from core import topics
from core.log.port import StoredRecord
from core.model.finding import Feedback, Finding, FindingKind, FindingRecord, Severity, Withdrawal
from core.model.span import NO_DETAILS, Evaluation, SpanKind
from core.telemetry import Telemetry
from detector.checks.negative_feedback import NegativeFeedback, NegativeFeedbackConfig, is_negative
from detector.checks.port import Outcome
from detector.issues.config import IssuesConfig
from detector.issues.stage import IssuesProcessor
from tests.unit.checks_kit import Story
from tests.unit.dialect_spans import read_span

CHECK = NegativeFeedback(NegativeFeedbackConfig())


@pytest.mark.parametrize(
    "said",
    [
        Evaluation("user_feedback", label="thumbs_down"),
        Evaluation("user_feedback", label="👎"),
        Evaluation("correctness", label="Incorrect"),
        Evaluation("answer_quality", label="fail"),
        Evaluation("is_helpful", label="no"),
        Evaluation("hallucination", label="yes"),
        Evaluation("thumbs", score=0.0),
        Evaluation("user-rating", score=-1.0),
        Evaluation("userRating", score=0.0),
        Evaluation("Bewertung", label="schlecht"),
        Evaluation("avis", label="Très mauvais"),
        Evaluation("valoración", label="mala"),
        Evaluation("用户反馈", label="差评"),
        Evaluation("user_feedback", score=1.0, explanation="That is wrong, the flight left at nine."),
        Evaluation("user_feedback", explanation="Das ist doch falsch!"),
    ],
)
def test_a_clear_no_is_negative(said: Evaluation) -> None:
    assert is_negative(said)


@pytest.mark.parametrize(
    "said",
    [
        Evaluation("user_feedback", label="thumbs_up"),
        Evaluation("user_feedback", score=1.0),
        Evaluation("rating", score=2.0),
        Evaluation("relevance", score=0.0),
        Evaluation("operating_cost", score=0.0),
        Evaluation("log_likelihood", score=-3.2),
        Evaluation("harmlessness", label="yes"),
        Evaluation("non_toxic", label="true"),
        Evaluation("hallucination", label="no"),
        Evaluation("toxicity", label="false"),
        Evaluation("correctness", label="correct"),
        Evaluation("faithfulness", score=0.2, explanation="that is wrong"),
        Evaluation("note", label="The guest said that the pool was bad and the food was poor"),
        Evaluation("user_feedback"),
    ],
)
def test_what_may_be_meant_well_is_not_negative(said: Evaluation) -> None:
    assert not is_negative(said)


def test_a_rating_on_a_span_blames_it() -> None:
    story = Story()
    root = story.root()
    rated = story.llm(
        root.span_id,
        details=msgspec.structs.replace(NO_DETAILS, evaluations=(Evaluation("user_feedback", label="bad"),)),
    )
    answer = CHECK.inspect(story.trace())
    (found,) = answer.findings
    assert found.span_ids == (rated.span_id,)
    assert (found.severity, found.kind) == (Severity.LOW, FindingKind.PATTERN)
    assert found.title == "Answers are rated as bad: user_feedback"


def test_an_evaluator_blames_what_it_judged() -> None:
    story = Story()
    judged = story.llm()
    story.add(
        SpanKind.EVALUATOR,
        parent=judged.span_id,
        details=msgspec.structs.replace(NO_DETAILS, evaluations=(Evaluation("correctness", label="incorrect"),)),
    )
    (found,) = CHECK.inspect(story.trace()).findings
    assert found.span_ids[0] == judged.span_id


def test_without_ratings_it_is_clear() -> None:
    story = Story()
    story.llm()
    assert CHECK.inspect(story.trace()).outcome is Outcome.CLEAR


def test_an_evaluation_event_is_read_from_the_wire() -> None:
    span = read_span(
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
        events=[
            (
                "gen_ai.evaluation.result",
                {"gen_ai.evaluation.name": "user_feedback", "gen_ai.evaluation.score.label": "negative"},
            )
        ],
    )
    assert any(map(is_negative, span.details.evaluations))


RATED = Feedback(
    feedback_id="a-1",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    routing_key="shop",
    kind="feedback",
    name="helpful",
    value="false",
    is_negative=True,
    session_id="s",
    changed_at="2026-01-01T00:00:00Z",
    at_s=1_800_000_000.0,
)


class Issues:
    """An issues processor that reads back what it writes to its own topic."""

    def __init__(self, *, reads_ratings: bool = True) -> None:
        self.telemetry = Telemetry()
        self.processor = IssuesProcessor(
            partition=0,
            config=IssuesConfig(),
            max_age_s=86_400,
            telemetry=self.telemetry,
            reads_ratings=reads_ratings,
        )
        self.offset = 0
        self.written: list[Finding | Withdrawal] = []

    def take(self, *values: Feedback | Finding | Withdrawal) -> "Issues":
        pending = list(values)
        while pending:
            value = msgspec.msgpack.encode(pending.pop(0))
            record = StoredRecord(
                topic=topics.FINDINGS,
                partition=0,
                offset=self.offset,
                log_time_ms=1_800_000_000_000,
                value=value,
                headers=topics.headers(),
            )
            self.offset += 1
            for made in self.processor.process([record]).produce:
                if made.topic == topics.FINDINGS:
                    again = msgspec.msgpack.decode(made.value, type=FindingRecord)
                    assert isinstance(again, Finding | Withdrawal)
                    self.written.append(again)
                    pending.append(again)
        return self


def test_bad_ratings_in_mlflow_become_one_issue() -> None:
    issues = Issues().take(
        *(
            msgspec.structs.replace(RATED, feedback_id=f"a-{n}", trace_id=f"{n:032x}", session_id=f"s{n}")
            for n in range(3)
        )
    )
    (issue,) = issues.processor.issues
    assert (issue.trace_count, issue.published, issue.title) == (3, True, "Answers are rated as bad: helpful")


@pytest.mark.parametrize("value", ['"schlecht"', '"mauvais"', '"差评"'])
def test_bad_ratings_are_read_in_the_languages_of_the_lexicon(value: str) -> None:
    assert Issues().take(msgspec.structs.replace(RATED, is_negative=False, value=value)).written


def test_a_rating_seen_again_counts_once_and_a_changed_one_is_taken_back() -> None:
    issues = Issues().take(RATED, RATED)
    assert issues.processor.issues[0].trace_count == 1
    issues.take(msgspec.structs.replace(RATED, is_negative=False, value="true", changed_at="2026-01-02T00:00:00Z"))
    assert isinstance(issues.written[-1], Withdrawal)
    assert issues.processor.issues[0].trace_count == 0


@pytest.mark.parametrize(
    "fields", [{"is_negative": False}, {"kind": "expectation"}, {"contradicts": "iss-1"}, {"trace_id": ""}]
)
def test_other_words_of_people_are_no_findings(fields: dict[str, object]) -> None:
    assert Issues().take(msgspec.structs.replace(RATED, **fields)).written == []


def test_ratings_are_left_alone_where_the_check_is_off() -> None:
    assert Issues(reads_ratings=False).take(RATED).written == []
