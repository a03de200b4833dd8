"""A retrieval found nothing that scored well enough."""

import pydantic

from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import Document, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans


class LowScoredDocumentsConfig(CheckConfig):
    """From which score on a document helps; scales are the retriever's own, so there is no default."""

    min_best_score: float | None = None
    """The best document of a retrieval has to reach this score; unset: not judged."""
    min_best_score_by_source: dict[str, float] = pydantic.Field(default_factory=dict)
    """The same for one index, collection or table, by its name; it goes before `min_best_score`."""


class LowScoredDocuments:
    """Found where all of these hold for a span:

    - it is a retrieval that did not fail and found documents, each with a score;
    - a bound is configured for its source, or for all;
    - the best of the scores lies below the bound.

    Higher is better: do not set a bound for a retriever whose scores are distances.

    Severity: low. One finding a trace and retriever.

    Unknown where a retrieval sent documents and no bound is configured for it, or not each of them has a score.

    Not findings: low scores beside a good one.
    """

    name = "low_scored_documents"
    dimension = Dimension.RELEVANCE
    needs = (Need.DOCUMENTS,)

    def __init__(self, config: LowScoredDocumentsConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each retriever whose best document scored low."""
        retrievers = rarer_spans(trace).retrievers
        if not retrievers:
            return CLEAR
        low: dict[str, tuple[Span, float, float]] = {}
        is_unknown = False
        for span in retrievers:
            if not span.details.documents or span.error is not None:
                continue
            bound = self._config.min_best_score_by_source.get(span.data_source, self._config.min_best_score)
            best = _best(span.details.documents)
            if bound is None or best is None:
                is_unknown = True
            elif best < bound:
                low.setdefault(span.target, (span, best, bound))
        faults = [
            finding(
                trace,
                self,
                culprit=span,
                kind=FindingKind.FAULT,
                severity=Severity.LOW,
                title=f"{label_of(span)} finds only documents of low score",
                rationale=f"The best of {len(span.details.documents or ())} documents scored {best:g}, "
                f"below {bound:g}.",
                publish_at_once=False,
            )
            for span, best, bound in low.values()
        ]
        return found(faults, otherwise=UNKNOWN if is_unknown else CLEAR)


def _best(documents: tuple[Document, ...]) -> float | None:
    scores = [document.score for document in documents if document.score is not None]
    return max(scores) if len(scores) == len(documents) else None
