"""Rules by configuration: what they find, what they cannot tell, and which are refused."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from clearwatch.config import ConfigError, load
from core import dialects, topics
from core.dialects import decoder
from core.log.port import StoredRecord
from core.model.finding import Finding, FindingRecord
from core.model.span import Content, ContentState, Details, Span, SpanKind, Usage
from core.model.trace import CloseReason, Trace
from core.telemetry import Telemetry
from detector.catalogue import catalogue
from detector.checks.config import ChecksConfig
from detector.checks.port import Answer
from detector.checks.registry import Checks
from detector.config import DetectorConfig
from detector.rules.fields import SPAN_FIELDS, TRACE_FIELDS
from detector.rules.rule import rule_checks
from detector.stages import stages
from tests.unit.checks_kit import Story, failed, present
from tests.unit.dialect_spans import encoded, read_span

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
RULE = {"name": "mine", "title": "Mine is wrong", "dimension": "execution"}


def answer(trace: Trace, **rule: Any) -> Answer:
    (check,) = rule_checks(DetectorConfig.model_validate({"rules": [{**RULE, **rule}]}).rules)
    return check.inspect(trace)


def of(*spans: dict[str, Any], kind: SpanKind = SpanKind.LLM) -> Trace:
    """Return a trace of these spans below a root."""
    story = Story()
    root = story.root()
    for facts in spans:
        story.add(facts.pop("kind", kind), "step", parent=root.span_id, **facts)
    return story.trace()


@pytest.mark.parametrize(
    ("op", "value", "found"),
    [
        (">", 100, True),
        (">", 500, False),
        ("ge", 500, True),
        ("<", 501, True),
        ("le", 499, False),
        ("==", 500, True),
        ("ne", 500, False),
        ("in", [1, 500], True),
        ("exists", None, True),
        ("exists", False, False),
    ],
)
def test_a_field_is_compared(op: str, value: Any, found: bool) -> None:
    trace = of({"usage": Usage(500, 3)})
    assert answer(trace, field="input_tokens", op=op, value=value).outcome == ("found" if found else "clear")


def test_text_matches_anywhere_and_is_compared_whole() -> None:
    trace = of({"model": "gpt-4o-mini"})
    assert answer(trace, field="model", op="matches", value="4o").outcome == "found"
    assert answer(trace, field="model", op="==", value="gpt-4o").outcome == "clear"
    assert answer(trace, field="model", op="in", value=["gpt-4o-mini", "o3"]).outcome == "found"


def test_what_was_not_sent_is_unknown_and_never_clear() -> None:
    for content in (Content(), Content(state=ContentState.REDACTED, text="[REDACTED]")):
        assert answer(of({"output": content}), field="output", op="matches", value="x").outcome == "unknown"
    assert answer(of({"usage": None}), field="input_tokens", op=">", value=1).outcome == "unknown"
    assert answer(of({"usage": None}), field="input_tokens", op="exists", value=False, kind="llm").outcome == "found"
    assert answer(
        of({"details": Details(documents=())}, kind=SpanKind.RETRIEVER), field="documents", op="<", value=1
    ).findings


def test_fields_that_a_span_has_not_by_nature_make_nothing_unknown() -> None:
    trace = of({"usage": Usage(1, 1)}, {"kind": SpanKind.CHAIN}, {"kind": SpanKind.HTTP})
    assert answer(trace, field="input_tokens", op=">", value=10).outcome == "clear"
    assert answer(trace, field="input_tokens", op=">", value=10, kind=["llm", "chain"]).outcome == "unknown"


def test_kind_service_and_where_say_which_spans_are_meant() -> None:
    trace = of(
        {"duration_ms": 900, "service": "shop", "error": failed()},
        {"duration_ms": 900, "service": "travel"},
        {"duration_ms": 900, "service": "shop", "kind": SpanKind.TOOL},
    )
    rule = {"field": "duration_ms", "op": ">", "value": 500, "kind": "llm", "service": "shop"}
    (finding,) = answer(trace, **rule).findings
    assert finding.span_ids == (trace.spans[1].span_id,)
    healthy = [{"field": "failed", "op": "==", "value": False}]
    assert answer(trace, **rule, where=healthy).outcome == "clear"


def test_one_finding_tells_of_all_spans_of_one_target() -> None:
    trace = of(*({"duration_ms": 900, "model": "a"} for _ in range(5)), {"duration_ms": 900, "model": "b"})
    findings = answer(trace, field="duration_ms", op=">", value=500, kind="llm").findings
    assert [(len(each.span_ids), each.target) for each in findings] == [(5, "llm:a"), (1, "llm:b")]
    assert findings[0].title == "Mine is wrong"
    assert findings[0].rationale == (
        "duration_ms is 900; the rule finds duration_ms > 500; so it is on 5 spans of this trace."
    )


def test_a_rule_of_traces_speaks_of_the_whole() -> None:
    trace = of({"usage": Usage(500, 3)}, {"usage": Usage(600, 3)})
    rule = {"field": "trace.total_tokens", "op": ">", "value": 1_000}
    (finding,) = answer(trace, **rule).findings
    assert finding.span_ids == (trace.spans[0].span_id,)
    assert answer(trace, **{**rule, "value": 2_000}).outcome == "clear"
    assert answer(trace, **rule, service="other").outcome == "clear"
    assert answer(of({}), **rule).outcome == "unknown"


def test_what_a_trace_lacks_is_said_only_when_it_is_whole() -> None:
    story = Story()
    story.root()
    rule = {"field": "trace.llm_calls", "op": "<", "value": 1}
    assert answer(story.trace(), **rule).outcome == "found"
    unfinished = story.trace(is_final=False, close_reason=CloseReason.PROVISIONAL)
    assert answer(unfinished, **rule).outcome == "unknown"
    assert answer(story.trace(is_fragment=True), **rule).outcome == "unknown"


def attributes(trace_value: Any, *, resource: dict[str, Any] | None = None) -> Span:
    sent = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund"}
    if trace_value is not None:
        sent["app.amount"] = trace_value
    return read_span(sent, resource=resource, decode=decoder(("app.amount", "k8s.namespace.name")))


@pytest.mark.parametrize(
    ("sent", "outcome"), [(501, "found"), (500.5, "found"), ("900", "found"), (500, "clear"), ("much", "unknown")]
)
def test_an_attribute_of_ones_own_is_compared_as_it_was_sent(sent: Any, outcome: str) -> None:
    span = attributes(sent)
    trace = Trace(trace_id=span.trace_id, spans=[span])
    assert answer(trace, attribute="app.amount", op=">", value=500, kind="tool").outcome == outcome


def test_an_attribute_is_expected_only_where_the_rule_says_of_which_spans() -> None:
    span = attributes(None)
    trace = Trace(trace_id=span.trace_id, spans=[span])
    rule = {"attribute": "app.amount", "op": ">", "value": 500}
    assert answer(trace, **rule).outcome == "clear"
    assert answer(trace, **rule, kind="tool").outcome == "unknown"
    assert answer(trace, **rule, where=[{"field": "tool", "op": "==", "value": "refund"}]).outcome == "unknown"


def test_attributes_of_the_resource_count_where_the_span_has_none() -> None:
    span = attributes(None, resource={"k8s.namespace.name": "prod", "app.amount": 7})
    assert span.extra == {"k8s.namespace.name": "prod", "app.amount": 7}
    assert attributes(9, resource={"app.amount": 7}).extra == {"app.amount": 9}


def test_nothing_is_read_that_nobody_asked_for() -> None:
    assert decoder(()) is dialects.decode
    assert attributes(None).extra is None


def test_rules_run_among_the_checks_and_are_listed(tmp_path: Path) -> None:
    rule = {**RULE, "field": "duration_ms", "op": ">", "value": 500, "kind": "llm"}
    config = DetectorConfig.model_validate({"rules": [rule, {**rule, "name": "off", "enabled": False}]})
    checks = Checks(ChecksConfig(), Telemetry(), extra=rule_checks(config.rules))
    assert checks.inspect(of({"duration_ms": 900})).answers["mine"] == "found"
    listed = {check.name: check for check in catalogue(config) if check.group == "rules"}
    assert listed["mine"].thresholds == {"duration_ms": "> 500", "kind": ("llm",)}
    assert (listed["mine"].enabled, listed["off"].enabled) == (True, False)


def test_bad_rules_are_refused_all_at_once_each_with_its_key(tmp_path: Path) -> None:
    rules = [
        {**RULE, "name": "failed_span", "field": "duration_ms", "op": ">", "value": 1},
        {**RULE, "name": "Bad Name", "field": "duration_ms", "op": ">", "value": 1},
        {**RULE, "field": "durration", "op": ">", "value": 1},
        {**RULE, "field": "duration_ms", "op": "", "value": 1},
        {**RULE, "field": "model", "op": ">", "value": 1},
        {**RULE, "field": "model", "op": "matches", "value": "("},
        {**RULE, "field": "model", "op": "in", "value": "gpt"},
        {**RULE, "op": "==", "value": 1},
        {**RULE, "field": "model", "attribute": "x", "op": "==", "value": 1},
        {**RULE, "field": "failed", "op": "==", "value": 1},
        {**RULE, "field": "model", "value": 1},
        {**RULE, "field": "model", "where": [{"field": "trace.spans", "op": ">", "value": 3}]},
        {**RULE, "attribute": "app.team", "op": "exists", "value": False},
        {**RULE, "field": "model", "kind": "robot"},
        {**RULE, "field": "model", "dimension": "taste", "severity": "bad", "tresholds": 3},
    ]
    path = tmp_path / "clearwatch.yaml"
    path.write_text(json.dumps({"detector": {"rules": rules}}))
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    said = caught.value.problems
    for number, reason in (
        (1, "name"),
        (2, "there is no field durration"),
        (3, 'write ">" or gt'),
        (4, "needs a number, and this field is text"),
        (5, "no regular expression"),
        (6, "must be a list"),
        (7, "one of `attribute` and `field`"),
        (8, "only one"),
        (9, "must be true or false"),
        (10, "must be true or false for exists"),
        (11, "only `field` may be of a trace"),
        (12, "must say which spans should have app.team"),
        (13, "kind"),
        (14, "dimension"),
        (14, "severity"),
        (14, "tresholds: unknown key"),
    ):
        assert any(f"detector.rules.{number}" in line and reason in line for line in said), (number, reason, said)
    path.write_text(json.dumps({"detector": {"rules": rules[:1]}}))
    with pytest.raises(ConfigError, match="failed_span is taken"):
        load(str(path), environ={})


def test_an_answer_does_not_depend_on_how_long_a_text_is(tmp_path: Path) -> None:
    trace = of({"output": present("x" * 2_000_000 + "needle")})
    assert answer(trace, field="output", op="matches", value="needle").outcome == "unknown"
    assert answer(trace, field="output", op="matches", value="xx").outcome == "found"


def documented(*, section: str) -> dict[str, Any]:
    """Return the YAML of a section of the documentation."""
    text = DOCS.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    found: dict[str, Any] = yaml.safe_load(block[1])
    return found


def test_the_documented_rules_are_accepted_and_all_fields_named() -> None:
    config = DetectorConfig.model_validate(documented(section="Rules")["detector"])
    assert [rule.name for rule in config.rules] == ["big_refund", "wrong_region", "dear_trace"]
    text = DOCS.read_text(encoding="utf-8")
    assert [field for field in (*SPAN_FIELDS, *TRACE_FIELDS) if f"`{field}`" not in text] == []


def test_a_documented_rule_finds_its_attribute_on_the_way_through_assembly() -> None:
    config = DetectorConfig.model_validate(documented(section="Rules")["detector"])
    stage = stages(config, Telemetry())["assemble"]
    processor = stage.processor(
        0, dict.fromkeys((topics.SPANS, topics.TRACES, topics.FINDINGS, topics.MEASUREMENTS), 1)
    )
    sent = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund", "app.refund.amount_usd": 900}
    processor.process([StoredRecord(topic=topics.SPANS, partition=0, offset=0, log_time_ms=1_000, value=encoded(sent))])
    produced = processor.tick(60.0).produce
    findings = [msgspec.msgpack.decode(each.value, type=FindingRecord) for each in produced if each.topic == "findings"]
    assert [(each.check, each.severity) for each in findings if isinstance(each, Finding)] == [("big_refund", "high")]
