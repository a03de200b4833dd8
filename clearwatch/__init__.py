"""What checks of one's own may import: this and nothing below it. See docs/extending.md."""

from core.dialects.messages import definitions, input_messages, is_readable, messages_of
from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import (
    Content,
    ContentState,
    Details,
    Document,
    ErrorClass,
    Evaluation,
    FinishReason,
    Message,
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
from detector.sessions.checks.finding import session_finding
from detector.sessions.checks.port import SessionCheck
from detector.sessions.conversation import Conversation, TurnInSession

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
    "Conversation",
    "Details",
    "Dimension",
    "Document",
    "ErrorClass",
    "Evaluation",
    "Finding",
    "FindingKind",
    "FinishReason",
    "Message",
    "Need",
    "Outcome",
    "SessionCheck",
    "Severity",
    "Span",
    "SpanError",
    "SpanKind",
    "ToolCall",
    "Trace",
    "TurnInSession",
    "Usage",
    "definitions",
    "finding",
    "found",
    "input_messages",
    "is_readable",
    "label_of",
    "messages_of",
    "quoted",
    "session_finding",
    "target_of",
]
