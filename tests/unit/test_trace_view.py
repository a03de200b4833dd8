"""One trace as `clearwatch trace` shows it: read back from the log, in one form, safely."""

import asyncio
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from clearwatch.ops.trace_shapes import MAX_DOCUMENTS, MAX_SPANS, MAX_TEXT, TraceShape, trace_shape
from clearwatch.ops.trace_spans import shape_of
from clearwatch.reading.trace_view import trace_view
from core import topics
from core.errors import LogUnavailableError
from core.log.port import Record, StoredRecord
from core.model.finding import Severity
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
from core.model.trace import Trace, TraceChunk, TraceVersion
from core.prices import price_table
from sinks.records.views import FindingRow, TraceDetail
from tests.properties.assembler_model import Logged, Sent, World
from tests.unit.records_kit import TRACE, row, trace
from tests.unit.test_cli_read_commands import HOSTILE

PRICES = price_table(b'{"gpt-4o": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}')


class _Log:
    """Records on `traces`, as a log gives them back."""

    def __init__(self, values: Sequence[bytes], *, deleted: Sequence[int] = ()) -> None:
        self._values = values
        self._deleted = deleted

    def partitions(self, topic: str) -> int:
        return 1 if topic == topics.TRACES else 0

    async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
        return [
            StoredRecord(topic=topic, partition=partition, offset=n, log_time_ms=0, value=self._values[n], headers={})
            for n in offsets
            if n not in self._deleted
        ]


def _written(world: World) -> tuple[list[bytes], TraceVersion]:
    """Return the records on `traces`, and the last version with its place among them."""
    records: list[Record] = [record for record in world.written if record.topic == topics.TRACES]
    return [record.value for record in records], msgspec.structs.replace(
        world.versions()[-1], partition=0, offset=len(records) - 1
    )


def _world() -> World:
    world = World()
    world.append(0, [Sent(number=1, parent=0), Sent(number=2, trace=2, parent=0), Sent(number=2, failed=True)])
    world.append_logs(1, [Logged(number=2, text="hello")])
    return world.run()


def _shown(shape: TraceShape, *, is_full: bool = False) -> str:
    out = StringIO()
    Console(file=out, width=160, highlight=False, markup=False).print(trace_view(shape, is_full=is_full))
    return re.sub(r" +$", "", out.getvalue(), flags=re.MULTILINE)


def _span(number: int, parent: int = 0, **said: Any) -> Span:
    return Span(
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        start_ns=number,
        end_ns=number + 5_000_000,
        **said,
    )


def _view(*spans: Span, findings: Sequence[FindingRow] = (), is_full: bool = False, **version: Any) -> str:
    seen = Trace(trace_id=TRACE, spans=spans)
    detail = TraceDetail(trace=trace(span_count=len(spans), **version), findings=tuple(findings))
    return _shown(trace_shape(detail, seen), is_full=is_full)


def test_spans_are_read_back_from_the_log_with_what_their_log_records_said() -> None:
    values, version = _written(_world())
    shape = asyncio.run(shape_of(TraceDetail(trace=version, findings=()), _Log(values), PRICES))
    assert [span.span_id for span in shape.spans] == [f"{n:016x}" for n in (1, 2)]
    assert shape.spans[1].output.text == "hello"
    assert shape.spans[1].error is not None
    assert shape.spans_note == ""


def test_records_of_others_between_a_version_and_its_chunks_are_passed_over() -> None:
    values, version = _written(_world())
    other = msgspec.msgpack.encode(
        TraceChunk(trace_id="f" * 32, version=version.version, routing_key="", index=0, otlp=b"")
    )
    values[-1:] = [other] * 100 + values[-1:]
    version = msgspec.structs.replace(version, offset=len(values) - 1)
    shape = asyncio.run(shape_of(TraceDetail(trace=version, findings=()), _Log(values), None))
    assert len(shape.spans) == 2


@pytest.mark.parametrize("place", [{"partition": -1, "offset": -1}, {"partition": 7}])
def test_where_a_version_stands_nowhere_its_summary_is_shown(place: dict[str, int]) -> None:
    values, version = _written(_world())
    detail = TraceDetail(trace=msgspec.structs.replace(version, **place), findings=())
    shape = asyncio.run(shape_of(detail, _Log(values), None))
    assert shape.spans == ()
    assert "not kept" in _shown(shape)


def test_deleted_chunks_are_said_to_be_gone() -> None:
    values, version = _written(_world())
    log = _Log(values, deleted=range(len(values)))
    assert "not kept" in _shown(asyncio.run(shape_of(TraceDetail(trace=version, findings=()), log, None)))


def test_a_log_that_does_not_answer_costs_the_spans_only() -> None:
    class Away(_Log):
        async def read_at(self, topic: str, partition: int, offsets: Sequence[int]) -> Sequence[StoredRecord]:
            raise LogUnavailableError("away")

    values, version = _written(_world())
    shape = asyncio.run(shape_of(TraceDetail(trace=version, findings=()), Away(values), None))
    assert "the log cannot be read" in _shown(shape)


def test_a_span_is_shown_with_everything_its_client_told() -> None:
    shown = _view(
        _span(1, kind=SpanKind.AGENT, name="assist", session_id="s1"),
        _span(
            2,
            1,
            kind=SpanKind.LLM,
            name="chat",
            model="gpt-4o",
            provider="openai",
            usage=Usage(input_tokens=1200, output_tokens=30, cached_tokens=200, reasoning_tokens=10),
            cost_usd=0.0015,
            finish_reason=FinishReason.TOOL_CALLS,
            time_to_first_token_s=0.25,
            input=Content(ContentState.IN_LOGS),
            output=Content(ContentState.PRESENT, "", (ToolCall("search", "c1", '{"q": "x"}'),)),
            session_id="other",
        ),
        _span(
            3,
            1,
            kind=SpanKind.TOOL,
            name="search",
            tool=ToolCall("search", "c1", '{"q": "x"}'),
            error=SpanError(
                error_class=ErrorClass.TIMEOUT, error_type="TimeoutError", message="too late", status_code=504
            ),
            details=Details(attempt=1),
        ),
        _span(
            4,
            1,
            kind=SpanKind.RETRIEVER,
            name="find",
            details=Details(
                query="refunds",
                documents=(Document("d1", 0.75, "the policy"),),
                evaluations=(Evaluation("relevance", 0.5, "poor", "off topic"),),
            ),
        ),
        _span(5, 99, name="lost", service="payments"),
        _span(6, 5, name="deeper", service="payments"),
        _span(7, 1, kind=SpanKind.TOOL, name="call", tool=ToolCall("lookup"), output=Content(ContentState.PRESENT)),
        _span(8, 1, kind=SpanKind.LLM, name="chat", model="openai/gpt-4o", provider="openai"),
        findings=[row(span_ids=(f"{3:016x}",))],
    )
    for expected in (
        "llm chat  5.0 ms · openai/gpt-4o · 1,200 → 30 tokens (200 cached, 10 reasoning) · $0.0015 · tool_calls",
        "first token 250 ms",
        "in: in log records that have not come",
        'out: → search({"q": "x"})',
        "session: other",
        "failed: timeout TimeoutError 504: too late",
        'arguments: {"q": "x"}',
        "attempt 2",
        "query: refunds",
        "found: 1 documents: d1 (0.75) the policy",
        "evaluated: relevance 0.5 poor off topic",
        "◀ high: timeout in search",
        "lost  5.0 ms · payments · parent not seen",
        "deeper  5.0 ms\n",
        "tool call  5.0 ms · lookup\n",
        "result: (empty)",
        "llm chat  5.0 ms · openai/gpt-4o\n",
        "at search, issue 01234567",
    ):
        assert expected in shown, shown


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ContentState.ABSENT, "text: not sent"),
        (ContentState.REDACTED, "text: redacted by the client"),
        (ContentState.IN_LOGS, "text: in log records that have not come"),
    ],
)
def test_where_the_text_of_a_call_stands_is_said(state: ContentState, said: str) -> None:
    assert said in _view(_span(1, kind=SpanKind.LLM, name="chat", input=Content(state), output=Content(state)))


def test_text_of_clients_cannot_move_the_cursor_or_colour() -> None:
    shown = _view(
        _span(1, kind=SpanKind.LLM, name=HOSTILE, model=HOSTILE, output=Content(ContentState.PRESENT, HOSTILE)),
        findings=[row(title=HOSTILE, rationale=HOSTILE)],
        root_name=HOSTILE,
        user_id=HOSTILE,
    )
    assert not any(ord(character) < 32 and character != "\n" for character in shown)
    assert "\u202e" not in shown


def test_texts_are_cut_and_say_how_much_is_left_out() -> None:
    span = _span(1, kind=SpanKind.LLM, name="chat", output=Content(ContentState.PRESENT, "x" * 10_000))
    assert "3,840 more" in _view(span)
    assert len(_view(span, is_full=True)) > MAX_TEXT
    shape = trace_shape(TraceDetail(trace=trace(span_count=1), findings=()), Trace(trace_id=TRACE, spans=[span]))
    assert (len(shape.spans[0].output.text), shape.spans[0].output.chars) == (MAX_TEXT, 10_000)


def test_of_too_many_spans_those_that_tell_most_are_kept_with_the_line_above_them() -> None:
    spans = [_span(n, n - 1 if n % 2 == 0 else 0, name=f"s{n}") for n in range(1, MAX_SPANS + 101)]
    culprit = f"{MAX_SPANS + 100:016x}"
    detail = TraceDetail(trace=trace(span_count=len(spans)), findings=(row(span_ids=(culprit,)),))
    shape = trace_shape(detail, Trace(trace_id=TRACE, spans=spans))
    kept = {span.span_id for span in shape.spans}
    assert len(shape.spans) == MAX_SPANS
    assert {culprit, f"{MAX_SPANS + 99:016x}"} <= kept
    assert "100 spans are left out" in shape.spans_note
    assert "more spans (`--json` has them)" in _shown(shape)


def test_what_is_answered_stays_small_however_much_the_spans_say() -> None:
    talk = msgspec.json.encode([{"role": "user", "content": "x" * 5_000}] * 60).decode()
    spans = [_span(n, kind=SpanKind.LLM, input=Content(ContentState.PRESENT, talk)) for n in range(1, 501)]
    detail = TraceDetail(trace=trace(span_count=len(spans)), findings=())
    shape = trace_shape(detail, Trace(trace_id=TRACE, spans=spans))
    assert len(msgspec.json.encode(shape)) < 5_000_000
    assert [shape.spans[0].input.message_count, len(shape.spans[0].input.messages)] == [60, 4]


def test_the_gravest_finding_stands_first() -> None:
    rows = [
        row(finding_id=str(n), severity=severity, title=f"{severity} one")
        for n, severity in enumerate((Severity.LOW, Severity.HIGH, Severity.MEDIUM))
    ]
    shown = _view(_span(1), findings=rows)
    assert re.findall(r"(\w+): \w+ one", shown) == ["high", "medium", "low"]


def test_parents_that_go_round_in_a_circle_are_drawn_once() -> None:
    shown = _view(_span(1, 2, name="one"), _span(2, 1, name="two"))
    assert shown.count("one") == shown.count("two") == 1


def test_checks_that_did_not_judge_a_trace_are_named_with_the_reason() -> None:
    said = _view(
        _span(1), answers={"refusal": "unknown", "retries": "clear", "mine": "failed", "empty_output": "unknown"}
    )
    assert "not checked  mine (the check itself failed)" in said
    assert "unknown to   empty_output, refusal (what they need was not sent, or not read)" in said


def test_documents_and_evaluations_that_are_left_out_are_counted() -> None:
    details = Details(
        documents=tuple(Document(f"d{n}", None, "text") for n in range(MAX_DOCUMENTS + 7)),
        evaluations=tuple(Evaluation(f"e{n}", 1.0) for n in range(MAX_DOCUMENTS + 3)),
    )
    said = re.sub(r"\s+", " ", _view(_span(1, kind=SpanKind.RETRIEVER, details=details), is_full=True))
    assert "found: 57 documents: d0" in said
    assert "… 7 more" in said
    assert "evaluated: 3 times more" in said
