"""JSON was asked for, and the answer is no JSON or does not follow its schema."""

import json
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

import msgspec

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import NO_DETAILS, ContentState, FinishReason, Span, SpanError, SpanKind
from core.model.trace import Trace
from detector.checks.errors import blames_answer, message_of
from detector.checks.finding import finding, label_of, quoted
from detector.checks.json_schema import NotJudgedError, Violation, violation
from detector.checks.model_calls import is_wrapper
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.tool_text import decoded

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
_LLM, _AGENT = SpanKind.LLM, SpanKind.AGENT
# how titles name the two faults, and fingerprints
_NO_JSON: Final = ("answers with text that is not JSON", "not_json")
_BROKEN: Final = ("answers with JSON that breaks its schema", "schema")
_BREAKS: Final = re.compile(r"schema|ZodError|ValidationError|validation error|invalid_type", re.IGNORECASE)
# these reasons have checks of their own: one failure, one report
_STOPPED: Final = frozenset(
    {
        FinishReason.LENGTH,
        FinishReason.CONTENT_FILTER,
        FinishReason.TOOL_CALLS,
        FinishReason.MALFORMED_CALL,
        FinishReason.ERROR,
    }
)
_JSON_TYPES: Final = frozenset({"json", "json_object", "json_schema", "object", "array", "application/json"})
# a block of code around the JSON, which nearly all parsers of model output take off
_FENCED: Final = re.compile(r"```[\w-]*+(.*?)```", re.DOTALL)
# thoughts that a model writes before its answer, which clients of such models take off
_THOUGHTS: Final = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_LENIENT: Final = json.JSONDecoder(strict=False)
_BLANKS: Final = re.compile(r"\s*")
# an answer is parsed up to this size; a longer one is not judged
_READ_CHARACTERS: Final = 500_000


class OutputSchemaConfig(CheckConfig):
    """How strictly an answer is read."""

    allow_fences: bool = True
    """JSON within a block of code (```json) passes. False: only bare JSON does."""


class OutputSchema:
    """Found where all of these hold for a span:

    - it is an LLM call that did not fail, and no LLM span stands below it;
    - its client says that JSON was asked for: an output type, a response format or a schema;
    - its answer was sent whole, is neither blank nor a refusal, and asks for no tools; it ended by itself;
    - the answer is no JSON, or it does not follow the schema, where the call or the span around it sent one.

    Found also where a span failed because it could not use an answer: a parser or validator threw (Vercel AI's
    `NoObjectGenerated`, LangChain's `OutputParserException`, zod's and pydantic's errors of a model call). The finding
    is on the call that wrote the answer.

    Severity: medium. One finding a span.

    Unknown where JSON was asked for and the answer was not sent, is longer than 500,000 characters, or takes its schema
    beyond 10,000 steps or 16 levels.

    Not findings: JSON in a block of code (unless `allow_fences` is off); JSON asked for in the prompt's words alone,
    which no field tells; answers cut by a token limit (`output_cut`) or a filter (`content_filter`); several answers to
    one request, each of them JSON; thoughts before the JSON (<think>); parts of schemas that only a whole validator
    could judge (patterns, formats).
    """

    name = "output_schema"
    dimension = Dimension.CORRECTNESS
    needs = (Need.OUTPUT_SCHEMA, Need.CONTENT)

    def __init__(self, config: OutputSchemaConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each answer that is not what was asked for."""
        faults: list[Finding] = []
        is_unknown = False
        for span in trace.llm_spans:
            details = span.details
            if details is NO_DETAILS or not (details.output_type or details.output_schema) or span.error is not None:
                continue
            schema = _schema_of(details.output_schema or _asked_above(trace, span))
            if not _is_json_asked(details.output_type, details.output_schema) or _is_no_answer(span):
                continue
            if span.output.state is not _PRESENT or len(span.output.text) > _READ_CHARACTERS:
                is_unknown = True
            elif not is_wrapper(trace, span):
                try:
                    faults += self._judged(trace, span, schema)
                except NotJudgedError:
                    is_unknown = True
        for span in trace.leaf_faults:
            error = span.error
            if error is not None and blames_answer(span, error):
                faults += self._thrown(trace, span, error, {fault.span_ids[0] for fault in faults})
        return found(faults, otherwise=UNKNOWN if is_unknown else CLEAR)

    def _thrown(self, trace: Trace, span: Span, error: SpanError, known: Set[str]) -> list[Finding]:
        writer = _writer(trace, span)
        if writer.span_id in known:
            return []
        breaks = _BREAKS.search(error.error_type) or _BREAKS.search(error.message[:_READ_CHARACTERS])
        words, kind = _BROKEN if breaks else _NO_JSON
        said = f"What asked for JSON could not use the answer: {quoted(message_of(error))}."
        return [self._finding(trace, writer, words, said, kind, others=() if writer is span else (span,))]

    def _judged(self, trace: Trace, span: Span, schema: Mapping[str, Any] | None) -> list[Finding]:
        values = _values(span.output.text, allow_fences=self._config.allow_fences)
        if not values:
            said = f"JSON was asked for; the answer is not: {quoted(span.output.text)}"
            return [self._finding(trace, span, _NO_JSON[0], said, _NO_JSON[1])]
        wrong = _violation(values[0], schema) if schema is not None else None
        if wrong is None:
            return []
        said = f"The answer is JSON and does not follow the schema that was asked for: {wrong}."
        return [self._finding(trace, span, _BROKEN[0], said, _BROKEN[1])]

    def _finding(
        self, trace: Trace, span: Span, words: str, rationale: str, kind: str, *, others: Iterable[Span] = ()
    ) -> Finding:
        return finding(
            trace,
            self,
            culprit=span,
            others=others,
            kind=FindingKind.FAULT,
            severity=Severity.MEDIUM,
            title=f"{label_of(span)} {words}",
            rationale=rationale,
            error_type=kind,
            publish_at_once=False,
        )


def _asked_above(trace: Trace, span: Span) -> str:
    """Return the schema that the span around a call names: Vercel AI writes it on `ai.generateObject` alone."""
    parent = trace.by_id.get(span.parent_span_id) if span.parent_span_id else None
    return parent.details.output_schema if parent is not None and parent.kind is _AGENT else ""


def _writer(trace: Trace, span: Span) -> Span:
    """Return the call whose answer could not be used: the last one within the failed span, else the last before it."""
    if span.kind is _LLM:
        return span
    children = trace.children
    within = children.get(span.span_id, ())
    calls = [each for child in within for each in (child, *children.get(child.span_id, ()))]
    calls += [each for each in children.get(span.parent_span_id, ()) if each.end_ns <= span.start_ns]
    written = (each for each in calls if each.kind is _LLM and each.error is None)
    return max(written, key=lambda each: each.start_ns, default=span)


def _violation(value: object, schema: Mapping[str, Any]) -> Violation | None:
    """Return how a value breaks a schema; of a list asked for by the schema of its items (Vercel AI), each item."""
    wrong = violation(value, schema)
    items = value.get("elements") if isinstance(value, dict) and len(value) == 1 else None
    if wrong is None or not isinstance(items, list):
        return wrong
    return next((found for item in items if (found := violation(item, schema)) is not None), None)


def _is_no_answer(span: Span) -> bool:
    output = span.output
    if output.tool_calls or output.refusal or span.finish_reason in _STOPPED:
        return True
    return output.state is _PRESENT and not output.text.strip()


def _is_json_asked(output_type: str, schema: str) -> bool:
    return output_type in _JSON_TYPES if output_type else bool(schema)


def _schema_of(raw: str) -> Mapping[str, Any] | None:
    """Return the JSON Schema in what was sent: bare, or within a response format; None where there is none."""
    found = decoded(raw) if raw else None
    for _ in range(3):
        if not isinstance(found, dict):
            return None
        inner = next(
            (found[key] for key in ("json_schema", "schema", "format") if isinstance(found.get(key), dict)), None
        )
        if inner is None or "properties" in found:
            break
        found = inner
    return found if isinstance(found, dict) and ("properties" in found or "$ref" in found or "items" in found) else None


def _values(text: str, *, allow_fences: bool) -> list[object]:
    """Return the JSON values that an answer consists of; empty where it is no JSON."""
    if "<think" in text[:_READ_CHARACTERS]:
        text = _THOUGHTS.sub("", text)
    if allow_fences and "```" in text:
        fenced = _FENCED.findall(text)
        text = "\n".join(fenced) if fenced else text
    try:
        return [msgspec.json.decode(text)]
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    # several choices stand one after the other; Python's parser also takes NaN and line breaks in strings
    text, values, at = text.strip(), [], 0
    try:
        while at < len(text):
            value, at = _LENIENT.raw_decode(text, at)
            values.append(value)
            at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return []
    return values
