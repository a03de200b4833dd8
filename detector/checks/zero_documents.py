"""A retrieval found nothing."""

from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, quoted
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.rarer_spans import rarer_spans

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
# an empty result as clients write it, blanks taken out: a list, or an object with one empty list
_LISTS: Final = ("documents", "docs", "results", "matches", "hits", "nodes", "chunks", "context", "items", "data")
_EMPTY: Final = frozenset({"[]", "[[]]", *(f'{{"{key}":[]}}' for key in _LISTS)})
_EMPTY_CHARACTERS: Final = 40


class ZeroDocumentsConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class ZeroDocuments:
    """Found where all of these hold for a span:

    - it is a retrieval that did not fail;
    - it says that it found no documents: an empty list, as documents or as its whole output.

    Severity: low; a search may rightly find nothing, but an answer without a source is often made up. One finding a
    trace and retriever.

    Unknown where a retrieval sent neither documents nor output. Clear where nothing was retrieved.

    Not findings: retrievers that say nothing of their documents; an empty result of a tool (`search_flights` found no
    flight: an answer, not a lack of sources).
    """

    name = "zero_documents"
    dimension = Dimension.RELEVANCE
    needs = (Need.DOCUMENTS,)

    def __init__(self, config: ZeroDocumentsConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each retriever that came back empty-handed."""
        retrievers = rarer_spans(trace).retrievers
        if not retrievers:
            return CLEAR
        empty: dict[str, list[Span]] = {}
        is_unknown = False
        for span in retrievers:
            outcome = None if span.error is not None else _is_empty(span)
            is_unknown = is_unknown or (outcome is None and span.error is None)
            if outcome:
                empty.setdefault(span.target, []).append(span)
        faults = [self._finding(trace, spans, of=len(retrievers)) for spans in empty.values()]
        return found(faults, otherwise=UNKNOWN if is_unknown else CLEAR)

    def _finding(self, trace: Trace, spans: list[Span], *, of: int) -> Finding:
        query = spans[0].details.query or (spans[0].input.text if spans[0].input.state is _PRESENT else "")
        asked = f" Asked was: {quoted(query)}" if query else ""
        return finding(
            trace,
            self,
            culprit=spans[0],
            others=spans[1:],
            kind=FindingKind.FAULT,
            severity=Severity.LOW,
            title=f"{label_of(spans[0])} finds no documents",
            rationale=f"{len(spans)} of {of} retrieval(s) in this trace came back without a document.{asked}",
            publish_at_once=False,
        )


def _is_empty(span: Span) -> bool | None:
    """Return whether a retrieval found nothing; None where it does not say."""
    documents = span.details.documents
    if documents is not None:
        return not documents
    if span.output.state is not _PRESENT:
        return None
    text = span.output.text
    return len(text) <= _EMPTY_CHARACTERS and "".join(text.split()) in _EMPTY
