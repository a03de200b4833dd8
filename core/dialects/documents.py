"""What a retriever found, in the shapes that clients write it in. No documents at all is (), not None."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.dialects.flat import groups
from core.dialects.table import Field, Reading
from core.dialects.values import decimal, structure, text
from core.model.span import Document, SpanKind
from core.otlp.slim import Value

# more than any retriever gives to a model
_MAX_DOCUMENTS: Final = 10_000
_MAX_DEPTH: Final = 4
_NOTHING: Final = Document()
# where responses hold their documents: LangChain, LlamaIndex, Cohere, Pinecone, Qdrant, Elasticsearch, Vertex AI
_LISTS: Final = (
    "documents", "nodes", "source_nodes", "results", "matches", "points", "hits", "retrieved_documents", "contexts",
    "chunks",
)  # fmt: skip
_IDS: Final = ("id", "document_id", "doc_id", "id_", "_id", "source")
_SCORES: Final = ("score", "relevance_score", "similarity", "similarity_score", "_score")
_TEXTS: Final = ("content", "page_content", "pageContent", "text", "body", "passage")


def documents(value: Value) -> tuple[Document, ...] | None:
    """Return the documents in a list of them, or in a response that holds one; None where neither is there."""
    return _documents(structure(value), 0)


def flat_documents(pairs: Iterable[bytes], prefix: bytes) -> tuple[Document, ...] | None:
    """Return the documents in flattened keys `PREFIX.N.document.…`; None where there are none."""
    found = [_document(group) for group in groups(pairs, prefix, b"document.")[:_MAX_DOCUMENTS]]
    return tuple(found) if found else None


def read_retrieval(reading: Reading) -> None:
    """Take a retriever's query from its input and its documents from its output, where no key of their own said them.

    Only plain text, or what is called a query, is one, and only what looks like documents is taken for them.
    """
    if reading.kind is not SpanKind.RETRIEVER:
        return
    found = reading.found
    given, output = found[Field.INPUT], found[Field.OUTPUT]
    if found[Field.QUERY] is None and isinstance(given, str):
        opened = structure(given)
        asked = opened.get("query") or opened.get("question") if isinstance(opened, dict) else opened or given
        found[Field.QUERY] = asked if isinstance(asked, str) else None
    if found[Field.DOCUMENTS] is None and isinstance(output, str):
        found[Field.DOCUMENTS] = documents(output)


def _documents(value: Any, depth: int) -> tuple[Document, ...] | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        for key in (*_LISTS, "data", "output", "outputs"):
            if isinstance(value.get(key), list | dict):
                found = _documents(value[key], depth + 1)
                if found is not None:
                    return found
        return None
    if not isinstance(value, list):
        return None
    documents: list[Document] = []
    for item in value[:_MAX_DOCUMENTS]:
        if isinstance(item, list):
            # Chroma: a list for each query
            documents += _documents(item, depth + 1) or ()
        elif isinstance(item, str):
            documents.append(Document("", None, item))
        elif isinstance(item, dict):
            inner = item.get("kwargs") if "lc" in item else item.get("document")
            document = _document(item | inner if isinstance(inner, dict) else item)
            if document != _NOTHING:
                documents.append(document)
    return tuple(documents) if documents or not value else None


def _document(item: Mapping[str, Any]) -> Document:
    metadata = structure(item.get("metadata"))
    node = item.get("node")
    holders = [h for h in (item, node, metadata, item.get("payload")) if isinstance(h, dict)]
    named = next((holder[key] for key in _IDS for holder in holders if holder.get(key) not in (None, "")), "")
    score = next((s for key in _SCORES for holder in holders if (s := decimal(holder.get(key))) is not None), None)
    said = next((holder[key] for key in _TEXTS for holder in holders if isinstance(holder.get(key), str)), "")
    return Document(text(named) or "", score, said)
