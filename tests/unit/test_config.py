"""Configuration: precedence, and every problem at once with its key."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from clearwatch.cli import main
from clearwatch.config import ConfigError, load
from clearwatch.config_example import example


def test_defaults_work_as_they_are() -> None:
    config = load(environ={})
    assert config.collector.grpc.listen == "127.0.0.1:4317"
    assert config.detector.assemble.root_grace_s == 5
    assert config.triage.model == ""


def test_a_variable_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text("detector: {assemble: {root_grace_s: 7, idle_s: 900}}\n")
    environ = {"CLEARWATCH_CONFIG": str(path), "CLEARWATCH__DETECTOR__ASSEMBLE__ROOT_GRACE_S": "2.5"}
    assemble = load(environ=environ).detector.assemble
    assert (assemble.root_grace_s, assemble.idle_s) == (2.5, 900)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text("colector: {}\nlog: {kind: redis, max_bites: 3}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={"CLEARWATCH__OPS__LISTEN": "nowhere"})
    text = str(caught.value)
    for key in ("colector: unknown key", "log.kind", "log.max_bites: unknown key", "CLEARWATCH__OPS__LISTEN"):
        assert key in text


RULE = """\
detector:
  rules:
    - name: a_rule
      dimension: cost
      field: cost_usd
      op: gt
      value: 1
"""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"{RULE}      titel: t\n", "detector.rules.0.titel: unknown key; was title meant? ({path}, line 8)"),
        (f"{RULE}      titel: t\n", "detector.rules.0.title: is missing: it has no default ({path}, line 3)"),
        (RULE.replace("cost\n", "costs\n", 1), "dimension: must be 'correctness', "),
        (RULE.replace("cost\n", "costs\n", 1), "; was cost meant? ({path}, line 4)"),
        (RULE.replace("cost_usd", "cost_us"), "there is no field cost_us (was cost_usd meant?)"),
        ("collector: {validat: full}", "collector.validat: unknown key; was validate meant?"),
        ("detector: {checks: {retrys: {}}}", "detector.checks.retrys: unknown key; was retries meant?"),
        ("detector:\n  rules:\n", "detector.rules: must be a list ({path}, line 2)"),
        ("detector: {rules: [cost]}", "detector.rules.0: must hold keys with their values"),
        ("detector: {budgets: [{component: retrieval, max_ms: 1}]}", "detector.budgets.0.component: must be 'llm', "),
        ("detector: {budgets: [{component: retrieval, max_ms: 1}]}", ", or must be 'trace'; was retriever meant?"),
        ("detector: {limits: [{name: a_b, metric: calls, max: -1}]}", "max: must be greater than or equal to 0"),
        ("detector: {limits: [{name: A, metric: calls, max: 1}]}", "detector.limits.0.name: must match ^[a-z]"),
        ("detector: {limits: [{name: a_b, metric: calls, max: 1, of: traces, by: model}]}", "a model is of calls"),
        ("detector: {suppressions: [{check: retries, until: soon, reason: x}]}", "until: must be a day (2026-12-01)"),
        (
            "detector: {suppressions: [{check: retries, until: 2026-12-01T08:00:00, reason: x}]}",
            "until: must have its timezone",
        ),
    ],
)
def test_a_problem_says_the_key_what_it_must_be_and_where_it_stands(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})
    assert told.format(path=path) in str(caught.value)


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text("detector:\n  max_age_s: 3\nops: {}\ndetector:\n  rules: []\n")
    with pytest.raises(ConfigError, match=r"detector: stands here twice, on lines 1 and 4 of .*clearwatch\.yaml"):
        load(str(path), environ={})


def test_anchors_and_merged_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text(
        "detector:\n  limits:\n    - &first {name: one_a, metric: calls, max: 1}\n    - {<<: *first, name: two_b}\n"
    )
    assert [limit.name for limit in load(str(path), environ={}).detector.limits] == ["one_a", "two_b"]


def test_a_variable_that_is_no_yaml_is_refused_as_a_variable() -> None:
    with pytest.raises(ConfigError, match=r"detector\.rules: not valid YAML: .* \(from CLEARWATCH__DETECTOR__RULES\)"):
        load(environ={"CLEARWATCH__DETECTOR__RULES": "[{"})
    with pytest.raises(ConfigError, match=r"was baselines meant\? \(from CLEARWATCH__DETECTOR__BASELINE__FACTOR\)"):
        load(environ={"CLEARWATCH__DETECTOR__BASELINE__FACTOR": "3"})


def test_a_problem_never_tells_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"CLEARWATCH__OPS__TOKEN": "[hunter2]", "CLEARWATCH__SINKS__RECORDS__URL": "mysql://u:hunter2@h"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"clearwatch\.yaml"):
        load(str(path), environ={})


def test_a_judge_is_refused_while_there_is_none() -> None:
    with pytest.raises(ConfigError, match="rule checks only"):
        load(environ={"CLEARWATCH__TRIAGE__MODEL": "gpt-5-mini"})


def test_check_config_exits_2_with_the_key(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text("ops: {lissten: x}\n")
    answer = CliRunner().invoke(main, ["check-config", "--config", str(path)])
    assert answer.exit_code == 2
    assert "ops.lissten" in answer.output
    assert CliRunner().invoke(main, ["check-config"]).exit_code == 0


def test_check_config_names_suppressions_that_are_over(tmp_path: Path) -> None:
    path = tmp_path / "clearwatch.yaml"
    path.write_text(
        "detector:\n  suppressions:\n"
        "    - {check: retries, until: 2099-01-01, reason: later}\n"
        "    - {check: retries, until: 2020-01-01, reason: '[old] index'}\n"
    )
    answer = CliRunner().invoke(main, ["check-config", "--config", str(path)])
    assert answer.exit_code == 0
    assert "detector.suppressions.1 is over since 2020-01-01 00:00 UTC: [old] index" in answer.output
    assert "later" not in answer.output


def test_the_example_file_is_what_the_code_says_and_can_be_used() -> None:
    path = Path(__file__).parents[2] / "deploy" / "clearwatch.example.yaml"
    assert path.read_text() == example(), "python -m clearwatch.config_example > deploy/clearwatch.example.yaml"
    assert load(str(path), environ={}) == load(environ={})


def test_the_example_explains_every_key() -> None:
    path = Path(__file__).parents[2] / "deploy/clearwatch.example.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    unexplained = [
        line.strip()
        for above, line in pairwise(lines)
        if re.match(r" +\w+: \S|\w+: \S", line) and not above.lstrip().startswith("#")
    ]
    assert unexplained == []
