"""What checks of one's own may import: this and nothing below it. See docs/extending.md."""

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import (
    Content,
    ContentState,
    Details,
    Document,
    ErrorClass,
    Evaluation,
    FinishReason,
    Span,
    SpanError,
    SpanKind,
    ToolCall,
    Usage,
)
from core.model.trace import CloseReason, Trace
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.port import (
    CLEAR,
    SUSPICIOUS,
    UNKNOWN,
    Answer,
    Check,
    CheckConfig,
    Need,
    Outcome,
    found,
)

__all__ = [
    "CLEAR",
    "SUSPICIOUS",
    "UNKNOWN",
    "Answer",
    "Check",
    "CheckConfig",
    "CloseReason",
    "Content",
    "ContentState",
    "Details",
    "Dimension",
    "Document",
    "ErrorClass",
    "Evaluation",
    "Finding",
    "FindingKind",
    "FinishReason",
    "Need",
    "Outcome",
    "Severity",
    "Span",
    "SpanError",
    "SpanKind",
    "ToolCall",
    "Trace",
    "Usage",
    "finding",
    "found",
    "label_of",
    "quoted",
    "target_of",
]
