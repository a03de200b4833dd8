"""A trace as checks see it, and a trace version as it stands on the `traces` topic."""

import enum
import functools
import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from core.model.span import ContentState, Evaluation, Span, SpanKind

_IN_START_ORDER: Final = operator.attrgetter("start_ns", "end_ns", "span_id")
# members of an enum cost 100 ns to look up in Python 3.11
_LLM, _TOOL = SpanKind.LLM, SpanKind.TOOL
_HTTP: Final = SpanKind.HTTP
_OF_MODELS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING, SpanKind.RERANKER})
_WRAPPERS: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})
_SPLITS_STREAMS: Final = "spring_ai"
_ABSENT: Final = ContentState.ABSENT
# of calls beside an echo, the latest that are looked at: of those that run at once few have one parent
_CALLS_BESIDE: Final = 8


class CloseReason(enum.StrEnum):
    """Why a trace was closed (or published provisionally)."""

    ROOT = "root"
    """Its root had been seen and `root_grace_s` passed after its last span."""
    IDLE = "idle"
    """No span for `idle_s` and no root."""
    AGE = "age"
    """It was open for `max_age_s`."""
    SIZE = "size"
    """It reached `max_spans` or `max_bytes`."""
    LATE = "late"
    """A late span made a larger version of a closed trace."""
    PROVISIONAL = "provisional"
    """Still open: published so that what has happened is seen."""


def version_of(span_ids: Iterable[bytes]) -> str:
    """Return the version of a trace: the first 16 hex digits of SHA-256 over its sorted, distinct span ids."""
    return hashlib.sha256(b"".join(sorted(set(span_ids)))).hexdigest()[:16]


class Trace:
    """All known spans of a trace, in start order, with its tree, and those that checks ask for.

    `is_final` is False for provisional versions: checks of absence (missing root, empty output) must not speak.
    `is_fragment` marks late spans of a trace that is no longer remembered: they never speak of absence either.
    """

    def __init__(
        self,
        *,
        trace_id: str,
        spans: Iterable[Span],
        version: str = "",
        routing_key: str = "",
        is_final: bool = True,
        is_fragment: bool = False,
        close_reason: CloseReason = CloseReason.ROOT,
    ) -> None:
        self.trace_id = trace_id
        unique = {span.span_id: span for span in sorted(spans, key=_IN_START_ORDER)}
        self.spans: tuple[Span, ...] = tuple(unique.values())
        self.by_id: Mapping[str, Span] = unique
        self.version = version or version_of(bytes.fromhex(i) for i in unique)
        self.is_final = is_final
        self.is_fragment = is_fragment
        self.close_reason = close_reason
        self.derived: dict[str, Any] = {}
        """What readers of this trace worked out once for all of them, by a name of their own."""
        self.routing_key = routing_key or default_routing_key(self.spans)
        self._index()

    def _index(self) -> None:
        """Find in one pass what nearly every reader asks for."""
        llm_spans: list[Span] = []
        tool_spans: list[Span] = []
        failed_spans: list[Span] = []
        roots: list[Span] = []
        orphans: list[Span] = []
        session_id = user_id = ""
        bare, is_nested = 0, False
        by_id = self.by_id
        started_ns = self.spans[0].start_ns if self.spans else 0
        ended_ns = 0
        for span in self.spans:
            kind, parent_id = span.kind, span.parent_span_id
            if span.start_ns < started_ns:
                started_ns = span.start_ns
            if span.end_ns > ended_ns:
                ended_ns = span.end_ns
            if kind is _LLM:
                llm_spans.append(span)
                if span.input.state is _ABSENT and span.output.state is _ABSENT:
                    bare += 1
            elif kind is _TOOL:
                tool_spans.append(span)
                if (above := by_id.get(parent_id)) is not None and above.kind is _TOOL:
                    is_nested = True
            if span.error is not None:
                failed_spans.append(span)
            if not parent_id:
                roots.append(span)
            elif parent_id not in by_id:
                orphans.append(span)
            session_id = session_id or span.session_id
            user_id = user_id or span.user_id
        self.echoes: Mapping[str, Span] = {}
        """Span id of an LLM span that only repeats, without content, what another tells of the same call -> the other:
        a client's own spans below or beside those of an instrumentation. They are no `llm_spans`, and no
        `failed_spans` where the other failed. Likewise of the spans by which two instrumentations tell of one call of a
        tool, one within the other, that which tells less."""
        if (bare and bare < len(llm_spans)) or is_nested:
            self.echoes = echoes = _echoes(llm_spans) if bare < len(llm_spans) else {}
            if is_nested:
                echoes.update(_tool_echoes(tool_spans, by_id))
                tool_spans = [span for span in tool_spans if span.span_id not in echoes]
            llm_spans = [span for span in llm_spans if span.span_id not in echoes]
            failed_spans = [s for s in failed_spans if s.span_id not in echoes or echoes[s.span_id].error is None]
        self.llm_spans: Sequence[Span] = llm_spans
        self.tool_spans: Sequence[Span] = tool_spans
        self.started_ns: int = started_ns
        """The earliest start, nanoseconds since the epoch."""
        self.ended_ns: int = ended_ns
        """The latest end, nanoseconds since the epoch."""
        self.failed_spans: Sequence[Span] = failed_spans
        leaf_faults: Sequence[Span] = ()
        if failed_spans:
            told = [span for span in failed_spans if not _is_request_of_call(span, by_id)]
            if len(told) > 1:
                told = _without_wrappers_beside(told)
            repeated = {span.parent_span_id for span in told}
            # none is deepest where all stand in a circle of parents: the last is as good
            leaf_faults = tuple([span for span in told if span.span_id not in repeated]) or tuple(told[-1:])
        self.leaf_faults: Sequence[Span] = leaf_faults
        """The deepest failed spans: failed, with no failed child (ancestors repeat a child's error). A failed HTTP
        request of a model call that failed is part of it: the call knows the code, and what it means. So are wrappers
        that stand beside their call."""
        self.roots: Sequence[Span] = roots
        """The spans without a parent id."""
        self.orphans: Sequence[Span] = orphans
        """The spans whose parent id is not in the trace."""
        self.session_id = session_id
        """The session of the first span that has one, in start order."""
        self.user_id = user_id
        """The user of the first span that has one, in start order."""

    @functools.cached_property
    def children(self) -> Mapping[str, Sequence[Span]]:
        """Return the children of each span id, in start order."""
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            if parent_id := span.parent_span_id:
                beside = found.get(parent_id)
                if beside is None:
                    found[parent_id] = [span]
                else:
                    beside.append(span)
        return found

    @property
    def root(self) -> Span | None:
        """Return the first root, or None."""
        return self.roots[0] if self.roots else None


def _is_request_of_call(span: Span, by_id: Mapping[str, Span]) -> bool:
    if span.kind is not _HTTP:
        return False
    call = by_id.get(span.parent_span_id)
    return call is not None and call.error is not None and call.kind in _OF_MODELS


def _without_wrappers_beside(failed: Sequence[Span]) -> list[Span]:
    """Return failed spans without those that stand beside the call which they waited for, and repeat its error.

    Spring AI's clients and advisors do where a call streams and Reactor does not pass on which span is the current one.
    """
    calls = {_thrown(span): span for span in failed if span.kind in _OF_MODELS}
    found = []
    for span in failed:
        call = calls.get(_thrown(span)) if span.dialect == _SPLITS_STREAMS and span.kind in _WRAPPERS else None
        if call is None or not span.start_ns <= call.start_ns <= span.end_ns:
            found.append(span)
    return found


def _thrown(span: Span) -> tuple[str, str, str]:
    error = span.error
    return (span.parent_span_id, error.error_type, error.message) if error is not None else ("", "", "")


def _echoes(llm_spans: Sequence[Span]) -> dict[str, Span]:
    """Return the LLM spans without content that repeat another, by id, with the other: from start order.

    The other stands above or beside it, covers its time, is of the same model and another instrumentation, and has
    content. One that failed where the other did not is no echo: it is a try, of which the other made several.
    """
    found: dict[str, Span] = {}
    told: dict[str, list[Span]] = {}
    for span in llm_spans:
        if span.input.state is not _ABSENT or span.output.state is not _ABSENT:
            # by where an echo of it has its parent: above is the call itself, beside what called it
            told.setdefault(span.span_id, []).append(span)
            told.setdefault(span.parent_span_id, []).append(span)
            continue
        for call in reversed(told.get(span.parent_span_id, ())[-_CALLS_BESIDE:]):
            if (
                call.end_ns >= span.end_ns
                and call.scope != span.scope
                and (call.model == span.model or not call.model or not span.model)
                and (span.error is None or call.error is not None)
            ):
                found[span.span_id] = call
                break
    return found


def _tool_echoes(tool_spans: Sequence[Span], by_id: Mapping[str, Span]) -> dict[str, Span]:
    """Return the tool spans that repeat the one directly above or below them, by id, with that: of one tool's name, of
    two instrumentations (AutoGen's own within OpenInference's, a protocol's within a framework's)."""
    found: dict[str, Span] = {}
    for span in tool_spans:
        outer = by_id.get(span.parent_span_id)
        if outer is None or outer.kind is not _TOOL or outer.scope == span.scope or outer.span_id in found:
            continue
        if span.tool is None or outer.tool is None or span.tool.name != outer.tool.name:
            continue
        says_less = outer.output.state is _ABSENT and span.output.state is not _ABSENT
        echo, call = (outer, span) if says_less else (span, outer)
        if echo.error is None or call.error is not None:
            found[echo.span_id] = call
    return found


def default_routing_key(spans: Iterable[Span], *, experiment: str = "") -> str:
    """Return the routing key: the experiment named by the client, else the root's service, else the smallest seen.

    A named experiment reads `experiment:<id>`; services stand as they are.
    """
    named = smallest = of_root = ""
    for span in spans:
        service = span.service
        if span.experiment and (not named or span.experiment < named):
            named = span.experiment
        if service:
            if not smallest or service < smallest:
                smallest = service
            if not of_root and not span.parent_span_id:
                of_root = service
    if experiment or named:
        return f"experiment:{experiment or named}"
    return of_root or smallest or "unknown_service"


class Turn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trace as a turn of its session: what the user said last and what came of it, texts cut to head and tail.

    Written as an array: fields are added at its end only.
    """

    question: str = ""
    """The last message of the user, where `question_state` is PRESENT or TRUNCATED (as sent)."""
    question_state: ContentState = ContentState.ABSENT
    answer: str = ""
    """The final answer."""
    answer_state: ContentState = ContentState.ABSENT
    question_span: str = ""
    """The span that the question was read from."""
    answer_span: str = ""
    """The span that one would open for the answer: the LLM call that wrote it, where there is one."""
    history: int = 0
    """How often a user speaks in the input: it tells which of two turns of a conversation came later. Up to 2 may be
    one message: some clients name its speaker twice."""
    goes_on: bool = False
    """Whether it continues an earlier trace of the same turn: its input ends with a result, not with a message."""
    calls_only: bool = False
    """Whether it ends with the wish to call tools: the answer stands in a later trace."""
    error_class: str = ""
    """Why it ended in an error; empty where it did not."""
    error_span: str = ""
    """The deepest span that failed last, where it ended in an error."""
    agent: str = ""
    evaluations: tuple[Evaluation, ...] = ()
    """What evaluators and people said of its spans, a bounded number."""
    is_whole: bool = False
    """Whether an agent or a chain stands above its calls: a bare client makes a trace of each call, and so several of
    one turn."""


class TraceVersion(msgspec.Struct, frozen=True, kw_only=True, tag="trace"):
    """One version of a trace on the `traces` topic; its OTLP bytes precede it as `TraceChunk` records.

    `version` alone does not name what was read: it is of the spans, and content that stands in log records may arrive
    later, under the same version. Whoever keeps what was decided of a version keys it by (`version`, `log_count`).

    Readers keep, for a trace id, the version with the most spans; a fragment replaces nothing but a smaller fragment.
    """

    trace_id: str
    version: str
    routing_key: str
    span_count: int
    close_reason: CloseReason
    provisional: bool = False
    fragment: bool = False
    has_root: bool = True
    session_id: str = ""
    user_id: str = ""
    service: str = ""
    release: str = ""
    environment: str = ""
    root_name: str = ""
    started_ns: int = 0
    ended_ns: int = 0
    closed_at_s: float = 0.0
    """Log time of the close, seconds since the epoch."""
    last_append_s: float = 0.0
    """Log time of the append of its last span."""
    error_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    models: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    finding_ids: tuple[str, ...] = ()
    answers: Mapping[str, str] = {}
    """Check name -> outcome (found, clear, suspicious, unknown)."""
    chunk_count: int = 0
    dropped_spans: int = 0
    """Spans that were not kept because the trace had reached its size cap."""
    log_count: int = 0
    """Log records that were joined to its spans. Of two versions of the same spans the one with more is the newer."""
    turn: Turn | None = None
    """None where the trace is part of no conversation, or of no session."""
    partition: int = -1
    """Where this record stands on `traces`, its chunks shortly before it; only the records know."""
    offset: int = -1


class TraceChunk(msgspec.Struct, frozen=True, kw_only=True, tag="chunk"):
    """A part of a trace's OTLP bytes: valid `TracesData` by itself, with session.id and user.id stamped."""

    trace_id: str
    version: str
    routing_key: str
    index: int
    otlp: bytes


class TraceWithdrawal(msgspec.Struct, frozen=True, kw_only=True, tag="withdrawn"):
    """A trace left this key (its session id was learned late); its newer version stands under another key."""

    trace_id: str
    routing_key: str
    session_id: str = ""
    stitched: str = ""
    """What stood in the place of a session id in its key, where it stood under its user for want of one."""


TraceRecord: TypeAlias = TraceVersion | TraceChunk | TraceWithdrawal
