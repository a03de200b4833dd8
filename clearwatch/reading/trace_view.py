"""One trace for the terminal: what is wrong with it, then its tree, each span with what its client told."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from clearwatch.ops.trace_shapes import ContentShape, SpanShape, TraceShape
from clearwatch.reading.terminal import SEVERITY_STYLE, moment, safe
from core.model.finding import Severity
from core.model.span import Document, Evaluation, SpanKind, ToolCall, Usage
from sinks.records.views import FindingRow, rfc3339

_SHORT: Final = 160
_LONG: Final = 4_000
# beyond it a tree is not read by people: findings are listed above it
_MAX_SHOWN: Final = 400
_STATES: Final = {
    "absent": "not sent",
    "redacted": "redacted by the client",
    "truncated": "cut by the client",
    "in_logs": "in log records that have not come",
}


_GRAVITY: Final = (Severity.HIGH, Severity.MEDIUM, Severity.LOW)


def trace_view(found: TraceShape, *, is_full: bool) -> RenderableType:
    """Return the whole view, the gravest finding first; texts are cut at 160 characters, or at 4,000 with `is_full`."""
    parts: list[RenderableType] = [safe(found.trace.root_name or "(no root)", "bold"), _facts(found)]
    spans = {span.span_id: span for span in found.spans}
    gravest = sorted(found.findings, key=lambda finding: _GRAVITY.index(finding.severity))
    parts += (Padding(_finding(finding, spans, found.suppressed), (1, 0, 0, 0)) for finding in gravest)
    if not found.findings:
        parts.append(Padding(Text("nothing was found in it", "green"), (1, 0, 0, 0)))
    if found.spans:
        tree = Tree(Text(""), hide_root=True, guide_style="dim")
        _Drawing(found, _LONG if is_full else _SHORT).draw(tree)
        parts.append(Padding(tree, (1, 0, 0, 0)))
    if found.spans_note:
        parts.append(safe(found.spans_note, "yellow"))
    return Group(*parts)


def _facts(found: TraceShape) -> Table:
    trace = found.trace
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    states = (
        "still open" if trace.provisional else f"closed ({trace.close_reason})",
        "a fragment: its earlier spans were forgotten" if trace.fragment else "",
        "" if trace.has_root else "its root was not seen",
        f"{trace.dropped_spans:,} spans dropped (`detector.assemble.max_spans`, `max_bytes`)"
        if trace.dropped_spans
        else "",
    )
    logs = f", {trace.log_count:,} log records" if trace.log_count else ""
    tokens = f"{trace.input_tokens:,} in, {trace.output_tokens:,} out"
    rows = (
        ("id", trace.trace_id),
        ("where", " · ".join(part for part in (trace.service, trace.release, trace.environment) if part)),
        ("session", trace.session_id),
        ("user", trace.user_id),
        ("started", f"{moment(rfc3339(trace.started_ns))}, took {_lasting((trace.ended_ns - trace.started_ns) / 1e6)}"),
        ("spans", f"{trace.span_count:,}, {trace.error_count:,} failed{logs}"),
        ("tokens", tokens if trace.input_tokens or trace.output_tokens else ""),
        ("cost", _usd(trace.cost_usd)),
        ("models", ", ".join(trace.models)),
        ("written in", ", ".join(trace.dialects)),
        ("state", "; ".join(state for state in states if state)),
        ("not checked", _checks(trace.answers, "failed", "the check itself failed")),
        ("unknown to", _checks(trace.answers, "unknown", "what they need was not sent, or not read")),
    )
    for name, value in rows:
        if value:
            facts.add_row(name, safe(value))
    return facts


def _checks(answers: Mapping[str, str], outcome: str, why: str) -> str:
    """Return the checks with this outcome, and what it means."""
    names = ", ".join(sorted(name for name, answer in answers.items() if answer == outcome))
    return f"{names} ({why})" if names else ""


def _finding(finding: FindingRow, spans: Mapping[str, SpanShape], suppressed: Mapping[str, str]) -> RenderableType:
    title = safe(f"{finding.severity}: {finding.title}", SEVERITY_STYLE.get(finding.severity, ""))
    culprit = spans.get(finding.span_ids[0]) if finding.span_ids else None
    at = f" at {culprit.name}" if culprit is not None else ""
    issue = f", issue {finding.issue_id[:8]}" if finding.issue_id else ""
    lines = [safe(finding.rationale), safe(f"{finding.check} ({finding.category}){at}{issue}", "dim")]
    if held_back := suppressed.get(finding.finding_id):
        lines.append(safe(f"suppressed {held_back}", "yellow"))
    return Group(title, Padding(Group(*lines), (0, 0, 0, 2)))


class _Drawing:
    """Draws spans below their parents; those whose parent is not there stand at the top and say so."""

    def __init__(self, found: TraceShape, width: int) -> None:
        self._width = width
        self._spans = found.spans
        self._known = {span.span_id for span in found.spans}
        self._service = found.trace.service
        self._services = {span.span_id: span.service for span in found.spans}
        self._findings = {finding.finding_id: finding for finding in found.findings}
        self._sessions = (found.trace.session_id, found.trace.user_id)
        self._children: dict[str, list[SpanShape]] = {}
        for span in found.spans:
            self._children.setdefault(span.parent_span_id, []).append(span)
        self._drawn: set[str] = set()

    def draw(self, tree: Tree) -> None:
        """Draw everything, at most 400 spans. Parents that go round in a circle are entered somewhere."""
        tops = [span for span in self._spans if span.parent_span_id not in self._known]
        for span in (*tops, *self._spans):
            waiting = [(tree, span)]
            while waiting and len(self._drawn) < _MAX_SHOWN:
                above, each = waiting.pop()
                if each.span_id in self._drawn:
                    continue
                self._drawn.add(each.span_id)
                branch = above.add(self._label(each))
                waiting += ((branch, child) for child in reversed(self._children.get(each.span_id, [])))
        if len(self._drawn) < len(self._spans):
            tree.add(Text(f"… {len(self._spans) - len(self._drawn):,} more spans (`--json` has them)", "yellow"))

    def _label(self, span: SpanShape) -> RenderableType:
        head = Text() if span.kind == SpanKind.UNKNOWN else Text.assemble((span.kind, "cyan"), " ")
        head.append_text(safe(span.name, "bold red" if span.error else "bold"))
        orphan = "parent not seen" if span.parent_span_id and span.parent_span_id not in self._known else ""
        is_whole = not span.provider or not span.model or span.model.startswith(f"{span.provider}/")
        called = span.model if is_whole else f"{span.provider}/{span.model}"
        tool = span.tool.name if span.tool is not None else ""
        facts = (
            _lasting(span.duration_ms),
            tool if tool not in span.name else "",
            f"agent {span.agent}" if span.agent and span.agent not in span.name else "",
            called,
            _tokens(span.usage),
            _usd(span.cost_usd),
            span.finish_reason,
            f"first token {_lasting(span.time_to_first_token_s * 1000)}" if span.time_to_first_token_s else "",
            f"attempt {span.attempt + 1}" if span.attempt else "",
            span.data_source,
            f"{span.dropped_attributes} attributes dropped by the client" if span.dropped_attributes else "",
            span.service if span.service != self._services.get(span.parent_span_id, self._service) else "",
            orphan,
        )
        head.append_text(safe("  " + " · ".join(fact for fact in facts if fact), "dim"))
        return Group(head, *self._lines(span))

    def _lines(self, span: SpanShape) -> Iterator[Text]:
        for finding_id in span.finding_ids:
            finding = self._findings[finding_id]
            yield safe(f"◀ {finding.severity}: {finding.title}", SEVERITY_STYLE.get(finding.severity, ""))
        if span.error is not None:
            error = span.error
            code = str(error.status_code) if error.status_code else ""
            kind = " ".join(part for part in (error.error_class, error.error_type, code) if part)
            yield self._line("failed", f"{kind}: {error.message}" if error.message else kind, "red")
        for name, own, whole in zip(("session", "user"), (span.session_id, span.user_id), self._sessions, strict=True):
            if own and own != whole:
                yield self._line(name, own)
        yield from self._content(span)
        if span.query:
            yield self._line("query", span.query)
        if span.documents is not None:
            yield self._line("found", _documents(span.documents, span.document_count))
        for said in span.evaluations:
            yield self._line("evaluated", _evaluation(said))
        if span.evaluation_count > len(span.evaluations):
            yield self._line("evaluated", f"{span.evaluation_count - len(span.evaluations):,} times more")

    def _content(self, span: SpanShape) -> Iterator[Text]:
        given, answered = span.input, span.output
        if span.tool is not None and span.tool.arguments:
            yield self._line("arguments", span.tool.arguments)
            given = ContentShape(state="")
        names = ("arguments", "result") if span.tool is not None else ("in", "out")
        expects = span.kind in ("llm", "tool") or span.tool is not None
        if expects and given.state == answered.state and given.state in _STATES and not answered.text:
            yield self._line("text", _STATES[given.state])
            return
        for name, content in zip(names, (given, answered), strict=True):
            text = _text(content)
            if text:
                yield self._line(name, text)
            elif expects and content.state in _STATES and not (name in ("out", "result") and span.error):
                yield self._line(name, _STATES[content.state])
            elif expects and content.state == "present":
                yield self._line(name, "(empty)")

    def _line(self, name: str, value: str, style: str = "") -> Text:
        cut = value[: self._width]
        left = len(value) - len(cut)
        line = safe(f"{name}: ", "dim", limit=_LONG)
        line.append_text(safe(cut, style, limit=_LONG))
        if left > 0:
            line.append_text(Text(f" … {left:,} more", "dim"))
        return line


def _text(content: ContentShape) -> str:
    """Return what a content says last, and how many messages came before."""
    if content.tool_calls or content.refusal:
        calls = "; ".join(_call(call) for call in content.tool_calls)
        return " ".join(part for part in (content.text, content.refusal, f"→ {calls}" if calls else "") if part)
    if not content.messages:
        return content.text
    last = content.messages[-1]
    before = f"({content.message_count} messages) " if content.message_count > 1 else ""
    calls = "; ".join(_call(call) for call in last.tool_calls)
    said = " ".join(part for part in (last.text, f"→ {calls}" if calls else "") if part)
    return f"{before}{last.role}: {said}"


def _call(call: ToolCall) -> str:
    return f"{call.name}({call.arguments})"


def _documents(found: Sequence[Document], count: int) -> str:
    if not found:
        return "no documents"
    shown = (
        " ".join(
            part
            for part in (
                each.document_id,
                f"({each.score:.3g})" if each.score is not None else "",
                each.text[:80],
            )
            if part
        )
        for each in found
    )
    more = f" | … {count - len(found):,} more" if count > len(found) else ""
    return f"{count:,} documents: {' | '.join(shown)}{more}"


def _evaluation(said: Evaluation) -> str:
    score = f"{said.score:g}" if said.score is not None else ""
    return " ".join(part for part in (said.name, score, said.label, said.explanation) if part)


def _tokens(usage: Usage | None) -> str:
    if usage is None:
        return ""
    beside = (
        (usage.cached_tokens, "cached"),
        (usage.cache_write_tokens, "written to the cache"),
        (usage.reasoning_tokens, "reasoning"),
    )
    more = ", ".join(f"{number:,} {name}" for number, name in beside if number)
    return f"{usage.input_tokens:,} → {usage.output_tokens:,} tokens{f' ({more})' if more else ''}"


def _usd(cost_usd: float | None) -> str:
    if cost_usd is None:
        return ""
    return f"${cost_usd:.2f}" if cost_usd >= 1 or cost_usd == 0 else f"${cost_usd:.6f}".rstrip("0")


def _lasting(duration_ms: float) -> str:
    if duration_ms >= 1000:
        return f"{duration_ms / 1000:.2f} s"
    return f"{duration_ms:.0f} ms" if duration_ms >= 10 else f"{duration_ms:.1f} ms"
