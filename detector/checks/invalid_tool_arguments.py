"""A model called a tool with arguments that are not JSON, or that do not fit the tool's parameters."""

import ast
import json
import re
from typing import Final

from core.dialects.values import state_of
from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import ContentState, FinishReason, Span, ToolCall
from core.model.trace import Trace
from detector.checks.asked_calls import arguments_of, asked_calls, span_of_call, tool_spans_by_call, unsent_calls
from detector.checks.finding import finding, label_of, quoted
from detector.checks.json_schema import NotJudgedError, violation
from detector.checks.offered_tools import offered_tools
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.tool_messages import told_of_calls
from detector.checks.tool_text import decoded, error_text

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT, _REDACTED = ContentState.PRESENT, ContentState.REDACTED
_CUT_OFF, _CALLS, _MALFORMED = FinishReason.LENGTH, FinishReason.TOOL_CALLS, FinishReason.MALFORMED_CALL

_NOT_JSON: Final = "not_json"
_UNFIT: Final = "schema"
_WORDS: Final = {_NOT_JSON: "arguments that are not JSON", _UNFIT: "arguments that do not fit its parameters"}

# arguments are parsed up to this size; beyond it they are taken as they are
_READ_CHARACTERS: Final = 200_000
# a longer text is not read as a Python literal, and taken for one
_LITERAL_CHARACTERS: Final = 20_000
# LangChain keeps calls that it could not parse beside the others
_INVALID_CALLS: Final = re.compile(r'invalid_tool_calls\\*"\s*:\s*\[\s*\{')


class InvalidToolArgumentsConfig(CheckConfig):
    """What is looked at."""

    check_schemas: bool = True
    """False: only arguments that cannot be parsed are findings."""


class InvalidToolArguments:
    """Found where one of these holds, on the LLM span that wrote the call, with the tool's span beside it:

    - an LLM's output asks for a tool with arguments that were meant as JSON and are not;
    - they are JSON, the tool's definition was sent, they do not fit it, and the tool's span, if there is one, failed: a
      required property is missing, a type or a value is not allowed (what frameworks coerce, such as numbers in
      quotation marks, fits);
    - the model's span says that its call was malformed (Gemini's finish reason), or LangChain kept it as invalid.

    Where the tool failed on them, `tool_failure` reports it, names this span, and takes this finding as its own.

    Severity: low where the tool ran all the same, or was called again later and ran; and for a misfit without any word
    of how the call ended. Medium else.

    Unknown where models asked for tools and no arguments were sent, or more than is read.

    Not findings: arguments cut by a token limit (`output_cut`) or by a client's limit on attributes; empty arguments;
    free text for tools whose definition is not known; arguments that an instrumentation wrote as
    Python's text of them; calls that the tool's own span shows with sound arguments (only
    the telemetry is garbled); a misfit with which the tool ran; optional properties sent as null.
    """

    name = "invalid_tool_arguments"
    dimension = Dimension.EXECUTION
    needs = (Need.TOOLS, Need.CONTENT)

    def __init__(self, config: InvalidToolArgumentsConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each LLM span and tool."""
        faults: dict[tuple[str, str], Finding] = {}
        asked, is_judged = asked_calls(trace), True
        for span, call in asked:
            try:
                unfit = self._unfit(trace, span, call) if call.arguments else None
            except NotJudgedError:
                is_judged = False
                continue
            if unfit is not None:
                kind, why = unfit
                faults.setdefault((span.span_id, call.name), self._finding(trace, span, call, kind, why))
        for span in trace.llm_spans:
            if span.finish_reason is _MALFORMED or (span.finish_reason is _CALLS and _kept_as_invalid(trace, span)):
                faults.setdefault((span.span_id, ""), self._unreadable(trace, span))
        if faults:
            return found(list(faults.values()))
        if not asked:
            return UNKNOWN if unsent_calls(trace) else CLEAR
        lengths = [len(call.arguments) for _, call in asked]
        is_judged = is_judged and any(lengths) and max(lengths) <= _READ_CHARACTERS
        return CLEAR if is_judged else UNKNOWN

    def _unfit(self, trace: Trace, span: Span, call: ToolCall) -> tuple[str, str] | None:
        """Return what is wrong with the arguments of a call, and in which words; None where nothing is known."""
        text = call.arguments
        if len(text) > _READ_CHARACTERS:
            return None
        value = decoded(text)
        if isinstance(value, str):
            value = decoded(value) if value[:1] in ("{", "[") else value
        ran = tool_spans_by_call(trace).get(call.call_id) if call.call_id else None
        has_run = ran is not None and ran.error is None
        if isinstance(value, dict):
            if has_run or not self._config.check_schemas:
                return None
            schema = offered_tools(trace, span).get(call.name)
            wrong = violation(value, schema) if schema else None
            if wrong is None or ((ran := span_of_call(trace, call)) is not None and ran.error is None):
                return None
            return _UNFIT, f"{wrong}"
        if span.finish_reason is _CUT_OFF or span.output.state is not _PRESENT or state_of(text) is _REDACTED:
            return None
        if text.lstrip()[:1] in ("{", "["):
            if value is not None or _may_be_cut(text) or _is_lenient_json(text):
                return None
        elif not _takes_an_object(offered_tools(trace, span).get(call.name)):
            return None
        if has_run and ran is not None and isinstance(decoded(arguments_of(ran)), dict):
            return None
        return _NOT_JSON, "they cannot be parsed"

    def _finding(self, trace: Trace, span: Span, call: ToolCall, kind: str, why: str) -> Finding:
        tool = span_of_call(trace, call)
        told = None if trace.tool_spans else _told_error(trace, call)
        has_failed = told is not None or (tool is not None and tool.error is not None)
        ran_later = tool is not None and _ran_later(trace, tool)
        is_quiet = ran_later or not has_failed if kind == _UNFIT else ran_later or (tool is not None and not has_failed)
        name = call.name or "a tool"
        return finding(
            trace,
            self,
            culprit=span,
            others=[other for other in (tool, told) if other is not None],
            kind=FindingKind.FAULT,
            severity=Severity.LOW if is_quiet else Severity.MEDIUM,
            title=f"{call.name or 'A tool'} is called with {_WORDS[kind]}",
            rationale=f"{label_of(span)} asked for {name} with {quoted(call.arguments)}: {why}."
            + (" A later call of it went through." if ran_later else ""),
            target=call.name or "tool",
            error_type=kind,
        )

    def _unreadable(self, trace: Trace, span: Span) -> Finding:
        return finding(
            trace,
            self,
            culprit=span,
            kind=FindingKind.FAULT,
            severity=Severity.MEDIUM,
            title=f"{label_of(span)} writes a tool call that cannot be read",
            rationale=f"{label_of(span)} stopped after {span.duration_ms:.0f} ms to call a tool; its client could not "
            "parse the call and dropped it.",
            error_type="malformed_call",
        )


def _ran_later(trace: Trace, tool: Span) -> bool:
    """Return whether the same tool was called again after a failed call, and did not fail."""
    latest: dict[str, int] | None = trace.derived.get("latest_sound_calls")
    if latest is None:
        # in start order: the last start of each name stays
        latest = trace.derived["latest_sound_calls"] = {
            span.tool.name: span.start_ns for span in trace.tool_spans if span.error is None and span.tool is not None
        }
    name = tool.tool.name if tool.tool is not None else ""
    return name in latest and latest[name] >= tool.end_ns


def _told_error(trace: Trace, call: ToolCall) -> Span | None:
    """Return the LLM span that was told that this call failed: where there are no tool spans, all that tells of it."""
    told = told_of_calls(trace).get(call.call_id)
    return told.span if told is not None and error_text(told.text) is not None else None


def _kept_as_invalid(trace: Trace, span: Span) -> bool:
    """Return whether a model asked for tools, none of the calls was kept, and a span above tells of an invalid one."""
    if span.output.tool_calls or span.output.text or span.output.state is not _PRESENT:
        return False
    parent = trace.by_id.get(span.parent_span_id)
    for _ in range(3):
        if parent is None:
            return False
        # the last message is the one that was just made: earlier invalid calls stand before it
        text = parent.output.text[-_READ_CHARACTERS:] if parent.output.state is _PRESENT else ""
        if _INVALID_CALLS.search(text):
            return True
        parent = trace.by_id.get(parent.parent_span_id)
    return False


def _takes_an_object(schema: object) -> bool:
    return isinstance(schema, dict) and bool(schema.get("properties"))


def _is_lenient_json(text: str) -> bool:
    """Return whether Python's parsers take it.

    That of JSON takes line breaks in strings and NaN, which many clients let pass; that of literals takes what
    instrumentations write that call `str` on arguments.
    """
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    else:
        return True
    if len(text) > _LITERAL_CHARACTERS:
        return True
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return False
    return True


def _may_be_cut(text: str) -> bool:
    """Return whether a limit on attributes may have cut the text: these are powers of two and thousands."""
    length = len(text)
    if text.endswith(("...", "…")):
        return True
    return length >= 128 and (length & (length - 1) == 0 or length % 1000 == 0 or (length + 1) % 1024 == 0)
