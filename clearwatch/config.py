"""The configuration: sections put together, read from YAML and environment, refused all at once.

Order of precedence, highest first: `CLEARWATCH__SECTION__KEY` variables, the YAML file, defaults. Every problem is
reported with its key, in one `ConfigError`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from clearwatch.config_problems import Places, lines_of, problems
from clearwatch.ops.config import OpsConfig
from collector.config import CollectorConfig
from core.errors import PermanentError
from core.log.config import LogConfig
from detector.config import DetectorConfig
from detector.triage.config import TriageConfig
from sinks.config import SinksConfig

ENV_PREFIX = "CLEARWATCH__"
ENV_FILE = "CLEARWATCH_CONFIG"


class Config(BaseModel):
    """Everything that can be set, with defaults that work as they are."""

    # some values are secrets: what was wrong is told without them
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    collector: CollectorConfig = CollectorConfig()
    log: LogConfig = LogConfig()
    detector: DetectorConfig = DetectorConfig()
    triage: TriageConfig = TriageConfig()
    sinks: SinksConfig = SinksConfig()
    ops: OpsConfig = OpsConfig()


class ConfigError(PermanentError):
    """The configuration cannot be used; `problems` holds one line for each key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("configuration refused:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


def load(path: str | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a YAML file (or `CLEARWATCH_CONFIG`, or none) with the environment over it.

    Raises ConfigError, with every problem found.
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get(ENV_FILE) or None
    values, places = _read(path) if path else ({}, Places())
    _overlay(values, environ, places)
    try:
        return Config.model_validate(values)
    except ValidationError as exc:
        raise ConfigError(problems(exc.errors(), Config, places)) from exc


def _read(path: str) -> tuple[dict[str, Any], Places]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines, twice = lines_of(node)
        values = None if node is None else loader.construct_document(node)
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError([f"{path}: not valid YAML: {exc}"]) from exc
    if twice:
        raise ConfigError([f"{problem} of {path}" for problem in twice])
    if values is None:
        return {}, Places()
    if not isinstance(values, dict):
        raise ConfigError([f"{path}: must hold sections (collector, log, …), not {type(values).__name__}"])
    return values, Places(path, lines)


def _overlay(values: dict[str, Any], environ: Mapping[str, str], places: Places) -> None:
    """Write the variables into `values`, and where they came from into `places`. Raises ConfigError."""
    unreadable: list[str] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX):
            continue
        parts = variable.removeprefix(ENV_PREFIX).lower().split("__")
        at = values
        for part in parts[:-1]:
            inner = at.get(part)
            at[part] = inner = dict(inner) if isinstance(inner, dict) else {}
            at = inner
        try:
            at[parts[-1]] = yaml.safe_load(text) if text.lstrip()[:1] in ("[", "{") else text
        except (yaml.YAMLError, ValueError) as exc:
            said = getattr(exc, "problem", None) or exc
            unreadable.append(f"{'.'.join(parts)}: not valid YAML: {said} (from {variable})")
        places.of_variable(parts, variable)
    if unreadable:
        raise ConfigError(unreadable)
