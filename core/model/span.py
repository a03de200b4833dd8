"""One span in the one model that every dialect is read into.

Absent is not empty: `Content.state` says whether a client sent text at all. Checks that need text answer "unknown"
unless it is PRESENT.

The structs are `gc=False`: they hold no cycles, and the collector's walks over many open spans cost 8 % of decoding.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final

import msgspec


class SpanKind(enum.StrEnum):
    """What a span does; the union of what the dialects can say."""

    LLM = "llm"
    TOOL = "tool"
    AGENT = "agent"
    CHAIN = "chain"
    RETRIEVER = "retriever"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    GUARDRAIL = "guardrail"
    EVALUATOR = "evaluator"
    PROMPT = "prompt"
    HTTP = "http"
    RPC = "rpc"
    DB = "db"
    UNKNOWN = "unknown"


class ContentState(enum.StrEnum):
    """Whether, and how far, a client sent the text of a span."""

    PRESENT = "present"
    ABSENT = "absent"
    REDACTED = "redacted"
    TRUNCATED = "truncated"
    IN_LOGS = "in_logs"


class ErrorClass(enum.StrEnum):
    """Why a call failed, as far as its telemetry tells."""

    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    AUTH = "auth"
    SERVER = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    CONTEXT_OVERFLOW = "context_overflow"
    BAD_REQUEST = "bad_request"
    CONTENT_FILTER = "content_filter"
    STEP_LIMIT = "step_limit"
    PARSE = "parse"
    CANCELLED = "cancelled"
    OTHER = "other"


class FinishReason(enum.StrEnum):
    """Why an LLM stopped; the dialects' words mapped to these."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    ERROR = "error"
    MALFORMED_CALL = "malformed_call"
    """It wrote a tool call that its own provider could not read (Gemini)."""
    STEP_LIMIT = "step_limit"
    """Not a model but an agent stopped, after as many steps as it was allowed."""
    UNKNOWN = ""


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call that an LLM asked for, or that a tool span made. `arguments` is the raw text (JSON as a rule)."""

    name: str
    call_id: str = ""
    arguments: str = ""


class Content(msgspec.Struct, frozen=True, gc=False):
    """Text of a span, in or out.

    `text` is plain text where the dialect lets it be found cheaply (an LLM's answer, a tool's result), else the raw
    attribute. `tool_calls` and `refusal` belong to LLM outputs. `flat` are the encoded attributes of a dialect that
    writes each leaf of its messages as one: `core.dialects.messages` reads either form.
    """

    state: ContentState = ContentState.ABSENT
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str = ""
    flat: tuple[bytes, ...] = ()


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of a conversation. `role` is in lower case: user, assistant, system, developer, tool, …"""

    role: str
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """The call that a tool's message answers."""
    name: str = ""
    """The tool or the participant that speaks, where it is named."""
    is_error: bool = False
    """Whether a tool's message is marked as a failure."""


class Document(msgspec.Struct, frozen=True, gc=False):
    """One retrieved document. `score` is None where none was sent; its scale is the retriever's own."""

    document_id: str = ""
    score: float | None = None
    text: str = ""


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """What an evaluator, or a person, said of a span: `gen_ai.evaluation.result` and what other dialects call it."""

    name: str
    score: float | None = None
    label: str = ""
    explanation: str = ""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call. `input_tokens` includes cached ones, `output_tokens` includes reasoning (OTel GenAI)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0


class Details(msgspec.Struct, frozen=True, gc=False):
    """What only some spans say; read only where one of its keys is there. Decoding builds it by position."""

    tool_definitions: str = ""
    """The tools that an LLM call was offered, raw: JSON as a rule. `core.dialects.definitions` reads it."""
    output_type: str = ""
    """What was asked for: text, json, json_schema, …, in lower case; empty where nothing was said."""
    output_schema: str = ""
    """The JSON Schema that the output was to follow, raw."""
    max_tokens: int | None = None
    temperature: float | None = None
    is_stream: bool | None = None
    documents: tuple[Document, ...] | None = None
    """What a retriever found: () where it said that it found nothing, None where it did not say."""
    query: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    attempt: int = 0
    """How many times this call had been tried before (http.request.resend_count and the like)."""
    evaluations: tuple[Evaluation, ...] = ()
    server: str = ""
    """Address of the host that was called."""
    system_instructions: str = ""
    """What the model was told apart from its messages, raw: plain text, or JSON parts."""


NO_DETAILS: Final = Details()


class SpanError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a span failed: from exception event, error.type, status text, codes, in that order."""

    error_class: ErrorClass = ErrorClass.OTHER
    error_type: str = ""
    message: str = ""
    status_code: int = 0
    """HTTP or gRPC code where one was sent or stands in the text, else 0."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """A span. Ids are lower-case hex; times are nanoseconds since the epoch as the client sent them.

    Like its parts not `kw_only`, for decoding alone, which would spend a tenth of its time on keywords: write names.
    """

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    name: str = ""
    kind: SpanKind = SpanKind.UNKNOWN
    dialect: str = "unknown"
    scope: str = ""
    start_ns: int = 0
    end_ns: int = 0
    error: SpanError | None = None
    """Set where the status is ERROR or an exception event was recorded on a span that did not end OK."""
    service: str = ""
    release: str = ""
    environment: str = ""
    experiment: str = ""
    """Resource attribute mlflow.experiment.id."""
    agent: str = ""
    model: str = ""
    provider: str = ""
    tool: ToolCall | None = None
    """The call that a TOOL span made; its result is `output`."""
    input: Content = Content()
    output: Content = Content()
    finish_reason: FinishReason = FinishReason.UNKNOWN
    usage: Usage | None = None
    cost_usd: float | None = None
    time_to_first_token_s: float | None = None
    session_id: str = ""
    user_id: str = ""
    dropped_attributes: int = 0
    odd_session: bool = False
    """Whether a session id on it may be longer than readers take or scrubbed: look before its bytes are forwarded."""
    data_source: str = ""
    """What a RETRIEVER or DB span asked: the index, collection, table or database that it names."""
    details: Details = NO_DETAILS
    extra: Mapping[str, Any] | None = None
    """Attributes of the span, else of its resource, that a rule asked for by key (`core.dialects.decoder`)."""

    @property
    def duration_ms(self) -> float:
        """Return how long it took, in milliseconds; 0 where the end lies before the start."""
        return max(0, self.end_ns - self.start_ns) / 1e6

    @property
    def target(self) -> str:
        """Return what one would fix, in whichever dialect.

        The tool's name; else the kind with its model, data source or agent; the raw name where the kind is unknown.
        """
        if self.tool is not None and self.tool.name:
            return self.tool.name
        if self.kind is SpanKind.UNKNOWN:
            return self.name
        if self.kind in (SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER):
            owner = self.model
        else:
            owner = (self.data_source if self.kind in (SpanKind.RETRIEVER, SpanKind.DB) else "") or self.agent
        return f"{self.kind}:{owner}" if owner else (self.name if self.kind is SpanKind.TOOL else str(self.kind))
