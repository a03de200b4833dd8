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
