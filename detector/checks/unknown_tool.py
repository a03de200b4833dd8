"""A model called a tool that it was not offered."""

import re
from collections.abc import Mapping, Set
from typing import Final

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Span, SpanKind, ToolCall
from core.model.trace import Trace
from detector.checks.asked_calls import asked_calls, tool_spans_by_call, unsent_calls
from detector.checks.cut_answers import writer_of
from detector.checks.errors import message_of
from detector.checks.finding import finding, label_of, quoted
from detector.checks.fingerprint import masked_name
from detector.checks.offered_tools import offered_tools
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.tool_messages import told_of_calls
from detector.checks.tool_text import error_text

# how frameworks say it: LangGraph, OpenAI agents, pydantic-ai, Strands, ADK, Vercel AI, AutoGen, MCP servers
_UNKNOWN: Final = re.compile(
    r"""
      \bunknown\ (?:tool|function)\b
    | \bno\ (?:such\ )?(?:tool|function)s?\b.{0,40}\b(?:name|named|called|found|available|exists?)\b
    | \bis\ not\ (?:a\ (?:valid|known|registered)|an\ (?:available|existing))\ (?:tool|function)\b
    | \b(?:tool|function)\ ['"`]?[\w.\-]{1,80}['"`]?\ (?:was\ |is\ )?(?:not\ (?:found|available|registered|known)
        |does\ not\ exist|does\ n[o']t\ exist)
    | \btool\ not\ found\b | \bunavailable\ (?:tool|function)\b | NoSuchTool | ToolNotFound | UnknownTool
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NAMES_ONE: Final = re.compile(r"['\"`][\w.\-]+['\"`]|(?:tool|function|name)(?: name)?:? \w")
# OpenAI agents, Spring AI: the step fails, and its message names the tool
_MISSING: Final = re.compile(
    r"""\btool\ not\ found:\ \{['"](?:tool_)?name['"]:\ ['"]([\w.\-]+)['"]
      | \btool\ ['"`]?([\w.\-]+)['"`]?\ not\ found\ in\ agent\b
      | \bno\ toolcallback\ found\ for\ tool\ name:\ ([\w.\-]+)""",
    re.VERBOSE | re.IGNORECASE,
)
# a member of an enum costs 100 ns to look up in Python 3.11
_TOOL: Final = SpanKind.TOOL
_READ_CHARACTERS: Final = 600
# failed steps whose words are searched for a call that left no other trace: later ones may be missed
_MAX_STEPS: Final = 200
# names that frameworks give to the tool by which a model hands in a structured answer
_ANSWERS: Final = ("final_result", "final_answer", "structured_output")


class UnknownToolConfig(CheckConfig):
    """Nothing to set but `enabled`."""


class UnknownTool:
    """Found where all of these hold for a call that an LLM's output asks for:

    - the tools that the model was offered were sent, and none of them has this name; or no definitions were sent, and
      the answer to the call says, in a framework's words, that there is no such tool;
    - no tool span of that name ended well, and what the model was told of the call, if anything, is an error;
    - the run went on after it (a later LLM call, or the tool's failed span): a structured answer handed in as a call is
      the last word.

    or where a step failed, and none below it, and says which tool it does not have: the calls were not sent then.

    Severity: medium where the call's answer is an error, else low. One finding for each tool and trace, on the LLM span
    that asked first.

    Unknown where models asked for tools, and for which, or what they were offered, was not sent or was cut.

    Not findings: tools by which frameworks take a structured answer (`final_result`); hosted tools that ran.
    """

    name = "unknown_tool"
    dimension = Dimension.EXECUTION
    needs = (Need.TOOLS, Need.DEFINITIONS)

    def __init__(self, config: UnknownToolConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one fault for each name that no tool has."""
        asked = asked_calls(trace)
        if not asked and not trace.leaf_faults:
            return UNKNOWN if unsent_calls(trace) else CLEAR
        faults: dict[str, Finding] = {}
        is_unknown = not asked and unsent_calls(trace) > 0
        for span, call in asked:
            tools = offered_tools(trace, span)
            is_unknown = is_unknown or not tools
            if not call.name or call.name in tools or call.name in faults or call.name.startswith(_ANSWERS):
                continue
            if _has_run(trace, call.name):
                continue
            answer = _answer_to(trace, call)
            if answer is not None and not _is_error(answer):
                continue
            said = _said(call, answer[1]) if answer is not None else ""
            if (tools or said) and (answer is not None or trace.llm_spans[-1].start_ns >= span.end_ns):
                faults[call.name] = self._finding(trace, span, call, tools, said, answer)
        for span in trace.leaf_faults:
            name = _missing_in(span)
            if name and name not in faults and span.error is not None:
                writer, call = writer_of(trace, span), ToolCall(name)
                faults[name] = self._finding(trace, writer, call, {}, message_of(span.error), (span, ""))
        return found(list(faults.values()), otherwise=UNKNOWN if is_unknown else CLEAR)

    def _finding(
        self,
        trace: Trace,
        span: Span,
        call: ToolCall,
        tools: Mapping[str, object],
        said: str,
        answer: tuple[Span, str] | None,
    ) -> Finding:
        offered = f" It was offered {quoted(', '.join(tools))}." if tools else ""
        answered = f" The answer was: {quoted(said)}" if said else ""
        return finding(
            trace,
            self,
            culprit=span,
            others=[answer[0]] if answer is not None else [],
            kind=FindingKind.FAULT,
            severity=Severity.MEDIUM if said else Severity.LOW,
            title=f"A tool is called that does not exist: {masked_name(call.name)}",
            rationale=f"{label_of(span)} asked for {call.name}.{offered}{answered}",
            target=masked_name(call.name),
        )


def _missing_in(span: Span) -> str:
    """Return the tool that a failed step says it does not have; where the calls were sent, they say the same."""
    error = span.error
    if error is None or span.kind is _TOOL:
        return ""
    found = _MISSING.search(error.message[:_READ_CHARACTERS])
    return next((name for name in found.groups() if name), "") if found is not None else ""


def _has_run(trace: Trace, name: str) -> bool:
    ran: Set[str] | None = trace.derived.get("tools_that_ran")
    if ran is None:
        ran = trace.derived["tools_that_ran"] = {
            span.tool.name
            for span in trace.tool_spans
            if span.error is None and span.tool is not None and error_text(span.output.text) is None
        }
    return name in ran


def _answer_to(trace: Trace, call: ToolCall) -> tuple[Span, str] | None:
    """Return the span that tells how a call ended, with the text: the tool's failed one, or the LLM that was told."""
    tool = tool_spans_by_call(trace).get(call.call_id)
    if tool is None:
        tool = _first_of(trace, call.name)
    if tool is not None:
        return tool, f"{tool.error.message if tool.error is not None else ''} {tool.output.text[:_READ_CHARACTERS]}"
    told = told_of_calls(trace).get(call.call_id)
    if told is not None:
        return told.span, told.text[:_READ_CHARACTERS]
    # OpenAI agents: the step fails, and no tool is called
    for span in trace.leaf_faults[:_MAX_STEPS]:
        if (
            span.error is not None
            and call.name in (text := span.error.message[:_READ_CHARACTERS])
            and _UNKNOWN.search(text)
        ):
            return span, text
    return None


def _first_of(trace: Trace, name: str) -> Span | None:
    """Return the first tool span of a name: it failed, where none of them ran."""
    found: dict[str, Span] | None = trace.derived.get("first_tool_spans")
    if found is None:
        found = trace.derived["first_tool_spans"] = {
            span.tool.name: span for span in reversed(trace.tool_spans) if span.tool is not None
        }
    return found.get(name)


def _is_error(answer: tuple[Span, str]) -> bool:
    return answer[0].kind is _TOOL or answer[0].error is not None or error_text(answer[1]) is not None


def _said(call: ToolCall, text: str) -> str:
    """Return the text where it says that there is no such tool, else an empty one.

    It names the tool, or no other: "function 'total' not found" is what a search for functions says.
    """
    head = text[:_READ_CHARACTERS]
    match = _UNKNOWN.search(head)
    if match is not None and (call.name in head or not _NAMES_ONE.search(head, match.start())):
        return text.strip()
    is_key = "KeyError" in head and any(f"{quote}{call.name}{quote}" in head for quote in "'\"")
    return text.strip() if is_key else ""
