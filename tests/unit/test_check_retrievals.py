"""zero_documents and low_scored_documents: what retrievals say, and what they leave open."""

import pytest

from core.model.finding import Dimension
from core.model.span import Content, Details, Document, SpanKind
from detector.checks.low_scored_documents import LowScoredDocuments, LowScoredDocumentsConfig
from detector.checks.port import Outcome
from detector.checks.zero_documents import ZeroDocuments, ZeroDocumentsConfig
from tests.unit.checks_kit import Story, failed, present

ZERO = ZeroDocuments(ZeroDocumentsConfig())
GOOD = (Document(score=0.3, text="a"), Document(score=0.7, text="b"))


def retrieval(kind: SpanKind = SpanKind.RETRIEVER, **facts: object) -> Story:
    story = Story()
    story.add(kind, "retrieve", parent=story.root().span_id, data_source="policies", **facts)
    return story


def test_a_retrieval_that_says_it_found_nothing_is_found() -> None:
    story = retrieval(details=Details(documents=(), query="refunds?"))
    (finding,) = ZERO.inspect(story.trace()).findings
    assert finding.title == "Retrieval from policies finds no documents"
    assert finding.category is Dimension.RELEVANCE
    assert "refunds?" in finding.rationale


@pytest.mark.parametrize("text", ["[]", ' { "documents" : [] } ', '{"matches":[]}'])
def test_an_empty_list_as_output_is_found(text: str) -> None:
    assert ZERO.inspect(retrieval(output=present(text)).trace()).outcome is Outcome.FOUND


def test_many_empty_retrievals_from_one_source_are_one_finding() -> None:
    story = Story()
    for _ in range(3):
        story.add(SpanKind.RETRIEVER, "retrieve", data_source="policies", details=Details(documents=()))
    (finding,) = ZERO.inspect(story.trace()).findings
    assert len(finding.span_ids) == 3


def test_what_was_not_sent_is_unknown() -> None:
    assert ZERO.inspect(retrieval(output=Content()).trace()).outcome is Outcome.UNKNOWN


def test_documents_other_kinds_and_failures_are_none() -> None:
    assert ZERO.inspect(retrieval(details=Details(documents=GOOD)).trace()).outcome is Outcome.CLEAR
    assert ZERO.inspect(retrieval(output=present("a text")).trace()).outcome is Outcome.CLEAR
    assert ZERO.inspect(retrieval(SpanKind.TOOL, output=present("[]")).trace()).outcome is Outcome.CLEAR
    assert ZERO.inspect(retrieval(error=failed(), output=present("[]")).trace()).outcome is Outcome.CLEAR
    assert ZERO.inspect(Story().trace()).outcome is Outcome.CLEAR


def scored(documents: tuple[Document, ...], **bounds: object) -> Outcome:
    check = LowScoredDocuments(LowScoredDocumentsConfig.model_validate(bounds))
    return check.inspect(retrieval(details=Details(documents=documents)).trace()).outcome


def test_a_best_score_below_the_bound_is_found() -> None:
    assert scored(GOOD, min_best_score=0.8) is Outcome.FOUND
    assert scored(GOOD, min_best_score=0.5) is Outcome.CLEAR


def test_the_bound_of_a_source_goes_before_that_of_all() -> None:
    assert scored(GOOD, min_best_score=0.8, min_best_score_by_source={"policies": 0.1}) is Outcome.CLEAR
    assert scored(GOOD, min_best_score_by_source={"policies": 0.8}) is Outcome.FOUND


def test_without_a_bound_or_a_score_the_answer_is_unknown() -> None:
    assert scored(GOOD) is Outcome.UNKNOWN
    assert scored((*GOOD, Document(text="c")), min_best_score=0.8) is Outcome.UNKNOWN
    assert scored((), min_best_score=0.8) is Outcome.CLEAR
