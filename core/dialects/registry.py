"""The dialects that are spoken, most specific first: where a span mixes them, the earlier one is believed."""

from typing import Final

from core.dialects import common, fallback, mlflow, openinference, otel_genai, traceloop
from core.dialects.table import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (
    common.DIALECT,
    mlflow.DIALECT,
    openinference.DIALECT,
    traceloop.DIALECT,
    otel_genai.DIALECT,
    traceloop.ENTITIES,
    fallback.DIALECT,
)
