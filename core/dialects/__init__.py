"""Dialects of LLM telemetry, read into the one span model. `decode` is the way in."""

from core.dialects.extra import Decode, decoder
from core.dialects.reading import decode

__all__ = ["Decode", "decode", "decoder"]
