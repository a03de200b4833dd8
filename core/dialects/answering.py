"""Which model answered, where a client tells it apart from the one that was asked for (a deployment, an alias)."""

from typing import Final

from core.dialects.values import name
from core.otlp.slim import ParseError, SlimSpan, key_of, value_of
from core.otlp.wire import SpanSlice

# OTel GenAI, OpenInference, Vercel AI
_KEYS: Final = (b"gen_ai.response.model", b"llm.response.model_name", b"ai.response.model")


def answering_model(piece: SpanSlice) -> str:
    """Return the name of the model that answered, or nothing; read anew from the wire bytes at each call."""
    if not any(key in piece.span for key in _KEYS):
        return ""
    try:
        for pair in SlimSpan.FromString(piece.span).attributes:
            if key_of(pair) in _KEYS:
                return name(value_of(pair)) or ""
    except ParseError:
        pass
    return ""
