"""An agent plans to look something up, and answers without having done anything."""

import re
from collections.abc import Sequence
from typing import Final

import pydantic

from core.model.finding import Dimension, Finding, FindingKind, Severity
from core.model.span import Content, ContentState, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of, quoted, target_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.steps import Step, steps_of

_PRESENT: Final = ContentState.PRESENT
# numbered, whatever is set in bold: "1. …", "Step 2: …", "**3.** …", "### Step 4 - …", "Schritt 5: …"
_ITEM: Final = re.compile(
    r"^[\s#*]{0,6}(?:(?:step|schritt|étape|paso|passo|stap|шаг)\s+)?\d{1,2}(?:\*\*)?\s?[.):、\-–](?:\*\*)?\s*(\S.{2,399})$",
    re.MULTILINE | re.IGNORECASE,
)
# work outside of the model's head; "compute", "compare", "conclude" can be done inside it
_LOOKUP: Final = re.compile(
    r"\b(?:search|look(?:ing)?[ -]?up|locat\w+|retriev\w+|fetch\w*|visit\w*|brows\w+|download\w*|inspect\w*"
    r"|quer(?:y|ies|ying)|consult\w*|ask the|access\w*|open the|extract\w*|collect\w*|find the|research(?:ing)?"
    r"|investigat\w*|scrap(?:e|ing)|crawl\w*|navigat\w*|googl\w*|online|websites?|web ?pages?"
    r"|(?:gather|obtain)\w* (?:\S+ ){0,8}(?:data\w*|information|details|facts|evidence|sources?|from)"
    r"|(?:reliable|trusted|official|authoritative|credible|reputable|external|primary|historical|multiple) sources?"
    # German, French, Spanish, Italian, Portuguese, Dutch
    r"|suche\w*|recherchier\w*|nachschlagen|abrufen|herunterlad\w*|recherch\w*|cherche\w*|récupér\w*|télécharg\w*"
    r"|busc(?:ar|a|o)|recuper\w*|descarg\w*|investig\w*|cerc(?:are|a|o)|pesquis\w*|baix(?:ar|e)|zoek\w*|raadpleeg\w*|ophalen)\b"
    r"|搜索|查找|查询|检索|下载|検索|調べ|ダウンロード|검색|조회",
    re.IGNORECASE,
)
# how frameworks call the tool that only hands over the answer
_ANSWERING: Final = re.compile(r"final_?answer|^finish$|^submit|^respond|^answer$|^done$|^terminate$", re.IGNORECASE)


class SkippedPlanConfig(CheckConfig):
    """What a plan is."""

    min_items: int = pydantic.Field(default=3, ge=2)
    """Numbered items that make a plan; a question back with two options is none."""
    min_lookups: int = pydantic.Field(default=2, ge=1)
    """Items that need a source outside of the model."""
    max_characters: int = pydantic.Field(default=8_000, ge=100)
    """The end of an answer that is read: plans close it."""


class SkippedPlan:
    """Found where all of these hold for an agent (a span of that kind, or a trace that records tools):

    - an LLM answer of its own is a plan: `min_items` numbered items, `min_lookups` of them naming work that needs a
      source outside of the model (search, retrieve, visit, ask, …);
    - at least one more LLM call followed, and in its whole run the agent ran no tool, no agent, no retrieval and no
      request of any kind, nor asked for a tool; a tool that merely hands over the answer is none;
    - the agent has ended, without an error, and the trace is closed.

    Severity low. The culprit is the last answer; the plan stands beside it.

    Unknown where no answers were sent. Not findings: plans that were the answer (nothing follows them); plans of which
    a part was done; a plan renewed after work, whose rest is to answer; instrumentations that record no tools: the
    trace must show at least one tool, were it the one that hands over the answer.
    """

    name = "skipped_plan"
    dimension = Dimension.ADHERENCE
    needs = (Need.CONTENT, Need.TOOLS)

    def __init__(self, config: SkippedPlanConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return one pattern for each agent that skipped its plan."""
        if not trace.is_final or len(trace.llm_spans) < 2 or not trace.tool_spans:
            return CLEAR
        if not any(_may_list(span.output) for span in trace.llm_spans):
            is_told = any(span.output.state is _PRESENT for span in trace.llm_spans)
            return CLEAR if is_told else UNKNOWN
        findings: list[Finding] = []
        unseen = 0
        for owner, steps in steps_of(trace).items():
            if len(steps) < 2:
                continue
            if all(step.llm.output.state is not _PRESENT for step in steps):
                unseen += 1
                continue
            agent = trace.by_id.get(owner)
            if agent is not None and agent.error is not None:
                continue
            plan = self._plan(steps)
            if plan is not None:
                findings.append(self._finding(trace, agent, plan, steps[-1]))
        return found(findings, otherwise=UNKNOWN if unseen else CLEAR)

    def _plan(self, steps: Sequence[Step]) -> Step | None:
        """Return the agent's first plan, where nothing was done before it or after."""
        if any(_did_something(step) for step in steps):
            return None
        # a plan needs a step behind it
        return next((step for step in steps[:-1] if self._is_plan(step.llm)), None)

    def _is_plan(self, llm: Span) -> bool:
        text = llm.output.text
        if llm.output.state is not _PRESENT or "\n" not in text:
            return False
        items = _ITEM.findall(text[-self._config.max_characters :])
        if len(items) < self._config.min_items:
            return False
        return sum(_LOOKUP.search(item) is not None for item in items) >= self._config.min_lookups

    def _finding(self, trace: Trace, agent: Span | None, plan: Step, last: Step) -> Finding:
        owner = agent or last.llm
        return finding(
            trace,
            self,
            culprit=last.llm,
            others=[plan.llm, *([agent] if agent is not None else [])],
            kind=FindingKind.PATTERN,
            severity=Severity.LOW,
            title=f"{label_of(owner)} answers without carrying out its plan",
            rationale=f"the plan names look-ups, and nothing was run. The plan: {quoted(plan.llm.output.text)}",
            target=target_of(owner),
            publish_at_once=False,
        )


def _may_list(output: Content) -> bool:
    """Return whether an answer may hold a list of several items, at a hundredth of the cost of reading it."""
    text = output.text
    if "\n" not in text:
        return False
    return "\n2" in text or "\n 2" in text or "tep 2" in text or "\n**2" in text or " 2:" in text


def _did_something(step: Step) -> bool:
    asked = [call.name for call in step.llm.output.tool_calls]
    done = [span.tool.name if span.tool is not None and span.tool.name else span.name for span in step.work]
    return any(not _ANSWERING.search(name) for name in (*asked, *done))
